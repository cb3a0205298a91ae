//! Arrays of Python's that are only read.

use numpy::ndarray::Dimension;
use numpy::{Element, PyArray, PyArrayMethods, PyReadonlyArray, PyUntypedArrayMethods, dtype};
use pyo3::prelude::*;

use crate::error::ColumnError;

/// An array that is read where it lies.
pub(crate) fn readable<'py, T: Element, D: Dimension>(
    name: &str,
    array: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    let Ok(typed) = array.cast::<PyArray<T, D>>() else {
        let (kind, dimensions) = (dtype::<T>(array.py()), D::NDIM.unwrap_or_default());
        let text = format!("'{name}' must be a NumPy array of {kind} with {dimensions} dimension(s)");
        return Err(ColumnError::new_err(text));
    };
    if !typed.is_c_contiguous() {
        let text = format!("'{name}' must be C-contiguous; numpy.ascontiguousarray makes it so");
        return Err(ColumnError::new_err(text));
    }
    Ok(typed.try_readonly()?)
}
