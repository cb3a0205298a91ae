//! Adagrad as `GRU4Rec` uses it: accumulators from zero, epsilon inside the root, heavy-ball momentum.

use crate::math::inverse_root;

const EPSILON: f32 = 1e-6;

/// A learned array with what the optimizer keeps of it, all of one length.
#[derive(Debug)]
pub struct Learned<'a> {
    /// The array.
    pub value: &'a mut [f32],
    /// Sums of squared gradients.
    pub accumulator: &'a mut [f32],
    /// The last updates; empty where there is no momentum.
    pub velocity: &'a mut [f32],
}

impl<'a> Learned<'a> {
    /// The same array, borrowed for a shorter time.
    pub(crate) fn part(&mut self) -> Learned<'_> {
        Learned { value: self.value, accumulator: self.accumulator, velocity: self.velocity }
    }

    /// The first `entries` entries, and the rest.
    pub(crate) fn split_at(self, entries: usize) -> (Self, Self) {
        let (value, value_rest) = self.value.split_at_mut(entries);
        let (accumulator, accumulator_rest) = self.accumulator.split_at_mut(entries);
        let (velocity, velocity_rest) = self.velocity.split_at_mut(entries.min(self.velocity.len()));
        (
            Learned { value, accumulator, velocity },
            Learned { value: value_rest, accumulator: accumulator_rest, velocity: velocity_rest },
        )
    }

    /// Parts of `entries` entries each, the last one with what is left.
    pub(crate) fn chunks(self, entries: usize) -> impl Iterator<Item = Learned<'a>> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let whole = rest.take()?;
            if whole.value.is_empty() {
                return None;
            }
            let entries = entries.min(whole.value.len());
            let (part, after) = whole.split_at(entries);
            rest = Some(after);
            Some(part)
        })
    }

    /// Updates the row from `begin` on with its gradient.
    #[inline(always)]
    pub(crate) fn update(&mut self, rate: Rate, begin: usize, gradient: &[f32]) {
        let end = begin + gradient.len();
        let (values, accumulators) = (&mut self.value[begin..end], &mut self.accumulator[begin..end]);
        if self.velocity.is_empty() {
            for ((&gradient, value), accumulator) in gradient.iter().zip(values).zip(accumulators) {
                *accumulator += gradient * gradient;
                *value -= rate.learning * (gradient * inverse_root(*accumulator + EPSILON));
            }
        } else {
            let velocities = &mut self.velocity[begin..end];
            for (((&gradient, value), accumulator), velocity) in
                gradient.iter().zip(values).zip(accumulators).zip(velocities)
            {
                *accumulator += gradient * gradient;
                let step = gradient * inverse_root(*accumulator + EPSILON);
                *velocity = rate.momentum * *velocity - rate.learning * step;
                *value += *velocity;
            }
        }
    }
}

/// How far a step goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) learning: f32,
    pub(crate) momentum: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_agree_with_their_definition() {
        for momentum in [0.0, 0.4_f32] {
            let rate = Rate { learning: 0.1, momentum };
            let gradients = [[0.5, -200.0, 1e-3], [0.1, 0.0, -3.0], [-0.2, 4.0, 0.0]];
            let (mut value, mut accumulator, mut velocity) = ([1.0, 2.0, 3.0], [0.0; 3], [0.0; 3]);
            let (mut values, mut sums, mut moves) = ([1.0_f64, 2.0, 3.0], [0.0_f64; 3], [0.0_f64; 3]);
            for gradient in gradients {
                let kept: &mut [f32] = if momentum > 0.0 { &mut velocity } else { &mut [] };
                Learned { value: &mut value, accumulator: &mut accumulator, velocity: kept }.update(rate, 0, &gradient);
                for i in 0..3 {
                    let gradient = f64::from(gradient[i]);
                    sums[i] += gradient * gradient;
                    moves[i] = f64::from(momentum) * moves[i] - 0.1 * gradient / (sums[i] + 1e-6).sqrt();
                    values[i] += moves[i];
                    assert!((f64::from(value[i]) - values[i]).abs() < 1e-5);
                    assert!((f64::from(accumulator[i]) - sums[i]).abs() <= 1e-6 * sums[i]);
                }
            }
        }
    }
}
