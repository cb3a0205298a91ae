//! The trained network by itself: its states after sessions, or after one click more.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use pulp::Arch;

use crate::error::{Error, Result};
use crate::gates::{GATES, GateWeights};
use crate::math::{sigmoid, tanh};
use crate::prefetch::Ahead;
use crate::product::{GRAIN, elementwise, padded};

/// Clicks whose inputs are multiplied at once.
const CLICKS: usize = 1 << 14;

/// What a layer has learned; gates are stacked as reset, update, new.
pub struct Weights<'a> {
    /// [3H, D]; `None` in the first layer of a network without an embedding.
    pub input: Option<&'a [f32]>,
    /// [3H, H].
    pub hidden: &'a [f32],
    /// [3H].
    pub bias_input: &'a [f32],
    /// [3H].
    pub bias_hidden: &'a [f32],
}

/// What enters after a click: entries `first..first + width` of a table's row.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// [V, stride]; others may use it too.
    pub table: Arc<Vec<f32>>,
    /// Entries of a row.
    pub stride: usize,
    /// The first entry that enters.
    pub first: usize,
    /// D, or 3H of the first layer where there is no embedding, and the table holds its products.
    pub width: usize,
}

/// A trained network without what scores items.
pub struct Network {
    inputs: Inputs,
    /// The first layer's products with every item [V, 3 * stride], where they are held.
    known: Option<Vec<f32>>,
    items: usize,
    layers: Vec<Layer>,
}

/// The first layer's products with clicks, each of 3 * stride.
struct Entered<'a> {
    products: Cow<'a, [f32]>,
    /// Where those of each click begin.
    starts: Vec<usize>,
}

/// A layer, its weights transposed, and every gate padded to whole vectors.
struct Layer {
    /// H.
    units: usize,
    /// H, padded.
    stride: usize,
    /// From the D entries that enter.
    input: Option<GateWeights>,
    /// From the H of the state.
    hidden: GateWeights,
    /// [3 * stride]: of both products, but for the new gate's of the state.
    bias: Vec<f32>,
    /// [stride]: the new gate's of the state.
    bias_remembered: Vec<f32>,
}

/// States of some sessions, a layer after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct States {
    /// Of each layer [sessions, H], one after the other.
    pub layers: Vec<Vec<f32>>,
}

impl Network {
    /// Of what enters and the layers from the input on. The first layer's products with all items are held where they take at most
    /// `most_bytes`, so that a click's are looked up.
    ///
    /// # Errors
    ///
    /// If an array has not the length that the others ask for, or a number is not finite.
    pub fn new(inputs: Inputs, layers: &[Weights], most_bytes: usize) -> Result<Self> {
        let items = inputs.table.len().checked_div(inputs.stride).unwrap_or(0);
        if items == 0 || layers.is_empty() {
            let name = if items == 0 { "the number of items" } else { "layers" };
            return Err(Error::Setting { name, value: "0".to_owned(), expected: "1 or more" });
        }
        length("input_table", inputs.table.len(), items * inputs.stride)?;
        if inputs.first + inputs.width > inputs.stride {
            let name = "the last column that enters";
            return Err(Error::Setting {
                name,
                value: (inputs.first + inputs.width).to_string(),
                expected: "within the table",
            });
        }
        let mut entering = inputs.width;
        let mut made = Vec::with_capacity(layers.len());
        for (number, weights) in layers.iter().enumerate() {
            let layer = Layer::new(number, weights, entering)?;
            entering = layer.units;
            made.push(layer);
        }
        finite("input_table", &inputs.table)?;
        let size = GATES * made[0].stride;
        let mut network = Self { inputs, known: None, items, layers: made };
        if items * size * size_of::<f32>() <= most_bytes {
            let mut known = pages::room(items * size);
            for first in (0..items).step_by(CLICKS) {
                known.extend_from_slice(&network.enter(first..items.min(first + CLICKS)).products);
            }
            network.known = Some(known);
        }
        Ok(network)
    }

