//! `Sessionizer`: a stream's sessions as they end.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, LargeStringArray, RecordBatch};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyType};
use sessionizer_core::{ByteColumn, Error, Result};
use sessionizer_live::{Arrival, Id, IdRef, Kind, Session, Settings};

use crate::column::{Column, Texts, flags, integers, times};
use crate::error::{StateError, raised, raised_by_stream};
use crate::input::Source;
use crate::output::{batch, table as give};
use crate::sessionize::{gap_or_default, in_utc, list, millis};

/// Cuts a stream of events into sessions.
#[pyclass(module = "rust_sessionizer")]
pub(crate) struct Sessionizer {
    inner: sessionizer_live::Sessionizer,
    names: Names,
}

/// The columns of the tables that are fed.
#[derive(Clone)]
struct Names {
    visitor: String,
    item: String,
    timestamp: String,
    keep: Option<String>,
}

#[pymethods]
impl Sessionizer {
    #[new]
    #[pyo3(
        signature = (gap=None, *, tolerance=None, visitor="visitor_id".to_owned(), item="item_id".to_owned(),
            timestamp="timestamp".to_owned(), keep=None, drop_repeats=false),
        text_signature = "(gap='30m', *, tolerance=0, visitor='visitor_id', item='item_id', timestamp='timestamp', keep=None, \
            drop_repeats=False)"
    )]
    fn new(
        gap: Option<&Bound<PyAny>>,
        tolerance: Option<&Bound<PyAny>>,
        visitor: String,
        item: String,
        timestamp: String,
        keep: Option<String>,
        drop_repeats: bool,
    ) -> PyResult<Self> {
        let settings =
            Settings { gap: gap_or_default(gap)?, tolerance: tolerance.map_or(Ok(0), millis)?, drop_repeats };
        let names = Names { visitor, item, timestamp, keep };
        if let Some(name) = names.all().find(|name| name.contains('\0')) {
            let (value, expected) = (format!("{name:?}"), "the name of a column, which has no zero bytes");
            return Err(raised(&Error::Setting { name: "visitor, item, timestamp or keep", value, expected }));
        }
        Ok(Self { inner: sessionizer_live::Sessionizer::new(settings), names })
    }

    #[pyo3(signature = (table, offset=None))]
    fn feed(&mut self, table: &Bound<PyAny>, offset: Option<&Bound<PyAny>>) -> PyResult<Py<PyAny>> {
        let py = table.py();
        let source = Source::read(table)?;
        let offset = Offsets::read(offset, self.inner.next_offset())?;
        let Self { inner, names } = self;
        let sessions = py.detach(|| -> std::result::Result<_, Failure> {
            let columns = Columns::read(&source, names, &offset)?;
            Ok(inner.feed(&columns.arrivals())?)
        });
        let sessions = sessions.map_err(Failure::raised)?;
        give(py, self.table(&sessions).map_err(|error| raised(&error))?, source.polars)
    }

    #[pyo3(signature = (visitor, item, timestamp, *, keep=true, offset=None))]
    fn add(
        &mut self,
        visitor: &Bound<PyAny>,
        item: &Bound<PyAny>,
        timestamp: &Bound<PyAny>,
        keep: bool,
        offset: Option<i64>,
    ) -> PyResult<Py<PyAny>> {
        let (visitor, item) = (id("visitor", visitor)?, id("item", item)?);
        let offset = match offset {
            Some(offset) => first_offset(offset)?,
            None => self.inner.next_offset(),
        };
        let time = moment(timestamp)?;
        let arrival = Arrival { offset, visitor: visitor.borrowed(), item: item.borrowed(), time, kept: keep };
        let sessions = self.inner.feed(&[arrival]).map_err(|error| raised_by_stream(&error))?;
        give(timestamp.py(), self.table(&sessions).map_err(|error| raised(&error))?, false)
    }

    fn close(&mut self, py: Python) -> PyResult<Py<PyAny>> {
        let sessions = self.inner.close();
        give(py, self.table(&sessions).map_err(|error| raised(&error))?, false)
    }

    #[allow(clippy::needless_pass_by_value)] // a path is made anew from Python's
    fn save(&self, py: Python, path: PathBuf) -> PyResult<()> {
        let note = self.names.note();
        py.detach(|| self.inner.save(&path, &note)).map_err(|error| raised_by_stream(&error))
    }

    #[classmethod]
    #[allow(clippy::needless_pass_by_value)] // a path is made anew from Python's
    fn load(kind: &Bound<PyType>, path: PathBuf) -> PyResult<Self> {
        let loaded = kind.py().detach(|| sessionizer_live::Sessionizer::load(&path));
        let (inner, note) = loaded.map_err(|error| raised_by_stream(&error))?;
        let foreign = || StateError::new_err(format!("{} was written by another program", path.display()));
        Ok(Self { inner, names: Names::of_note(&note).ok_or_else(foreign)? })
    }

    #[getter]
    fn watermark(&self) -> Option<i64> {
        self.inner.watermark()
    }

    #[getter]
    fn next_offset(&self) -> u64 {
        self.inner.next_offset()
    }

    #[getter]
    fn waiting(&self) -> usize {
        self.inner.waiting()
    }

    #[getter]
    fn placed(&self) -> u64 {
        self.inner.counts().placed
    }

    #[getter]
    fn late(&self) -> u64 {
        self.inner.counts().late
    }

    #[getter]
    fn sessions(&self) -> u64 {
        self.inner.counts().sessions
    }

    fn __repr__(&self) -> String {
        let counts = self.inner.counts();
        let waiting = self.inner.waiting();
        format!(
            "<Sessionizer: {} events placed, {} late, {waiting} waiting; {} sessions>",
            counts.placed, counts.late, counts.sessions
        )
    }
}

