//! `ranking`: ranks among all items, and the best of them, of `NumPy` arrays.

// pyo3 makes the arguments.
#![allow(clippy::needless_pass_by_value)]

use numpy::ndarray::{Ix1, Ix2};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::prelude::*;
use ranking::{Excluded, Items, Queries};

use crate::error::{ColumnError, ScoreError, SettingError};
use crate::readable::readable;

/// Where the targets stand, and what is recommended.
#[pyclass(module = "rust_sessionizer.ranking", frozen, get_all)]
pub(crate) struct Ranks {
    pub(crate) ranks: Py<PyArray1<i64>>,
    pub(crate) items: Py<PyArray2<i32>>,
}

#[pymethods]
impl Ranks {
    fn __repr__(&self, py: Python) -> String {
        let shape = self.items.bind(py).dims();
        format!("<Ranks: of {} targets, with lists of {} items>", shape[0], shape[1])
    }
}

#[pyfunction]
#[pyo3(signature = (outputs, table, bias, targets, *, excluded=None, length=0, threads))]
#[allow(clippy::too_many_arguments)] // what is ranked, and how
pub(crate) fn rank(
    py: Python,
    outputs: &Bound<PyAny>,
    table: &Bound<PyAny>,
    bias: &Bound<PyAny>,
    targets: &Bound<PyAny>,
    excluded: Option<Ranges>,
    length: usize,
    threads: usize,
) -> PyResult<Ranks> {
    let outputs = readable::<f32, Ix2>("outputs", outputs)?;
    let table = readable::<f32, Ix2>("table", table)?;
    let bias = readable::<f32, Ix1>("bias", bias)?;
    let targets = readable::<i32, Ix1>("targets", targets)?;
    let (width, of_items) = (outputs.shape()[1], table.shape()[1]);
    if width != of_items {
        let text = format!("'outputs' has rows of {width} entries and 'table' of {of_items}; they must be as long");
        return Err(ColumnError::new_err(text));
    }
    let excluded = excluded.as_ref().map(LeftOut::new).transpose()?;
    let excluded = excluded.as_ref().map(LeftOut::get).transpose()?;
    let items = Items { table: table.as_slice()?, bias: bias.as_slice()? };
    let queries = Queries { outputs: outputs.as_slice()?, width, targets: targets.as_slice()?, excluded };
    let found = py.detach(|| ranking::rank(queries, items, length, threads)).map_err(|error| raised(&error))?;
    Ok(Ranks {
        ranks: PyArray1::from_vec(py, found.ranks).unbind(),
        items: PyArray1::from_vec(py, found.items).reshape([queries.targets.len(), length])?.unbind(),
    })
}

/// What queries leave out, as Python gives it: begins, ends, items.
type Ranges<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Items and their scores.
type Lists<'py> = (Bound<'py, PyArray2<i32>>, Bound<'py, PyArray2<f32>>);

/// The same, read where it lies.
struct LeftOut<'py> {
    begins: PyReadonlyArray1<'py, i64>,
    ends: PyReadonlyArray1<'py, i64>,
    items: PyReadonlyArray1<'py, i32>,
}

impl<'py> LeftOut<'py> {
    fn new((begins, ends, items): &Ranges<'py>) -> PyResult<Self> {
        Ok(Self {
            begins: readable::<i64, Ix1>("begins", begins)?,
            ends: readable::<i64, Ix1>("ends", ends)?,
            items: readable::<i32, Ix1>("excluded", items)?,
        })
    }

    fn get(&self) -> PyResult<Excluded<'_>> {
        let (begins, ends) = (self.begins.as_slice()?, self.ends.as_slice()?);
        Ok(Excluded { begins, ends, items: self.items.as_slice()? })
    }
}

/// Items to be searched by their vectors.
#[pyclass(module = "rust_sessionizer.ranking", frozen)]
pub(crate) struct ItemIndex(pub(crate) ranking::Index);

#[pymethods]
impl ItemIndex {
    #[new]
    fn new(py: Python, table: &Bound<PyAny>, bias: &Bound<PyAny>) -> PyResult<Self> {
        let table = readable::<f32, Ix2>("table", table)?;
        let bias = readable::<f32, Ix1>("bias", bias)?;
        let width = table.shape()[1];
        let (table, bias) = (pages::copied(table.as_slice()?), bias.as_slice()?.to_vec());
        py.detach(|| ranking::Index::new(table, bias, width)).map(Self).map_err(|error| raised(&error))
    }

    #[pyo3(signature = (queries, k, *, excluded=None))]
    fn search<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyAny>,
        k: usize,
        excluded: Option<Ranges<'py>>,
    ) -> PyResult<Lists<'py>> {
        let queries = readable::<f32, Ix2>("queries", queries)?;
        let [count, width] = [queries.shape()[0], queries.shape()[1]];
        if width != self.0.width() {
            let text = format!("'queries' has rows of {width} entries and the table of {}", self.0.width());
            return Err(ColumnError::new_err(text));
        }
        let excluded = excluded.as_ref().map(LeftOut::new).transpose()?;
        let excluded = excluded.as_ref().map(LeftOut::get).transpose()?;
        let vectors = queries.as_slice()?;
        let found = py.detach(|| self.0.search(vectors, k, excluded)).map_err(|error| raised(&error))?;
        let items = PyArray1::from_vec(py, found.items).reshape([count, k])?;
        let scores = PyArray1::from_vec(py, found.scores).reshape([count, k])?;
        Ok((items, scores))
    }

    fn __len__(&self) -> usize {
        self.0.items()
    }

    fn __repr__(&self) -> String {
        format!("<ItemIndex: {} items, vectors of {}>", self.0.items(), self.0.width())
    }
}

/// The exception for an error of the ranking.
fn raised(error: &ranking::Error) -> PyErr {
    let text = error.to_string();
    match error {
        ranking::Error::Setting { .. } | ranking::Error::Threads { .. } => SettingError::new_err(text),
        ranking::Error::NotANumber { .. } => ScoreError::new_err(text),
        ranking::Error::NotFinite { .. }
        | ranking::Error::Length { .. }
        | ranking::Error::Item { .. }
        | ranking::Error::Range { .. } => ColumnError::new_err(text),
    }
}
