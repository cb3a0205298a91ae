//! `Sessionizer`: a stream's sessions as they end.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, Int64Array, LargeStringArray, RecordBatch, UInt64Array};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyType};
use sessionizer_core::{ByteColumn, Error, Result, with_threads};
use sessionizer_live::{Arrival, Id, IdRef, Kind, Session, Settings, What};

use crate::column::{Column, Texts, flags, integers, no_nulls, times};
use crate::error::{StateError, raised, raised_by_stream};
use crate::input::Source;
use crate::output::{batch, table as give};
use crate::sessionize::{gap_or_default, in_utc, list, millis};

/// Cuts a stream of events into sessions. Threads that share one take turns.
#[pyclass(module = "rust_sessionizer", frozen)]
pub(crate) struct Sessionizer {
    inner: Mutex<sessionizer_live::Sessionizer>,
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
        let settings = Settings {
            gap: gap_or_default(gap)?,
            tolerance: tolerance.map_or(Ok(0), |tolerance| millis("tolerance", tolerance))?,
            drop_repeats,
        };
        let names = Names { visitor, item, timestamp, keep };
        if let Some(column) = names.doubled() {
            return Err(raised(&Error::DuplicateColumn { column: column.clone() }));
        }
        if let Some(name) = names.all().find(|name| name.contains('\0')) {
            let (value, expected) = (format!("{name:?}"), "the name of a column, which has no zero bytes");
            return Err(raised(&Error::Setting { name: "visitor, item, timestamp or keep", value, expected }));
        }
        Ok(Self { inner: Mutex::new(sessionizer_live::Sessionizer::new(settings)), names })
    }

    #[pyo3(signature = (table, offset=None))]
    fn feed(&self, table: &Bound<PyAny>, offset: Option<&Bound<PyAny>>) -> PyResult<Py<PyAny>> {
        let py = table.py();
        let source = Source::read(table)?;
        let offset = Offsets::read(offset)?;
        let names = &self.names;
        let table = self.with(py, |inner| -> std::result::Result<_, Failure> {
            let next = inner.next_offset();
            // In a pool of its own: the global one would be one that a forked process hangs on.
            let columns = with_threads(Some(1), || Columns::read(&source, names, &offset, next))??;
            let sessions = inner.feed(&columns.arrivals())?;
            Ok(names.table(inner.kinds(), &sessions)?)
        })?;
        give(py, table.map_err(|failure| failure.raised(names, &offset))?, source.polars)
    }

    #[pyo3(signature = (visitor, item, timestamp, *, keep=true, offset=None))]
    fn add(
        &self,
        visitor: &Bound<PyAny>,
        item: &Bound<PyAny>,
        timestamp: &Bound<PyAny>,
        keep: bool,
        offset: Option<i64>,
    ) -> PyResult<Py<PyAny>> {
        let (visitor, item) = (id("visitor", visitor)?, id("item", item)?);
        let offset = offset.map(first_offset).transpose()?;
        let (py, time) = (timestamp.py(), moment(timestamp)?);
        let table = self.with(py, |inner| -> std::result::Result<_, Failure> {
            let offset = offset.unwrap_or(inner.next_offset());
            let arrival = Arrival { offset, visitor: visitor.borrowed(), item: item.borrowed(), time, kept: keep };
            let sessions = inner.feed(&[arrival])?;
            Ok(self.names.table(inner.kinds(), &sessions)?)
        })?;
        let told = |failure| match failure {
            Failure::Table(error) => raised(&error),
            Failure::Stream(error) => raised_by_stream(&error, None),
        };
        give(py, table.map_err(told)?, false)
    }

    fn close(&self, py: Python) -> PyResult<Py<PyAny>> {
        let table = self.with(py, |inner| {
            let sessions = inner.close();
            self.names.table(inner.kinds(), &sessions)
        })?;
        give(py, table.map_err(|error| raised(&error))?, false)
    }

    #[allow(clippy::needless_pass_by_value)] // a path is made anew from Python's
    fn save(&self, py: Python, path: PathBuf) -> PyResult<()> {
        let note = self.names.note();
        self.with(py, |inner| inner.save(&path, &note))?.map_err(|error| raised_by_stream(&error, None))
    }

    #[classmethod]
    #[allow(clippy::needless_pass_by_value)] // a path is made anew from Python's
    fn load(kind: &Bound<PyType>, path: PathBuf) -> PyResult<Self> {
        let loaded = kind.py().detach(|| sessionizer_live::Sessionizer::load(&path));
        let (inner, note) = loaded.map_err(|error| raised_by_stream(&error, None))?;
        let foreign = || StateError::new_err(format!("{} was written by another program", path.display()));
        Ok(Self { inner: Mutex::new(inner), names: Names::of_note(&note).ok_or_else(foreign)? })
    }

    #[getter]
    fn watermark(&self, py: Python) -> PyResult<Option<i64>> {
        self.with(py, |inner| inner.watermark())
    }

    #[getter]
    fn next_offset(&self, py: Python) -> PyResult<u64> {
        self.with(py, |inner| inner.next_offset())
    }

    #[getter]
    fn waiting(&self, py: Python) -> PyResult<usize> {
        self.with(py, |inner| inner.waiting())
    }

    #[getter]
    fn placed(&self, py: Python) -> PyResult<u64> {
        self.with(py, |inner| inner.counts().placed)
    }

    #[getter]
    fn late(&self, py: Python) -> PyResult<u64> {
        self.with(py, |inner| inner.counts().late)
    }

    #[getter]
    fn sessions(&self, py: Python) -> PyResult<u64> {
        self.with(py, |inner| inner.counts().sessions)
    }

    fn __repr__(&self, py: Python) -> PyResult<String> {
        let (counts, waiting) = self.with(py, |inner| (inner.counts(), inner.waiting()))?;
        Ok(format!(
            "<Sessionizer: {} events placed, {} late, {waiting} waiting; {} sessions>",
            counts.placed, counts.late, counts.sessions
        ))
    }
}

