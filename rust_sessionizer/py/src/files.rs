//! `sessionize_files` and `join_shards`.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use sessionizer_core::Error;
use sessionizer_files::{CsvType, Pending, Settings, Shard, Stage, Watch, column_names, parse_size};

use crate::error::{raised, raised_by_files};
use crate::sessionize::gap_or_default;

/// What came out of files.
#[pyclass(module = "rust_sessionizer", frozen)]
pub(crate) struct Summary(sessionizer_files::Summary);

#[pymethods]
impl Summary {
    #[getter]
    fn events(&self) -> u64 {
        self.0.events
    }

    #[getter]
    fn sessions(&self) -> u64 {
        self.0.sessions
    }

    #[getter]
    fn clicks(&self) -> u64 {
        self.0.clicks
    }

    #[getter]
    fn visitors(&self) -> Option<u64> {
        self.0.owners
    }

    fn __repr__(&self) -> String {
        let sessionizer_files::Summary { events, sessions, clicks, .. } = self.0;
        format!("<Summary: {events} events, {sessions} sessions, {clicks} clicks>")
    }
}

#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)] // they are Python's keywords, paths made anew from its own
#[pyfunction]
#[pyo3(
    signature = (inputs, output, gap=None, *, memory_limit=None, visitor=Some("visitor_id".to_owned()), item="item_id".to_owned(),
        timestamp="timestamp".to_owned(), session=None, extra=Vec::new(), apart=Vec::new(), keep=None, drop_repeats=false,
        columns=None, shard=None, count_visitors=false, csv_types=None, delimiter=",", partitions=None, threads=None,
        scratch=None, progress=None),
    text_signature = "(inputs, output, gap='30m', *, memory_limit='4GiB', visitor='visitor_id', item='item_id', \
        timestamp='timestamp', session=None, extra=(), apart=(), keep=None, drop_repeats=False, columns=None, shard=None, \
        count_visitors=False, csv_types=None, delimiter=',', partitions=None, threads=None, scratch=None, progress=None)"
)]
pub(crate) fn sessionize_files(
    inputs: &Bound<PyAny>,
    output: PathBuf,
    gap: Option<&Bound<PyAny>>,
    memory_limit: Option<&Bound<PyAny>>,
    visitor: Option<String>,
    item: String,
    timestamp: String,
    session: Option<String>,
    extra: Vec<String>,
    apart: Vec<String>,
    keep: Option<String>,
    drop_repeats: bool,
    columns: Option<Vec<String>>,
    shard: Option<(i64, i64)>,
    count_visitors: bool,
    csv_types: Option<&Bound<PyDict>>,
    delimiter: &str,
    partitions: Option<i64>,
    threads: Option<i64>,
    scratch: Option<PathBuf>,
    progress: Option<&Bound<PyAny>>,
) -> PyResult<Summary> {
    let py = inputs.py();
    let inputs = paths(inputs)?;
    let refused = |name, value: String, expected| raised(&Error::Setting { name, value, expected });
    let &[delimiter] = delimiter.as_bytes() else {
        return Err(refused("delimiter", format!("{delimiter:?}"), "one ASCII character"));
    };
    let gap = gap_or_default(gap)?;
    let mut settings = Settings {
        gap: session.is_none().then_some(gap),
        item,
        timestamp,
        extra,
        apart,
        keep,
        drop_repeats,
        columns,
        shard: shard.map(|(number, of)| Shard {
            number: number.try_into().unwrap_or(usize::MAX),
            of: of.try_into().unwrap_or(0),
        }),
        count_owners: count_visitors,
        memory_limit: limit(memory_limit)?,
        partitions: partitions.map(|partitions| partitions.try_into().unwrap_or(0)),
        threads: threads.map(|threads| threads.try_into().unwrap_or(0)),
        scratch,
        delimiter,
        csv_types: csv_types.map(types).transpose()?.unwrap_or_default(),
        ..Settings::default()
    };
    settings.owner = match (session, visitor) {
        (None, Some(visitor)) => visitor,
        (None, None) => return Err(refused("visitor", "None".to_owned(), "a column, unless session is")),
        (Some(session), visitor) => {
            // As with tables: a session's visitor, if there is one, is that of its first listed event.
            let there = match (&visitor, inputs.first()) {
                (Some(visitor), Some(first)) if *visitor != session && !settings.apart.contains(visitor) => {
                    column_names(first, delimiter).map_err(|error| raised_by_files(&error))?.contains(visitor)
                }
                _ => false,
            };
            let visitor = visitor.filter(|_| there);
            settings.of_first = visitor.into_iter().collect();
            session
        }
    };
    watched(py, progress, |watch| sessionizer_files::prepare_sessions(&inputs, &output, &settings, watch)).map(Summary)
}

