//! `sessionize`.

use std::sync::Arc;

use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array as _, ArrayRef, Int32Array, Int64Array, LargeListArray, PrimitiveArray, RecordBatch};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use pyo3::prelude::*;
use pyo3::types::PyBool;
use rayon::prelude::*;
use sessionizer_core::{Error, Events, Lists, Named, Result, SameItem, Visitors, gap_from_millis, gather, parse_gap};

use crate::column::{Column, flags, take_rows, times};
use crate::error::{detached, raised};
use crate::input::Source;
use crate::output::{array, batch, table as give};

#[allow(clippy::too_many_arguments)] // they are Python's keywords
#[pyfunction]
#[pyo3(
    signature = (table, gap=None, *, visitor=Some("visitor_id".to_owned()), item="item_id", timestamp="timestamp",
        session=None, extra=Vec::new(), keep=None, drop_repeats=false, threads=None),
    text_signature = "(table, gap='30m', *, visitor='visitor_id', item='item_id', timestamp='timestamp', \
        session=None, extra=(), keep=None, drop_repeats=False, threads=None)"
)]
pub(crate) fn sessionize(
    table: &Bound<PyAny>,
    gap: Option<&Bound<PyAny>>,
    visitor: Option<String>,
    item: &str,
    timestamp: &str,
    session: Option<String>,
    extra: Vec<String>,
    keep: Option<&str>,
    drop_repeats: bool,
    threads: Option<i64>,
) -> PyResult<Py<PyAny>> {
    let gap = gap_or_default(gap)?;
    let source = Source::read(table)?;
    let request = Request { source: &source, gap, visitor, item, timestamp, session, extra, keep, drop_repeats };
    let sessions = detached(table.py(), threads, || request.answer())?;
    give(table.py(), sessions, source.polars)
}

/// The gap in milliseconds; half an hour where none is given.
pub(crate) fn gap_or_default(gap: Option<&Bound<PyAny>>) -> PyResult<u64> {
    gap.map_or_else(|| parse_gap("30m").map_err(|error| raised(&error)), |gap| millis("gap", gap))
}

#[pyfunction]
#[pyo3(
    signature = (table, gap=None, *, visitor="visitor_id", timestamp="timestamp", threads=None),
    text_signature = "(table, gap='30m', *, visitor='visitor_id', timestamp='timestamp', threads=None)"
)]
pub(crate) fn number_sessions(
    table: &Bound<PyAny>,
    gap: Option<&Bound<PyAny>>,
    visitor: &str,
    timestamp: &str,
    threads: Option<i64>,
) -> PyResult<Py<PyAny>> {
    let gap = gap_or_default(gap)?;
    let source = Source::read(table)?;
    let numbers = detached(table.py(), threads, || {
        let visitors = Column::new(visitor, &source.column(visitor)?)?;
        let moments = times(timestamp, &source.column(timestamp)?)?;
        match &visitors {
            Column::Integers(keys) => sessionizer_core::number_sessions(&whole(&**keys, &moments, gap)),
            Column::Texts(texts) => sessionizer_core::number_sessions(&whole(&Named(texts), &moments, gap)),
        }
    })?;
    array(table.py(), Arc::new(Int32Array::from(numbers)), source.polars)
}

fn whole<'a, V: Visitors + ?Sized>(keys: &'a V, times: &'a [i64], gap: u64) -> Events<'a, V> {
    Events { keys, times, gap: Some(gap), keep: None, drop_repeats: None }
}

/// A length of time given as text, `datetime.timedelta` or milliseconds, for a setting of that name.
pub(crate) fn millis(name: &'static str, gap: &Bound<PyAny>) -> PyResult<u64> {
    let wrong = || -> PyResult<PyErr> {
        let gap = gap.repr()?.to_string();
        Ok(raised(&Error::Gap { name, gap, reason: "is no text, timedelta or whole number of milliseconds" }))
    };
    let parsed = if let Ok(text) = gap.extract::<String>() {
        parse_gap(&text)
    } else if gap.is_instance(&gap.py().import("datetime")?.getattr("timedelta")?)? {
        let part = |name: &str| gap.getattr(name)?.extract::<i64>();
        // At most a billion days: fits. A part of a millisecond makes no difference between times in milliseconds.
        gap_from_millis(part("days")? * 86_400_000 + part("seconds")? * 1_000 + part("microseconds")?.div_euclid(1_000))
    } else if gap.is_instance_of::<PyBool>() {
        return Err(wrong()?);
    } else {
        match gap.extract::<i64>() {
            Ok(millis) => gap_from_millis(millis),
            Err(_) => return Err(wrong()?),
        }
    };
    parsed.map_err(|error| raised(&error.of_setting(name)))
}