impl Sessionizer {
    /// Works on the stream, one thread at a time, while other Python threads go on.
    fn with<T: Send>(
        &self,
        py: Python,
        work: impl FnOnce(&mut sessionizer_live::Sessionizer) -> T + Send,
    ) -> PyResult<T> {
        let done = py.detach(|| self.inner.lock().ok().map(|mut inner| work(&mut inner)));
        done.ok_or_else(|| {
            StateError::new_err("a call before failed halfway; go on from the last state that was saved")
        })
    }
}

impl Names {
    fn all(&self) -> impl Iterator<Item = &String> {
        [&self.visitor, &self.item, &self.timestamp].into_iter().chain(&self.keep)
    }

    /// The sessions as a table.
    fn table(&self, kinds: Option<(Kind, Kind)>, sessions: &[Session]) -> Result<RecordBatch> {
        let (visitor, item) = kinds.unwrap_or((Kind::Integer, Kind::Integer));
        let mut offsets = vec![0_i64];
        for session in sessions {
            #[allow(clippy::cast_possible_wrap)] // as many as fit in memory
            let clicks = session.items.len() as i64;
            offsets.push(offsets[offsets.len() - 1] + clicks);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let listed = sessions.iter().flat_map(|session| &session.items);
        batch(vec![
            (self.visitor.clone(), ids(visitor, sessions.iter().map(|session| &session.visitor))),
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

    /// A name that stands for a column of the result too.
    fn doubled(&self) -> Option<&String> {
        Some(&self.visitor).filter(|visitor| ["start", "items", "times", "offset"].contains(&visitor.as_str()))
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
        (found.note() == note && !note.contains('\0') && found.doubled().is_none()).then_some(found)
    }
}

/// Where the offsets of a batch come from.
enum Offsets {
    Next,
    From(u64),
    Column(String),
}

impl Offsets {
    fn read(given: Option<&Bound<PyAny>>) -> PyResult<Self> {
        let Some(given) = given else { return Ok(Self::Next) };
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
    fn raised(&self, names: &Names, offsets: &Offsets) -> PyErr {
        use sessionizer_live::Error;

        match self {
            Self::Table(error) => raised(error),
            Self::Stream(error) => {
                let column = match (error, offsets) {
                    (Error::Kind { what: What::Visitor, .. }, _) => Some(&names.visitor),
                    (Error::Kind { what: What::Item, .. }, _) => Some(&names.item),
                    (Error::Offset { .. }, Offsets::Column(column)) => Some(column),
                    _ => None,
                };
                raised_by_stream(error, column.map(String::as_str))
            }
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
    Unsigned(ScalarBuffer<u64>),
    Texts(Texts),
}

impl Ids {
    fn read(source: &Source, name: &str) -> Result<Self> {
        let array = source.column(name)?;
        if *array.data_type() == DataType::UInt64 {
            no_nulls(name, &array)?;
            return Ok(Self::Unsigned(array.as_primitive::<UInt64Type>().values().clone()));
        }
        Ok(match Column::new(name, &array)? {
            Column::Integers(values) => Self::Integers(values),
            Column::Texts(texts) => Self::Texts(texts),
        })
    }

    fn get(&self, row: usize) -> IdRef<'_> {
        match self {
            Self::Integers(values) => IdRef::Integer(values[row]),
            Self::Unsigned(values) => IdRef::Unsigned(values[row]),
            // Arrow's texts are UTF-8.
            Self::Texts(texts) => IdRef::Text(std::str::from_utf8(texts.value(row)).unwrap_or_default()),
        }
    }
}

impl Columns {
    fn read(source: &Source, names: &Names, offsets: &Offsets, next: u64) -> Result<Self> {
        let times = times(&names.timestamp, &source.column(&names.timestamp)?)?;
        let offsets = match offsets {
            Offsets::Next => (next..).take(times.len()).collect(),
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
    if !given.is_instance_of::<PyBool>() {
        if let Ok(number) = given.extract::<i64>() {
            return Ok(Id::Integer(number));
        }
        if let Ok(number) = given.extract::<u64>() {
            return Ok(Id::Unsigned(number));
        }
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
        Kind::Unsigned => {
            let number = |id: &Id| if let Id::Unsigned(number) = id { Some(*number) } else { None };
            Arc::new(ids.map(number).collect::<UInt64Array>())
        }
        Kind::Text => {
            let text = |id: &'a Id| if let Id::Text(text) = id { Some(&**text) } else { None };
            Arc::new(ids.map(text).collect::<LargeStringArray>())
        }
    }
}
