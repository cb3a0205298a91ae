//! All items for some queries: by their codes, those that may be among the best; then these, exactly.

use crate::codes::{Asked, Codes, GROUP, Traits};
use crate::index::{Shortlist, is_less};
use crate::kernel::{Multiply, Sums};

/// Groups whose products are made together, so that one does not wait for the other.
const TOGETHER: usize = 2;

/// Q queries, and the items that each keeps.
pub(crate) struct Scan<'a, const Q: usize> {
    pub(crate) codes: &'a Codes,
    pub(crate) asked: [&'a Asked; Q],
    pub(crate) lists: [Shortlist<'a>; Q],
}

impl<'a, const Q: usize> Scan<'a, Q> {
    #[inline(always)]
    pub(crate) fn run(mut self, multiply: impl Multiply) -> [Shortlist<'a>; Q] {
        let quads = self.asked.map(|asked| &*asked.quads);
        let whole = self.codes.traits.len() / TOGETHER * TOGETHER;
        for group in (0..whole).step_by(TOGETHER) {
            let cells = std::array::from_fn(|g| self.cells(group + g));
            let products: [[Sums; Q]; TOGETHER] = multiply.products(cells, quads);
            for g in 0..TOGETHER {
                self.keep(group + g, &products[g]);
            }
        }
        for group in whole..self.codes.traits.len() {
            let [products] = multiply.products([self.cells(group)], quads);
            self.keep(group, &products);
        }
        for list in &mut self.lists {
            list.score();
        }
        self.lists
    }

    #[inline(always)]
    fn cells(&self, group: usize) -> &[crate::codes::Cell] {
        &self.codes.cells[group * self.codes.quads..][..self.codes.quads]
    }

    #[inline(always)]
    fn keep(&mut self, group: usize, products: &[Sums; Q]) {
        let traits = &self.codes.traits[group];
        for q in 0..Q {
            let list = &mut self.lists[q];
            let (low, high) = bounds(self.asked[q], traits, &products[q]);
            let mut any = false;
            for high in high {
                any |= !is_less(high, list.least);
            }
            if any {
                list.keep(group * GROUP, &low, &high);
            }
        }
    }
}

/// Between what each item's score lies: |qx - q'x'| <= |q'| |x - x'| + |q - q'| |x|, where q' and x' are what codes stand for.
#[inline(always)]
#[allow(clippy::cast_precision_loss)] // sums of products of bytes: exact below 2^24, and within the bounds' slack above
fn bounds(asked: &Asked, traits: &Traits, products: &Sums) -> ([f32; GROUP], [f32; GROUP]) {
    let (mut low, mut high) = ([0.0; GROUP], [0.0; GROUP]);
    for place in 0..GROUP {
        let product = (products[place] - traits.shifted[place]) as f32;
        let near = product * (asked.scale * traits.scale[place]) + traits.bias[place];
        let off = asked.length * traits.rest[place] + asked.rest * traits.norm[place];
        low[place] = near - off;
        high[place] = near + off;
    }
    (low, high)
}
