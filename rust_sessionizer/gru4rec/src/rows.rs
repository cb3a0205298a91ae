//! The rows of a table that a step touches: their gradients, summed over a row's uses, and their update.

use pulp::{Simd, WithSimd};

use crate::adagrad::{Learned, Rate};
use crate::prefetch::Ahead;
use crate::product::{Right, RowsTimes};

/// Uses whose gradients are made at a time: they stay in the nearest cache until the update.
const GROUP: usize = 20;
/// Uses a task has, at least.
const TASK: usize = 60;

/// A use of an item in a step: the item, and the use's place, by which uses of one item are ordered.
///
/// Places below the number of columns are columns of the scores; from there on they are lanes whose input the item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use(u64);

impl Use {
    pub(crate) fn new(item: u32, place: u32) -> Self {
        Self(u64::from(item) << 32 | u64::from(place))
    }

    pub(crate) fn item(self) -> usize {
        usize::try_from(self.0 >> 32).unwrap_or(usize::MAX)
    }

    pub(crate) fn place(self) -> usize {
        usize::try_from(self.0 & 0xffff_ffff).unwrap_or(usize::MAX)
    }
}

/// Some of a table's rows, with the uses (by item, then place) that touch them.
pub(crate) struct Touched<'a> {
    pub(crate) table: Learned<'a>,
    /// The biases of the same rows, where they have one.
    pub(crate) bias: Option<Learned<'a>>,
    /// The first of the rows.
    pub(crate) first: usize,
    pub(crate) uses: &'a [Use],
}

/// Cuts a table and its bias into parts with some uses each.
pub(crate) fn cut<'a>(
    mut table: Learned<'a>,
    mut bias: Option<Learned<'a>>,
    width: usize,
    mut uses: &'a [Use],
) -> Vec<Touched<'a>> {
    let mut parts = Vec::with_capacity(uses.len() / TASK + 1);
    let mut first = 0;
    while !uses.is_empty() {
        let mut end = TASK.min(uses.len());
        while end < uses.len() && uses[end].item() == uses[end - 1].item() {
            end += 1;
        }
        let (now, later) = uses.split_at(end);
        let rows = now[end - 1].item() + 1 - first;
        let (part, rest) = table.split_at(rows * width);
        let (part_bias, rest_bias) = match bias {
            Some(bias) => {
                let (part, rest) = bias.split_at(rows);
                (Some(part), Some(rest))
            }
            None => (None, None),
        };
        parts.push(Touched { table: part, bias: part_bias, first, uses: now });
        (table, bias, uses) = (rest, rest_bias, later);
        first += rows;
    }
    parts
}

/// The gradients of the uses.
#[derive(Clone, Copy)]
pub(crate) struct Uses<'a> {
    /// The loss's gradient in the scores, [columns, stride].
    pub(crate) in_scores: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) stride: usize,
    /// The network's output, [lanes, width padded].
    pub(crate) output: Right<'a>,
    /// The gradient in the inputs' rows, in panels of `panel` columns: [panels][stride, panel].
    pub(crate) in_inputs: &'a [f32],
    pub(crate) panel: usize,
    /// Entries of a row of the table.
    pub(crate) width: usize,
}

/// Updates touched rows.
pub(crate) struct UpdateRows<'a> {
    pub(crate) touched: Touched<'a>,
    pub(crate) uses: Uses<'a>,
    pub(crate) rate: Rate,
}

impl WithSimd for UpdateRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { mut touched, uses, rate } = self;
        let width = uses.width;
        let padded = uses.output.width.max(width);
        let mut starts = Vec::with_capacity(GROUP);
        let mut gradients = vec![0.0; GROUP * padded];
        let mut input = vec![0.0; width];
        let mut rest = touched.uses;
        while !rest.is_empty() {
            let mut end = GROUP.min(rest.len());
            while end < rest.len() && rest[end].item() == rest[end - 1].item() {
                end += 1;
            }
            let (group, later) = rest.split_at(end);
            rest = later;
            let soon: Vec<usize> = later.iter().take(GROUP).map(|one| (one.item() - touched.first) * width).collect();
            let mut ahead: Vec<&[f32]> = Vec::with_capacity(3 * GROUP);
            for row in soon {
                let row = row..row + width;
                ahead.extend([&touched.table.value[row.clone()], &touched.table.accumulator[row.clone()]]);
                if !touched.table.velocity.is_empty() {
                    ahead.push(&touched.table.velocity[row]);
                }
            }
            starts.clear();
            starts.extend(group.iter().map(|one| one.place()).filter(|&p| p < uses.columns).map(|p| p * uses.stride));
            if gradients.len() < starts.len() * padded {
                gradients.resize(starts.len() * padded, 0.0);
            }
            if !starts.is_empty() {
                let product = RowsTimes {
                    left: uses.in_scores,
                    starts: &starts,
                    right: uses.output,
                    ahead: Ahead::new(&ahead),
                    out: &mut gradients,
                    stride: padded,
                };
                product.with_simd(simd);
            }
            let mut made = 0; // gradients of the group's columns, in the order of the uses
            for of_item in group.chunk_by(|left, right| left.item() == right.item()) {
                let row = of_item[0].item() - touched.first;
                // Columns come before inputs; the first use's gradient takes up the others'.
                let as_column = of_item.iter().filter(|one| one.place() < uses.columns).count();
                let (as_columns, as_inputs) = of_item.split_at(as_column);
                let sum: &mut [f32] = if as_column > 0 {
                    let (sum, others) = gradients[made * padded..(made + as_column) * padded].split_at_mut(padded);
                    for other in others.chunks_exact(padded) {
                        add(&mut sum[..width], &other[..width]);
                    }
                    &mut sum[..width]
                } else {
                    input.fill(0.0);
                    &mut input
                };
                made += as_column;
                for one in as_inputs {
                    let lane = one.place() - uses.columns;
                    let mut begin = 0;
                    for part in sum.chunks_mut(uses.panel) {
                        let panel = uses.panel_width(begin);
                        let from = begin * uses.stride + lane * panel;
                        let length = part.len();
                        add(part, &uses.in_inputs[from..from + length]);
                        begin += panel;
                    }
                }
                touched.table.update(rate, row * width, sum);
                if let Some(bias) = touched.bias.as_mut().filter(|_| as_column > 0) {
                    let mut sum = 0.0;
                    for one in as_columns {
                        let begin = one.place() * uses.stride;
                        sum += total(&uses.in_scores[begin..begin + uses.stride]);
                    }
                    bias.update(rate, row, &[sum]);
                }
            }
        }
    }
}

impl Uses<'_> {
    /// Columns of the panel that begins at column `begin`: the last one may be narrower.
    #[inline(always)]
    fn panel_width(&self, begin: usize) -> usize {
        self.panel.min(crate::product::padded(self.width) - begin)
    }
}

#[inline(always)]
fn add(sum: &mut [f32], other: &[f32]) {
    for (sum, other) in sum.iter_mut().zip(other) {
        *sum += other;
    }
}

/// The sum of a row, as many of its entries at a time as fit a register; its length is a multiple of 16.
#[inline(always)]
pub(crate) fn total(row: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    for part in row.chunks_exact(16) {
        for (sum, entry) in sums.iter_mut().zip(part) {
            *sum += entry;
        }
    }
    let mut half = 8;
    while half > 0 {
        for place in 0..half {
            sums[place] += sums[place + half];
        }
        half /= 2;
    }
    sums[0]
}
