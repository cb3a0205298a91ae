//! Columns as the core takes them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, LargeStringArray, PrimitiveArray, StringArray, StringViewArray, UInt32Array,
    downcast_primitive_array,
};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{DataType, TimeUnit as ArrowUnit};
use arrow_select::concat::concat;
use arrow_select::take::take;
use rayon::prelude::*;
use sessionizer_core::{
    ByteColumn, Encoded, Error, Result, TimeUnit, encode_bytes, encode_integers, factorize_bytes, factorize_integers,
    gather, to_millis,
};

/// Numbers or texts: what a visitor, a session or an item may be.
pub(crate) enum Column {
    /// Numbers, order kept: an unsigned one of 64 bits is shifted down by 2^63.
    Integers(ScalarBuffer<i64>),
    Texts(Texts),
}

/// Texts in any of Arrow's three layouts.
pub(crate) enum Texts {
    Small(StringArray),
    Large(LargeStringArray),
    View(StringViewArray),
}

impl ByteColumn for Texts {
    fn rows(&self) -> usize {
        match self {
            Self::Small(texts) => texts.len(),
            Self::Large(texts) => texts.len(),
            Self::View(texts) => texts.len(),
        }
    }

    fn value(&self, row: usize) -> &[u8] {
        match self {
            Self::Small(texts) => texts.value(row).as_bytes(),
            Self::Large(texts) => texts.value(row).as_bytes(),
            Self::View(texts) => texts.value(row).as_bytes(),
        }
    }
}

impl Column {
    /// Refuses nulls and other types.
    pub(crate) fn new(name: &str, array: &ArrayRef) -> Result<Self> {
        no_nulls(name, array)?;
        Ok(match array.data_type() {
            DataType::Int8 => Self::Integers(widened::<Int8Type>(array)),
            DataType::Int16 => Self::Integers(widened::<Int16Type>(array)),
            DataType::Int32 => Self::Integers(widened::<Int32Type>(array)),
            DataType::Int64 => Self::Integers(array.as_primitive::<Int64Type>().values().clone()),
            DataType::UInt8 => Self::Integers(widened::<UInt8Type>(array)),
            DataType::UInt16 => Self::Integers(widened::<UInt16Type>(array)),
            DataType::UInt32 => Self::Integers(widened::<UInt32Type>(array)),
            DataType::UInt64 => {
                let values = array.as_primitive::<UInt64Type>().values();
                Self::Integers(mapped(values, |value: u64| (value ^ (1 << 63)).cast_signed()))
            }
            DataType::Utf8 => Self::Texts(Texts::Small(array.as_string().clone())),
            DataType::LargeUtf8 => Self::Texts(Texts::Large(array.as_string().clone())),
            DataType::Utf8View => Self::Texts(Texts::View(array.as_string_view().clone())),
            other => return Err(wrong_type(name, other, "an integer or a string")),
        })
    }

    pub(crate) fn same(&self, a: u32, b: u32) -> bool {
        match self {
            Self::Integers(values) => values[a as usize] == values[b as usize],
            Self::Texts(texts) => texts.value(a as usize) == texts.value(b as usize),
        }
    }

    pub(crate) fn encode(&self) -> Result<Encoded> {
        match self {
            Self::Integers(values) => encode_integers(values),
            Self::Texts(texts) => encode_bytes(texts),
        }
    }

    pub(crate) fn factorize(&self) -> Result<Encoded> {
        match self {
            Self::Integers(values) => factorize_integers(values),
            Self::Texts(texts) => factorize_bytes(texts),
        }
    }
}

/// Integers of any type with their own values.
pub(crate) fn integers(name: &str, array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    match Column::new(name, array)? {
        Column::Integers(values) if *array.data_type() != DataType::UInt64 => Ok(values),
        Column::Integers(_) => small_unsigned(name, array, "units"),
        Column::Texts(_) => Err(wrong_type(name, array.data_type(), "an integer")),
    }
}

