//! `encode`.

use std::sync::Arc;

use arrow_array::Int32Array;
use pyo3::prelude::*;

use crate::column::{Column, take_rows};
use crate::error::detached;
use crate::input::read_array;
use crate::output::array as give;

#[pyfunction]
#[pyo3(signature = (values, threads=None))]
pub(crate) fn encode(values: &Bound<PyAny>, threads: Option<i64>) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
    let py = values.py();
    let (array, polars) = read_array(values, "values")?;
    let (codes, uniques) = detached(py, threads, || {
        let encoded = Column::new("values", &array)?.encode()?;
        let uniques = take_rows("values", &array, &encoded.first_rows)?;
        Ok((encoded.codes, uniques))
    })?;
    let codes = Arc::new(Int32Array::from(codes));
    Ok((give(py, codes, polars)?, give(py, uniques, polars)?))
}