impl Sessionizer {
    fn table(&self, sessions: &[Session]) -> Result<RecordBatch> {
        let (visitor, item) = self.inner.kinds().unwrap_or((Kind::Integer, Kind::Integer));
        let mut offsets = vec![0_i64];
        for session in sessions {
            #[allow(clippy::cast_possible_wrap)] // as many as fit in memory
            let clicks = session.items.len() as i64;
            offsets.push(offsets[offsets.len() - 1] + clicks);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let listed = sessions.iter().flat_map(|session| &session.items);
        batch(vec![
            (self.names.visitor.clone(), ids(visitor, sessions.iter().map(|session| &session.visitor))),
            ("start".to_owned(), in_utc(sessions.iter().map(|session| session.start).collect())),
            ("items".to_owned(), list(&offsets, ids(item, listed))),
            (
                "times".to_owned(),
                list(&offsets, in_utc(sessions.iter().flat_map(|session| session.times.iter().copied()).collect())),
            ),
            (
                "offset".to_owned(),
                Arc::new(sessions.iter().map(|session| Some(session.offset.cast_signed())).collect::<Int64Array>()),
            ),
        ])
    }
}

impl Names {
    fn all(&self) -> impl Iterator<Item = &String> {
        [&self.visitor, &self.item, &self.timestamp].into_iter().chain(&self.keep)
    }

    fn note(&self) -> String {
        self.all().fold(String::new(), |note, name| format!("{note}{}:{name}", name.len()))
    }

    fn of_note(note: &str) -> Option<Self> {
        let mut names = Vec::new();
        let mut rest = note;
        while let Some((length, tail)) = rest.split_once(':') {
            let (name, left) = tail.split_at_checked(length.parse().ok()?)?;
            names.push(name.to_owned());
            rest = left;
        }
        let mut names = names.into_iter();
        let found = Self { visitor: names.next()?, item: names.next()?, timestamp: names.next()?, keep: names.next() };
        // Arrow's names end at a zero byte.
        (found.note() == note && !note.contains('\0')).then_some(found)
    }
}

/// Where the offsets of a batch come from.
enum Offsets {
    From(u64),
    Column(String),
}

impl Offsets {
    fn read(given: Option<&Bound<PyAny>>, next: u64) -> PyResult<Self> {
        let Some(given) = given else { return Ok(Self::From(next)) };
        if let Ok(column) = given.extract::<String>() {
            return Ok(Self::Column(column));
        }
        let wrong =
            |_| PyTypeError::new_err("offset: a number (of the first row), the name of a column, or None is needed");
        given.extract::<i64>().map_err(wrong).and_then(first_offset).map(Self::From)
    }
}

fn first_offset(offset: i64) -> PyResult<u64> {
    u64::try_from(offset)
        .map_err(|_| raised(&Error::Setting { name: "offset", value: offset.to_string(), expected: "0 or more" }))
}

enum Failure {
    Table(Error),
    Stream(sessionizer_live::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Table(error)
    }
}

impl From<sessionizer_live::Error> for Failure {
    fn from(error: sessionizer_live::Error) -> Self {
        Self::Stream(error)
    }
}

impl Failure {
    #[allow(clippy::needless_pass_by_value)] // for map_err
    fn raised(self) -> PyErr {
        match self {
            Self::Table(error) => raised(&error),
            Self::Stream(error) => raised_by_stream(&error),
        }
    }
}

/// A batch of events.
struct Columns {
    visitors: Ids,
    items: Ids,
    times: ScalarBuffer<i64>,
    kept: Option<Vec<bool>>,
    offsets: Vec<u64>,
}

enum Ids {
    Integers(ScalarBuffer<i64>),
    Texts(Texts),
}

impl Ids {
    fn read(source: &Source, name: &str) -> Result<Self> {
        let array = source.column(name)?;
        if *array.data_type() == DataType::UInt64 {
            return integers(name, &array).map(Self::Integers);
        }
        Ok(match Column::new(name, &array)? {
            Column::Integers(values) => Self::Integers(values),
            Column::Texts(texts) => Self::Texts(texts),
        })
    }

