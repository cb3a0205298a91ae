//! Negative samples, drawn by popularity and shared by the lanes of a step.

use crate::random::Stream;

/// Draws items with replacement, with probability proportional to given weights, in constant time
/// (Walker's alias method, as Vose builds it).
#[derive(Debug)]
pub(crate) struct Sampler {
    /// A slot an item: its share of the slot in 2^-32, and the item that has the rest.
    slots: Vec<(u32, u32)>,
}

impl Sampler {
    /// Weights must be positive and finite.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub(crate) fn new(weights: &[f64]) -> Self {
        let scale = weights.len() as f64 / weights.iter().sum::<f64>();
        let mut share: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let mut slots: Vec<(u32, u32)> = (0..weights.len() as u32).map(|item| (u32::MAX, item)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..weights.len()).partition(|&item| share[item] < 1.0);
        while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
            small.pop();
            slots[poor] = ((share[poor] * 4_294_967_296.0) as u32, rich as u32);
            share[rich] -= 1.0 - share[poor];
            if share[rich] < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        Self { slots }
    }

    /// Fills `samples` with items.
    #[allow(clippy::cast_possible_truncation)] // samples and items are fewer than 2^32
    pub(crate) fn draw(&self, stream: Stream, samples: &mut [u32]) {
        let slots = self.slots.len() as u64;
        for (pair, two) in samples.chunks_mut(2).enumerate() {
            let words = stream.at(pair as u32, 0);
            for (sample, word) in two.iter_mut().zip(words.chunks_exact(2)) {
                let slot = (u64::from(word[0]) * slots) >> 32;
                let (share, other) = self.slots[slot as usize];
                *sample = if word[1] <= share { slot as u32 } else { other };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn samples_follow_the_weights() {
        let weights = [1.0, 10.0, 2.0, 5.0, 8.0];
        let sampler = Sampler::new(&weights);
        let mut counts = [0.0; 5];
        let mut drawn = [0; 201];
        for step in 0..1000 {
            sampler.draw(Stream::new(7, step, Purpose::Samples), &mut drawn);
            for &item in &drawn {
                counts[item as usize] += 1.0;
            }
        }
        let chi: f64 = counts
            .iter()
            .zip(weights)
            .map(|(count, weight)| {
                let expected = 201_000.0 * weight / 26.0;
                (count - expected) * (count - expected) / expected
            })
            .sum();
        // 4 degrees of freedom: 30 is passed by chance once in 200,000 times.
        assert!(chi < 30.0, "{chi}");
    }

    #[test]
    fn one_item_is_always_drawn() {
        let mut drawn = [9; 3];
        Sampler::new(&[0.5]).draw(Stream::new(7, 0, Purpose::Samples), &mut drawn);
        assert_eq!(drawn, [0; 3]);
    }
}
