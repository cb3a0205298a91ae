//! The ranking losses and their gradients (Hidasi & Karatzoglou, CIKM 2018, section 3).
//!
//! Scores lie with the lanes beside each other: [columns, lanes], column m < M being lane m's target. What is summed over
//! the columns of a lane is so summed for all lanes at once. Columns are worked on in blocks; each hands on its largest
//! scores, then its sums, and these are put together in the order of the blocks.

use crate::math::{exp, sigmoid};
use crate::settings::Loss;

/// Added inside the losses' logarithms.
const LOG_FLOOR: f32 = 1e-24;

/// What a block of columns hands on, a number a lane each: [`Part::COUNT`] rows.
///
/// Largest score; then of e^(score - largest of all): sum, and for BPR-max the sums weighted by the comparison's
/// sigmoid, by the squared score, and by the sigmoid's slope.
pub(crate) struct Part;

impl Part {
    pub(crate) const COUNT: usize = 5;
}

/// What all columns of a lane come to, an entry a lane each.
pub(crate) struct Totals {
    lanes: usize,
    largest: Vec<f32>,
    /// The lane's score of its target.
    target: Vec<f32>,
    /// 1 / the sum of e^(score - largest).
    share: Vec<f32>,
    expected: Vec<f32>,
    penalty: Vec<f32>,
    slope: Vec<f32>,
    /// What a lane's gradient is multiplied with: 0 for lanes that are not there.
    scale: Vec<f32>,
}

impl Totals {
    /// Room for `stride` lanes.
    pub(crate) fn new(stride: usize) -> Self {
        let zeros = || vec![0.0; stride];
        Self {
            lanes: 0,
            largest: zeros(),
            target: zeros(),
            share: zeros(),
            expected: zeros(),
            penalty: zeros(),
            slope: zeros(),
            scale: zeros(),
        }
    }

    /// Takes over the blocks' largest scores and the targets' scores.
    pub(crate) fn begin(&mut self, parts: &[f32], scores: &[f32], lanes: usize, stride: usize) {
        self.lanes = lanes;
        self.largest[..stride].fill(f32::NEG_INFINITY);
        for part in parts.chunks_exact(Part::COUNT * stride) {
            for (largest, &found) in self.largest.iter_mut().zip(&part[..stride]) {
                *largest = if found > *largest { found } else { *largest };
            }
        }
        self.target[..stride].fill(0.0);
        for lane in 0..lanes {
            self.target[lane] = scores[lane * stride + lane];
        }
    }

    /// Takes over the blocks' sums; the sum of the lanes' losses.
    pub(crate) fn finish(&mut self, parts: &[f32], stride: usize, loss: Loss, batch_size: usize) -> f64 {
        for lane in 0..stride {
            let mut sums = [0.0_f32; Part::COUNT - 1];
            for part in parts.chunks_exact(Part::COUNT * stride) {
                for (sum, row) in sums.iter_mut().zip(part.chunks_exact(stride).skip(1)) {
                    *sum += row[lane];
                }
            }
            let share = 1.0 / sums[0];
            self.share[lane] = share;
            self.expected[lane] = sums[1] * share;
            self.penalty[lane] = sums[2] * share;
            self.slope[lane] = sums[3] * share;
        }
        #[allow(clippy::cast_precision_loss)] // lanes are few
        let batch_size = batch_size as f32;
        let mut total = 0.0;
        self.scale[..stride].fill(0.0);
        for lane in 0..self.lanes {
            let scale = 1.0 / batch_size;
            let (of_lane, scale) = match loss {
                Loss::CrossEntropy { .. } => {
                    let share = exp(self.target[lane] - self.largest[lane]) * self.share[lane];
                    // The target's share can be too small for the floor to be nothing beside it.
                    (-f64::from(share + LOG_FLOOR).ln(), scale * (share / (share + LOG_FLOOR)))
                }
                Loss::BprMax { bpreg, .. } => {
                    let floored = f64::from(self.expected[lane] + LOG_FLOOR);
                    (f64::from(bpreg * self.penalty[lane]) - floored.ln(), scale)
                }
            };
            total += of_lane;
            self.scale[lane] = scale;
        }
        total / f64::from(batch_size)
    }
}

/// Scores of a block of columns.
pub(crate) struct Block<'a> {
    /// [columns of the block, stride]
    pub(crate) scores: &'a mut [f32],
    /// The first of the columns.
    pub(crate) first: usize,
    /// Lanes with their padding.
    pub(crate) stride: usize,
}

