//! One step, phase by phase.

use std::time::Instant;

use pulp::Arch;

use super::{Arrays, COLUMNS, LANES, Plan, Trainer};
use crate::adagrad::{Learned, Rate};
use crate::cell::{Backward, Forward, UNITS};
use crate::loss::{Block, Part};
use crate::prefetch::Ahead;
use crate::product::{ColumnsTimes, Right, RowsTimes, elementwise, padded};
use crate::random::{Dropout, Purpose, Stream};
use crate::rows::{Touched, UpdateRows, Uses, cut, total};
use crate::settings::{Embedding, Loss};

/// Vectors looked up and multiplied at a time: they stay in the first-level cache.
const GATHERED: usize = 20;
/// Columns of a product that a task makes; a multiple of the widest vector register.
const PANEL: usize = 48;
/// Rows of a weight matrix that a task updates.
const WEIGHTS: usize = 20;

impl Trainer {
    /// Runs one step; the sum of its lanes' losses, divided by the batch size.
    pub(super) fn step(&mut self, arrays: &mut Arrays, step: usize, number: u64, plan: &Plan, before: usize) -> f64 {
        let clock = Instant::now();
        let lanes = self.schedule.lanes(step);
        let stride = padded(lanes);
        let survivors = self.schedule.survivors(step);
        for layer in &mut self.layers {
            layer.advance(survivors.as_deref(), self.schedule.resets(step), padded(before), stride);
        }
        for (layer, given) in self.layers.iter_mut().zip(&arrays.layers) {
            if let Some(weight) = &given.weight_input {
                layer.pad_weight(weight.value);
            }
        }
        self.look_up(arrays, step, number, lanes);
        let clock = self.spend(1, clock);
        for layer in 0..self.layers.len() {
            self.cell_forward(arrays, layer, number, lanes);
        }
        let clock = self.spend(2, clock);
        self.score(arrays, step, plan, lanes);
        let clock = self.spend(3, clock);
        let loss = self.loss(lanes);
        let clock = self.spend(4, clock);
        self.loss_backward(lanes);
        let mut clock = self.spend(5, clock);
        for layer in (0..self.layers.len()).rev() {
            self.cell_backward(layer, lanes);
            clock = self.spend(6, clock);
            self.input_backward(arrays, layer, stride);
            clock = self.spend(7, clock);
        }
        self.update(arrays, plan, lanes);
        self.spend(8, clock);
        loss
    }

    /// Columns of the scores for so many lanes.
    fn columns(&self, lanes: usize) -> usize {
        lanes + self.settings.n_sample
    }

    /// The rows of the input items, dropped out, as the first layer's input.
    fn look_up(&mut self, arrays: &Arrays, step: usize, number: u64, lanes: usize) {
        let Self { settings, schedule, entered, embedding_mask, team, arch, .. } = self;
        let stride = padded(lanes);
        let width = settings.input_width();
        let inputs = schedule.inputs(step);
        let table: &[f32] = arrays.input_table.as_ref().unwrap_or(&arrays.item_table).value;
        let stream = Stream::new(settings.seed, number, Purpose::EmbeddingDropout);
        let dropout = (settings.dropout_embedding > 0.0).then(|| Dropout::new(stream, settings.dropout_embedding));
        let entered = entered[..width * stride].chunks_mut(UNITS * stride);
        let masks = embedding_mask.chunks_mut(UNITS * stride);
        team.for_each(entered.zip(masks).enumerate().collect(), |(block, (entered, mask))| {
            elementwise(
                *arch,
                #[inline(always)]
                || {
                    let first = block * UNITS;
                    let units = entered.len() / stride;
                    let mut gathered = [[0.0_f32; LANES]; UNITS];
                    for begin in (0..stride).step_by(LANES) {
                        for lane in 0..LANES {
                            let row: &[f32] = match inputs.get(begin + lane) {
                                Some(&item) => &table[item as usize * width + first..][..units],
                                None => &[0.0; UNITS][..units],
                            };
                            for (gathered, &entry) in gathered.iter_mut().zip(row) {
                                gathered[lane] = entry;
                            }
                        }
                        for (row, gathered) in entered.chunks_exact_mut(stride).zip(&gathered) {
                            row[begin..begin + LANES].copy_from_slice(gathered);
                        }
                    }
                    if let Some(dropout) = dropout {
                        for (quad, rows) in mask.chunks_mut(4 * stride).enumerate() {
                            dropout.rows(first / 4 + quad, lanes, stride, rows);
                        }
                        for (entry, &mask) in entered.iter_mut().zip(mask.iter()) {
                            *entry *= mask;
                        }
                    }
                },
            );
        });
    }

