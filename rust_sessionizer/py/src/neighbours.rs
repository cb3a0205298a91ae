//! `neighbours`: an index of sessions, and what the sessions most like a query recommend, of `NumPy` arrays.

// pyo3 makes the arguments.
#![allow(clippy::needless_pass_by_value)]

use std::path::PathBuf;

use neighbours::{Anchor, Candidates, Clicks, Decay, Error, Log, Repeats, Settings};
use numpy::ndarray::{Ix1, Ix2};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::error::{ColumnError, IndexFileError, SettingError, SizeError};
use crate::ranking::Ranks;
use crate::readable::readable;

/// How the sessions most like a query are found, and how they vote.
#[pyclass(module = "rust_sessionizer.neighbours", frozen)]
pub(crate) struct Parameters(neighbours::Parameters);

#[pymethods]
impl Parameters {
    #[new]
    #[pyo3(signature = (
        *, max_length=20, sample=5_000, neighbours=500, query_decay="exponential", query_scale=2.0, idf_similarity=1.0,
        length_norm=0.5, recency=0, sharpness=1.0, anchor="last", anchor_decay="none", anchor_scale=2.0,
        distance_decay="exponential", distance_scale=2.0, reach=0, before=0.5, same=1.0, repeats="best", own=1.0, idf_score=0.0,
        expand=0, expand_weight=0.1,
    ))]
    #[allow(clippy::too_many_arguments)] // a name each
    fn new(
        max_length: usize,
        sample: usize,
        neighbours: usize,
        query_decay: &str,
        query_scale: f64,
        idf_similarity: f64,
        length_norm: f64,
        recency: i64,
        sharpness: f64,
        anchor: &str,
        anchor_decay: &str,
        anchor_scale: f64,
        distance_decay: &str,
        distance_scale: f64,
        reach: usize,
        before: f64,
        same: f64,
        repeats: &str,
        own: f64,
        idf_score: f64,
        expand: usize,
        expand_weight: f64,
    ) -> PyResult<Self> {
        let settings = || {
            neighbours::Parameters::new(Settings {
                max_length,
                sample,
                neighbours,
                query_decay: Decay::named("query_decay", query_decay, query_scale)?,
                idf_similarity,
                length_norm,
                recency,
                sharpness,
                anchor: one_of("anchor", anchor, [("last", Anchor::Last), ("all", Anchor::All)])?,
                anchor_decay: Decay::named("anchor_decay", anchor_decay, anchor_scale)?,
                distance_decay: Decay::named("distance_decay", distance_decay, distance_scale)?,
                reach,
                before,
                same,
                repeats: one_of("repeats", repeats, [("best", Repeats::Best), ("sum", Repeats::Sum)])?,
                own,
                idf_score,
                expand,
                expand_weight,
            })
        };
        settings().map(Self).map_err(|error| raised(&error))
    }

    fn __repr__(&self) -> String {
        let settings = self.0.settings();
        format!("<Parameters: {} of {} sessions vote>", settings.neighbours, settings.sample)
    }
}

fn one_of<T: Copy>(name: &'static str, given: &str, known: [(&str, T); 2]) -> neighbours::Result<T> {
    let expected = format!("{} or {}", known[0].0, known[1].0);
    let found = known.into_iter().find(|&(word, _)| word == given).map(|(_, value)| value);
    found.ok_or_else(|| Error::Setting { name, value: format!("'{given}'"), expected })
}

/// Sessions, and every item's most recent ones.
#[pyclass(module = "rust_sessionizer.neighbours", frozen)]
pub(crate) struct Index(neighbours::Index);

#[pymethods]
impl Index {
    #[staticmethod]
    #[pyo3(signature = (items, offsets, *, n_items, starts=None, sessions_per_item=0, threads))]
    fn build(
        py: Python,
        items: &Bound<PyAny>,
        offsets: &Bound<PyAny>,
        n_items: usize,
        starts: Option<&Bound<PyAny>>,
        sessions_per_item: usize,
        threads: usize,
    ) -> PyResult<Self> {
        let items = readable::<i32, Ix1>("items", items)?;
        let offsets = readable::<i64, Ix1>("offsets", offsets)?;
        let starts = starts.map(|starts| readable::<i64, Ix1>("starts", starts)).transpose()?;
        let starts = starts.as_ref().map(PyReadonlyArray::as_slice).transpose()?;
        let log = Log { clicks: items.as_slice()?, offsets: offsets.as_slice()?, starts, items: n_items };
        let built = py.detach(|| neighbours::build(log, sessions_per_item, threads));
        built.map(Self).map_err(|error| raised(&error))
    }

    #[staticmethod]
    #[pyo3(signature = (path, *, threads=1))]
    fn open(py: Python, path: PathBuf, threads: usize) -> PyResult<Self> {
        py.detach(|| neighbours::Index::open(&path, threads)).map(Self).map_err(|error| raised(&error))
    }