#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)] // they are Python's keywords, paths made anew from its own
#[pyfunction]
#[pyo3(
    signature = (shards, output, *, memory_limit=None, columns=None, threads=None, progress=None),
    text_signature = "(shards, output, *, memory_limit='4GiB', columns=None, threads=None, progress=None)"
)]
pub(crate) fn join_shards(
    shards: &Bound<PyAny>,
    output: PathBuf,
    memory_limit: Option<&Bound<PyAny>>,
    columns: Option<Vec<String>>,
    threads: Option<i64>,
    progress: Option<&Bound<PyAny>>,
) -> PyResult<Summary> {
    let shards_ = paths(shards)?;
    let settings = Settings {
        memory_limit: limit(memory_limit)?,
        columns,
        threads: threads.map(|threads| threads.try_into().unwrap_or(0)),
        ..Settings::default()
    };
    watched(shards.py(), progress, |watch| sessionizer_files::prepare_join(&shards_, &output, &settings, watch))
        .map(Summary)
}

/// One path or several.
fn paths(given: &Bound<PyAny>) -> PyResult<Vec<PathBuf>> {
    if given.is_instance_of::<PyString>() || given.hasattr("__fspath__")? {
        return Ok(vec![given.extract()?]);
    }
    let wrong = |_| PyTypeError::new_err("a path or a sequence of paths is needed");
    given.try_iter().map_err(wrong)?.map(|path| path?.extract::<PathBuf>()).collect()
}

/// A limit given as text or bytes.
fn limit(given: Option<&Bound<PyAny>>) -> PyResult<u64> {
    let Some(given) = given else { return Ok(Settings::default().memory_limit) };
    if let Ok(text) = given.extract::<String>() {
        return parse_size(&text).map_err(|error| raised(&error));
    }
    given.extract::<u64>().map_err(|_| {
        let value = given.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string());
        raised(&Error::Setting { name: "memory_limit", value, expected: "a text such as '4GiB', or a number of bytes" })
    })
}

fn types(given: &Bound<PyDict>) -> PyResult<Vec<(String, CsvType)>> {
    let read = |(column, told): (Bound<PyAny>, Bound<PyAny>)| {
        let told: String = told.extract()?;
        let csv_type = match told.as_str() {
            "integer" => CsvType::Integer,
            "float" => CsvType::Float,
            "boolean" => CsvType::Boolean,
            "string" => CsvType::Text,
            _ => {
                let expected = "'integer', 'float', 'boolean' or 'string' for every column";
                return Err(raised(&Error::Setting { name: "csv_types", value: format!("'{told}'"), expected }));
            }
        };
        Ok((column.extract()?, csv_type))
    };
    given.iter().map(read).collect()
}

/// Runs `work` in a thread, while this one tells how far it is and listens for Ctrl-C.
fn watched(
    py: Python,
    progress: Option<&Bound<PyAny>>,
    work: impl FnOnce(&Watch) -> sessionizer_files::Result<Pending> + Send,
) -> PyResult<sessionizer_files::Summary> {
    let watch = Watch::default();
    let ended = (Mutex::new(false), Condvar::new());
    let tell = || -> PyResult<()> {
        let Some(progress) = progress else { return Ok(()) };
        let (stage, done, total) = watch.seen();
        let stage = match stage {
            Stage::Read => "read",
            Stage::Cut => "cut",
            Stage::Write => "write",
        };
        progress.call1((stage, done, total)).map(drop)
    };
    let mut interrupted = None;
    let result = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // The end is told whether the work ends well, badly or in a panic.
            let _at_the_end = Tell(&ended);
            work(&watch)
        });
        loop {
            let over = py.detach(|| {
                let Ok(over) = ended.0.lock() else { return true };
                let waited = ended.1.wait_timeout_while(over, Duration::from_millis(100), |over| !*over);
                waited.map_or(true, |(over, _)| *over)
            });
            if over {
                break;
            }
            if interrupted.is_none()
                && let Err(error) = py.check_signals().and_then(|()| tell())
            {
                watch.stop();
                interrupted = Some(error);
            }
        }
        py.detach(|| worker.join()).unwrap_or_else(|panic| resume_unwind(panic))
    });
    if let Some(error) = interrupted {
        return Err(error);
    }
    let pending = result.map_err(|error| raised_by_files(&error))?;
    // Once more, as long as nothing is in place: whoever raises gets nothing.
    py.check_signals().and_then(|()| tell())?;
    py.detach(|| pending.finish()).map_err(|error| raised_by_files(&error))
}

struct Tell<'a>(&'a (Mutex<bool>, Condvar));

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if let Ok(mut over) = self.0.0.lock() {
            *over = true;
        }
        self.0.1.notify_all();
    }
}