    /// From a layer's input and state to its new state.
    fn cell_forward(&mut self, arrays: &Arrays, number_of_layer: usize, number: u64, lanes: usize) {
        let Self { settings, layers, entered, team, arch, .. } = self;
        let stride = padded(lanes);
        let stream = Stream::new(settings.seed, number, Purpose::HiddenDropout(number_of_layer));
        let dropout = Dropout::new(stream, settings.dropout_hidden);
        let (lower, upper) = layers.split_at_mut(number_of_layer);
        let Some(layer) = upper.first_mut() else { return };
        let given = &arrays.layers[number_of_layer];
        let (units, width) = (layer.units, layer.width);
        let entered: &[f32] = lower.last().map_or(entered, |below| &below.next);
        let (state, block_size) = (&layer.state, UNITS * stride);
        let gates = layer.gates[..3 * units * stride].chunks_mut(3 * block_size);
        let from_state = layer.from_state[..3 * units * stride].chunks_mut(3 * block_size);
        let next = layer.next[..units * stride].chunks_mut(block_size);
        let tasks = gates.zip(from_state).zip(next.zip(layer.mask.chunks_mut(block_size)));
        team.for_each(tasks.enumerate().collect(), |(block, ((gates, from_state), (next, mask)))| {
            let first = block * UNITS;
            let count = next.len() / stride;
            // Row `index` of the block's three gates, in the stacked arrays.
            let row = |index: usize| index / count * units + first + index % count;
            let mut starts = [0; 3 * UNITS];
            let right = |entries, depth| Right { entries, stride, depth, width: stride };
            if let Some(weight) = &given.weight_input {
                starts.iter_mut().enumerate().for_each(|(index, start)| *start = row(index) * width);
                let (left, starts) = (&*weight.value, &starts[..3 * count]);
                let ahead = Ahead::new(&[]);
                arch.dispatch(RowsTimes { left, starts, right: right(entered, width), ahead, out: gates, stride });
            } else {
                for (index, out) in gates.chunks_exact_mut(stride).enumerate() {
                    out.copy_from_slice(&entered[row(index) * stride..][..stride]);
                }
            }
            starts.iter_mut().enumerate().for_each(|(index, start)| *start = row(index) * units);
            let (left, starts) = (&*given.weight_hidden.value, &starts[..3 * count]);
            let ahead = Ahead::new(&[]);
            arch.dispatch(RowsTimes { left, starts, right: right(state, units), ahead, out: from_state, stride });
            elementwise(
                *arch,
                #[inline(always)]
                || {
                    for (quad, rows) in mask[..count * stride].chunks_mut(4 * stride).enumerate() {
                        dropout.rows(first / 4 + quad, lanes, stride, rows);
                    }
                    let state = &state[first * stride..][..count * stride];
                    let bias_input = |gate, unit| given.bias_input.value[gate * units + first + unit];
                    let bias_hidden = |gate, unit| given.bias_hidden.value[gate * units + first + unit];
                    Forward { gates, from_state, next }.run(state, mask, stride, bias_input, bias_hidden);
                },
            );
        });
    }

