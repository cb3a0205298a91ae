//! A column as bytes: values of one width, or texts, and which of them there are.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_cast::cast;
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType, TimeUnit};
use sessionizer_core::ByteColumn;

/// How the values of a type are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many bytes each.
    Fixed(usize),
    /// Any number of bytes each.
    Text,
}

/// `None` where a type is not one that is carried along.
pub(crate) fn kind(data_type: &DataType) -> Option<Kind> {
    Some(Kind::Fixed(match data_type {
        DataType::Boolean | DataType::Int8 | DataType::UInt8 => 1,
        DataType::Int16 | DataType::UInt16 => 2,
        DataType::Int32 | DataType::UInt32 | DataType::Float32 | DataType::Date32 | DataType::Time32(_) => 4,
        DataType::Int64
        | DataType::UInt64
        | DataType::Float64
        | DataType::Date64
        | DataType::Time64(_)
        | DataType::Timestamp(_, _)
        | DataType::Duration(_) => 8,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => return Some(Kind::Text),
        _ => return None,
    }))
}

/// What a column is in the result: texts in one layout, those in dictionaries written out.
pub(crate) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::Utf8 | DataType::Utf8View => DataType::LargeUtf8,
        other => other.clone(),
    }
}

pub(crate) fn in_utc() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// The values of a column, or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) values: Values,
    /// A byte a value: 0 where it is null. `None`: the column has no nulls.
    pub(crate) valid: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Values {
    Fixed {
        width: usize,
        bytes: Vec<u8>,
    },
    /// Text n ends at `ends[n]`, where text n + 1 begins.
    Text {
        ends: Vec<u64>,
        bytes: Vec<u8>,
    },
}

impl Lane {
    pub(crate) fn new(kind: Kind, nullable: bool) -> Self {
        let values = match kind {
            Kind::Fixed(width) => Values::Fixed { width, bytes: Vec::new() },
            Kind::Text => Values::Text { ends: Vec::new(), bytes: Vec::new() },
        };
        Self { values, valid: nullable.then(Vec::new) }
    }

