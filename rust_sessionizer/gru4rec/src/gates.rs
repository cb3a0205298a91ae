//! Products of a few rows with the weights of a cell's three gates, as a server asks for them: one session, or some.
//!
//! The weights lie in the order in which they are read: for sixteen units the columns of all gates beside each other, so that the rows'
//! sums of all three stay in registers while the weights pass by once.

use pulp::{Arch, Simd, WithSimd};

use crate::prefetch::{Ahead, ask_for};
use crate::product::{GRAIN, padded};

/// Gates of a cell: reset, update, new.
pub(crate) const GATES: usize = 3;
/// Entries of all gates for the units of a block.
const BESIDE: usize = GATES * GRAIN;

/// Rows of the weights that are asked for while the ones so far before them are multiplied.
const SOON: usize = 24;

/// Weights of three gates, in blocks of units.
pub(crate) struct GateWeights {
    /// [blocks, depth, 3, [`GRAIN`]]; zeros where no unit is.
    entries: Vec<f32>,
    depth: usize,
    blocks: usize,
}

impl GateWeights {
    /// Of weights [3 * units, depth].
    pub(crate) fn of(weights: &[f32], units: usize, depth: usize) -> Self {
        let blocks = padded(units) / GRAIN;
        let mut entries = vec![0.0; blocks * depth * BESIDE];
        for (output, row) in weights.chunks_exact(depth).enumerate() {
            let (gate, unit) = (output / units, output % units);
            let block = &mut entries[unit / GRAIN * depth * BESIDE..][..depth * BESIDE];
            for (beside, &weight) in block.chunks_exact_mut(BESIDE).zip(row) {
                beside[gate * GRAIN + unit % GRAIN] = weight;
            }
        }
        Self { entries, depth, blocks }
    }

    /// Rows [depth] of `left`, which begin at `starts`, times the weights: [rows, 3 * units, padded]. A row's products do not depend on
    /// the others. Meanwhile it is asked for what lies ahead.
    pub(crate) fn times(&self, left: &[f32], starts: &[usize], ahead: Ahead, out: &mut [f32]) {
        Arch::new().dispatch(Times { weights: self, left, starts, ahead, out });
    }
}

struct Times<'a> {
    weights: &'a GateWeights,
    left: &'a [f32],
    starts: &'a [usize],
    ahead: Ahead<'a>,
    out: &'a mut [f32],
}

impl WithSimd for Times<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let most = if S::F32_LANES == GRAIN { 8 } else { 4 };
        let lines = self.ahead.lines().div_ceil(self.weights.blocks);
        for block in 0..self.weights.blocks {
            for _ in 0..lines {
                self.ahead.ask();
            }
            for part in 0..GRAIN / S::F32_LANES {
                let mut first = 0;
                let mut groups = self.starts.len().div_ceil(most);
                while groups > 0 {
                    let rows = (self.starts.len() - first).div_ceil(groups);
                    match rows {
                        1 => self.some::<S, 1>(simd, block, part, first),
                        2 => self.some::<S, 2>(simd, block, part, first),
                        3 => self.some::<S, 3>(simd, block, part, first),
                        4 => self.some::<S, 4>(simd, block, part, first),
                        5 => self.some::<S, 5>(simd, block, part, first),
                        6 => self.some::<S, 6>(simd, block, part, first),
                        7 => self.some::<S, 7>(simd, block, part, first),
                        _ => self.some::<S, 8>(simd, block, part, first),
                    }
                    first += rows;
                    groups -= 1;
                }
            }
        }
    }
}

impl Times<'_> {
    /// R rows from `first` on, and as many units of a block as a register holds.
    #[inline(always)]
    fn some<S: Simd, const R: usize>(&mut self, simd: S, block: usize, part: usize, first: usize) {
        let depth = self.weights.depth;
        let (beside, _) = self.weights.entries[block * depth * BESIDE..][..depth * BESIDE].as_chunks::<BESIDE>();
        let beside = &beside[..depth];
        let mut rows: [&[f32]; R] = [&[]; R];
        for r in 0..R {
            rows[r] = &self.left[self.starts[first + r]..][..depth];
        }
        let mut sums = [[simd.splat_f32s(0.0); GATES]; R];
        for k in 0..depth {
            if part == 0 {
                for line in beside[(k + SOON).min(depth - 1)].chunks(GRAIN) {
                    ask_for(line);
                }
            }
            let mut columns = [simd.splat_f32s(0.0); GATES];
            for gate in 0..GATES {
                columns[gate] = S::as_simd_f32s(&beside[k][gate * GRAIN + part * S::F32_LANES..][..S::F32_LANES]).0[0];
            }
            for r in 0..R {
                let factor = simd.splat_f32s(rows[r][k]);
                for gate in 0..GATES {
                    sums[r][gate] = simd.mul_add_f32s(factor, columns[gate], sums[r][gate]);
                }
            }
        }
        let stride = self.weights.blocks * GRAIN;
        for r in 0..R {
            let out = &mut self.out[(first + r) * GATES * stride..][..GATES * stride];
            for gate in 0..GATES {
                let place = gate * stride + block * GRAIN + part * S::F32_LANES;
                S::as_mut_simd_f32s(&mut out[place..place + S::F32_LANES]).0[0] = sums[r][gate];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::cast_precision_loss)]
    fn products_are_those_of_the_slow_loop_at_any_size() {
        // Small whole numbers, so that sums are exact in any order.
        let numbers = |count: usize, seed: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * 7919 + seed * 104_729) % 13) as f32 - 6.0).collect()
        };
        for (units, depth) in [(1, 1), (16, 5), (17, 3), (40, 33)] {
            let weights = numbers(GATES * units * depth, 1);
            let packed = GateWeights::of(&weights, units, depth);
            for rows in (1..=9).chain([16, 23]) {
                let left = numbers(rows * depth, 2);
                let starts: Vec<usize> = (0..rows).rev().map(|row| row * depth).collect();
                let stride = padded(units);
                let mut out = vec![7.0; rows * GATES * stride];
                packed.times(&left, &starts, Ahead::new(&[&left]), &mut out);
                for (row, &start) in starts.iter().enumerate() {
                    for gate in 0..GATES {
                        for unit in 0..stride {
                            let of = |k: usize| left[start + k] * weights[(gate * units + unit) * depth + k];
                            let sum: f32 = if unit < units { (0..depth).map(of).sum() } else { 0.0 };
                            assert!((out[(row * GATES + gate) * stride + unit] - sum).abs() < 1e-3);
                        }
                    }
                }
            }
        }
    }
}