    /// Scores of the targets and samples, and what the backward pass needs with a row a lane.
    fn score(&mut self, arrays: &Arrays, step: usize, plan: &Plan, lanes: usize) {
        enum Task<'a> {
            Score { first: usize, vectors: &'a mut [f32], scores: &'a mut [f32], part: &'a mut [f32] },
            Turn(Turn<'a>),
        }
        let (stride, columns) = (padded(lanes), self.columns(lanes));
        let units = self.settings.output_width();
        let Self { settings, schedule, layers, entered, entered_rows, embedding_mask, embedding_mask_rows, .. } = self;
        let Self { corrections, vectors, scores, parts, team, arch, .. } = self;
        let mut tasks = Vec::new();
        let vectors = vectors[..columns * padded(units)].chunks_mut(COLUMNS * padded(units));
        let scores = scores[..columns * stride].chunks_mut(COLUMNS * stride);
        let blocks = vectors.zip(scores).zip(parts.chunks_mut(Part::COUNT * stride));
        for (block, ((vectors, scores), part)) in blocks.enumerate() {
            tasks.push(Task::Score { first: block * COLUMNS, vectors, scores, part });
        }
        if settings.embedding != Embedding::None {
            let width = settings.input_width();
            tasks.extend(Turn::all(entered, entered_rows, width, stride).map(Task::Turn));
            if settings.dropout_embedding > 0.0 {
                tasks.extend(Turn::all(embedding_mask, embedding_mask_rows, width, stride).map(Task::Turn));
            }
        }
        let mut output: &[f32] = &[];
        for layer in layers {
            output = &layer.next;
            tasks.extend(Turn::all(&layer.next, &mut layer.next_rows, layer.units, stride).map(Task::Turn));
        }
        let table: &[f32] = arrays.item_table.value;
        let bias: &[f32] = arrays.item_bias.value;
        let targets = schedule.targets(step);
        let item = |column: usize| {
            let from = if column < lanes { targets[column] } else { plan.samples[column - lanes] };
            from as usize
        };
        let constant = |column: usize| {
            let item = item(column);
            bias[item]
                - corrections.as_ref().map_or(
                    0.0,
                    |(as_target, as_sample)| {
                        if column < lanes { as_target[item] } else { as_sample[item] }
                    },
                )
        };
        team.for_each(tasks, |task| match task {
            Task::Score { first, vectors, scores, part } => {
                let groups = vectors.chunks_mut(GATHERED * padded(units));
                for (group, (vectors, scores)) in groups.zip(scores.chunks_mut(GATHERED * stride)).enumerate() {
                    let begin = first + group * GATHERED;
                    let mut ahead: [&[f32]; GATHERED] = [&[]; GATHERED];
                    for (row, column) in ahead.iter_mut().zip(begin + GATHERED..columns.min(begin + 2 * GATHERED)) {
                        *row = &table[item(column) * units..][..units];
                    }
                    for (column, vector) in (begin..).zip(vectors.chunks_exact_mut(padded(units))) {
                        vector[..units].copy_from_slice(&table[item(column) * units..][..units]);
                    }
                    let mut starts = [0; GATHERED];
                    starts.iter_mut().enumerate().for_each(|(index, start)| *start = index * padded(units));
                    let starts = &starts[..vectors.len() / padded(units)];
                    let right = Right { entries: output, stride, depth: units, width: stride };
                    let ahead = Ahead::new(&ahead);
                    arch.dispatch(RowsTimes { left: vectors, starts, right, ahead, out: scores, stride });
                }
                elementwise(
                    *arch,
                    #[inline(always)]
                    || Block { scores, first, stride }.finish_scores(constant, settings.loss, lanes, part),
                );
            }
            Task::Turn(turn) => turn.run(*arch, stride),
        });
    }

    /// The sums that the losses' gradients need; the loss.
    fn loss(&mut self, lanes: usize) -> f64 {
        let (stride, columns) = (padded(lanes), self.columns(lanes));
        let Self { settings, totals, scores, parts, team, arch, .. } = self;
        if columns == 1 && matches!(settings.loss, Loss::BprMax { .. }) {
            return 0.0; // a single lane and no samples: nothing to compare with
        }
        let scores = &mut scores[..columns * stride];
        let parts = &mut parts[..columns.div_ceil(COLUMNS) * Part::COUNT * stride];
        totals.begin(parts, scores, lanes, stride);
        let blocks = scores.chunks_mut(COLUMNS * stride).zip(parts.chunks_mut(Part::COUNT * stride));
        let seen = &*totals;
        team.for_each(blocks.enumerate().collect(), |(block, (scores, part))| {
            let first = block * COLUMNS;
            elementwise(
                *arch,
                #[inline(always)]
                || Block { scores, first, stride }.sums(seen, settings.loss, part),
            );
        });
        totals.finish(parts, stride, settings.loss, settings.batch_size)
    }

    /// The loss's gradient in the scores, and each block's part of that in the output.
    fn loss_backward(&mut self, lanes: usize) {
        let (stride, columns) = (padded(lanes), self.columns(lanes));
        let Self { settings, totals, vectors, scores, in_output, team, arch, .. } = self;
        let width = padded(settings.output_width());
        let nothing = columns == 1 && matches!(settings.loss, Loss::BprMax { .. });
        let scores = scores[..columns * stride].chunks_mut(COLUMNS * stride);
        let blocks = scores.zip(vectors.chunks(COLUMNS * width)).zip(in_output.chunks_mut(width * stride));
        team.for_each(blocks.enumerate().collect(), |(block, ((scores, vectors), in_output))| {
            if nothing {
                scores.fill(0.0);
            } else {
                let first = block * COLUMNS;
                elementwise(
                    *arch,
                    #[inline(always)]
                    || Block { scores: &mut *scores, first, stride }.gradient(totals, settings.loss),
                );
            }
            let right = Right { entries: scores, stride, depth: scores.len() / stride, width: stride };
            let left = ColumnsTimes {
                left: vectors,
                left_stride: width,
                first: 0,
                count: width,
                right,
                out: in_output,
                stride,
            };
            arch.dispatch(left);
        });
    }

    /// From the gradient in a layer's new state to that in its gates.
    fn cell_backward(&mut self, number_of_layer: usize, lanes: usize) {
        let (stride, columns) = (padded(lanes), self.columns(lanes));
        let Self { layers, in_output, team, arch, .. } = self;
        let topmost = number_of_layer + 1 == layers.len();
        let layer = &mut layers[number_of_layer];
        let (units, block_size) = (layer.units, UNITS * stride);
        let whole = padded(units) * stride;
        let (in_reset, rest) = layer.in_gates[..3 * units * stride].split_at_mut(units * stride);
        let (in_update, in_new) = rest.split_at_mut(units * stride);
        let in_gates = in_reset.chunks_mut(block_size).zip(in_update.chunks_mut(block_size));
        let in_new = in_new.chunks_mut(block_size).zip(layer.in_new_state[..units * stride].chunks_mut(block_size));
        let (gates, from_state) = (&layer.gates[..3 * units * stride], &layer.from_state[..3 * units * stride]);
        let (state, mask, in_next) = (&layer.state, &layer.mask, &layer.in_next);
        // The topmost layer's gradient comes in parts, the others' in one.
        let parts = if topmost { &in_output[..columns.div_ceil(COLUMNS) * whole] } else { &in_next[..whole] };
        team.for_each(
            in_gates.zip(in_new).enumerate().collect(),
            |(block, ((in_reset, in_update), (in_new, in_new_state)))| {
                let first = block * UNITS * stride;
                let count = in_reset.len();
                let part = |from: usize| from..from + count;
                let mut backward =
                    Backward { reset: in_reset, update: in_update, new: in_new, new_of_state: in_new_state };
                elementwise(
                    *arch,
                    #[inline(always)]
                    || {
                        let mut gradient = vec![0.0; count];
                        for found in parts.chunks_exact(whole) {
                            for (sum, found) in gradient.iter_mut().zip(&found[part(first)]) {
                                *sum += found;
                            }
                        }
                        let (gates, from_state) =
                            (&gates[3 * first..][..3 * count], &from_state[3 * first..][..3 * count]);
                        for (unit, gradient) in gradient.chunks_exact(stride).enumerate() {
                            backward.unit(unit, gradient, gates, from_state, &state[part(first)], &mask[part(first)]);
                        }
                    },
                );
            },
        );
    }

    /// From the gradient in a layer's gates to that in its input.
    fn input_backward(&mut self, arrays: &Arrays, number_of_layer: usize, stride: usize) {
        let Self { settings, layers, in_inputs, embedding_mask_rows, team, arch, .. } = self;
        let (lower, upper) = layers.split_at_mut(number_of_layer);
        let Some(layer) = upper.first() else { return };
        let given = &arrays.layers[number_of_layer];
        let (units, width) = (layer.units, padded(layer.width));
        let Some(weight) = &given.weight_input else {
            // The input was the gates' products themselves.
            let turns = Turn::all(&layer.in_gates, in_inputs, 3 * units, stride).collect();
            team.for_each(turns, |turn: Turn| turn.run(*arch, stride));
            return;
        };
        let weight = layer.padded_weight(weight.value);
        if let Some(below) = lower.last_mut() {
            let tasks = below.in_next[..width * stride].chunks_mut(PANEL * stride);
            team.for_each(tasks.enumerate().collect(), |(panel, out): (usize, &mut [f32])| {
                let right = Right { entries: &layer.in_gates, stride, depth: 3 * units, width: stride };
                let count = out.len() / stride;
                let first = panel * PANEL;
                arch.dispatch(ColumnsTimes { left: weight, left_stride: width, first, count, right, out, stride });
            });
            return;
        }
        let tasks = in_inputs[..stride * width].chunks_mut(stride * PANEL);
        let drop = settings.dropout_embedding > 0.0;
        team.for_each(tasks.enumerate().collect(), |(panel, out): (usize, &mut [f32])| {
            let first = panel * PANEL;
            let columns = out.len() / stride;
            let right = Right { entries: &weight[first..], stride: width, depth: 3 * units, width: columns };
            let product = ColumnsTimes {
                left: &layer.in_gates,
                left_stride: stride,
                first: 0,
                count: stride,
                right,
                out: &mut *out,
                stride: columns,
            };
            arch.dispatch(product);
            if drop {
                for (row, mask) in out.chunks_exact_mut(columns).zip(embedding_mask_rows.chunks_exact(width)) {
                    for (entry, &mask) in row.iter_mut().zip(&mask[first..]) {
                        *entry *= mask;
                    }
                }
            }
        });
    }

    /// Updates the weights, and the rows of the tables that the step touched.
    fn update(&mut self, arrays: &mut Arrays, plan: &Plan, lanes: usize) {
        enum Task<'a> {
            Weights(Weights<'a>),
            Rows(Touched<'a>, Uses<'a>),
        }
        let (stride, columns) = (padded(lanes), self.columns(lanes));
        let Self { settings, layers, entered_rows, in_inputs, scores, team, arch, .. } = self;
        let rate = Rate { learning: settings.learning_rate, momentum: settings.momentum };
        let mut tasks = Vec::new();
        let units = settings.output_width();
        let shared = settings.embedding == Embedding::Shared;
        let right = |entries, width| Right { entries, stride: padded(width), depth: lanes, width: padded(width) };
        let empty: &[f32] = &[];
        let output = right(layers.last().map_or(empty, |layer| &layer.next_rows), units);
        let panel = if settings.embedding == Embedding::None { padded(settings.input_width()) } else { PANEL };
        let of_items = Uses { in_scores: scores, columns, stride, output, in_inputs, panel, width: units };
        let table = arrays.item_table.part();
        for touched in cut(table, Some(arrays.item_bias.part()), units, &plan.uses) {
            tasks.push(Task::Rows(touched, of_items));
        }
        if let Some(table) = arrays.input_table.as_mut().filter(|_| !shared) {
            let width = settings.input_width();
            let of_inputs = Uses { columns: 0, width, output: right(empty, width), ..of_items };
            for touched in cut(table.part(), None, width, &plan.input_uses) {
                tasks.push(Task::Rows(touched, of_inputs));
            }
        }
        let mut entered: &[f32] = entered_rows;
        for (layer, given) in layers.iter().zip(&mut arrays.layers) {
            let in_gates = &layer.in_gates[..3 * layer.units * stride];
            let unlike = (2 * layer.units, layer.in_new_state.as_slice());
            if let Some(weight) = &mut given.weight_input {
                let entered = right(entered, layer.width);
                let bias = given.bias_input.part();
                tasks
                    .extend(Weights::all(weight.part(), bias, layer.width, in_gates, None, entered).map(Task::Weights));
            } else {
                let bias = given.bias_input.part();
                tasks.push(Task::Weights(Weights::bias_alone(bias, in_gates, right(empty, 0))));
            }
            let state = right(&layer.state_rows, layer.units);
            let weight = given.weight_hidden.part();
            let bias = given.bias_hidden.part();
            tasks.extend(Weights::all(weight, bias, layer.units, in_gates, Some(unlike), state).map(Task::Weights));
            entered = &layer.next_rows;
        }
        team.for_each(tasks, |task| match task {
            Task::Weights(weights) => weights.run(*arch, stride, rate),
            Task::Rows(touched, uses) => arch.dispatch(UpdateRows { touched, uses, rate }),
        });
    }
}

/// From a row a unit and an entry a lane to a row a lane, for some lanes.
struct Turn<'a> {
    from: &'a [f32],
    units: usize,
    first: usize,
    rows: &'a mut [f32],
}

