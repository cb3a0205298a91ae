//! `training.Trainer`: `GRU4Rec`'s steps over arrays that Python owns.

use gru4rec::{Arrays, Embedding, LayerArrays, Learned, Loss, PHASES, Schedule, Settings};
use pyo3::buffer::{Element, PyBuffer};
use pyo3::prelude::*;

use crate::error::{ColumnError, SettingError};
use crate::writable::{Writable, exclusive};

/// Runs `GRU4Rec` through its schedule.
#[pyclass(module = "rust_sessionizer.training")]
pub(crate) struct Trainer {
    inner: gru4rec::Trainer,
}

#[pymethods]
impl Trainer {
    #[new]
    #[pyo3(signature = (
        inputs, targets, keep, lanes, steps, counts, *, layers, loss, batch_size, learning_rate, momentum, n_sample,
        sample_alpha, seed, threads, dropout_embedding=0.0, dropout_hidden=0.0, bpreg=0.0, elu_param=0.0, logq=0.0,
        embedding="shared", embedding_width=None
    ))]
    #[allow(clippy::too_many_arguments)] // the settings, by name
    fn new(
        inputs: &Bound<PyAny>,
        targets: &Bound<PyAny>,
        keep: &Bound<PyAny>,
        lanes: &Bound<PyAny>,
        steps: &Bound<PyAny>,
        counts: &Bound<PyAny>,
        layers: Vec<usize>,
        loss: &str,
        batch_size: usize,
        learning_rate: f32,
        momentum: f32,
        n_sample: usize,
        sample_alpha: f64,
        seed: u64,
        threads: usize,
        dropout_embedding: f32,
        dropout_hidden: f32,
        bpreg: f32,
        elu_param: f32,
        logq: f32,
        embedding: &str,
        embedding_width: Option<usize>,
    ) -> PyResult<Self> {
        let refused = |text: String| Err(SettingError::new_err(text));
        let loss = match loss {
            "bpr-max" => Loss::BprMax { bpreg, elu: elu_param },
            "cross-entropy" => Loss::CrossEntropy { logq },
            other => return refused(format!("loss is '{other}'; it must be 'bpr-max' or 'cross-entropy'")),
        };
        let embedding = match (embedding, embedding_width) {
            ("shared", None) => Embedding::Shared,
            ("none", None) => Embedding::None,
            ("separate", Some(width)) => Embedding::Separate(width),
            ("separate", None) => return refused("a separate embedding needs an embedding_width".to_owned()),
            ("shared" | "none", Some(_)) => {
                return refused("embedding_width is for a separate embedding only".to_owned());
            }
            (other, _) => return refused(format!("embedding is '{other}'; it must be 'shared', 'separate' or 'none'")),
        };
        let resets = copied::<f32>("keep", keep)?.into_iter().map(|keep| keep == 0.0).collect();
        let counts = copied::<i64>("counts", counts)?;
        let (inputs, targets) = (copied("inputs", inputs)?, copied("targets", targets)?);
        let (lanes, steps) = (copied("lanes", lanes)?, copied::<i64>("steps", steps)?);
        let schedule =
            Schedule::new(inputs, targets, resets, lanes, &steps, counts.len()).map_err(|error| raised(&error))?;
        let settings = Settings {
            layers,
            embedding,
            loss,
            batch_size,
            dropout_embedding,
            dropout_hidden,
            learning_rate,
            momentum,
            n_sample,
            sample_alpha,
            seed,
        };
        Ok(Self { inner: gru4rec::Trainer::new(settings, schedule, &counts, threads).map_err(|error| raised(&error))? })
    }

    /// The arrays a call of `run` needs, by name.
    #[getter]
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (settings, items) = (self.inner.settings(), self.inner.items());
        let mut shapes = vec![
            ("item_table".to_owned(), vec![items, settings.output_width()]),
            ("item_bias".to_owned(), vec![items]),
        ];
        if settings.embedding != Embedding::Shared {
            shapes.push(("input_table".to_owned(), vec![items, settings.input_width()]));
        }
        let mut width = settings.input_width();
        for (layer, &units) in settings.layers.iter().enumerate() {
            if layer > 0 || settings.embedding != Embedding::None {
                shapes.push((format!("weight_input.{layer}"), vec![3 * units, width]));
            }
            shapes.push((format!("weight_hidden.{layer}"), vec![3 * units, units]));
            shapes.push((format!("bias_input.{layer}"), vec![3 * units]));
            shapes.push((format!("bias_hidden.{layer}"), vec![3 * units]));
            width = units;
        }
        shapes
    }

    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)] // what a block of steps changes, and which steps
    fn run(
        &mut self,
        py: Python,
        parameters: &Bound<PyAny>,
        accumulators: &Bound<PyAny>,
        velocities: &Bound<PyAny>,
        states: Vec<Bound<PyAny>>,
        begin: usize,
        end: usize,
        first: u64,
    ) -> PyResult<f64> {
        let with_momentum = self.inner.settings().momentum > 0.0;
        let mut given = Vec::new();
        for (name, shape) in self.shapes() {
            let one = |kind: &str, arrays: &Bound<PyAny>| {
                Writable::new(&arrays.get_item(&name)?, format!("{kind}['{name}']"), &shape)
            };
            given.push(one("parameters", parameters)?);
            given.push(one("accumulators", accumulators)?);
            if with_momentum {
                given.push(one("velocities", velocities)?);
            }
        }
        let learned = given.len();
        let lanes = self.inner.lanes();
        for (layer, (state, &units)) in states.iter().zip(&self.inner.settings().layers).enumerate() {
            given.push(Writable::new(state, format!("states[{layer}]"), &[lanes, units])?);
        }
        let mut slices = exclusive(&mut given)?.into_iter();
        let inner = &mut self.inner;
        let settings = inner.settings();
        let (shared, without) = (settings.embedding == Embedding::Shared, settings.embedding == Embedding::None);
        let layers = settings.layers.len();
        py.detach(move || {
            let mut found = slices.by_ref().take(learned);
            let mut next = || Learned {
                value: found.next().unwrap_or_default(),
                accumulator: found.next().unwrap_or_default(),
                velocity: found.by_ref().take(usize::from(with_momentum)).next().unwrap_or_default(),
            };
            let mut arrays = Arrays {
                item_table: next(),
                item_bias: next(),
                input_table: (!shared).then(&mut next),
                layers: (0..layers)
                    .map(|layer| LayerArrays {
                        weight_input: (layer > 0 || !without).then(&mut next),
                        weight_hidden: next(),
                        bias_input: next(),
                        bias_hidden: next(),
                    })
                    .collect(),
            };
            let mut states: Vec<&mut [f32]> = slices.collect();
            inner.run(&mut arrays, &mut states, begin, end, first)
        })
        .map_err(|error| raised(&error))
    }

    fn samples(&self, step: u64) -> Vec<u32> {
        self.inner.samples(step)
    }

    fn masks(&self, step: u64, lanes: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
        let masks = self.inner.masks(step, lanes);
        (masks.embedding, masks.hidden)
    }

    #[pyo3(signature = (on=true))]
    fn measure(&mut self, on: bool) {
        self.inner.measure(on);
    }

    fn profile(&self) -> Vec<(&'static str, f64)> {
        let spent = self.inner.profile().unwrap_or_default();
        PHASES.into_iter().zip(spent.map(|spent| spent.as_secs_f64())).collect()
    }

    fn __repr__(&self) -> String {
        format!("<Trainer: {} steps an epoch over {} items>", self.inner.schedule().len(), self.inner.items())
    }
}

/// The exception for an error of the trainer, or of a network.
pub(crate) fn raised(error: &gru4rec::Error) -> PyErr {
    let text = error.to_string();
    match error {
        gru4rec::Error::Setting { .. } | gru4rec::Error::Threads { .. } => SettingError::new_err(text),
        gru4rec::Error::Length { .. }
        | gru4rec::Error::Item { .. }
        | gru4rec::Error::NotFinite { .. }
        | gru4rec::Error::Schedule { .. } => ColumnError::new_err(text),
    }
}

/// The entries of an array, copied.
fn copied<T: Element>(name: &str, array: &Bound<PyAny>) -> PyResult<Vec<T>> {
    let needed = std::any::type_name::<T>();
    let buffer = PyBuffer::<T>::get(array)
        .map_err(|error| ColumnError::new_err(format!("'{name}' must be a NumPy array of {needed}: {error}")))?;
    buffer.to_vec(array.py())
}
