//! Blocks of training steps.

mod step;

use std::time::{Duration, Instant};

use pulp::Arch;

use crate::adagrad::Learned;
use crate::error::{Error, Result};
use crate::loss::{Part, Totals};
use crate::product::padded;
use crate::random::{Dropout, Purpose, Stream};
use crate::rows::Use;
use crate::sampler::Sampler;
use crate::schedule::Schedule;
use crate::settings::{Embedding, Loss, Settings};
use crate::team::Team;

/// Columns of the scores that are worked on at a time: their vectors and scores stay in the second-level cache.
const COLUMNS: usize = 120;
/// Lanes turned from one layout into the other at a time.
const LANES: usize = 16;

/// What the phases are called in [`Trainer::profile`].
pub const PHASES: [&str; 9] = [
    "samples and order",
    "inputs",
    "cell forward",
    "scores",
    "loss",
    "loss backward",
    "cell backward",
    "inputs backward",
    "updates",
];

/// The arrays of one GRU layer of H units over an input of width D; gates are stacked as reset, update, new.
#[derive(Debug)]
pub struct LayerArrays<'a> {
    /// [3H, D]; None for the first layer where items have no embedding.
    pub weight_input: Option<Learned<'a>>,
    /// [3H, H]
    pub weight_hidden: Learned<'a>,
    /// [3H]
    pub bias_input: Learned<'a>,
    /// [3H]
    pub bias_hidden: Learned<'a>,
}

/// All learned arrays, of V items and an output of H units.
#[derive(Debug)]
pub struct Arrays<'a> {
    /// [V, H]
    pub item_table: Learned<'a>,
    /// [V]
    pub item_bias: Learned<'a>,
    /// The table that inputs are looked up in, [V, width], where it is not the item table.
    pub input_table: Option<Learned<'a>>,
    /// The layers, from the input on.
    pub layers: Vec<LayerArrays<'a>>,
}

/// Dropout masks of a step, 0 or 1 / (1 - p), with a row a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Masks {
    /// [M, width of the embedding]
    pub embedding: Vec<f32>,
    /// [M, H] a layer
    pub hidden: Vec<Vec<f32>>,
}

/// What a step needs that does not depend on the weights.
#[derive(Default)]
struct Plan {
    samples: Vec<u32>,
    /// Uses of the item table's rows, in order.
    uses: Vec<Use>,
    /// Uses of the input table's rows, in order, where it is a table of its own.
    input_uses: Vec<Use>,
}

/// Room for a layer's part of a step. Where nothing else is said, an array has a row a unit and an entry a lane.
struct Layer {
    units: usize,
    /// Entries of its input.
    width: usize,
    state: Vec<f32>,
    /// The state with a row a lane.
    state_rows: Vec<f32>,
    next: Vec<f32>,
    next_rows: Vec<f32>,
    mask: Vec<f32>,
    /// In blocks of units, three gates each.
    gates: Vec<f32>,
    /// As `gates`.
    from_state: Vec<f32>,
    in_next: Vec<f32>,
    /// Three gates.
    in_gates: Vec<f32>,
    /// The new gate's part where the state's weights see another gradient than the input's.
    in_new_state: Vec<f32>,
    /// The input's weights with padded rows, where theirs do not fill registers.
    weight: Vec<f32>,
}

impl Layer {
    fn new(units: usize, width: usize, stride: usize) -> Self {
        let by_unit = || vec![0.0; padded(units) * stride];
        Self {
            units,
            width,
            state: by_unit(),
            state_rows: by_unit(),
            next: by_unit(),
            next_rows: by_unit(),
            mask: by_unit(),
            gates: vec![0.0; 3 * units * stride],
            from_state: vec![0.0; 3 * units * stride],
            in_next: by_unit(),
            in_gates: vec![0.0; 3 * units * stride],
            in_new_state: vec![0.0; units * stride],
            weight: if width.is_multiple_of(16) { Vec::new() } else { vec![0.0; 3 * units * padded(width)] },
        }
    }

    /// Copies the input's weights to where their rows are padded, if they need it.
    fn pad_weight(&mut self, given: &[f32]) {
        if !self.weight.is_empty() {
            for (row, given) in self.weight.chunks_exact_mut(padded(self.width)).zip(given.chunks_exact(self.width)) {
                row[..self.width].copy_from_slice(given);
            }
        }
    }

    /// The input's weights with rows of `padded(width)`.
    fn padded_weight<'a>(&'a self, given: &'a [f32]) -> &'a [f32] {
        if self.weight.is_empty() { given } else { &self.weight }
    }