impl<'a> Turn<'a> {
    /// Tasks for all of `stride` lanes.
    fn all(from: &'a [f32], rows: &'a mut [f32], units: usize, stride: usize) -> impl Iterator<Item = Self> {
        let groups = rows[..stride * padded(units)].chunks_mut(LANES * padded(units));
        groups.enumerate().map(move |(group, rows)| Self { from, units, first: group * LANES, rows })
    }

    fn run(self, arch: Arch, stride: usize) {
        let Self { from, units, first, rows } = self;
        elementwise(
            arch,
            #[inline(always)]
            || {
                let mut turned = [[0.0_f32; UNITS]; LANES];
                for begin in (0..units).step_by(UNITS) {
                    let count = UNITS.min(units - begin);
                    for unit in 0..count {
                        let lanes = &from[(begin + unit) * stride + first..][..LANES];
                        for (turned, &entry) in turned.iter_mut().zip(lanes) {
                            turned[unit] = entry;
                        }
                    }
                    for (row, turned) in rows.chunks_exact_mut(padded(units)).zip(&turned) {
                        row[begin..begin + count].copy_from_slice(&turned[..count]);
                    }
                }
            },
        );
    }
}

/// Some rows of a weight matrix and their biases.
struct Weights<'a> {
    weight: Option<Learned<'a>>,
    bias: Learned<'a>,
    width: usize,
    /// The first of the rows.
    first: usize,
    /// The gradient in what the rows gave, a row each.
    gradient: &'a [f32],
    /// From this row on, the gradient stands elsewhere.
    unlike: Option<(usize, &'a [f32])>,
    /// What the rows were multiplied with, with a row a lane.
    right: Right<'a>,
}

