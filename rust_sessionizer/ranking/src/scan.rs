//! All items for some queries: by their codes, those that may be among the best; then these, exactly.

use crate::codes::{Asked, Cell, Codes, Errors, GROUP, QUAD, ROUNDING, Traits};
use crate::index::{Shortlist, is_less};
use crate::kernel::{Multiply, Sums};

/// Queries whose products with a group are made together.
const QUERIES: usize = 8;
/// Groups of a block are a multiple of this, the most whose products are made together.
const GROUPS: usize = 8;
/// Cells of a block: all queries are asked while it lies in the nearest cache.
const CELLS: usize = 512;

/// Queries [Q, width], and the items that each keeps.
pub(crate) struct Scan<'a> {
    pub(crate) codes: &'a Codes,
    pub(crate) queries: &'a [f32],
    pub(crate) width: usize,
    pub(crate) lists: Vec<Shortlist<'a>>,
}

impl<'a> Scan<'a> {
    #[inline(always)]
    pub(crate) fn run(mut self, multiply: impl Multiply) -> Vec<Shortlist<'a>> {
        let together: Vec<Together> =
            self.queries.chunks(self.width * QUERIES).map(|some| Together::of(some, self.width)).collect();
        let groups = self.codes.traits.len();
        let size = (CELLS / self.codes.quads).max(1).next_multiple_of(GROUPS);
        for first in (0..groups).step_by(size) {
            let block = Block { codes: self.codes, first, last: groups.min(first + size) };
            for (asked, lists) in together.iter().zip(self.lists.chunks_mut(QUERIES)) {
                // So many groups that no product waits for the one before it, and all sums stay in registers.
                match lists.len() {
                    1 => block.ask::<1, 8>(multiply, asked, lists),
                    2 => block.ask::<2, 8>(multiply, asked, lists),
                    3 => block.ask::<3, 4>(multiply, asked, lists),
                    4 => block.ask::<4, 4>(multiply, asked, lists),
                    5 => block.ask::<5, 4>(multiply, asked, lists),
                    6 => block.ask::<6, 2>(multiply, asked, lists),
                    7 => block.ask::<7, 2>(multiply, asked, lists),
                    _ => block.ask::<QUERIES, 2>(multiply, asked, lists),
                }
            }
        }
        for list in &mut self.lists {
            list.score();
        }
        self.lists
    }
}

/// Queries that are asked together.
struct Together {
    asked: Vec<Asked>,
    /// [quads, queries].
    quads: Vec<[u8; QUAD]>,
}

impl Together {
    #[inline(always)]
    fn of(queries: &[f32], width: usize) -> Self {
        let asked: Vec<Asked> = queries.chunks_exact(width).map(Asked::of).collect();
        let beside = |number: usize| asked.iter().map(move |asked| asked.quads[number]);
        let quads = (0..width.div_ceil(QUAD)).flat_map(beside).collect();
        Self { asked, quads }
    }
}

/// Some groups, one after the other.
struct Block<'a> {
    codes: &'a Codes,
    first: usize,
    last: usize,
}

impl Block<'_> {
    /// Q queries, and G groups at a time.
    #[inline(always)]
    fn ask<const Q: usize, const G: usize>(
        &self,
        multiply: impl Multiply,
        together: &Together,
        lists: &mut [Shortlist],
    ) {
        let asked: [&Asked; Q] = std::array::from_fn(|q| &together.asked[q]);
        let (quads, _) = together.quads.as_chunks::<Q>();
        let lists = &mut lists[..Q];
        let whole = self.first + (self.last - self.first) / G * G;
        for group in (self.first..whole).step_by(G) {
            let cells = std::array::from_fn(|g| self.cells(group + g));
            let starts = std::array::from_fn(|g| &self.codes.traits[group + g].start);
            let products: [[Sums; Q]; G] = multiply.products(cells, starts, quads);
            for g in 0..G {
                self.keep(group + g, &products[g], asked, lists);
            }
        }
        for group in whole..self.last {
            let [products] = multiply.products([self.cells(group)], [&self.codes.traits[group].start], quads);
            self.keep(group, &products, asked, lists);
        }
    }

    #[inline(always)]
    fn cells(&self, group: usize) -> &[Cell] {
        &self.codes.cells[group * self.codes.quads..][..self.codes.quads]
    }

    #[inline(always)]
    fn keep<const Q: usize>(&self, group: usize, products: &[Sums; Q], asked: [&Asked; Q], lists: &mut [Shortlist]) {
        let traits = &self.codes.traits[group];
        let [rest, norm, rounding] = traits.most;
        for q in 0..Q {
            let (asked, list) = (asked[q], &mut lists[q]);
            let off = asked.length * rest + asked.rest * norm + (rounding + list.least.abs() * ROUNDING);
            // Before anything is sure, everything is kept.
            let bar = if list.least == f32::NEG_INFINITY { f32::NEG_INFINITY } else { list.least - off };
            let mut any = false;
            for near in nears(asked, traits, &products[q]) {
                any |= !is_less(near, bar);
            }
            if any {
                let (low, high) = bounds(asked, traits, &self.codes.errors[group], &products[q]);
                list.keep(group * GROUP, &low, &high);
            }
        }
    }
}

/// What each item's score is by the codes.
#[inline(always)]
#[allow(clippy::cast_precision_loss)] // sums of products of bytes: exact below 2^24, and within the bounds' slack above
fn nears(asked: &Asked, traits: &Traits, products: &Sums) -> [f32; GROUP] {
    let mut near = [0.0; GROUP];
    for place in 0..GROUP {
        near[place] = products[place] as f32 * (asked.scale * traits.scale[place]) + traits.bias[place];
    }
    near
}

/// Between what each item's score lies: |qx - q'x'| <= |q'| |x - x'| + |q - q'| |x|, where q' and x' are what codes stand for.
#[inline(always)]
fn bounds(asked: &Asked, traits: &Traits, errors: &Errors, products: &Sums) -> ([f32; GROUP], [f32; GROUP]) {
    let (mut low, mut high) = ([0.0; GROUP], [0.0; GROUP]);
    let near = nears(asked, traits, products);
    for place in 0..GROUP {
        let off = asked.length * errors.rest[place] + asked.rest * errors.norm[place] + errors.rounding[place];
        low[place] = near[place] - off;
        high[place] = near[place] + off;
    }
    (low, high)
}
