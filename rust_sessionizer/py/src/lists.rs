//! `drop_repeats` and `filter_support`: tables with a row a session.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, GenericListArray, OffsetSizeTrait, RecordBatch};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use pyo3::prelude::*;
use rayon::prelude::*;
use sessionizer_core::{Error, Filtered, Result, Support};

use crate::column::{Column, take_rows, times as moments, wrong_type};
use crate::error::{detached, raised};
use crate::input::Source;
use crate::output::{batch, table as give};

#[pyfunction]
#[pyo3(signature = (table, items="items"))]
pub(crate) fn drop_repeats(table: &Bound<PyAny>, items: &str) -> PyResult<Py<PyAny>> {
    let source = Source::read(table)?;
    let left = detached(table.py(), None, || {
        let lists = Lists::of(&source, items, "a list of integers or strings")?;
        let column = lists.read(|values| Column::new(items, values))?;
        let left = sessionizer_core::drop_repeats_by(&lists.offsets, lists.values.len(), |a, b| column.same(a, b))?;
        lists.filtered(&source, left)
    })?;
    give(table.py(), left, source.polars)
}

#[allow(clippy::needless_pass_by_value)] // an argument from Python
#[pyfunction]
#[pyo3(name = "split_sessions", signature = (table, cuts, *, times="times"))]
pub(crate) fn split(table: &Bound<PyAny>, cuts: Vec<i64>, times: &str) -> PyResult<Vec<Py<PyAny>>> {
    let source = Source::read(table)?;
    let parts = detached(table.py(), None, || {
        let lists = Lists::of(&source, times, "a list of timestamps")?;
        let moments = lists.read(|values| moments(times, values))?;
        let parts = sessionizer_core::split_sessions(&lists.offsets, &moments, &cuts)?;
        parts.into_iter().map(|part| lists.filtered(&source, part)).collect::<Result<Vec<_>>>()
    })?;
    parts.into_iter().map(|part| give(table.py(), part, source.polars)).collect()
}

#[pyfunction]
#[pyo3(signature = (table, *, items="items", min_support=5, min_length=2, support_is="clicks"))]
pub(crate) fn filter_support(
    table: &Bound<PyAny>,
    items: &str,
    min_support: i64,
    min_length: i64,
    support_is: &str,
) -> PyResult<Py<PyAny>> {
    let wrong = |name, value: String, expected| raised(&Error::Setting { name, value, expected });
    let support = match support_is {
        "clicks" => Support::Clicks,
        "sessions" => Support::Sessions,
        other => return Err(wrong("support_is", format!("'{other}'"), "'clicks' or 'sessions'")),
    };
    let count = |name, value: i64| u64::try_from(value).map_err(|_| wrong(name, value.to_string(), "0 or more"));
    let (min_support, min_length) = (count("min_support", min_support)?, count("min_length", min_length)?);
    let source = Source::read(table)?;
    let left = detached(table.py(), None, || {
        let lists = Lists::of(&source, items, "a list of integers or strings")?;
        let codes = lists.read(|values| Column::new(items, values)?.factorize())?;
        let distinct = codes.first_rows.len();
        let left =
            sessionizer_core::filter_support(&lists.offsets, &codes.codes, distinct, min_support, min_length, support)?;
        lists.filtered(&source, left)
    })?;
    give(table.py(), left, source.polars)
}

/// Lists of any offset width: where they start, and their values.
struct Lists {
    offsets: ScalarBuffer<i64>,
    values: ArrayRef,
}

impl Lists {
    /// A list column of a table, which has no nulls.
    fn of(source: &Source, name: &str, expected: &'static str) -> Result<Self> {
        let column = source.column(name)?;
        let Some(lists) = Self::new(&column) else { return Err(wrong_type(name, column.data_type(), expected)) };
        let null = (column.null_count() > 0).then(|| (0..column.len()).find(|&row| column.is_null(row)));
        match null.flatten() {
            Some(row) => Err(Error::NullValue { column: name.to_owned(), row }),
            None => Ok(lists),
        }
    }

    /// What is read from the values; the row of an error is the session's.
    fn read<T>(&self, read: impl FnOnce(&ArrayRef) -> Result<T>) -> Result<T> {
        read(&self.values).map_err(|error| in_session(error, &self.offsets))
    }

    /// What is left of a table: clicks of every list column of the same lengths, and sessions of the others.
    fn filtered(&self, source: &Source, left: Filtered) -> Result<RecordBatch> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(left.offsets));
        let are_all_left = left.sessions.len() + 1 == self.offsets.len();
        let columns: Result<Vec<(String, ArrayRef)>> = source
            .fields()
            .par_iter()
            .map(|field| {
                let array = source.column(field.name())?;
                let in_step =
                    Self::new(&array).filter(|other| array.null_count() == 0 && other.offsets == self.offsets);
                let array = match in_step {
                    None if are_all_left => array,
                    None => take_rows(field.name(), &array, &left.sessions)?,
                    Some(other) => listed(&take_rows(field.name(), &other.values, &left.clicks)?, &array, &offsets)?,
                };
                Ok((field.name().clone(), array))
            })
            .collect();
        batch(columns?)
    }

    fn new(array: &ArrayRef) -> Option<Self> {
        match array.data_type() {
            DataType::List(_) => Some(Self::from_list(array.as_list::<i32>())),
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                let ends = lists.value_offsets();
                // As they are, where they cover the values.
                let whole = || Self { offsets: lists.offsets().inner().clone(), values: lists.values().clone() };
                let is_whole = ends[0] == 0 && usize::try_from(ends[lists.len()]) == Ok(lists.values().len());
                Some(if is_whole { whole() } else { Self::from_list(lists) })
            }
            _ => None,
        }
    }

    fn from_list<O: OffsetSizeTrait>(lists: &GenericListArray<O>) -> Self {
        let ends = lists.value_offsets();
        let (first, last) = (ends[0].as_usize(), ends[lists.len()].as_usize());
        let offset = |end: &O| (*end - ends[0]).to_i64().unwrap_or(0); // 32 or 64 bits: fits
        Self { offsets: ends.iter().map(offset).collect(), values: lists.values().slice(first, last - first) }
    }
}

/// Lists of the kind that `like` has.
fn listed(values: &ArrayRef, like: &ArrayRef, offsets: &OffsetBuffer<i64>) -> Result<ArrayRef> {
    let field = |field: &Field| Arc::new(field.clone().with_data_type(values.data_type().clone()));
    match like.data_type() {
        DataType::List(old) => {
            // Fewer values than there were: they fit as before.
            let offsets: std::result::Result<Vec<i32>, _> =
                offsets.iter().map(|&offset| i32::try_from(offset)).collect();
            let offsets = offsets.map_err(|error| Error::Unreadable { reason: error.to_string() })?;
            let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
            Ok(Arc::new(GenericListArray::<i32>::new(field(old), offsets, Arc::clone(values), None)))
        }
        DataType::LargeList(old) => {
            Ok(Arc::new(GenericListArray::<i64>::new(field(old), offsets.clone(), Arc::clone(values), None)))
        }
        other => Err(wrong_type("items", other, "a list")),
    }
}

/// The row of a click is its session.
fn in_session(error: Error, offsets: &[i64]) -> Error {
    let session = |row: usize| {
        offsets.partition_point(|&offset| usize::try_from(offset).is_ok_and(|offset| offset <= row)).saturating_sub(1)
    };
    match error {
        Error::NullValue { column, row } => Error::NullValue { column, row: session(row) },
        Error::TimeRange { column, row, value, unit } => Error::TimeRange { column, row: session(row), value, unit },
        other => other,
    }
}