    pub(crate) fn of_integers(values: &[i64]) -> Self {
        let mut bytes = Vec::with_capacity(values.len() * 8);
        for value in values {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Self { values: Values::Fixed { width: 8, bytes }, valid: None }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.values {
            Values::Fixed { width, bytes } => bytes.len() / width,
            Values::Text { ends, .. } => ends.len(),
        }
    }

    /// Room for more values.
    pub(crate) fn reserve(&mut self, values: usize) {
        match &mut self.values {
            Values::Fixed { width, bytes } => bytes.reserve_exact(values * *width),
            Values::Text { ends, .. } => ends.reserve_exact(values),
        }
        if let Some(valid) = &mut self.valid {
            valid.reserve_exact(values);
        }
    }

    pub(crate) fn value(&self, row: usize) -> &[u8] {
        match &self.values {
            Values::Fixed { width, bytes } => &bytes[row * width..(row + 1) * width],
            Values::Text { ends, bytes } => &bytes[begin(ends, row)..at(ends[row])],
        }
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.valid.as_ref().is_some_and(|valid| valid[row] == 0)
    }

    /// Whether two rows hold the same, null being like null.
    pub(crate) fn same(&self, a: usize, b: usize) -> bool {
        match (self.is_null(a), self.is_null(b)) {
            (false, false) => match &self.values {
                Values::Fixed { width: 8, .. } => self.word(a) == self.word(b),
                _ => self.value(a) == self.value(b),
            },
            (a, b) => a == b,
        }
    }

    /// Values of one width as numbers: equal where the values are, and the values themselves where their type is signed.
    pub(crate) fn integers(&self, signed: bool) -> Vec<i64> {
        fn widened<const W: usize>(bytes: &[u8], widen: impl Fn([u8; W]) -> i64) -> Vec<i64> {
            bytes.as_chunks::<W>().0.iter().map(|&chunk| widen(chunk)).collect()
        }
        let Values::Fixed { width, bytes } = &self.values else { return Vec::new() };
        match (width, signed) {
            (1, true) => widened(bytes, |bytes| i8::from_le_bytes(bytes).into()),
            (1, false) => widened(bytes, |bytes| u8::from_le_bytes(bytes).into()),
            (2, true) => widened(bytes, |bytes| i16::from_le_bytes(bytes).into()),
            (2, false) => widened(bytes, |bytes| u16::from_le_bytes(bytes).into()),
            (4, true) => widened(bytes, |bytes| i32::from_le_bytes(bytes).into()),
            (4, false) => widened(bytes, |bytes| u32::from_le_bytes(bytes).into()),
            _ => widened(bytes, i64::from_le_bytes),
        }
    }

    fn word(&self, row: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(self.value(row));
        u64::from_le_bytes(word)
    }

    /// The values of the given rows, in that order.
    pub(crate) fn gather(&self, rows: &[u32]) -> Self {
        fn fixed<const W: usize>(bytes: &[u8], rows: &[u32]) -> Vec<u8> {
            let values = bytes.as_chunks::<W>().0;
            let mut gathered = vec![0; rows.len() * W];
            for (place, &row) in gathered.as_chunks_mut::<W>().0.iter_mut().zip(rows) {
                *place = values[row as usize];
            }
            gathered
        }
        let values = match &self.values {
            Values::Fixed { width, bytes } => {
                let bytes = match width {
                    1 => fixed::<1>(bytes, rows),
                    2 => fixed::<2>(bytes, rows),
                    4 => fixed::<4>(bytes, rows),
                    _ => fixed::<8>(bytes, rows),
                };
                Values::Fixed { width: *width, bytes }
            }
            Values::Text { ends, .. } => {
                let length = |&row: &u32| ends[row as usize] - begin(ends, row as usize) as u64;
                let mut gathered = Vec::with_capacity(at(rows.iter().map(length).sum()));
                let mut new = Vec::with_capacity(rows.len());
                for &row in rows {
                    gathered.extend_from_slice(self.value(row as usize));
                    new.push(gathered.len() as u64);
                }
                Values::Text { ends: new, bytes: gathered }
            }
        };
        let valid = self.valid.as_ref().map(|valid| rows.iter().map(|&row| valid[row as usize]).collect());
        Self { values, valid }
    }

    /// Adds a stretch of a column of the same kind.
    pub(crate) fn extend(&mut self, other: &Self, rows: Range<usize>) {
        match (&mut self.values, &other.values) {
            (Values::Fixed { bytes, .. }, Values::Fixed { width, bytes: more }) => {
                bytes.extend_from_slice(&more[rows.start * width..rows.end * width]);
            }
            (Values::Text { ends, bytes }, Values::Text { ends: more_ends, bytes: more }) => {
                let first = begin(more_ends, rows.start);
                let last = begin(more_ends, rows.end);
                let (base, first_end) = (bytes.len() as u64, first as u64);
                bytes.extend_from_slice(&more[first..last]);
                ends.extend(more_ends[rows.clone()].iter().map(|end| end - first_end + base));
            }
            _ => {}
        }
        if let Some(valid) = &mut self.valid {
            match &other.valid {
                Some(more) => valid.extend_from_slice(&more[rows]),
                None => valid.resize(valid.len() + rows.len(), 1),
            }
        }
    }

    /// Bytes of the texts of a stretch; none where the values are of one width.
    pub(crate) fn text_bytes(&self, rows: &Range<usize>) -> u64 {
        match &self.values {
            Values::Fixed { .. } => 0,
            Values::Text { ends, .. } => (begin(ends, rows.end) - begin(ends, rows.start)) as u64,
        }
    }

    /// Bytes that a stretch takes in a block.
    pub(crate) fn block_bytes(&self, rows: &Range<usize>) -> usize {
        let values = match &self.values {
            Values::Fixed { width, .. } => rows.len() * width,
            Values::Text { ends, .. } => rows.len() * 4 + begin(ends, rows.end) - begin(ends, rows.start),
        };
        values + self.valid.as_ref().map_or(0, |_| rows.len())
    }

    /// Writes a stretch into a block: validity, values; of texts their lengths before them.
    pub(crate) fn write_block(&self, rows: &Range<usize>, block: &mut Vec<u8>) {
        if let Some(valid) = &self.valid {
            block.extend_from_slice(&valid[rows.clone()]);
        }
        match &self.values {
            Values::Fixed { width, bytes } => block.extend_from_slice(&bytes[rows.start * width..rows.end * width]),
            Values::Text { ends, bytes } => {
                for row in rows.clone() {
                    #[allow(clippy::cast_possible_truncation)] // a batch of texts is shorter than 4 GiB
                    let length = (ends[row] - begin(ends, row) as u64) as u32;
                    block.extend_from_slice(&length.to_le_bytes());
                }
                block.extend_from_slice(&bytes[begin(ends, rows.start)..begin(ends, rows.end)]);
            }
        }
    }

    /// Adds what `write_block` wrote.
    pub(crate) fn read_block(&mut self, rows: usize, block: &mut &[u8]) {
        fn cut<'a>(block: &mut &'a [u8], bytes: usize) -> &'a [u8] {
            let (front, rest) = block.split_at(bytes);
            *block = rest;
            front
        }
        if let Some(valid) = &mut self.valid {
            valid.extend_from_slice(cut(block, rows));
        }
        match &mut self.values {
            Values::Fixed { width, bytes } => bytes.extend_from_slice(cut(block, rows * *width)),
            Values::Text { ends, bytes } => {
                let mut end = bytes.len() as u64;
                for length in cut(block, rows * 4).as_chunks::<4>().0 {
                    end += u64::from(u32::from_le_bytes(*length));
                    ends.push(end);
                }
                let more = at(end) - bytes.len();
                bytes.extend_from_slice(cut(block, more));
            }
        }
    }

    /// The column of an Arrow array; texts in dictionaries are written out.
    pub(crate) fn from_arrow(array: &ArrayRef, nullable: bool) -> Result<Self, ArrowError> {
        let data_type = plain(array.data_type());
        let array = if data_type == *array.data_type() { array.clone() } else { cast(array, &data_type)? };
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_some() && !nullable {
            return Err(ArrowError::InvalidArgumentError("it has nulls where its statistics count none".to_owned()));
        }
        let valid = nullable.then(|| match nulls {
            Some(nulls) => nulls.iter().map(u8::from).collect(),
            None => vec![1; array.len()],
        });
        let values = match kind(&data_type) {
            Some(Kind::Text) => {
                let texts = array.as_string::<i64>();
                let first = texts.value_offsets()[0];
                let ends: Vec<u64> =
                    texts.value_offsets()[1..].iter().map(|end| (end - first).cast_unsigned()).collect();
                let begin = at(first.cast_unsigned());
                let bytes = texts.value_data()[begin..begin + ends.last().map_or(0, |&end| at(end))].to_vec();
                Values::Text { ends, bytes }
            }
            Some(Kind::Fixed(_)) if data_type == DataType::Boolean => {
                Values::Fixed { width: 1, bytes: array.as_boolean().values().iter().map(u8::from).collect() }
            }
            Some(Kind::Fixed(width)) => {
                let data = array.to_data();
                let bytes = data.buffers()[0].as_slice();
                Values::Fixed { width, bytes: bytes[data.offset() * width..][..data.len() * width].to_vec() }
            }
            None => return Err(ArrowError::CastError(format!("values of type {data_type} cannot be carried along"))),
        };
        Ok(Self { values, valid })
    }

    /// The column as an Arrow array of its type.
    pub(crate) fn into_arrow(self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        let rows = self.len();
        let nulls =
            self.valid.filter(|valid| valid.contains(&0)).map(|valid| valid.iter().map(|&byte| byte != 0).collect());
        let builder = ArrayData::builder(data_type.clone()).len(rows).nulls(nulls).align_buffers(true);
        let data = match self.values {
            Values::Fixed { bytes, .. } if *data_type == DataType::Boolean => {
                let packed: arrow_array::BooleanArray = bytes.iter().map(|&byte| Some(byte != 0)).collect();
                builder.add_buffer(packed.values().inner().clone()).build()?
            }
            Values::Fixed { bytes, .. } => builder.add_buffer(bytes.into()).build()?,
            Values::Text { ends, bytes } => {
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0_i64);
                offsets.extend(ends.iter().map(|end| end.cast_signed()));
                builder.add_buffer(offsets.into()).add_buffer(bytes.into()).build()?
            }
        };
        Ok(make_array(data))
    }
}

