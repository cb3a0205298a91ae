//! The elementwise part of a GRU step, forward and backward, for a block of units.
//!
//! Everything lies with the lanes beside each other: a row a unit, an entry a lane.

use crate::math::{sigmoid, tanh};

/// Units worked on at a time.
pub(crate) const UNITS: usize = 16;

/// What a block of units had in the forward step; three gates of [units, stride] each: reset, update, new.
pub(crate) struct Forward<'a> {
    /// In: products of the input. Out: reset, update, new.
    pub(crate) gates: &'a mut [f32],
    /// In: products of the state. Out, in the third part: what of the state the reset gate is applied to.
    pub(crate) from_state: &'a mut [f32],
    /// The new state, dropped out.
    pub(crate) next: &'a mut [f32],
}

impl Forward<'_> {
    /// From products to the new state; `bias_input(gate, unit)` and `bias_hidden` with the block's units from 0.
    #[inline(always)]
    pub(crate) fn run(
        &mut self,
        state: &[f32],
        mask: &[f32],
        stride: usize,
        bias_input: impl Fn(usize, usize) -> f32,
        bias_hidden: impl Fn(usize, usize) -> f32,
    ) {
        let units = self.next.len() / stride;
        let (reset, others) = self.gates.split_at_mut(units * stride);
        let (update, new) = others.split_at_mut(units * stride);
        let (from_reset, others) = self.from_state.split_at_mut(units * stride);
        let (from_update, remembered) = others.split_at_mut(units * stride);
        for unit in 0..units {
            let row = unit * stride..(unit + 1) * stride;
            let (reset, update, new) = (&mut reset[row.clone()], &mut update[row.clone()], &mut new[row.clone()]);
            let (from_reset, from_update) = (&from_reset[row.clone()], &from_update[row.clone()]);
            let remembered = &mut remembered[row.clone()];
            let (state, mask, next) = (&state[row.clone()], &mask[row.clone()], &mut self.next[row.clone()]);
            let bias_reset = bias_input(0, unit) + bias_hidden(0, unit);
            let bias_update = bias_input(1, unit) + bias_hidden(1, unit);
            let (bias_new, bias_remembered) = (bias_input(2, unit), bias_hidden(2, unit));
            for lane in 0..stride {
                let r = sigmoid(reset[lane] + from_reset[lane] + bias_reset);
                let z = sigmoid(update[lane] + from_update[lane] + bias_update);
                let kept = remembered[lane] + bias_remembered;
                let n = tanh(new[lane] + bias_new + r * kept);
                (reset[lane], update[lane], new[lane], remembered[lane]) = (r, z, n, kept);
                next[lane] = (n + z * (state[lane] - n)) * mask[lane];
            }
        }
    }
}

/// Where a block of units leaves the loss's gradient in its gates, each [units, stride].
pub(crate) struct Backward<'a> {
    pub(crate) reset: &'a mut [f32],
    pub(crate) update: &'a mut [f32],
    /// As the input's weights have it.
    pub(crate) new: &'a mut [f32],
    /// As the state's weights have it.
    pub(crate) new_of_state: &'a mut [f32],
}

impl Backward<'_> {
    /// From the gradient in the new state, dropped out, of one unit of the block.
    #[inline(always)]
    pub(crate) fn unit(
        &mut self,
        unit: usize,
        gradient: &[f32],
        gates: &[f32],
        from_state: &[f32],
        state: &[f32],
        mask: &[f32],
    ) {
        let stride = gradient.len();
        let block = gates.len() / 3;
        let row = unit * stride..(unit + 1) * stride;
        let part = |gate: usize| gate * block + unit * stride..gate * block + (unit + 1) * stride;
        let (reset, update, new) = (&gates[part(0)], &gates[part(1)], &gates[part(2)]);
        let remembered = &from_state[part(2)];
        let (state, mask) = (&state[row.clone()], &mask[row.clone()]);
        let (in_reset, in_update) = (&mut self.reset[row.clone()], &mut self.update[row.clone()]);
        let (in_new, in_new_state) = (&mut self.new[row.clone()], &mut self.new_of_state[row.clone()]);
        for lane in 0..stride {
            let (r, z, n) = (reset[lane], update[lane], new[lane]);
            let gradient = gradient[lane] * mask[lane];
            let of_new = gradient * (1.0 - z) * (1.0 - n * n);
            in_update[lane] = gradient * (state[lane] - n) * z * (1.0 - z);
            in_reset[lane] = of_new * remembered[lane] * r * (1.0 - r);
            in_new[lane] = of_new;
            in_new_state[lane] = of_new * r;
        }
    }
}
