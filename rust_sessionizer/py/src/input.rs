//! Tables and arrays of any library that speaks Arrow.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, new_empty_array};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, FieldRef, SchemaRef};
use arrow_select::concat::concat;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3_arrow::input::{AnyArray, AnyRecordBatch};
use sessionizer_core::{Error, Result};

use crate::error::raised;

/// A table as it came, and whether it is polars' own.
pub(crate) struct Source {
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
    pub(crate) polars: bool,
}

impl Source {
    pub(crate) fn read(table: &Bound<PyAny>) -> PyResult<Self> {
        let polars = is_polars(table, "DataFrame")?;
        if !speaks_arrow(table)? {
            let name = table.get_type().fully_qualified_name()?;
            return Err(PyTypeError::new_err(format!(
                "a table with the Arrow PyCapsule interface is needed (polars, pandas, pyarrow, DuckDB, …), not {name}"
            )));
        }
        let typed = if polars { with_typed_nulls(table)? } else { table.clone() };
        let reader = typed.extract::<AnyRecordBatch>()?.into_reader()?;
        let schema = reader.schema();
        // The producer may compute while it is read, and may need Python for that.
        let batches = table.py().detach(|| reader.collect::<std::result::Result<Vec<_>, _>>());
        let batches = batches.map_err(|error| raised(&unreadable(&error)))?;
        Ok(Self { batches, schema, polars })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.schema.fields().iter().any(|field| field.name() == name)
    }

    pub(crate) fn fields(&self) -> &[FieldRef] {
        self.schema.fields()
    }

    /// A column in one piece; texts in a dictionary are written out.
    pub(crate) fn column(&self, name: &str) -> Result<ArrayRef> {
        let mut places = (0..).zip(self.fields()).filter(|(_, field)| field.name() == name);
        let Some((place, field)) = places.next() else {
            let present = self.fields().iter().map(|field| field.name().clone()).collect();
            return Err(Error::MissingColumn { column: name.to_owned(), present });
        };
        if places.next().is_some() {
            return Err(Error::DuplicateColumn { column: name.to_owned() });
        }
        let chunks: Vec<ArrayRef> = self.batches.iter().map(|batch| Arc::clone(batch.column(place))).collect();
        one_piece(name, field.data_type(), &chunks)
    }
}

/// A column without a table, and whether it is polars' own.
pub(crate) fn read_array(values: &Bound<PyAny>, name: &str) -> PyResult<(ArrayRef, bool)> {
    if !speaks_arrow(values)? {
        let found = values.get_type().fully_qualified_name()?;
        return Err(PyTypeError::new_err(format!(
            "{name}: an array with the Arrow PyCapsule interface is needed (polars.Series, pyarrow.array, …), not {found}"
        )));
    }
    let polars = is_polars(values, "Series")?;
    let typed = if polars {
        let table = with_typed_nulls(&values.call_method0("to_frame")?)?;
        table.call_method1("to_series", (0,))?
    } else {
        values.clone()
    };
    let reader = typed.extract::<AnyArray>()?.into_reader()?;
    let data_type = reader.field().data_type().clone();
    let chunks = values.py().detach(|| reader.collect::<std::result::Result<Vec<_>, _>>());
    let chunks = chunks.map_err(|error| raised(&unreadable(&error)))?;
    let array = one_piece(name, &data_type, &chunks).map_err(|error| raised(&error))?;
    Ok((array, polars))
}

fn unreadable(error: &ArrowError) -> Error {
    Error::Unreadable { reason: error.to_string() }
}

fn speaks_arrow(object: &Bound<PyAny>) -> PyResult<bool> {
    Ok(object.hasattr("__arrow_c_stream__")? || object.hasattr("__arrow_c_array__")?)
}

/// Columns of polars' type without values are given one: their buffers are not what Arrow expects.
fn with_typed_nulls<'py>(table: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let polars = table.py().import("polars")?;
    let (null, integer) = (polars.getattr("Null")?, polars.getattr("Int64")?);
    if !table.getattr("dtypes")?.contains(&null)? {
        return Ok(table.clone());
    }
    let typed = polars.call_method1("col", (null,))?.call_method1("cast", (integer,))?;
    table.call_method1("with_columns", (typed,))
}

/// Looks at polars only where it was imported before.
fn is_polars(object: &Bound<PyAny>, class: &str) -> PyResult<bool> {
    let modules = object.py().import("sys")?.getattr("modules")?;
    match modules.get_item("polars") {
        Ok(polars) => object.is_instance(polars.getattr(class)?.cast::<PyType>()?),
        Err(_) => Ok(false),
    }
}

fn one_piece(name: &str, data_type: &DataType, chunks: &[ArrayRef]) -> Result<ArrayRef> {
    let failed = |error: ArrowError| Error::Conversion { column: name.to_owned(), reason: error.to_string() };
    let array = match (data_type, chunks) {
        // What an empty column without values is taken for.
        (DataType::Null, _) if chunks.iter().all(Array::is_empty) => Arc::new(Int64Array::from(vec![0; 0])),
        (_, []) => new_empty_array(data_type),
        (_, [chunk]) => Arc::clone(chunk),
        (DataType::Dictionary(_, values), _) => {
            let plain: std::result::Result<Vec<_>, _> = chunks.iter().map(|chunk| cast(chunk, values)).collect();
            join(&plain.map_err(failed)?).map_err(failed)?
        }
        _ => join(chunks).map_err(failed)?,
    };
    match array.data_type() {
        DataType::Dictionary(_, values) => cast(&array, values).map_err(failed),
        _ => Ok(array),
    }
}

/// Texts that together are too long for 32-bit offsets get 64-bit ones.
fn join(chunks: &[ArrayRef]) -> std::result::Result<ArrayRef, ArrowError> {
    let bytes: usize = chunks.iter().map(Array::get_buffer_memory_size).sum();
    let wide = chunks.first().is_some_and(|chunk| *chunk.data_type() == DataType::Utf8) && bytes > i32::MAX as usize;
    let widened: Vec<ArrayRef> = if wide {
        chunks.iter().map(|chunk| cast(chunk, &DataType::LargeUtf8)).collect::<std::result::Result<_, _>>()?
    } else {
        chunks.to_vec()
    };
    let borrowed: Vec<&dyn Array> = widened.iter().map(AsRef::as_ref).collect();
    concat(&borrowed)
}
