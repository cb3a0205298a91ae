//! Sessions to a Parquet file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, LargeListArray};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;
use sessionizer_core::Error as InputError;

use crate::arrange::Arranged;
use crate::lane::{Lane, in_utc};
use crate::layout::Layout;
use crate::run::empty;
use crate::{Error, Result};

/// A row group is full with so many sessions, so many clicks or so many bytes of texts: the same bytes whatever the limit of memory.
const GROUP_SESSIONS: usize = 1 << 18;
const GROUP_CLICKS: u64 = 1 << 20;
const GROUP_TEXTS: u64 = 64 << 20;

/// Where a column of the result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Number,
    Start,
    Session(usize),
    Clicks(usize),
}

/// The columns of the result.
pub(crate) struct Table {
    schema: SchemaRef,
    origins: Vec<Origin>,
}

impl Table {
    /// All columns, or the ones asked for.
    pub(crate) fn new(layout: &Layout, columns: Option<&[String]>) -> Result<Self> {
        let list = |name: &str, data_type: &DataType, nullable| {
            let values = Arc::new(Field::new("item", data_type.clone(), nullable));
            Field::new(name, DataType::LargeList(values), false)
        };
        let lane = |lane: &usize| &layout.lanes[*lane];
        let session_lanes = layout.session_lanes();
        let click_lanes = layout.click_lanes();
        let (owner, item) = (lane(&session_lanes[0]), lane(&click_lanes[0]));
        let of_session = |place: usize| {
            let column = lane(&session_lanes[place]);
            (Field::new(&column.name, column.data_type.clone(), column.nullable), Origin::Session(place))
        };
        let mut all = vec![(Field::new("session_id", DataType::Int64, false), Origin::Number)];
        // As with tables: the visitor stands before the source's own session.
        let of_first = session_lanes.len() - layout.of_first;
        all.extend((of_first..session_lanes.len()).map(of_session));
        all.extend([
            (Field::new(&owner.name, owner.data_type.clone(), false), Origin::Session(0)),
            (Field::new("start", in_utc(), false), Origin::Start),
            (list("items", &item.data_type, false), Origin::Clicks(0)),
            (list("times", &in_utc(), false), Origin::Clicks(1)),
        ]);
        for (place, column) in click_lanes.iter().map(lane).enumerate().skip(2) {
            all.push((list(&column.name, &column.data_type, column.nullable), Origin::Clicks(place)));
        }
        all.extend((1..of_first).map(of_session));
        let names: Vec<String> = all.iter().map(|(field, _)| field.name().clone()).collect();
        if let Some(twice) = (1..names.len()).find(|&place| names[..place].contains(&names[place])) {
            return Err(InputError::DuplicateColumn { column: names[twice].clone() }.into());
        }
        let places = match columns {
            None => (0..all.len()).collect(),
            Some(columns) => {
                let find = |column: &String| names.iter().position(|name| name == column);
                let missing =
                    |column: &String| InputError::MissingColumn { column: column.clone(), present: names.clone() };
                let mut places = Vec::new();
                for column in columns {
                    let place = find(column).ok_or_else(|| missing(column))?;
                    if places.contains(&place) {
                        return Err(InputError::DuplicateColumn { column: column.clone() }.into());
                    }
                    places.push(place);
                }
                places
            }
        };
        let (fields, origins): (Vec<Field>, Vec<Origin>) = places.into_iter().map(|place| all[place].clone()).unzip();
        Ok(Self { schema: Arc::new(Schema::new(fields)), origins })
    }
}

/// Sessions of several stretches that become one row group.
type Group = Vec<(Arc<Arranged>, std::ops::Range<usize>)>;

/// A Parquet file that is being written.
pub(crate) struct Output<'a> {
    path: PathBuf,
    table: &'a Table,
    layout: &'a Layout,
    writer: SerializedFileWriter<File>,
    factory: ArrowRowGroupWriterFactory,
    open: Group,
    open_sessions: usize,
    open_clicks: u64,
    open_texts: u64,
    groups: usize,
    pub(crate) sessions: u64,
    pub(crate) clicks: u64,
}