    fn get(&self, row: usize) -> IdRef<'_> {
        match self {
            Self::Integers(values) => IdRef::Integer(values[row]),
            // Arrow's texts are UTF-8.
            Self::Texts(texts) => IdRef::Text(std::str::from_utf8(texts.value(row)).unwrap_or_default()),
        }
    }
}

impl Columns {
    fn read(source: &Source, names: &Names, offsets: &Offsets) -> Result<Self> {
        let times = times(&names.timestamp, &source.column(&names.timestamp)?)?;
        let offsets = match offsets {
            Offsets::From(first) => (*first..).take(times.len()).collect(),
            Offsets::Column(name) => {
                let offsets = integers(name, &source.column(name)?)?;
                if let Some(row) = offsets.iter().position(|&offset| offset < 0) {
                    let reason = format!("row {row} is {}; offsets are 0 or more", offsets[row]);
                    return Err(Error::Conversion { column: name.clone(), reason });
                }
                offsets.iter().map(|offset| offset.cast_unsigned()).collect()
            }
        };
        let kept = names.keep.as_ref().map(|keep| flags(keep, &source.column(keep)?)).transpose()?;
        Ok(Self {
            visitors: Ids::read(source, &names.visitor)?,
            items: Ids::read(source, &names.item)?,
            times,
            kept,
            offsets,
        })
    }

    fn arrivals(&self) -> Vec<Arrival<'_>> {
        let arrival = |(row, &offset): (usize, &u64)| Arrival {
            offset,
            visitor: self.visitors.get(row),
            item: self.items.get(row),
            time: self.times[row],
            kept: self.kept.as_ref().is_none_or(|kept| kept[row]),
        };
        self.offsets.iter().enumerate().map(arrival).collect()
    }
}

/// A visitor or an item.
fn id(name: &str, given: &Bound<PyAny>) -> PyResult<Id> {
    if let Ok(text) = given.extract::<String>() {
        return Ok(Id::Text(text.into()));
    }
    if !given.is_instance_of::<PyBool>()
        && let Ok(number) = given.extract::<i64>()
    {
        return Ok(Id::Integer(number));
    }
    let given = given.repr()?;
    Err(PyTypeError::new_err(format!("{name}: a string or an integer of 64 bits is needed, not {given}")))
}

/// Milliseconds of a whole number or a `datetime.datetime`, one without a time zone being taken for UTC.
fn moment(given: &Bound<PyAny>) -> PyResult<i64> {
    if !given.is_instance_of::<PyBool>()
        && let Ok(millis) = given.extract::<i64>()
    {
        return Ok(millis);
    }
    let datetime = given.py().import("datetime")?;
    if !given.is_instance(&datetime.getattr("datetime")?)? {
        let given = given.repr()?;
        return Err(PyTypeError::new_err(format!(
            "timestamp: a datetime or whole milliseconds are needed, not {given}"
        )));
    }
    let utc = datetime.getattr("timezone")?.getattr("utc")?;
    let keywords = PyDict::new(given.py());
    keywords.set_item("tzinfo", &utc)?;
    let aware = if given.getattr("tzinfo")?.is_none() {
        given.call_method("replace", (), Some(&keywords))?
    } else {
        given.clone()
    };
    let epoch = datetime.getattr("datetime")?.call_method1("fromtimestamp", (0, utc))?;
    let since = aware.sub(epoch)?;
    let part = |name: &str| since.getattr(name)?.extract::<i64>();
    Ok(part("days")? * 86_400_000 + part("seconds")? * 1_000 + part("microseconds")?.div_euclid(1_000))
}

fn ids<'a>(kind: Kind, ids: impl Iterator<Item = &'a Id>) -> ArrayRef {
    match kind {
        Kind::Integer => {
            let number = |id: &Id| if let Id::Integer(number) = id { Some(*number) } else { None };
            Arc::new(ids.map(number).collect::<Int64Array>())
        }
        Kind::Text => {
            let text = |id: &'a Id| if let Id::Text(text) = id { Some(&**text) } else { None };
            Arc::new(ids.map(text).collect::<LargeStringArray>())
        }
    }
}