    /// H of the last layer.
    #[must_use]
    pub fn units(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.units)
    }

    /// H of every layer, from the input on.
    #[must_use]
    pub fn layers(&self) -> Vec<usize> {
        self.layers.iter().map(|layer| layer.units).collect()
    }

    /// V.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    /// The states after sessions `items[offsets[s]..offsets[s + 1]]`, each begun from zero; of an empty one zero.
    ///
    /// A session's states do not depend on the others.
    ///
    /// # Errors
    ///
    /// If an item is unknown, or the offsets do not cut the items.
    pub fn states(&self, items: &[i32], offsets: &[i64]) -> Result<States> {
        let ends = self.check(items, offsets)?;
        let sessions = ends.len() - 1;
        let mut order: Vec<usize> = (0..sessions).collect();
        order.sort_by_key(|&session| std::cmp::Reverse(ends[session + 1] - ends[session]));
        let lengths: Vec<usize> = order.iter().map(|&session| ends[session + 1] - ends[session]).collect();
        let mut states: Vec<Vec<f32>> = self.layers.iter().map(|layer| vec![0.0; sessions * layer.stride]).collect();
        let longest = lengths.first().copied().unwrap_or(0);
        let mut from_state = Vec::new();
        let mut first = 0;
        while first < longest {
            // Positions whose inputs are multiplied together.
            let mut last = first;
            let mut clicked = Vec::new();
            while last < longest && (last == first || clicked.len() < CLICKS) {
                let alive = lengths.partition_point(|&length| length > last);
                clicked.extend(order[..alive].iter().map(|&session| row(items[ends[session] + last])));
                last += 1;
            }
            let entered = self.enter(clicked.into_iter());
            let mut taken = 0;
            for position in first..last {
                let alive = lengths.partition_point(|&length| length > position);
                self.go_on(&entered, taken..taken + alive, &mut states, &mut from_state);
                taken += alive;
            }
            first = last;
        }
        let layers = self.layers.iter().zip(&states).map(|(layer, states)| {
            let mut own = vec![0.0; sessions * layer.units];
            for (place, &session) in order.iter().enumerate() {
                own[session * layer.units..][..layer.units]
                    .copy_from_slice(&states[place * layer.stride..][..layer.units]);
            }
            own
        });
        Ok(States { layers: layers.collect() })
    }

    /// The states after one click more of every session: from each layer's [sessions, H].
    ///
    /// # Errors
    ///
    /// If an item is unknown, or the states are not as many.
    pub fn step(&self, items: &[i32], states: &States) -> Result<States> {
        let sessions = items.len();
        self.check_items(items)?;
        length("states", states.layers.len(), self.layers.len())?;
        let mut padded = Vec::with_capacity(self.layers.len());
        for (layer, states) in self.layers.iter().zip(&states.layers) {
            length("states", states.len(), sessions * layer.units)?;
            finite("states", states)?;
            let mut own = vec![0.0; sessions * layer.stride];
            for (row, state) in own.chunks_exact_mut(layer.stride).zip(states.chunks_exact(layer.units)) {
                row[..layer.units].copy_from_slice(state);
            }
            padded.push(own);
        }
        let entered = self.enter(items.iter().map(|&item| row(item)));
        self.go_on(&entered, 0..sessions, &mut padded, &mut Vec::new());
        let layers = self.layers.iter().zip(padded).map(|(layer, states)| {
            states.chunks_exact(layer.stride).flat_map(|row| row[..layer.units].iter().copied()).collect()
        });
        Ok(States { layers: layers.collect() })
    }

    /// The first layer's products with clicks.
    fn enter(&self, clicked: impl Iterator<Item = usize>) -> Entered<'_> {
        let layer = &self.layers[0];
        let size = GATES * layer.stride;
        if let Some(known) = &self.known {
            return Entered { products: Cow::Borrowed(known), starts: clicked.map(|item| item * size).collect() };
        }
        let Inputs { table, stride, first, width } = &self.inputs;
        let starts: Vec<usize> = clicked.map(|item| item * stride + first).collect();
        let mut out = vec![0.0; starts.len() * size];
        if let Some(weights) = &layer.input {
            weights.times(table, &starts, Ahead::new(&[]), &mut out);
        } else {
            for (out, &start) in out.chunks_exact_mut(size).zip(&starts) {
                let row = table[start..start + width].chunks_exact(layer.units);
                for (gate, products) in out.chunks_exact_mut(layer.stride).zip(row) {
                    gate[..layer.units].copy_from_slice(products);
                }
            }
        }
        Entered { starts: (0..starts.len()).map(|click| click * size).collect(), products: Cow::Owned(out) }
    }

    /// One click of the first sessions of the states, one each. What is computed on the way is left in `from_state`.
    fn go_on(&self, clicks: &Entered, these: Range<usize>, states: &mut [Vec<f32>], from_state: &mut Vec<f32>) {
        let sessions = these.len();
        // The next click's products are as far away as memory is.
        let size = GATES * self.layers[0].stride;
        let next = &clicks.starts[these.end..];
        let next: Vec<&[f32]> = next.iter().take(sessions).map(|&start| &clicks.products[start..][..size]).collect();
        let mut ahead = Ahead::new(&next);
        let mut entered: Vec<f32> = Vec::new();
        for (number, (layer, states)) in self.layers.iter().zip(states).enumerate() {
            let size = GATES * layer.stride;
            from_state.resize(sessions * size, 0.0);
            let starts: Vec<usize> = (0..sessions).map(|session| session * layer.stride).collect();
            layer.hidden.times(states, &starts, std::mem::replace(&mut ahead, Ahead::new(&[])), from_state);
            if number == 0 {
                layer.cell(&clicks.products, &clicks.starts[these.clone()], from_state, states);
            } else if let Some(weights) = &layer.input {
                let before = self.layers[number - 1].stride;
                let starts: Vec<usize> = (0..sessions).map(|session| session * before).collect();
                let mut from_input = vec![0.0; sessions * size];
                weights.times(&entered, &starts, Ahead::new(&[]), &mut from_input);
                let starts: Vec<usize> = (0..sessions).map(|session| session * size).collect();
                layer.cell(&from_input, &starts, from_state, states);
            }
            entered.clear();
            entered.extend_from_slice(&states[..sessions * layer.stride]);
        }
    }

    fn check(&self, items: &[i32], offsets: &[i64]) -> Result<Vec<usize>> {
        let wrong = |value: String| Error::Setting {
            name: "offsets",
            value,
            expected: "ascending numbers from 0 to the number of items",
        };
        let ends: Option<Vec<usize>> = offsets.iter().map(|&end| usize::try_from(end).ok()).collect();
        let ends = ends.ok_or_else(|| wrong("negative".to_owned()))?;
        if ends.first() != Some(&0) || ends.last() != Some(&items.len()) || !ends.is_sorted() {
            let shown = |end: Option<&usize>| end.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            return Err(wrong(format!("from {} to {}", shown(ends.first()), shown(ends.last()))));
        }
        self.check_items(items)?;
        Ok(ends)
    }

    fn check_items(&self, items: &[i32]) -> Result<()> {
        match items.iter().find(|&&item| row(item) >= self.items) {
            None => Ok(()),
            Some(&item) => Err(Error::Item { name: "items", item: item.into(), last: self.items - 1 }),
        }
    }
}

