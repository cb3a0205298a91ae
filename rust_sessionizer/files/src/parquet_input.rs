//! Parquet files.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, TimeUnit as ArrowUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use sessionizer_core::{Error as InputError, TimeUnit, to_millis};

use crate::lane::{Lane, plain};
use crate::layout::{Found, Layout, moved, place_of, wanted};
use crate::settings::Settings;
use crate::{Error, Result};

/// Rows that are handled at once. The same whatever the limit of memory, so that parts made on several machines fit together.
pub(crate) const CHUNK: usize = 1 << 18;

/// A Parquet file whose footer was read.
pub(crate) struct ParquetFile {
    pub(crate) path: PathBuf,
    metadata: ArrowReaderMetadata,
    /// Of the wanted columns, by lane.
    places: Vec<usize>,
    /// Rows of every row group.
    pub(crate) groups: Vec<usize>,
    /// Bytes of every row group's wanted columns, as they lie in the file.
    pub(crate) group_bytes: Vec<u64>,
    /// Bytes of the wanted columns of all rows, not compressed; texts in dictionaries are counted once.
    pub(crate) raw_bytes: u64,
}

impl ParquetFile {
    /// Reads the footer, and tells what the file says of the wanted columns.
    pub(crate) fn open(path: &Path, settings: &Settings) -> Result<(Self, Vec<Found>)> {
        let file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        let metadata = guarded(path, || {
            ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| Error::unreadable(path, error))
        })?;
        let names: Vec<String> = metadata.schema().fields().iter().map(|field| field.name().clone()).collect();
        let footer = metadata.metadata();
        let mut places = Vec::new();
        let mut columns = Vec::new();
        for (name, role) in wanted(settings) {
            let place = place_of(name, &names).map_err(Error::column(path))?;
            let field = metadata.schema().field(place);
            let leaf = leaf_of(&metadata, place);
            // A footer that counts no nulls spares a byte a value; what it says is checked when the values are read.
            let none = |leaf: usize| {
                footer.row_groups().iter().all(|group| {
                    let statistics = group.columns().get(leaf).and_then(ColumnChunkMetaData::statistics);
                    statistics.and_then(Statistics::null_count_opt) == Some(0)
                })
            };
            let nullable = field.is_nullable() && !leaf.is_some_and(none);
            let found = Found { data_type: field.data_type().clone(), nullable, shown: true, csv: false };
            found.check(name, role).map_err(Error::column(path))?;
            places.push(place);
            columns.push(found);
        }
        let mut groups = Vec::new();
        let mut group_bytes = Vec::new();
        let mut raw_bytes: u64 = 0;
        for group in footer.row_groups() {
            let rows = usize::try_from(group.num_rows())
                .map_err(|_| Error::unreadable(path, "a row group has a negative length"))?;
            let mut bytes = 0;
            for column in places
                .iter()
                .filter_map(|&place| leaf_of(&metadata, place))
                .filter_map(|leaf| group.columns().get(leaf))
            {
                let (start, length) = guarded(path, || Ok(column.byte_range()))?;
                if start.checked_add(length).is_none_or(|end| end > size) {
                    return Err(Error::unreadable(path, "it is cut short or damaged: a column reaches beyond its end"));
                }
                bytes += length;
                raw_bytes = raw_bytes.saturating_add(u64::try_from(column.uncompressed_size()).unwrap_or(0));
            }
            groups.push(rows);
            group_bytes.push(bytes);
        }
        // Readers that go by the one number and readers that go by the other would see different logs.
        let (told, counted) = (footer.file_metadata().num_rows(), groups.iter().map(|&rows| rows as u64).sum::<u64>());
        if u64::try_from(told) != Ok(counted) {
            let reason = format!("it is damaged: its footer counts {told} rows, its row groups have {counted}");
            return Err(Error::unreadable(path, reason));
        }
        Ok((Self { path: path.to_owned(), metadata, places, groups, group_bytes, raw_bytes }, columns))
    }

    /// Reads row groups, chunk by chunk, each with the number of its first row within these groups.
    pub(crate) fn read(
        &self,
        groups: &[usize],
        first_row: usize,
        layout: &Layout,
        mut each: impl FnMut(Vec<Lane>) -> Result<()>,
    ) -> Result<()> {
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let roots = self.places.iter().copied();
        let expected: usize = groups.iter().map(|&group| self.groups[group]).sum();
        let mut reader = guarded(&self.path, || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_projection(ProjectionMask::roots(self.metadata.parquet_schema(), roots))
                .with_row_groups(groups.to_vec())
                .with_batch_size(CHUNK)
                .build()
                .map_err(|error| Error::unreadable(&self.path, error))
        })?;
        let mut row = first_row;
        while let Some(batch) =
            guarded(&self.path, || reader.next().transpose().map_err(|error| Error::unreadable(&self.path, error)))?
        {
            let lanes = guarded(&self.path, || self.lanes(&batch, row, layout))?;
            row += batch.num_rows();
            if row - first_row > expected {
                break;
            }
            each(lanes)?;
        }
        if row - first_row != expected {
            return Err(Error::unreadable(
                &self.path,
                "it is damaged: the row groups are not as long as its footer says",
            ));
        }
        Ok(())
    }

    fn lanes(&self, batch: &RecordBatch, first_row: usize, layout: &Layout) -> Result<Vec<Lane>> {
        let at = |error: InputError| Error::Column { file: self.path.clone(), error: moved(error, first_row) };
        let schema = batch.schema_ref();
        let mut lanes = Vec::with_capacity(self.places.len());
        for (lane, &place) in self.places.iter().enumerate() {
            let name = self.metadata.schema().field(place).name();
            let place = schema.index_of(name).map_err(|error| Error::unreadable(&self.path, error))?;
            let array = batch.column(place);
            let column = &layout.lanes[lane];
            let carried = lane >= layout.lanes.len() - layout.carried();
            if !carried && array.logical_null_count() > 0 {
                let nulls = array.logical_nulls();
                let row = nulls.and_then(|nulls| nulls.iter().position(|valid| !valid)).unwrap_or(0);
                return Err(at(InputError::NullValue { column: name.clone(), row }));
            }
            lanes.push(if lane == crate::layout::TIME {
                let (values, unit) = raw_times(name, array).map_err(at)?;
                Lane::of_integers(&to_millis(name, &values, unit).map_err(at)?)
            } else {
                Lane::from_arrow(array, column.nullable)
                    .map_err(|error| Error::unreadable(&self.path, format!("column '{name}' is damaged: {error}")))?
            });
        }
        Ok(lanes)
    }
}

