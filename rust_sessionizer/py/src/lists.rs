//! `drop_repeats` and `filter_support`: tables with a row a session.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, GenericListArray, OffsetSizeTrait, RecordBatch};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use pyo3::prelude::*;
use rayon::prelude::*;
use sessionizer_core::{Error, Filtered, Result, Support};

use crate::column::{Column, take_rows, wrong_type};
use crate::error::{detached, raised};
use crate::input::Source;
use crate::output::{batch, table as give};

#[pyfunction]
#[pyo3(signature = (table, items="items"))]
pub(crate) fn drop_repeats(table: &Bound<PyAny>, items: &str) -> PyResult<Py<PyAny>> {
    let source = Source::read(table)?;
    let left = detached(table.py(), None, || {
        filtered(&source, items, |offsets, codes, _| sessionizer_core::drop_repeats(offsets, codes))
    })?;
    give(table.py(), left, source.polars)
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
        filtered(&source, items, |offsets, codes, distinct| {
            sessionizer_core::filter_support(offsets, codes, distinct, min_support, min_length, support)
        })
    })?;
    give(table.py(), left, source.polars)
}

/// Lists of any offset width: where they start, and their values.
struct Lists {
    offsets: Vec<i64>,
    values: ArrayRef,
}

impl Lists {
    fn new(array: &ArrayRef) -> Option<Self> {
        match array.data_type() {
            DataType::List(_) => Some(Self::from_list(array.as_list::<i32>())),
            DataType::LargeList(_) => Some(Self::from_list(array.as_list::<i64>())),
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

/// The table with a filter of the core applied to the items and to every list column of the same lengths.
fn filtered(
    source: &Source,
    items: &str,
    filter: impl FnOnce(&[i64], &[i32], usize) -> Result<Filtered>,
) -> Result<RecordBatch> {
    let column = source.column(items)?;
    let Some(lists) = Lists::new(&column) else {
        return Err(wrong_type(items, column.data_type(), "a list of integers or strings"));
    };
    if let Some(row) = (0..column.len()).find(|&row| column.is_null(row)) {
        return Err(Error::NullValue { column: items.to_owned(), row });
    }
    let codes = Column::new(items, &lists.values).map_err(|error| in_session(error, &lists.offsets))?.factorize()?;
    let left = filter(&lists.offsets, &codes.codes, codes.first_rows.len())?;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(left.offsets));
    let columns: Result<Vec<(String, ArrayRef)>> = source
        .fields()
        .par_iter()
        .map(|field| {
            let array = source.column(field.name())?;
            let in_step = Lists::new(&array).filter(|other| array.null_count() == 0 && other.offsets == lists.offsets);
            let array = match in_step {
                None => take_rows(field.name(), &array, &left.sessions)?,
                Some(other) => listed(&take_rows(field.name(), &other.values, &left.clicks)?, &array, &offsets)?,
            };
            Ok((field.name().clone(), array))
        })
        .collect();
    batch(columns?)
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
    match error {
        Error::NullValue { column, row } => {
            let session = offsets.partition_point(|&offset| usize::try_from(offset).is_ok_and(|offset| offset <= row));
            Error::NullValue { column, row: session.saturating_sub(1) }
        }
        other => other,
    }
}