impl<'a> Output<'a> {
    pub(crate) fn new(path: &Path, table: &'a Table, layout: &'a Layout) -> Result<Self> {
        let file = File::create(path).map_err(Error::io(path))?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&table.schema), Some(properties(table)));
        let (writer, factory) =
            writer.and_then(ArrowWriter::into_serialized_writer).map_err(|error| failed(path, error))?;
        let open = Vec::new();
        let path = path.to_owned();
        Ok(Self {
            path,
            table,
            layout,
            writer,
            factory,
            open,
            open_sessions: 0,
            open_clicks: 0,
            open_texts: 0,
            groups: 0,
            sessions: 0,
            clicks: 0,
        })
    }

    /// Adds sessions that follow those before; row groups that are full are written by the threads of the pool.
    pub(crate) fn add(&mut self, stretches: Vec<Arranged>) -> Result<()> {
        let mut full = Vec::new();
        for arranged in stretches.into_iter().map(Arc::new) {
            let mut begin = 0;
            let mut before = 0;
            for (session, &end) in arranged.ends.iter().enumerate() {
                self.open_sessions += 1;
                self.open_clicks += end - before;
                self.open_texts += arranged.text_bytes(session, at(before)..at(end));
                before = end;
                if self.open_sessions >= GROUP_SESSIONS
                    || self.open_clicks >= GROUP_CLICKS
                    || self.open_texts >= GROUP_TEXTS
                {
                    self.open.push((Arc::clone(&arranged), begin..session + 1));
                    full.push(std::mem::take(&mut self.open));
                    begin = session + 1;
                    (self.open_sessions, self.open_clicks, self.open_texts) = (0, 0, 0);
                }
            }
            if begin < arranged.ends.len() {
                let rest = begin..arranged.ends.len();
                self.open.push((arranged, rest));
            }
        }
        self.write(full)
    }

    /// Writes what is left and makes the file last.
    pub(crate) fn finish(mut self) -> Result<(u64, u64)> {
        let rest = std::mem::take(&mut self.open);
        if !rest.is_empty() {
            self.write(vec![rest])?;
        }
        let Self { path, mut writer, sessions, clicks, .. } = self;
        writer.finish().map_err(|error| failed(&path, error))?;
        writer.inner().sync_all().map_err(Error::io(&path))?;
        Ok((sessions, clicks))
    }

    fn write(&mut self, full: Vec<Group>) -> Result<()> {
        let mut numbered = Vec::with_capacity(full.len());
        for group in full {
            let sessions: usize = group.iter().map(|(_, sessions)| sessions.len()).sum();
            numbered.push((self.groups, self.sessions, group));
            self.groups += 1;
            self.sessions += sessions as u64;
        }
        let encoded: Vec<(u64, Vec<ArrowColumnChunk>)> = numbered
            .into_par_iter()
            .map(|(number, first, group)| self.encode(number, first, &group))
            .collect::<Result<_>>()?;
        let path = self.path.clone();
        let failed = |error| failed(&path, error);
        for (clicks, columns) in encoded {
            self.clicks += clicks;
            let mut group = self.writer.next_row_group().map_err(failed)?;
            for column in columns {
                column.append_to_row_group(&mut group).map_err(failed)?;
            }
            group.close().map_err(failed)?;
        }
        Ok(())
    }

    fn encode(&self, number: usize, first: u64, group: &Group) -> Result<(u64, Vec<ArrowColumnChunk>)> {
        let conversion = |error: arrow_schema::ArrowError| Error::unreadable(&self.path, error);
        let mut starts = Vec::new();
        let mut offsets = vec![0_i64];
        for (arranged, sessions) in group {
            starts.extend_from_slice(&arranged.starts[sessions.clone()]);
            let begin = click(arranged, sessions.start);
            let base = offsets[offsets.len() - 1];
            offsets.extend(arranged.ends[sessions.clone()].iter().map(|end| base + (end - begin).cast_signed()));
        }
        let clicks = offsets[offsets.len() - 1];
        let sessions_of = |place: usize| {
            let mut lane = empty(&self.layout.lanes, &self.layout.session_lanes()).swap_remove(place);
            for (arranged, sessions) in group {
                lane.extend(&arranged.session_lanes[place], sessions.clone());
            }
            lane
        };
        let clicks_of = |place: usize| {
            let mut lane = empty(&self.layout.lanes, &self.layout.click_lanes()).swap_remove(place);
            for (arranged, sessions) in group {
                let stretch = click(arranged, sessions.start)..click(arranged, sessions.end);
                lane.extend(&arranged.click_lanes[place], at(stretch.start)..at(stretch.end));
            }
            lane
        };
        let fields: &[FieldRef] = self.table.schema.fields();
        let arrays = self.table.origins.par_iter().zip(fields).map(|(origin, field)| match *origin {
            Origin::Number => {
                Ok(Arc::new((first.cast_signed()..).take(starts.len()).collect::<Int64Array>()) as ArrayRef)
            }
            Origin::Start => Lane::of_integers(&starts).into_arrow(field.data_type()),
            Origin::Session(place) => sessions_of(place).into_arrow(field.data_type()),
            Origin::Clicks(place) => {
                let DataType::LargeList(values) = field.data_type() else { unreachable!("lists were made lists") };
                let listed = clicks_of(place).into_arrow(values.data_type())?;
                let data = ArrayData::builder(field.data_type().clone())
                    .len(starts.len())
                    .add_buffer(offsets.clone().into())
                    .add_child_data(listed.to_data());
                Ok(Arc::new(LargeListArray::from(data.build()?)) as ArrayRef)
            }
        });
        let arrays: Vec<ArrayRef> = arrays.collect::<std::result::Result<_, _>>().map_err(conversion)?;
        let writers = self.factory.create_column_writers(number).map_err(|error| failed(&self.path, error))?;
        let columns: Vec<ArrowColumnChunk> = writers
            .into_par_iter()
            .zip(arrays)
            .zip(fields)
            .map(|((mut writer, array), field)| {
                for leaf in compute_leaves(field, &array)? {
                    writer.write(&leaf)?;
                }
                writer.close()
            })
            .collect::<parquet::errors::Result<_>>()
            .map_err(|error| failed(&self.path, error))?;
        Ok((clicks.cast_unsigned(), columns))
    }
}