impl ByteColumn for Lane {
    fn rows(&self) -> usize {
        self.len()
    }

    fn value(&self, row: usize) -> &[u8] {
        Lane::value(self, row)
    }
}

fn begin(ends: &[u64], row: usize) -> usize {
    if row == 0 { 0 } else { at(ends[row - 1]) }
}

/// Ends are positions in a slice.
#[allow(clippy::cast_possible_truncation)]
fn at(end: u64) -> usize {
    end as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Int32Array, LargeStringArray, StringArray};

    use super::*;

    fn lanes() -> Vec<(Lane, ArrayRef)> {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![Some(-7), None, Some(i32::MAX), Some(0)]).slice(1, 3)),
            Arc::new(StringArray::from(vec![Some("a"), Some(""), None, Some("döner")]).slice(1, 3)),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]).slice(1, 3)),
        ];
        arrays.into_iter().filter_map(|array| Some((Lane::from_arrow(&array, true).ok()?, array))).collect()
    }

    #[test]
    fn arrays_go_in_and_out() {
        assert_eq!(lanes().len(), 3);
        for (lane, array) in lanes() {
            let data_type = plain(array.data_type());
            let found = lane.into_arrow(&data_type).ok();
            assert_eq!(found, cast(&array, &data_type).ok());
        }
        let texts: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("a"), None]));
        assert!(Lane::from_arrow(&texts, false).is_err());
    }

    #[test]
    fn blocks_gathers_and_stretches_keep_every_value() {
        for (lane, _) in lanes() {
            let kind = match lane.values {
                Values::Fixed { width, .. } => Kind::Fixed(width),
                Values::Text { .. } => Kind::Text,
            };
            let mut again = Lane::new(kind, true);
            for rows in [0..1, 1..3] {
                let mut block = Vec::new();
                lane.write_block(&rows, &mut block);
                assert_eq!(block.len(), lane.block_bytes(&rows));
                let mut left = block.as_slice();
                again.read_block(rows.len(), &mut left);
                assert!(left.is_empty());
            }
            assert_eq!(again, lane);
            let turned = lane.gather(&[2, 1, 0]);
            let mut back = Lane::new(kind, true);
            for row in [2, 1, 0] {
                back.extend(&turned, row..row + 1);
            }
            assert_eq!(back, lane);
            assert!(lane.same(1, 1) && !lane.same(0, 2));
        }
    }
}