impl<'a> Weights<'a> {
    fn all(
        weight: Learned<'a>,
        bias: Learned<'a>,
        width: usize,
        gradient: &'a [f32],
        unlike: Option<(usize, &'a [f32])>,
        right: Right<'a>,
    ) -> impl Iterator<Item = Self> {
        let parts = weight.chunks(WEIGHTS * width).zip(bias.chunks(WEIGHTS)).enumerate();
        parts.map(move |(part, (weight, bias))| Self {
            weight: Some(weight),
            bias,
            width,
            first: part * WEIGHTS,
            gradient,
            unlike,
            right,
        })
    }

    fn bias_alone(bias: Learned<'a>, gradient: &'a [f32], right: Right<'a>) -> Self {
        Self { weight: None, bias, width: 0, first: 0, gradient, unlike: None, right }
    }

    fn run(self, arch: Arch, stride: usize, rate: Rate) {
        let Self { weight, mut bias, width, first, gradient, unlike, right } = self;
        let rows = first..first + bias.value.len();
        if let Some(mut weight) = weight {
            let mut gradients = vec![0.0; rows.len() * right.width];
            let of_one = |from: &[f32], first: usize, rows: usize, out: &mut [f32]| {
                let mut starts = [0; WEIGHTS];
                starts.iter_mut().enumerate().for_each(|(index, start)| *start = (first + index) * stride);
                let stride = right.width;
                let ahead = Ahead::new(&[]);
                arch.dispatch(RowsTimes { left: from, starts: &starts[..rows], right, ahead, out, stride });
            };
            let border = unlike.map_or(rows.end, |(border, _)| border.clamp(rows.start, rows.end));
            let (like, other) = gradients.split_at_mut((border - rows.start) * right.width);
            if border > rows.start {
                of_one(gradient, rows.start, border - rows.start, like);
            }
            if let Some((unlike_from, from)) = unlike.filter(|_| border < rows.end) {
                of_one(from, border - unlike_from, rows.end - border, other);
            }
            elementwise(
                arch,
                #[inline(always)]
                || {
                    for (row, gradient) in gradients.chunks_exact(right.width).enumerate() {
                        weight.update(rate, row * width, &gradient[..width]);
                    }
                },
            );
        }
        for (index, row) in rows.enumerate() {
            let from = match unlike {
                Some((border, from)) if row >= border => &from[(row - border) * stride..],
                _ => &gradient[row * stride..],
            };
            bias.update(rate, index, &[total(&from[..stride])]);
        }
    }
}
