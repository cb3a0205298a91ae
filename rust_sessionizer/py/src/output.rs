//! Results: polars' own objects for those who came with polars, else small objects that speak Arrow.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, StructArray};
use arrow_schema::{Field, Schema};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyTuple};
use pyo3_arrow::PyArray;
use pyo3_arrow::error::PyArrowResult;
use pyo3_arrow::ffi::{ArrayIterator, to_array_pycapsules, to_schema_pycapsule, to_stream_pycapsule};
use sessionizer_core::{Error, Result};

/// A column of a result.
pub(crate) fn field(name: &str, array: &ArrayRef) -> Field {
    Field::new(name, array.data_type().clone(), true)
}

/// A table of named columns.
pub(crate) fn batch(columns: Vec<(String, ArrayRef)>) -> Result<RecordBatch> {
    let repeated = (0..columns.len()).find(|&place| columns[..place].iter().any(|(name, _)| *name == columns[place].0));
    if let Some(place) = repeated {
        return Err(Error::DuplicateColumn { column: columns[place].0.clone() });
    }
    let fields: Vec<Field> = columns.iter().map(|(name, array)| field(name, array)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| Error::Unreadable { reason: error.to_string() })
}

/// A table in the form its source had.
pub(crate) fn table(py: Python, batch: RecordBatch, polars: bool) -> PyResult<Py<PyAny>> {
    let table = Bound::new(py, Table { batch })?;
    Ok(if polars { table.borrow().to_polars(py)? } else { table.into_any() }.unbind())
}

/// An array in the form its source had.
pub(crate) fn array(py: Python, array: ArrayRef, polars: bool) -> PyResult<Py<PyAny>> {
    let array = Bound::new(py, Array { array })?;
    Ok(if polars { array.borrow().to_polars(py)? } else { array.into_any() }.unbind())
}

/// A table that any Arrow library takes.
#[pyclass(module = "rust_sessionizer", frozen)]
pub(crate) struct Table {
    batch: RecordBatch,
}

#[pymethods]
impl Table {
    #[getter]
    fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect()
    }

    fn to_polars<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("polars")?.call_method1("DataFrame", (self.clone(),))
    }

    fn to_pyarrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("pyarrow")?.call_method1("table", (self.clone(),))
    }

    fn to_pandas<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.to_pyarrow(py)?.call_method0("to_pandas")
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyArrowResult<Bound<'py, PyCapsule>> {
        let rows: ArrayRef = Arc::new(StructArray::from(self.batch.clone()));
        let field = Arc::new(Field::new("", rows.data_type().clone(), false));
        to_stream_pycapsule(py, Box::new(ArrayIterator::new(vec![Ok(rows)], field)), requested_schema)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyArrowResult<Bound<'py, PyCapsule>> {
        to_schema_pycapsule(py, self.batch.schema_ref().as_ref())
    }

    pub(crate) fn __len__(&self) -> usize {
        self.num_rows()
    }

    fn __repr__(&self) -> String {
        format!("<Table: {} rows; {}>", self.num_rows(), self.column_names().join(", "))
    }
}

impl Clone for Table {
    fn clone(&self) -> Self {
        Self { batch: self.batch.clone() }
    }
}

/// An array that any Arrow library takes.
#[pyclass(module = "rust_sessionizer", frozen)]
#[derive(Clone)]
pub(crate) struct Array {
    array: ArrayRef,
}

impl From<ArrayRef> for Array {
    fn from(array: ArrayRef) -> Self {
        Self { array }
    }
}

#[pymethods]
impl Array {
    fn to_polars<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("polars")?.call_method1("Series", (self.clone(),))
    }

    fn to_pyarrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("pyarrow")?.call_method1("array", (self.clone(),))
    }

    fn to_numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Bound::new(py, PyArray::from_array_ref(Arc::clone(&self.array)))?.call_method0("__array__")
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if copy == Some(false) {
            return Err(PyValueError::new_err("a NumPy array of this is always a copy"));
        }
        let array = self.to_numpy(py)?;
        let Some(dtype) = dtype else { return Ok(array) };
        let options = PyDict::new(py);
        options.set_item("copy", false)?;
        array.call_method("astype", (dtype,), Some(&options))
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyArrowResult<Bound<'py, PyTuple>> {
        to_array_pycapsules(py, Arc::new(field("", &self.array)), &self.array, requested_schema)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyArrowResult<Bound<'py, PyCapsule>> {
        to_schema_pycapsule(py, self.array.data_type())
    }

    pub(crate) fn __len__(&self) -> usize {
        self.array.len()
    }

    fn __repr__(&self) -> String {
        format!("<Array: {} values of {}>", self.array.len(), self.array.data_type())
    }
}
