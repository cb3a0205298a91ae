//! `training_schedule`.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int32Array, Int64Array};
use pyo3::prelude::*;

use crate::column::integers;
use crate::error::detached;
use crate::input::read_array;
use crate::output::Array;

/// The schedule as arrays.
#[pyclass(module = "rust_sessionizer", frozen, get_all)]
pub(crate) struct TrainingSchedule {
    inputs: Py<Array>,
    lanes: Py<Array>,
    resets: Py<Array>,
    steps: Py<Array>,
}

#[pymethods]
impl TrainingSchedule {
    fn __repr__(&self) -> String {
        let steps = self.steps.get().__len__() - 1;
        format!("<TrainingSchedule: {} predictions in {steps} steps>", self.inputs.get().__len__())
    }
}

#[pyfunction]
pub(crate) fn training_schedule(lengths: &Bound<PyAny>, lanes: i64) -> PyResult<TrainingSchedule> {
    let py = lengths.py();
    let (array, _) = read_array(lengths, "lengths")?;
    let built = detached(py, Some(1), || {
        let lengths = integers("lengths", &array)?;
        sessionizer_core::training_schedule(&lengths, lanes)
    })?;
    let given = |array: ArrayRef| Py::new(py, Array::from(array));
    Ok(TrainingSchedule {
        inputs: given(Arc::new(Int64Array::from(built.inputs)))?,
        lanes: given(Arc::new(Int32Array::from(built.lanes)))?,
        resets: given(Arc::new(BooleanArray::from(built.resets)))?,
        steps: given(Arc::new(Int64Array::from(built.steps)))?,
    })
}