    /// The last step's new state becomes this step's state: lanes that vanished go, and new sessions start from zero.
    fn advance(&mut self, survivors: Option<&[usize]>, resets: &[bool], before: usize, stride: usize) {
        std::mem::swap(&mut self.state, &mut self.next);
        std::mem::swap(&mut self.state_rows, &mut self.next_rows);
        let width = padded(self.units);
        if let Some(survivors) = survivors {
            for (row, &from) in survivors.iter().enumerate() {
                self.state_rows.copy_within(from * width..(from + 1) * width, row * width);
            }
            // Rows move to the front, and so do their entries: each is read before it is written over.
            for unit in 0..self.units {
                let mut now = [0.0; LANES];
                for first in (0..stride).step_by(LANES) {
                    for (lane, entry) in (first..).zip(&mut now) {
                        *entry = survivors.get(lane).map_or(0.0, |&from| self.state[unit * before + from]);
                    }
                    self.state[unit * stride + first..unit * stride + first + LANES].copy_from_slice(&now);
                }
            }
        }
        for lane in (0..resets.len()).filter(|&lane| resets[lane]) {
            self.state_rows[lane * width..(lane + 1) * width].fill(0.0);
            for unit in 0..self.units {
                self.state[unit * stride + lane] = 0.0;
            }
        }
    }
}

/// Runs a network through its schedule.
pub struct Trainer {
    settings: Settings,
    schedule: Schedule,
    items: usize,
    sampler: Sampler,
    /// What the loss subtracts from an item's score where the item is a target, and where it is a sample.
    corrections: Option<(Vec<f32>, Vec<f32>)>,
    arch: Arch,
    team: Team,
    plans: Vec<Plan>,
    layers: Vec<Layer>,
    /// The first layer's input; a row an entry of the item's vector, an entry a lane.
    entered: Vec<f32>,
    /// The same with a row a lane.
    entered_rows: Vec<f32>,
    /// What the input was dropped out with.
    embedding_mask: Vec<f32>,
    /// The same with a row a lane.
    embedding_mask_rows: Vec<f32>,
    vectors: Vec<f32>,
    scores: Vec<f32>,
    parts: Vec<f32>,
    totals: Totals,
    /// A part of the gradient in the output a block of columns.
    in_output: Vec<f32>,
    in_inputs: Vec<f32>,
    spent: Option<[Duration; PHASES.len()]>,
}

impl Trainer {
    /// Gets ready to train.
    ///
    /// `counts` are the clicks of each item in training, 1 or more.
    ///
    /// # Errors
    ///
    /// If a setting is out of its range, a count is not positive, or threads cannot be started.
    pub fn new(settings: Settings, schedule: Schedule, counts: &[i64], threads: usize) -> Result<Self> {
        settings.check()?;
        if threads == 0 {
            return Err(Error::Setting { name: "threads", value: "0".to_owned(), expected: "1 or more" });
        }
        if u32::try_from(counts.len()).is_err() || counts.iter().any(|&count| count < 1) || counts.is_empty() {
            let value = format!("{} counts, the least {}", counts.len(), counts.iter().min().copied().unwrap_or(0));
            return Err(Error::Setting { name: "counts", value, expected: "a count of 1 or more for each item" });
        }
        if schedule.most_lanes() > settings.batch_size {
            return Err(Error::Schedule { reason: "it has more lanes than the batch size" });
        }
        #[allow(clippy::cast_precision_loss)] // counts of clicks
        let counts: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
        let weights: Vec<f64> = counts.iter().map(|count| count.powf(settings.sample_alpha)).collect();
        #[allow(clippy::cast_possible_truncation)] // to the precision of the scores
        let corrections = match settings.loss {
            Loss::CrossEntropy { logq } if logq > 0.0 => Some((
                counts.iter().map(|count| (f64::from(logq) * count.ln()) as f32).collect(),
                counts.iter().map(|count| (f64::from(logq) * settings.sample_alpha * count.ln()) as f32).collect(),
            )),
            _ => None,
        };
        let stride = padded(schedule.most_lanes());
        let columns = schedule.most_lanes() + settings.n_sample;
        let width = settings.input_width();
        let mut layers = Vec::new();
        let mut entered = width;
        for &units in &settings.layers {
            layers.push(Layer::new(units, entered, stride));
            entered = units;
        }
        let output = padded(entered);
        Ok(Self {
            items: counts.len(),
            sampler: Sampler::new(&weights),
            corrections,
            arch: Arch::new(),
            team: Team::new(threads)?,
            plans: Vec::new(),
            layers,
            entered: vec![0.0; padded(width) * stride],
            entered_rows: vec![0.0; stride * padded(width)],
            embedding_mask: vec![0.0; padded(width) * stride],
            embedding_mask_rows: vec![0.0; stride * padded(width)],
            vectors: vec![0.0; columns * output],
            scores: vec![0.0; columns * stride],
            parts: vec![0.0; columns.div_ceil(COLUMNS) * Part::COUNT * stride],
            totals: Totals::new(stride),
            in_output: vec![0.0; columns.div_ceil(COLUMNS) * output * stride],
            in_inputs: vec![0.0; stride * padded(width)],
            spent: None,
            settings,
            schedule,
        })
    }