impl Layer {
    fn new(number: usize, weights: &Weights, entering: usize) -> Result<Self> {
        let units = weights.bias_hidden.len() / GATES;
        if units == 0 {
            return Err(Error::Length { name: format!("bias_hidden.{number}"), found: 0, expected: GATES });
        }
        let named = |name: &str| format!("{name}.{number}");
        length(&named("bias_hidden"), weights.bias_hidden.len(), GATES * units)?;
        length(&named("bias_input"), weights.bias_input.len(), GATES * units)?;
        length(&named("weight_hidden"), weights.hidden.len(), GATES * units * units)?;
        match weights.input {
            Some(input) => length(&named("weight_input"), input.len(), GATES * units * entering)?,
            None => length("input_table", entering, GATES * units)?,
        }
        for (name, entries) in [
            ("weight_input", weights.input.unwrap_or_default()),
            ("weight_hidden", weights.hidden),
            ("bias_input", weights.bias_input),
            ("bias_hidden", weights.bias_hidden),
        ] {
            finite(&named(name), entries)?;
        }
        let stride = padded(units);
        let mut bias = vec![0.0; GATES * stride];
        let mut bias_remembered = vec![0.0; stride];
        for gate in 0..GATES {
            for unit in 0..units {
                let (of_input, of_state) =
                    (weights.bias_input[gate * units + unit], weights.bias_hidden[gate * units + unit]);
                bias[gate * stride + unit] = if gate == 2 { of_input } else { of_input + of_state };
                if gate == 2 {
                    bias_remembered[unit] = of_state;
                }
            }
        }
        Ok(Self {
            units,
            stride,
            input: weights.input.map(|input| GateWeights::of(input, units, entering)),
            hidden: GateWeights::of(weights.hidden, units, units),
            bias,
            bias_remembered,
        })
    }