struct Request<'a> {
    source: &'a Source,
    gap: u64,
    visitor: Option<String>,
    item: &'a str,
    timestamp: &'a str,
    session: Option<String>,
    extra: Vec<String>,
    keep: Option<&'a str>,
    drop_repeats: bool,
}

impl Request<'_> {
    /// The columns that a session has one value of: first the one that events are grouped by.
    fn owners(&self) -> Result<Vec<&str>> {
        match (&self.session, &self.visitor) {
            (None, Some(visitor)) => Ok(vec![visitor]),
            (None, None) => {
                Err(Error::Setting { name: "visitor", value: "None".into(), expected: "a column, unless session is" })
            }
            (Some(session), visitor) => {
                let visitor = visitor.as_deref().filter(|visitor| self.source.has(visitor) && visitor != session);
                Ok([Some(session.as_str()), visitor].into_iter().flatten().collect())
            }
        }
    }

    fn answer(&self) -> Result<RecordBatch> {
        let owners = self.owners()?;
        let owner_arrays: Vec<ArrayRef> = owners.iter().map(|name| self.source.column(name)).collect::<Result<_>>()?;
        let items = self.source.column(self.item)?;
        let moments = times(self.timestamp, &self.source.column(self.timestamp)?)?;
        let extra: Vec<ArrayRef> = self.extra.iter().map(|name| self.source.column(name)).collect::<Result<_>>()?;
        let keep = self.keep.map(|name| flags(name, &self.source.column(name)?)).transpose()?;
        let keys = Column::new(owners[0], &owner_arrays[0])?;
        let item_column = Column::new(self.item, &items)?;
        let same = |a, b| item_column.same(a, b);
        let drop_repeats = if self.drop_repeats { Some(&same as SameItem) } else { None };
        let gap = self.session.is_none().then_some(self.gap);
        let times = &*moments;
        if let (Column::Integers(keys), Column::Integers(values)) = (&keys, &item_column)
            && owners.len() == 1
            && extra.is_empty()
            && [&owner_arrays[0], &items].iter().all(|array| *array.data_type() == DataType::Int64)
        {
            let log = Events { keys: &**keys, times, gap, keep: keep.as_deref(), drop_repeats };
            return table_of(owners[0], sessionizer_core::list_sessions(&log, values)?);
        }
        let keep = keep.as_deref();
        let found = match &keys {
            Column::Integers(keys) => {
                sessionizer_core::sessionize(&Events { keys: &**keys, times, gap, keep, drop_repeats })
            }
            Column::Texts(texts) => {
                sessionizer_core::sessionize(&Events { keys: &Named(texts), times, gap, keep, drop_repeats })
            }
        }?;
        let firsts = found.heads;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(found.offsets));
        let listed = |values| list(&offsets, values);
        let mut columns = vec![session_ids(firsts.len())];
        // The visitor stands before the source's own session.
        for (name, array) in owners.iter().zip(&owner_arrays).rev() {
            columns.push(((*name).to_owned(), take_rows(name, array, &firsts)?));
        }
        columns.push(("start".to_owned(), in_utc(gather(&moments, &firsts))));
        columns.push(("items".to_owned(), listed(take_rows(self.item, &items, &found.rows)?)));
        columns.push(("times".to_owned(), listed(in_utc(gather(&moments, &found.rows)))));
        let extra: Result<Vec<_>> = self
            .extra
            .par_iter()
            .zip(extra)
            .map(|(name, array)| Ok((name.clone(), listed(take_rows(name, &array, &found.rows)?))))
            .collect();
        columns.extend(extra?);
        batch(columns)
    }
}

/// A table of what the core listed by itself.
fn table_of(owner: &str, found: Lists) -> Result<RecordBatch> {
    let Lists { items, times, offsets, keys, starts } = found;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let items: ArrayRef = Arc::new(Int64Array::from(items));
    batch(vec![
        session_ids(keys.len()),
        (owner.to_owned(), Arc::new(Int64Array::from(keys))),
        ("start".to_owned(), in_utc(starts)),
        ("items".to_owned(), list(&offsets, items)),
        ("times".to_owned(), list(&offsets, in_utc(times))),
    ])
}

fn session_ids(sessions: usize) -> (String, ArrayRef) {
    let numbers = sessionizer_core::numbered(sessions);
    ("session_id".to_owned(), Arc::new(Int64Array::from(numbers)))
}

pub(crate) fn in_utc(millis: Vec<i64>) -> ArrayRef {
    Arc::new(PrimitiveArray::<TimestampMillisecondType>::new(millis.into(), None).with_timezone("UTC"))
}

/// Lists with 64-bit offsets, which polars takes as they are.
pub(crate) fn list(offsets: &OffsetBuffer<i64>, values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    Arc::new(LargeListArray::new(field, offsets.clone(), values, None))
}
