//! A block of queries against all items.

use pulp::{Simd, WithSimd};

use crate::best::Best;
use crate::error::{Error, Result};
use crate::input::{Items, LeftOut, Queries};
use crate::rank::EXCLUDED;
use crate::tile::{LANES, ROWS, VECTORS, bits, largest, pack, pack_all, panel, scores};

/// Bytes of the items that meet all panels before the next items do: they stay in a core's own cache.
const GROUP: usize = 512 << 10;

/// The queries `first..first + ranks.len()`, and where their results go.
pub(crate) struct Block<'a> {
    pub(crate) items: Items<'a>,
    pub(crate) queries: Queries<'a>,
    pub(crate) first: usize,
    pub(crate) ranks: &'a mut [i64],
    /// [queries, length].
    pub(crate) listed: &'a mut [i32],
    pub(crate) length: usize,
}

impl WithSimd for Block<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Result<()> {
        let Self { items, queries, first, ranks, listed, length } = self;
        let (count, width) = (ranks.len(), queries.width);
        let targets = &queries.targets[first..first + count];
        let left_out = LeftOut::of(queries, first..first + count);

        let padded = count.next_multiple_of(panel::<S>());
        let mut outputs = vec![0.0; padded * width];
        for (begin, packed) in (0..count).step_by(panel::<S>()).zip(outputs.chunks_exact_mut(panel::<S>() * width)) {
            let members = begin..count.min(begin + panel::<S>());
            pack(members.map(|query| queries.output(first + query)), panel::<S>(), packed);
        }
        let mut goals = vec![f32::INFINITY; padded];
        for (query, goal) in goals[..count].iter_mut().enumerate() {
            *goal = queries.score(first + query, items, targets[query]);
        }
        let best = Best::new(length, listed);
        let mut thresholds = vec![f32::INFINITY; padded];
        thresholds[..count].fill(best.least());
        let lists = Lists { first, count, left_out: &left_out, best, thresholds };
        let mut scan = Scan { items, width, outputs, goals, reached: vec![0; padded], lists };
        // As many rows as the registers hold sums of, beside a row of a panel and a factor.
        if S::F32_LANES == 8 { scan.all::<S, 6>(simd) } else { scan.all::<S, ROWS>(simd) }?;

        for (query, rank) in ranks.iter_mut().enumerate() {
            let (left_out, goal) = (left_out.get(query), scan.goals[query]);
            *rank = if goal == f32::NEG_INFINITY || left_out.binary_search(&targets[query]).is_ok() {
                EXCLUDED
            } else {
                left_out.iter().fold(
                    scan.reached[query],
                    #[inline(always)]
                    |rank, &item| rank - i64::from(queries.score(first + query, items, item) >= goal),
                )
            };
        }
        Ok(())
    }
}

/// What is known of a block's queries so far. Arrays are as long as its panels together.
struct Scan<'a> {
    items: Items<'a>,
    width: usize,
    /// [panels, H, lanes].
    outputs: Vec<f32>,
    /// The targets' scores.
    goals: Vec<f32>,
    /// Items that score at least as high as the target.
    reached: Vec<i64>,
    lists: Lists<'a>,
}

/// Some items, packed in tiles of R.
struct Group<'a> {
    first: usize,
    bias: &'a [f32],
    /// [tiles, H, R].
    packed: &'a [f32],
    /// The items that fill no tile: [at most R - 1, H].
    rest: &'a [f32],
    /// Whether a score may be NaN.
    doubtful: bool,
}

/// The queries of a panel, a lane each.
struct Panel<S: Simd> {
    /// The first of them, in the block.
    query: usize,
    goals: [S::f32s; VECTORS],
    /// Items of the group that reach the goal: exact, since a group is small.
    reached: [S::f32s; VECTORS],
}