impl Block<'_> {
    /// From products to scores: adds each column's constant, applies ELU, and hands the largest scores on.
    #[inline(always)]
    pub(crate) fn finish_scores(
        &mut self,
        constants: impl Fn(usize) -> f32,
        loss: Loss,
        lanes: usize,
        part: &mut [f32],
    ) {
        let largest = &mut part[..self.stride];
        largest.fill(f32::NEG_INFINITY);
        for (column, row) in (self.first..).zip(self.scores.chunks_exact_mut(self.stride)) {
            let constant = constants(column);
            match loss {
                Loss::BprMax { elu, .. } if elu > 0.0 => {
                    for score in row.iter_mut() {
                        let raw = *score + constant;
                        let below = elu * (exp(raw) - 1.0);
                        *score = if raw > 0.0 { raw } else { below };
                    }
                }
                _ => row.iter_mut().for_each(|score| *score += constant),
            }
            let own = matches!(loss, Loss::BprMax { .. }) && column < lanes;
            let kept = if own { largest[column] } else { 0.0 };
            for (largest, &score) in largest.iter_mut().zip(row.iter()) {
                // A score that is no number is taken over too, so that the loss tells of it.
                *largest = if score <= *largest { *largest } else { score };
            }
            if own {
                largest[column] = kept; // the lane's own target is none of its negatives
            }
        }
    }

    /// The sums over the block's columns.
    #[inline(always)]
    pub(crate) fn sums(&self, totals: &Totals, loss: Loss, part: &mut [f32]) {
        let stride = self.stride;
        let (_, sums) = part.split_at_mut(stride);
        sums.fill(0.0);
        let (weights, sums) = sums.split_at_mut(stride);
        let (expected, sums) = sums.split_at_mut(stride);
        let (penalty, slope) = sums.split_at_mut(stride);
        // Equal lengths that the compiler can see, without which it checks every entry.
        let (weights, expected) = (&mut weights[..stride], &mut expected[..stride]);
        let (penalty, slope) = (&mut penalty[..stride], &mut slope[..stride]);
        let (largest, target) = (&totals.largest[..stride], &totals.target[..stride]);
        for (column, row) in (self.first..).zip(self.scores.chunks_exact(stride)) {
            let row = &row[..stride];
            match loss {
                Loss::CrossEntropy { .. } => {
                    for lane in 0..stride {
                        weights[lane] += exp(row[lane] - largest[lane]);
                    }
                }
                Loss::BprMax { .. } => {
                    let own = column < totals.lanes;
                    let kept = if own {
                        [weights[column], expected[column], penalty[column], slope[column]]
                    } else {
                        [0.0; 4]
                    };
                    for lane in 0..stride {
                        let score = row[lane];
                        let weight = exp(score - largest[lane]);
                        let better = sigmoid(target[lane] - score);
                        let weighted = weight * better;
                        weights[lane] += weight;
                        expected[lane] += weighted;
                        penalty[lane] += weight * (score * score);
                        slope[lane] += weighted * (1.0 - better);
                    }
                    if own {
                        [weights[column], expected[column], penalty[column], slope[column]] = kept;
                    }
                }
            }
        }
    }

    /// In place of the scores, the loss's gradient in them.
    #[inline(always)]
    pub(crate) fn gradient(&mut self, totals: &Totals, loss: Loss) {
        let stride = self.stride;
        let (largest, target) = (&totals.largest[..stride], &totals.target[..stride]);
        let (share, scale) = (&totals.share[..stride], &totals.scale[..stride]);
        let (expected, penalty) = (&totals.expected[..stride], &totals.penalty[..stride]);
        for (column, row) in (self.first..).zip(self.scores.chunks_exact_mut(stride)) {
            let row = &mut row[..stride];
            match loss {
                Loss::CrossEntropy { .. } => {
                    for lane in 0..stride {
                        row[lane] = exp(row[lane] - largest[lane]) * share[lane] * scale[lane];
                    }
                    if column < totals.lanes {
                        row[column] -= scale[column];
                    }
                }
                Loss::BprMax { bpreg, elu } => {
                    for lane in 0..stride {
                        let score = row[lane];
                        let weight = exp(score - largest[lane]) * share[lane];
                        let better = sigmoid(target[lane] - score);
                        let inverse = 1.0 / (expected[lane] + LOG_FLOOR);
                        // Through the softmax weights and through the sigmoid, then through the regulariser.
                        let ranked = (expected[lane] - better * better) * inverse;
                        let regular = bpreg * (2.0 * score + score * score - penalty[lane]);
                        let bent = if elu == 0.0 || score > 0.0 { 1.0 } else { score + elu };
                        row[lane] = weight * (ranked + regular) * (bent * scale[lane]);
                    }
                    if column < totals.lanes {
                        let score = target[column];
                        let bent = if elu == 0.0 || score > 0.0 { 1.0 } else { score + elu };
                        let inverse = 1.0 / (expected[column] + LOG_FLOOR);
                        row[column] = -totals.slope[column] * inverse * bent * scale[column];
                    }
                }
            }
        }
    }
}