    /// From the products of the first sessions with their input, 3 * stride from each of `starts` on, and with their state,
    /// [sessions, 3 * stride], to their new states.
    fn cell(&self, from_input: &[f32], starts: &[usize], from_state: &[f32], states: &mut [f32]) {
        let stride = self.stride;
        let blocks = stride / GRAIN;
        let bias = &in_blocks(&self.bias)[..GATES * blocks];
        let bias_remembered = &in_blocks(&self.bias_remembered)[..blocks];
        elementwise(
            Arch::new(),
            #[inline(always)]
            || {
                let products = starts.iter().zip(from_state.chunks_exact(GATES * stride));
                for (state, (&start, of_state)) in states.chunks_exact_mut(stride).zip(products) {
                    let of_input = &in_blocks(&from_input[start..start + GATES * stride])[..GATES * blocks];
                    let of_state = &in_blocks(of_state)[..GATES * blocks];
                    let (state, _) = state.as_chunks_mut::<GRAIN>();
                    for (block, state) in state.iter_mut().enumerate() {
                        let (update, new) = (blocks + block, 2 * blocks + block);
                        for unit in 0..GRAIN {
                            let r = sigmoid(of_input[block][unit] + of_state[block][unit] + bias[block][unit]);
                            let z = sigmoid(of_input[update][unit] + of_state[update][unit] + bias[update][unit]);
                            let remembered = r * (of_state[new][unit] + bias_remembered[block][unit]);
                            let n = tanh(of_input[new][unit] + bias[new][unit] + remembered);
                            state[unit] = n + z * (state[unit] - n);
                        }
                    }
                }
            },
        );
    }
}

#[inline(always)]
fn in_blocks(entries: &[f32]) -> &[[f32; GRAIN]] {
    entries.as_chunks().0
}

/// A negative item stands nowhere.
fn row(item: i32) -> usize {
    item.cast_unsigned() as usize
}

fn length(name: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::Length { name: name.to_owned(), found, expected }) }
}

