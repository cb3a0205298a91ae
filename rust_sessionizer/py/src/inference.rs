//! `inference`: the states of a trained network, of `NumPy` arrays.

use std::sync::Arc;

use gru4rec::{Inputs, States, Weights};
use numpy::ndarray::{Ix1, Ix2};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::ColumnError;
use crate::ranking::ItemIndex;
use crate::readable::readable;
use crate::training::raised;

/// A trained network without what scores items.
#[pyclass(module = "rust_sessionizer.inference", frozen)]
pub(crate) struct Network(gru4rec::Network);

type Arrays<'py> = Vec<Bound<'py, PyArray2<f32>>>;

/// A layer's arrays, where they lie.
struct Layer<'py> {
    input: Option<PyReadonlyArray2<'py, f32>>,
    hidden: PyReadonlyArray2<'py, f32>,
    bias_input: PyReadonlyArray1<'py, f32>,
    bias_hidden: PyReadonlyArray1<'py, f32>,
}

impl<'py> Layer<'py> {
    /// The layer of that number; nothing, where there is none.
    fn new(arrays: &Bound<'py, PyDict>, number: usize) -> PyResult<Option<Self>> {
        let name = |kind: &str| format!("{kind}.{number}");
        let matrix = |kind: &str| {
            let array = arrays.get_item(name(kind))?;
            array.map(|array| readable::<f32, Ix2>(&name(kind), &array)).transpose()
        };
        let vector = |kind: &str| readable::<f32, Ix1>(&name(kind), &given(arrays, &name(kind))?);
        let Some(hidden) = matrix("weight_hidden")? else { return Ok(None) };
        let (bias_input, bias_hidden) = (vector("bias_input")?, vector("bias_hidden")?);
        Ok(Some(Self { input: matrix("weight_input")?, hidden, bias_input, bias_hidden }))
    }

    fn weights(&self) -> PyResult<Weights<'_>> {
        Ok(Weights {
            input: self.input.as_ref().map(|input| input.as_slice()).transpose()?,
            hidden: self.hidden.as_slice()?,
            bias_input: self.bias_input.as_slice()?,
            bias_hidden: self.bias_hidden.as_slice()?,
        })
    }
}

#[pymethods]
impl Network {
    #[new]
    #[pyo3(signature = (arrays, items=None, *, column=0, most_bytes=268_435_456))]
    fn new(
        py: Python,
        arrays: &Bound<PyDict>,
        items: Option<&Bound<ItemIndex>>,
        column: usize,
        most_bytes: usize,
    ) -> PyResult<Self> {
        let mut layers = Vec::new();
        while let Some(layer) = Layer::new(arrays, layers.len())? {
            layers.push(layer);
        }
        let weights = layers.iter().map(Layer::weights).collect::<PyResult<Vec<_>>>()?;
        let inputs = match (arrays.get_item("input_table")?, items) {
            (None, Some(items)) => {
                let index = &items.get().0;
                let width = layers.first().and_then(|layer| layer.input.as_ref()).map_or(0, |input| input.shape()[1]);
                Inputs { table: index.table(), stride: index.width(), first: column, width }
            }
            (None, None) => own("item_table", &given(arrays, "item_table")?)?,
            (Some(table), _) => own("input_table", &table)?,
        };
        let made = py.detach(|| gru4rec::Network::new(inputs, &weights, most_bytes));
        made.map(Self).map_err(|error| raised(&error))
    }

    fn states<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyAny>,
        offsets: &Bound<'py, PyAny>,
    ) -> PyResult<Arrays<'py>> {
        let items = readable::<i32, Ix1>("items", items)?;
        let offsets = readable::<i64, Ix1>("offsets", offsets)?;
        let (items, offsets) = (items.as_slice()?, offsets.as_slice()?);
        let found = py.detach(|| self.0.states(items, offsets)).map_err(|error| raised(&error))?;
        self.arrays(py, found, offsets.len().saturating_sub(1))
    }

    #[allow(clippy::needless_pass_by_value)] // an argument from Python
    fn step<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyAny>,
        states: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Arrays<'py>> {
        let items = readable::<i32, Ix1>("items", items)?;
        let mut layers = Vec::with_capacity(states.len());
        for (number, states) in states.iter().enumerate() {
            layers.push(readable::<f32, Ix2>(&format!("states[{number}]"), states)?.as_slice()?.to_vec());
        }
        let clicked = items.as_slice()?;
        let found = py.detach(|| self.0.step(clicked, &States { layers })).map_err(|error| raised(&error))?;
        self.arrays(py, found, clicked.len())
    }

    fn __repr__(&self) -> String {
        format!("<Network: layers {:?} over {} items>", self.0.layers(), self.0.items())
    }
}

impl Network {
    fn arrays<'py>(&self, py: Python<'py>, states: States, sessions: usize) -> PyResult<Arrays<'py>> {
        let shaped = |(states, units)| PyArray1::from_vec(py, states).reshape([sessions, units]);
        states.layers.into_iter().zip(self.0.layers()).map(shaped).collect()
    }
}

/// A table by itself, copied.
fn own(name: &str, table: &Bound<PyAny>) -> PyResult<Inputs> {
    let table = readable::<f32, Ix2>(name, table)?;
    let width = table.shape()[1];
    Ok(Inputs { table: Arc::new(table.as_slice()?.to_vec()), stride: width, first: 0, width })
}

fn given<'py>(arrays: &Bound<'py, PyDict>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    arrays.get_item(name)?.ok_or_else(|| ColumnError::new_err(format!("there is no array '{name}'")))
}