    fn save(&self, py: Python, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.0.save(&path)).map_err(|error| raised(&error))
    }

    #[getter]
    fn n_items(&self) -> usize {
        self.0.items()
    }

    #[getter]
    fn n_sessions(&self) -> usize {
        self.0.sessions()
    }

    #[getter]
    fn n_clicks(&self) -> usize {
        self.0.clicks()
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.0.bytes()
    }

    #[getter]
    fn has_times(&self) -> bool {
        self.0.has_times()
    }

    #[pyo3(signature = (queries, k, parameters, *, exclude=None, candidates=None, threads=1))]
    #[allow(clippy::too_many_arguments)] // what is asked, and how
    fn recommend<'py>(
        &self,
        py: Python<'py>,
        queries: Lists<'py>,
        k: usize,
        parameters: &Parameters,
        exclude: Option<Lists<'py>>,
        candidates: Option<&Bound<'py, PyAny>>,
        threads: usize,
    ) -> PyResult<(Table<'py, i32>, Table<'py, f32>)> {
        let queries = Arrays::new(&queries)?;
        let exclude = exclude.as_ref().map(Arrays::new).transpose()?;
        let only = candidates.map(|only| readable::<i32, Ix1>("candidates", only)).transpose()?;
        let (clicks, left_out) = (queries.clicks()?, exclude.as_ref().map(Arrays::clicks).transpose()?);
        let candidates =
            Candidates { only: only.as_ref().map(PyReadonlyArray::as_slice).transpose()?, exclude: left_out };
        let found = py
            .detach(|| neighbours::recommend(&self.0, &parameters.0, clicks, k, candidates, threads))
            .map_err(|error| raised(&error))?;
        let shape = [clicks.len(), k];
        let items = PyArray1::from_vec(py, found.items).reshape(shape)?;
        Ok((items, PyArray1::from_vec(py, found.scores).reshape(shape)?))
    }

    #[pyo3(signature = (queries, targets, parameters, *, length=0, exclude=None, threads=1))]
    #[allow(clippy::too_many_arguments)] // what is asked, and how
    fn rank<'py>(
        &self,
        py: Python<'py>,
        queries: Lists<'py>,
        targets: &Bound<'py, PyAny>,
        parameters: &Parameters,
        length: usize,
        exclude: Option<Lists<'py>>,
        threads: usize,
    ) -> PyResult<Ranks> {
        let queries = Arrays::new(&queries)?;
        let exclude = exclude.as_ref().map(Arrays::new).transpose()?;
        let targets = readable::<i32, Ix1>("targets", targets)?;
        let (clicks, left_out) = (queries.clicks()?, exclude.as_ref().map(Arrays::clicks).transpose()?);
        let targets = targets.as_slice()?;
        let found = py
            .detach(|| neighbours::rank(&self.0, &parameters.0, clicks, targets, length, left_out, threads))
            .map_err(|error| raised(&error))?;
        Ok(Ranks {
            ranks: PyArray1::from_vec(py, found.ranks).unbind(),
            items: PyArray1::from_vec(py, found.items).reshape([targets.len(), length])?.unbind(),
        })
    }

    #[pyo3(signature = (queries, candidates, parameters, *, threads=1))]
    fn score<'py>(
        &self,
        py: Python<'py>,
        queries: Lists<'py>,
        candidates: &Bound<'py, PyAny>,
        parameters: &Parameters,
        threads: usize,
    ) -> PyResult<Table<'py, f32>> {
        let queries = Arrays::new(&queries)?;
        let candidates = readable::<i32, Ix2>("candidates", candidates)?;
        let (clicks, width) = (queries.clicks()?, candidates.shape()[1]);
        let items = candidates.as_slice()?;
        let found = py
            .detach(|| neighbours::score(&self.0, &parameters.0, clicks, items, width, threads))
            .map_err(|error| raised(&error))?;
        PyArray1::from_vec(py, found).reshape([clicks.len(), width])
    }

    #[pyo3(signature = (queries, parameters, *, threads=1))]
    fn score_all<'py>(
        &self,
        py: Python<'py>,
        queries: Lists<'py>,
        parameters: &Parameters,
        threads: usize,
    ) -> PyResult<Table<'py, f32>> {
        let queries = Arrays::new(&queries)?;
        let clicks = queries.clicks()?;
        let found = py
            .detach(|| neighbours::score_all(&self.0, &parameters.0, clicks, threads))
            .map_err(|error| raised(&error))?;
        PyArray1::from_vec(py, found).reshape([clicks.len(), self.0.items()])
    }

    fn __repr__(&self) -> String {
        let index = &self.0;
        format!("<Index: {} sessions, {} clicks, {} items>", index.sessions(), index.clicks(), index.items())
    }
}

type Table<'py, T> = Bound<'py, PyArray2<T>>;
/// Items, and where each list of them begins and ends.
type Lists<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);

struct Arrays<'py> {
    items: PyReadonlyArray<'py, i32, Ix1>,
    begins: PyReadonlyArray<'py, i64, Ix1>,
    ends: PyReadonlyArray<'py, i64, Ix1>,
}

impl<'py> Arrays<'py> {
    fn new((items, begins, ends): &Lists<'py>) -> PyResult<Self> {
        Ok(Self {
            items: readable("items", items)?,
            begins: readable("begins", begins)?,
            ends: readable("ends", ends)?,
        })
    }

    fn clicks(&self) -> PyResult<Clicks<'_>> {
        Ok(Clicks { items: self.items.as_slice()?, begins: self.begins.as_slice()?, ends: self.ends.as_slice()? })
    }
}

/// The exception for an error of the index.
fn raised(error: &Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Setting { .. } | Error::Threads { .. } => SettingError::new_err(text),
        Error::Length { .. } | Error::Item { .. } | Error::Range { .. } | Error::Order { .. } => {
            ColumnError::new_err(text)
        }
        Error::Size { .. } => SizeError::new_err(text),
        Error::File { .. } => IndexFileError::new_err(text),
        Error::System { .. } => PyOSError::new_err(text),
    }
}