impl Scan<'_> {
    #[inline(always)]
    fn all<S: Simd, const R: usize>(&mut self, simd: S) -> Result<()> {
        let (items, width) = (self.items, self.width);
        let most = (GROUP / (4 * width)).next_multiple_of(R).max(R);
        let mut packed = vec![0.0; most.min(items.count()) * width];
        let finite = largest(&self.outputs).is_finite();
        for first in (0..items.count()).step_by(most) {
            let bias = &items.bias[first..items.count().min(first + most)];
            let table = &items.table[first * width..][..bias.len() * width];
            let (whole, rest) = table.split_at(bias.len() / R * R * width);
            for (rows, packed) in whole.chunks_exact(R * width).zip(packed.chunks_exact_mut(R * width)) {
                pack_all::<R>(rows, packed);
            }
            // NaN comes of NaN and of infinite factors: what a fused step of finite ones adds to is at most infinite.
            let doubtful = !finite || !largest(table).is_finite() || largest(bias).is_nan();
            let group = Group { first, bias, packed: &packed[..whole.len()], rest, doubtful };
            for query in (0..self.goals.len()).step_by(panel::<S>()) {
                self.panel::<S, R>(simd, query, &group)?;
            }
        }
        Ok(())
    }

    /// The queries of a panel, from `query` on, and the items of a group.
    #[inline(always)]
    fn panel<S: Simd, const R: usize>(&mut self, simd: S, query: usize, group: &Group) -> Result<()> {
        let width = self.width;
        let outputs = &self.outputs[query * width..][..panel::<S>() * width];
        let (goals, _) = S::as_simd_f32s(&self.goals[query..][..panel::<S>()]);
        let mut panel = Panel::<S> { query, goals: [goals[0], goals[1]], reached: [simd.splat_f32s(0.0); VECTORS] };
        let (of_tiles, rest) = group.bias.split_at(group.packed.len() / width);
        let tiles = group.packed.chunks_exact(R * width).zip(of_tiles.chunks_exact(R));
        for (item, (rows, bias)) in (group.first..).step_by(R).zip(tiles) {
            let sums = scores::<S, R>(simd, outputs, rows, bias);
            self.lists.tile(simd, sums, &mut panel, item, group.doubtful)?;
        }
        let singles = group.rest.chunks_exact(width).zip(rest.chunks_exact(1));
        for (item, (row, bias)) in (group.first + of_tiles.len()..).zip(singles) {
            let sums = scores::<S, 1>(simd, outputs, row, bias);
            self.lists.tile(simd, sums, &mut panel, item, group.doubtful)?;
        }
        for v in 0..VECTORS {
            let mut counts = [0.0; LANES];
            S::as_mut_simd_f32s(&mut counts[..S::F32_LANES]).0[0] = panel.reached[v];
            let totals = &mut self.reached[query + v * S::F32_LANES..][..S::F32_LANES];
            for (total, count) in totals.iter_mut().zip(counts) {
                #[allow(clippy::cast_possible_truncation)] // a whole number
                let count = count as i64;
                *total += count;
            }
        }
        Ok(())
    }
}

/// What is recommended to a block's queries.
struct Lists<'a> {
    /// The block's first query, and how many it has.
    first: usize,
    count: usize,
    left_out: &'a LeftOut,
    best: Best<'a>,
    /// What an item must exceed to be listed; as long as the panels together.
    thresholds: Vec<f32>,
}

impl Lists<'_> {
    /// Compares the scores of R items, from `item` on, with the goals and with what is listed.
    #[inline(always)]
    fn tile<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        sums: [[S::f32s; VECTORS]; R],
        panel: &mut Panel<S>,
        item: usize,
        doubtful: bool,
    ) -> Result<()> {
        let one = simd.splat_f32s(1.0);
        let (thresholds, _) = S::as_simd_f32s(&self.thresholds[panel.query..][..VECTORS * S::F32_LANES]);
        let thresholds = [thresholds[0], thresholds[1]];
        let mut above = [0; VECTORS];
        for v in 0..VECTORS {
            let (mut reached, mut highest) = (panel.reached[v], sums[0][v]);
            for r in 0..R {
                let hits = simd.greater_than_or_equal_f32s(sums[r][v], panel.goals[v]);
                reached = simd.select_f32s(hits, simd.add_f32s(reached, one), reached);
                highest = simd.max_f32s(highest, sums[r][v]);
            }
            panel.reached[v] = reached;
            above[v] = bits::<S>(simd.greater_than_f32s(highest, thresholds[v]));
        }
        if above == [0; VECTORS] && !doubtful {
            return Ok(());
        }
        for v in 0..VECTORS {
            let mut found = [0.0; ROWS * LANES];
            for r in 0..R {
                S::as_mut_simd_f32s(&mut found[r * S::F32_LANES..]).0[0] = sums[r][v];
            }
            let lanes = if doubtful { u32::MAX >> (32 - S::F32_LANES) } else { above[v] };
            let query = panel.query + v * S::F32_LANES;
            self.take(&found[..R * S::F32_LANES], S::F32_LANES, lanes, query, item)?;
        }
        Ok(())
    }

    /// Lists those of the items [R, lanes] that exceed the thresholds of the chosen lanes' queries.
    #[inline(never)]
    fn take(&mut self, found: &[f32], lanes: usize, mut chosen: u32, query: usize, item: usize) -> Result<()> {
        while chosen != 0 {
            let lane = chosen.trailing_zeros() as usize;
            chosen &= chosen - 1;
            let query = query + lane;
            if query >= self.count {
                continue;
            }
            for (item, scores) in (item..).zip(found.chunks_exact(lanes)) {
                let score = scores[lane];
                if score.is_nan() {
                    return Err(Error::NotANumber { query: self.first + query, item });
                }
                if score > self.thresholds[query] {
                    let item = i32::try_from(item).unwrap_or(i32::MAX); // there are fewer
                    if self.left_out.get(query).binary_search(&item).is_err() {
                        self.thresholds[query] = self.best.insert(query, score, item);
                    }
                }
            }
        }
        Ok(())
    }
}
