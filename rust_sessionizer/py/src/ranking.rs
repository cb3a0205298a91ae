//! `ranking.rank`: ranks among all items, of `NumPy` arrays.

use numpy::ndarray::{Ix1, Ix2};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyUntypedArrayMethods};
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
    excluded: Option<(Bound<PyAny>, Bound<PyAny>, Bound<PyAny>)>,
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
    let excluded = match excluded {
        None => None,
        Some((begins, ends, items)) => Some((
            readable::<i64, Ix1>("begins", &begins)?,
            readable::<i64, Ix1>("ends", &ends)?,
            readable::<i32, Ix1>("excluded", &items)?,
        )),
    };
    let excluded = match &excluded {
        None => None,
        Some((begins, ends, items)) => {
            Some(Excluded { begins: begins.as_slice()?, ends: ends.as_slice()?, items: items.as_slice()? })
        }
    };
    let items = Items { table: table.as_slice()?, bias: bias.as_slice()? };
    let queries = Queries { outputs: outputs.as_slice()?, width, targets: targets.as_slice()?, excluded };
    let found = py.detach(|| ranking::rank(queries, items, length, threads)).map_err(|error| raised(&error))?;
    Ok(Ranks {
        ranks: PyArray1::from_vec(py, found.ranks).unbind(),
        items: PyArray1::from_vec(py, found.items).reshape([queries.targets.len(), length])?.unbind(),
    })
}

/// The exception for an error of the ranking.
fn raised(error: &ranking::Error) -> PyErr {
    let text = error.to_string();
    match error {
        ranking::Error::Setting { .. } | ranking::Error::Threads { .. } => SettingError::new_err(text),
        ranking::Error::NotANumber { .. } => ScoreError::new_err(text),
        ranking::Error::Length { .. } | ranking::Error::Item { .. } | ranking::Error::Range { .. } => {
            ColumnError::new_err(text)
        }
    }
}