/// The values of a time column, and their unit.
fn raw_times(name: &str, array: &ArrayRef) -> std::result::Result<(Vec<i64>, TimeUnit), InputError> {
    use DataType::{Date32, Date64, Timestamp, UInt64};
    let data_type = plain(array.data_type());
    let converted = |error: ArrowError| InputError::Conversion { column: name.to_owned(), reason: error.to_string() };
    // Those of a dictionary have the unit of its values.
    let array =
        &if data_type == *array.data_type() { array.clone() } else { cast(array, &data_type).map_err(converted)? };
    Ok(match array.data_type() {
        Timestamp(ArrowUnit::Second, _) => {
            (array.as_primitive::<TimestampSecondType>().values().to_vec(), TimeUnit::Second)
        }
        Timestamp(ArrowUnit::Millisecond, _) => {
            (array.as_primitive::<TimestampMillisecondType>().values().to_vec(), TimeUnit::Millisecond)
        }
        Timestamp(ArrowUnit::Microsecond, _) => {
            (array.as_primitive::<TimestampMicrosecondType>().values().to_vec(), TimeUnit::Microsecond)
        }
        Timestamp(ArrowUnit::Nanosecond, _) => {
            (array.as_primitive::<TimestampNanosecondType>().values().to_vec(), TimeUnit::Nanosecond)
        }
        UInt64 => {
            let values = array.as_primitive::<UInt64Type>().values();
            if let Some(row) = values.iter().position(|&value| i64::try_from(value).is_err()) {
                let value = values[row].to_string();
                return Err(InputError::TimeRange { column: name.to_owned(), row, value, unit: "milliseconds" });
            }
            (values.iter().map(|&value| value.cast_signed()).collect(), TimeUnit::Millisecond)
        }
        data_type => {
            let signed = !matches!(data_type, DataType::UInt8 | DataType::UInt16 | DataType::UInt32);
            let unit = if *data_type == Date32 { TimeUnit::Day } else { TimeUnit::Millisecond };
            debug_assert!(data_type.is_integer() || matches!(data_type, Date32 | Date64));
            let lane = Lane::from_arrow(array, false).map_err(converted)?;
            (lane.integers(signed), unit)
        }
    })
}

/// The names of a file's columns.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let file = File::open(path).map_err(Error::io(path))?;
    guarded(path, || {
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            .map_err(|error| Error::unreadable(path, error))?;
        Ok(metadata.schema().fields().iter().map(|field| field.name().clone()).collect())
    })
}

fn leaf_of(metadata: &ArrowReaderMetadata, root: usize) -> Option<usize> {
    let schema = metadata.parquet_schema();
    (0..schema.num_columns()).find(|&leaf| schema.get_column_root_idx(leaf) == root)
}

/// Whether a file begins as Parquet files do.
pub(crate) fn is_parquet(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut begin = [0; 4];
    let mut file = File::open(path).map_err(Error::io(path))?;
    match file.read_exact(&mut begin) {
        Ok(()) => Ok(&begin == b"PAR1"),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(Error::Io { path: path.to_owned(), error }),
    }
}

/// Damaged files make the reader panic now and then, which is told like its other errors.
pub(crate) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::unreadable(path, format!("it is damaged ({})", text.unwrap_or("the reader gave up"))))
    })
}