/// Where the clicks of a session begin.
fn click(arranged: &Arranged, session: usize) -> u64 {
    if session == 0 { 0 } else { arranged.ends[session - 1] }
}

/// Positions in a slice.
#[allow(clippy::cast_possible_truncation)]
fn at(end: u64) -> usize {
    end as usize
}

/// Numbers that grow are written as their differences; ids of many sessions find no use for a dictionary.
fn properties(table: &Table) -> WriterProperties {
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    let mut builder = WriterProperties::builder().set_compression(Compression::ZSTD(level));
    for (field, origin) in table.schema.fields().iter().zip(&table.origins) {
        let name = field.name().clone();
        let path = match field.data_type() {
            DataType::LargeList(_) => ColumnPath::new(vec![name, "list".to_owned(), "item".to_owned()]),
            _ => ColumnPath::new(vec![name]),
        };
        if matches!(origin, Origin::Number | Origin::Start | Origin::Clicks(1)) {
            builder = builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        } else if *origin == Origin::Session(0) {
            builder = builder.set_column_dictionary_enabled(path, false);
        }
    }
    builder.build()
}

/// What the writer of Parquet says is what the system said, where it was the system.
fn failed(path: &Path, error: parquet::errors::ParquetError) -> Error {
    let told = error.to_string();
    if let parquet::errors::ParquetError::External(source) = error
        && let Ok(error) = source.downcast::<std::io::Error>()
    {
        return Error::Io { path: path.to_owned(), error: *error };
    }
    Error::Io { path: path.to_owned(), error: std::io::Error::other(told) }
}