    /// The schedule.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The number of items.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    /// Lanes of the first step: rows of the states.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.schedule.most_lanes()
    }

    /// Measures from now on, or no longer, where the time of the steps goes.
    pub fn measure(&mut self, on: bool) {
        self.spent = on.then_some([Duration::ZERO; PHASES.len()]);
    }

    /// Time spent in each of [`PHASES`] since measuring began; None where nothing is measured.
    #[must_use]
    pub fn profile(&self) -> Option<[Duration; PHASES.len()]> {
        self.spent
    }

    /// The negative samples of a step, counted from the start of the training.
    #[must_use]
    pub fn samples(&self, step: u64) -> Vec<u32> {
        let mut samples = vec![0; self.settings.n_sample];
        self.sampler.draw(Stream::new(self.settings.seed, step, Purpose::Samples), &mut samples);
        samples
    }

    /// The dropout masks of a step, counted from the start of the training, for M lanes.
    #[must_use]
    pub fn masks(&self, step: u64, lanes: usize) -> Masks {
        let mask = |purpose, share, width: usize| {
            let dropout = Dropout::new(Stream::new(self.settings.seed, step, purpose), share);
            let stride = padded(lanes);
            let mut by_unit = vec![0.0; padded(width) * stride];
            for (quad, rows) in by_unit.chunks_exact_mut(4 * stride).enumerate() {
                dropout.rows(quad, lanes, stride, rows);
            }
            (0..lanes).flat_map(|lane| (0..width).map(move |unit| unit * stride + lane)).map(|at| by_unit[at]).collect()
        };
        Masks {
            embedding: mask(Purpose::EmbeddingDropout, self.settings.dropout_embedding, self.settings.input_width()),
            hidden: (0..)
                .zip(&self.settings.layers)
                .map(|(layer, &units)| mask(Purpose::HiddenDropout(layer), self.settings.dropout_hidden, units))
                .collect(),
        }
    }

    /// Runs the steps `begin..end` of an epoch; the sum of their losses.
    ///
    /// `first` is the number of step `begin`, counted from the start of the training. `states` are the lanes' states a
    /// layer, [lanes, H] with the rows of the step before at the front; they are left as step `end - 1` leaves them.
    ///
    /// # Errors
    ///
    /// If an array is of another size than the settings ask for, or there are no such steps.
    pub fn run(
        &mut self,
        arrays: &mut Arrays,
        states: &mut [&mut [f32]],
        begin: usize,
        end: usize,
        first: u64,
    ) -> Result<f64> {
        if begin > end || end > self.schedule.len() {
            return Err(Error::Setting {
                name: "steps",
                value: format!("{begin} to {end}"),
                expected: "steps of the schedule, in order",
            });
        }
        self.check(arrays, states)?;
        if begin == end {
            return Ok(0.0);
        }
        self.plan(begin, end, first);
        let plans = std::mem::take(&mut self.plans);
        let mut before = self.schedule.lanes(begin.saturating_sub(1));
        for (layer, state) in self.layers.iter_mut().zip(states.iter()) {
            for (row, given) in layer.next_rows.chunks_exact_mut(padded(layer.units)).zip(state.chunks(layer.units)) {
                row[..layer.units].copy_from_slice(given);
            }
            let stride = padded(before);
            for (unit, row) in layer.next.chunks_exact_mut(stride).take(layer.units).enumerate() {
                row.fill(0.0);
                for (entry, given) in row.iter_mut().zip(layer.next_rows.chunks_exact(padded(layer.units))).take(before)
                {
                    *entry = given[unit];
                }
            }
        }
        let mut loss = 0.0;
        for (step, number) in (begin..end).zip(first..) {
            loss += self.step(arrays, step, number, &plans[step - begin], before);
            before = self.schedule.lanes(step);
        }
        self.plans = plans;
        for (layer, state) in self.layers.iter().zip(states) {
            let rows = layer.next_rows.chunks_exact(padded(layer.units)).take(before);
            for (given, row) in state.chunks_mut(layer.units).zip(rows) {
                given.copy_from_slice(&row[..layer.units]);
            }
        }
        Ok(loss)
    }

    /// Whether the arrays are those of the settings.
    fn check(&self, arrays: &Arrays, states: &[&mut [f32]]) -> Result<()> {
        let learned = |name: String, array: &Learned, expected: usize| {
            let velocity = if self.settings.momentum > 0.0 { expected } else { 0 };
            let sizes = [("", array.value.len(), expected), (" (accumulator)", array.accumulator.len(), expected)];
            for (part, found, expected) in sizes.into_iter().chain([(" (velocity)", array.velocity.len(), velocity)]) {
                if found != expected {
                    return Err(Error::Length { name: format!("{name}{part}"), found, expected });
                }
            }
            Ok(())
        };
        let counted = |name: &'static str, found: usize, expected: usize| {
            if found == expected { Ok(()) } else { Err(Error::Length { name: name.to_owned(), found, expected }) }
        };
        let output = self.layers.last().map_or(0, |layer| layer.units);
        learned("item_table".to_owned(), &arrays.item_table, self.items * output)?;
        learned("item_bias".to_owned(), &arrays.item_bias, self.items)?;
        let own_table = self.settings.embedding != Embedding::Shared;
        counted("input_table", usize::from(arrays.input_table.is_some()), usize::from(own_table))?;
        if let Some(table) = &arrays.input_table {
            learned("input_table".to_owned(), table, self.items * self.settings.input_width())?;
        }
        counted("layers", arrays.layers.len(), self.layers.len())?;
        counted("states", states.len(), self.layers.len())?;
        for (number, ((given, layer), state)) in arrays.layers.iter().zip(&self.layers).zip(states).enumerate() {
            let units = layer.units;
            let without = number == 0 && self.settings.embedding == Embedding::None;
            counted("weight_input", usize::from(given.weight_input.is_some()), usize::from(!without))?;
            if let Some(weight) = &given.weight_input {
                learned(format!("weight_input.{number}"), weight, 3 * units * layer.width)?;
            }
            learned(format!("weight_hidden.{number}"), &given.weight_hidden, 3 * units * units)?;
            learned(format!("bias_input.{number}"), &given.bias_input, 3 * units)?;
            learned(format!("bias_hidden.{number}"), &given.bias_hidden, 3 * units)?;
            if state.len() != self.lanes() * units {
                let expected = self.lanes() * units;
                return Err(Error::Length { name: format!("states.{number}"), found: state.len(), expected });
            }
        }
        Ok(())
    }

    /// Draws the samples of a block's steps and puts the uses of items in order.
    fn plan(&mut self, begin: usize, end: usize, first: u64) {
        let started = Instant::now();
        if self.plans.len() < end - begin {
            self.plans.resize_with(end - begin, Plan::default);
        }
        let Self { settings, schedule, sampler, plans, team, .. } = self;
        team.for_each(
            plans.iter_mut().take(end - begin).enumerate().collect(),
            |(offset, plan): (usize, &mut Plan)| {
                let step = begin + offset;
                plan.samples.resize(settings.n_sample, 0);
                let stream = Stream::new(settings.seed, first + offset as u64, Purpose::Samples);
                sampler.draw(stream, &mut plan.samples);
                let as_columns = schedule.targets(step).iter().chain(&plan.samples);
                plan.uses.clear();
                plan.uses.extend((0..).zip(as_columns).map(|(place, &item)| Use::new(item, place)));
                plan.input_uses.clear();
                let shared = settings.embedding == Embedding::Shared;
                let (uses, first) = if shared {
                    let columns = u32::try_from(plan.uses.len()).unwrap_or(u32::MAX);
                    (&mut plan.uses, columns)
                } else {
                    (&mut plan.input_uses, 0)
                };
                uses.extend((first..).zip(schedule.inputs(step)).map(|(place, &item)| Use::new(item, place)));
                plan.uses.sort_unstable();
                plan.input_uses.sort_unstable();
            },
        );
        self.spend(0, started);
    }

    /// Notes the time since `started` for a phase; the time now.
    fn spend(&mut self, phase: usize, started: Instant) -> Instant {
        match &mut self.spent {
            Some(spent) => {
                let now = Instant::now();
                spent[phase] += now - started;
                now
            }
            None => started,
        }
    }
}