/// Times in milliseconds.
pub(crate) fn times(name: &str, array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    no_nulls(name, array)?;
    let (values, unit) = match array.data_type() {
        DataType::Timestamp(ArrowUnit::Second, _) => {
            (array.as_primitive::<TimestampSecondType>().values().clone(), TimeUnit::Second)
        }
        DataType::Timestamp(ArrowUnit::Millisecond, _) => {
            (array.as_primitive::<TimestampMillisecondType>().values().clone(), TimeUnit::Millisecond)
        }
        DataType::Timestamp(ArrowUnit::Microsecond, _) => {
            (array.as_primitive::<TimestampMicrosecondType>().values().clone(), TimeUnit::Microsecond)
        }
        DataType::Timestamp(ArrowUnit::Nanosecond, _) => {
            (array.as_primitive::<TimestampNanosecondType>().values().clone(), TimeUnit::Nanosecond)
        }
        DataType::Date32 => (widened::<Date32Type>(array), TimeUnit::Day),
        DataType::Date64 => (array.as_primitive::<Date64Type>().values().clone(), TimeUnit::Millisecond),
        DataType::UInt64 => (small_unsigned(name, array, "milliseconds")?, TimeUnit::Millisecond),
        data_type if data_type.is_integer() => (integers(name, array)?, TimeUnit::Millisecond),
        other => return Err(wrong_type(name, other, "a timestamp, a date or an integer (milliseconds)")),
    };
    Ok(match to_millis(name, &values, unit)? {
        std::borrow::Cow::Borrowed(_) => values,
        std::borrow::Cow::Owned(millis) => millis.into(),
    })
}

/// A Boolean column.
pub(crate) fn flags(name: &str, array: &ArrayRef) -> Result<Vec<bool>> {
    no_nulls(name, array)?;
    match array.as_boolean_opt() {
        Some(flags) => Ok(flags.values().iter().collect()),
        None if array.is_empty() => Ok(Vec::new()),
        None => Err(wrong_type(name, array.data_type(), "a Boolean")),
    }
}

/// The values of the given rows, in that order.
pub(crate) fn take_rows(name: &str, array: &ArrayRef, rows: &[u32]) -> Result<ArrayRef> {
    if array.null_count() == 0 {
        let array: &dyn Array = array;
        downcast_primitive_array!(
            array => return Ok(gathered(array, rows)),
            _ => ()
        );
    }
    let step = rows.len().div_ceil(rayon::current_num_threads()).max(65_536);
    let taken: std::result::Result<Vec<ArrayRef>, _> =
        rows.par_chunks(step).map(|rows| take(array, &UInt32Array::from(rows.to_vec()), None)).collect();
    let joined = taken.and_then(|taken| match taken.as_slice() {
        [] => Ok(array.slice(0, 0)),
        [one] => Ok(Arc::clone(one)),
        many => concat(&many.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
    });
    joined.map_err(|error| Error::Conversion { column: name.to_owned(), reason: error.to_string() })
}

fn gathered<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, rows: &[u32]) -> ArrayRef {
    let values = gather(array.values(), rows);
    Arc::new(PrimitiveArray::<T>::new(values.into(), None).with_data_type(array.data_type().clone()))
}

pub(crate) fn wrong_type(name: &str, found: &DataType, expected: &'static str) -> Error {
    Error::ColumnType { column: name.to_owned(), found: found.to_string(), expected }
}

/// Refuses nulls.
pub(crate) fn no_nulls(name: &str, array: &ArrayRef) -> Result<()> {
    let row = match array.logical_nulls() {
        Some(nulls) if nulls.null_count() > 0 => nulls.iter().position(|valid| !valid),
        _ => None,
    };
    row.map_or(Ok(()), |row| Err(Error::NullValue { column: name.to_owned(), row }))
}

fn mapped<T: Copy + Send + Sync>(values: &[T], map: impl Fn(T) -> i64 + Sync) -> ScalarBuffer<i64> {
    values.par_iter().map(|&value| map(value)).collect::<Vec<_>>().into()
}

fn widened<T: ArrowPrimitiveType<Native: Into<i64> + Sync>>(array: &ArrayRef) -> ScalarBuffer<i64> {
    mapped(array.as_primitive::<T>().values(), Into::into)
}

fn small_unsigned(name: &str, array: &ArrayRef, unit: &'static str) -> Result<ScalarBuffer<i64>> {
    let values = array.as_primitive::<UInt64Type>().values();
    match values.iter().position(|&value| i64::try_from(value).is_err()) {
        None => Ok(mapped(values, u64::cast_signed)),
        Some(row) => Err(Error::TimeRange { column: name.to_owned(), row, value: values[row].to_string(), unit }),
    }
}