fn finite(name: &str, entries: &[f32]) -> Result<()> {
    match entries.iter().position(|entry| !entry.is_finite()) {
        None => Ok(()),
        Some(place) => Err(Error::NotFinite { name: name.to_owned(), place }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
mod tests {
    use super::*;

    fn noise(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from((state >> 16) as i16) / 65_536.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// A layer's arrays; none of the input without an embedding.
    struct Cell {
        units: usize,
        input: Option<Vec<f32>>,
        hidden: Vec<f32>,
        bias_input: Vec<f32>,
        bias_hidden: Vec<f32>,
    }

    impl Cell {
        fn weights(&self) -> Weights<'_> {
            Weights {
                input: self.input.as_deref(),
                hidden: &self.hidden,
                bias_input: &self.bias_input,
                bias_hidden: &self.bias_hidden,
            }
        }

        fn slowly(&self, entered: &[f64], state: &[f64]) -> Vec<f64> {
            let times = |weights: &[f32], vector: &[f64], row: usize| -> f64 {
                vector.iter().enumerate().map(|(k, x)| x * f64::from(weights[row * vector.len() + k])).sum()
            };
            let of_input = |row: usize| {
                let product = self.input.as_ref().map_or_else(|| entered[row], |weights| times(weights, entered, row));
                f64::from(self.bias_input[row]) + product
            };
            let of_state = |row: usize| f64::from(self.bias_hidden[row]) + times(&self.hidden, state, row);
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let next = |unit: usize| {
                let (update, new) = (self.units + unit, 2 * self.units + unit);
                let r = sigmoid(of_input(unit) + of_state(unit));
                let z = sigmoid(of_input(update) + of_state(update));
                let n = (of_input(new) + r * of_state(new)).tanh();
                (1.0 - z) * n + z * state[unit]
            };
            (0..self.units).map(next).collect()
        }
    }

    struct Learned {
        table: Vec<f32>,
        items: usize,
        layers: Vec<Cell>,
    }

    impl Learned {
        fn new(items: usize, width: usize, units: &[usize], embedding: bool) -> Self {
            let mut entering = width;
            let mut layers = Vec::new();
            for (number, &units) in units.iter().enumerate() {
                let seed = 10 * number as u32;
                layers.push(Cell {
                    units,
                    input: (number > 0 || embedding).then(|| noise(3 * units * entering, seed + 1)),
                    hidden: noise(3 * units * units, seed + 2),
                    bias_input: noise(3 * units, seed + 3),
                    bias_hidden: noise(3 * units, seed + 4),
                });
                entering = units;
            }
            let width = if embedding { width } else { 3 * units[0] };
            Self { table: noise(items * width, 99), items, layers }
        }

        fn network(&self) -> Network {
            let weights = self.layers.iter().map(Cell::weights).collect::<Vec<_>>();
            Network::new(self.inputs(0), &weights, 0).unwrap()
        }

        /// The same table with columns before and behind it that others use.
        fn inputs(&self, besides: usize) -> Inputs {
            let width = self.table.len() / self.items;
            let beside = vec![7.0; besides];
            let rows = self.table.chunks_exact(width).flat_map(|row| [&beside, row, &beside].concat());
            Inputs { table: Arc::new(rows.collect()), stride: width + 2 * besides, first: besides, width }
        }

        /// The last layer's state by the textbook, in double precision.
        fn slowly(&self, session: &[i32]) -> Vec<f64> {
            let mut states: Vec<Vec<f64>> = self.layers.iter().map(|layer| vec![0.0; layer.units]).collect();
            let width = self.table.len() / self.items;
            for &item in session {
                let row = &self.table[row(item) * width..][..width];
                let mut entered: Vec<f64> = row.iter().map(|&entry| f64::from(entry)).collect();
                for (cell, state) in self.layers.iter().zip(&mut states) {
                    *state = cell.slowly(&entered, state);
                    entered.clone_from(state);
                }
            }
            states.pop().unwrap()
        }
    }

    #[test]
    fn states_are_the_textbooks_whatever_else_is_asked() {
        for (width, units, embedding) in
            [(5, vec![7], true), (16, vec![16], true), (3, vec![20, 9], true), (0, vec![33, 4], false)]
        {
            let learned = Learned::new(11, width, &units, embedding);
            let network = learned.network();
            let sessions: Vec<Vec<i32>> = [0, 1, 3, 2, 9, 3, 1, 30, 0, 5, 5, 5, 2]
                .iter()
                .enumerate()
                .map(|(number, &length)| (0..length).map(|place| (number * 5 + place * 3) as i32 % 11).collect())
                .collect();
            let mut offsets = vec![0];
            offsets.extend(sessions.iter().scan(0, |end, session| {
                *end += session.len() as i64;
                Some(*end)
            }));
            let found = network.states(&sessions.concat(), &offsets).unwrap();
            for (number, session) in sessions.iter().enumerate() {
                let own = &found.layers.last().unwrap()[number * network.units()..][..network.units()];
                for (found, expected) in own.iter().zip(learned.slowly(session)) {
                    assert!((f64::from(*found) - expected).abs() < 2e-6, "{found} for {expected}");
                }
                let weights = learned.layers.iter().map(Cell::weights).collect::<Vec<_>>();
                let shared = Network::new(learned.inputs(3), &weights, usize::MAX).unwrap();
                assert_eq!(shared.states(&sessions.concat(), &offsets).unwrap(), found);
                let alone = network.states(session, &[0, session.len() as i64]).unwrap();
                assert_eq!(alone.layers.last().unwrap(), own);
            }
        }
    }

    #[test]
    fn a_click_at_a_time_is_the_whole_session_at_once() {
        let network = Learned::new(9, 6, &[18, 10], true).network();
        let sessions = [[0, 3, 8, 8, 1], [5, 5, 2, 7, 0]];
        let mut states = network.states(&[], &[0, 0, 0]).unwrap();
        for click in 0..5 {
            states = network.step(&[sessions[0][click], sessions[1][click]], &states).unwrap();
            let items = [&sessions[0][..=click], &sessions[1][..=click]].concat();
            let end = click as i64 + 1;
            assert_eq!(network.states(&items, &[0, end, 2 * end]).unwrap(), states);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let learned = Learned::new(4, 3, &[2], true);
        let network = learned.network();
        assert!(matches!(network.states(&[4], &[0, 1]), Err(Error::Item { item: 4, last: 3, .. })));
        assert!(matches!(network.states(&[-1], &[0, 1]), Err(Error::Item { item: -1, .. })));
        for offsets in [&[][..], &[0], &[0, 2], &[0, 2, 1], &[1, 1], &[0, -1, 1]] {
            assert!(
                matches!(network.states(&[0], offsets), Err(Error::Setting { name: "offsets", .. })),
                "{offsets:?}"
            );
        }
        let states = States { layers: vec![vec![0.0; 3]] };
        assert!(matches!(network.step(&[0], &states), Err(Error::Length { found: 3, expected: 2, .. })));
        let states = States { layers: vec![vec![f32::NAN; 2]] };
        assert!(matches!(network.step(&[0], &states), Err(Error::NotFinite { place: 0, .. })));
        let Cell { input, hidden, .. } = &learned.layers[0];
        let new = |table: &[f32], input: Option<&[f32]>, hidden: &[f32]| {
            let weights = Weights { input, hidden, ..learned.layers[0].weights() };
            let inputs = Inputs {
                table: Arc::new(table.to_vec()),
                stride: table.len().div_ceil(4),
                first: 0,
                width: table.len() / 4,
            };
            Network::new(inputs, &[weights], usize::MAX).err()
        };
        let of = |name: &str, error: Option<Error>| matches!(error, Some(Error::Length { name: found, .. }) if found == name);
        assert!(new(&learned.table, input.as_deref(), hidden).is_none());
        assert!(of("input_table", new(&learned.table[1..], input.as_deref(), hidden)));
        assert!(of("weight_input.0", new(&learned.table[4..], input.as_deref(), hidden)));
        assert!(of("weight_hidden.0", new(&learned.table, input.as_deref(), &hidden[1..])));
        assert!(of("input_table", new(&learned.table, None, hidden)));
        let beyond = Inputs { first: 1, ..learned.inputs(0) };
        let weights = learned.layers[0].weights();
        assert!(matches!(
            Network::new(beyond, &[weights], usize::MAX),
            Err(Error::Setting { name: "the last column that enters", .. })
        ));
    }
}
