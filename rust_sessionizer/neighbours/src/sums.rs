//! Votes added up by item.

const FEWEST: usize = 1 << 10;

/// An item's votes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    item: u32,
    /// The last voter.
    voter: u32,
    /// Its best vote so far, which is not in the sum yet.
    best: f64,
    sum: f64,
}

/// Sums by item: a hash table that stays in the cache, of a query's few thousand items among millions.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    entries: Vec<Entry>,
    /// Where an item's entry stands, counted from 1; 0 is free. A power of two, at most half of them taken.
    slots: Vec<u32>,
}

impl Sums {
    pub(crate) fn clear(&mut self) {
        if self.entries.len() * 4 > self.slots.len() {
            self.slots.fill(0);
        } else {
            let mask = self.slots.len().wrapping_sub(1);
            // In the order of their making backwards, so that an entry is found before what made it move on.
            while let Some(entry) = self.entries.pop() {
                let mut slot = start(entry.item, mask);
                while self.slots[slot] as usize != self.entries.len() + 1 {
                    slot = (slot + 1) & mask;
                }
                self.slots[slot] = 0;
            }
        }
        self.entries.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn item(&self, entry: usize) -> u32 {
        self.entries[entry].item
    }

    /// The votes of an entry, once all have voted.
    pub(crate) fn total(&self, entry: usize) -> f64 {
        self.entries[entry].sum + self.entries[entry].best
    }

    /// The entry of an item.
    #[inline]
    pub(crate) fn find(&self, item: u32) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = start(item, mask);
        loop {
            let entry = (self.slots[slot] as usize).checked_sub(1)?;
            if self.entries[entry].item == item {
                return Some(entry);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Adds a vote; of a voter's votes for an item, which follow each other but for votes for other items, only the best counts.
    #[inline]
    pub(crate) fn vote(&mut self, item: u32, voter: u32, weight: f64) {
        let place = self.place(item);
        let entry = &mut self.entries[place];
        if entry.voter == voter {
            entry.best = entry.best.max(weight);
        } else {
            entry.sum += entry.best;
            (entry.voter, entry.best) = (voter, weight);
        }
    }

    /// The entry of an item, made where there is none: the last one then.
    #[inline]
    pub(crate) fn place(&mut self, item: u32) -> usize {
        if self.slots.len() <= 2 * self.entries.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut slot = start(item, mask);
        loop {
            match self.slots[slot] as usize {
                0 => {
                    self.entries.push(Entry { item, voter: 0, best: 0.0, sum: 0.0 });
                    #[allow(clippy::cast_possible_truncation)] // items are fewer than 2^31
                    let number = self.entries.len() as u32;
                    self.slots[slot] = number;
                    return number as usize - 1;
                }
                number if self.entries[number - 1].item == item => return number - 1,
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        let slots = (2 * self.slots.len()).max(FEWEST);
        self.slots.clear();
        self.slots.resize(slots, 0);
        for (number, entry) in (1..).zip(&self.entries) {
            let mut slot = start(entry.item, slots - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            self.slots[slot] = number;
        }
    }
}

#[inline]
fn start(item: u32, mask: usize) -> usize {
    (u64::from(item).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whole weights, so that sums are exact in any order.
        #[test]
        fn sums_are_those_of_a_map(rounds in prop::collection::vec(
            prop::collection::vec((0_u32..3_000, 0_u32..5, 0_u8..9), 0..1_500), 1..4,
        )) {
            let mut sums = Sums::default();
            for mut votes in rounds {
                votes.sort_by_key(|&(_, voter, _)| voter);
                sums.clear();
                let mut best: HashMap<(u32, u32), f64> = HashMap::new();
                for &(item, voter, weight) in &votes {
                    sums.vote(item, voter + 1, f64::from(weight));
                    let most = best.entry((item, voter)).or_default();
                    *most = most.max(f64::from(weight));
                }
                let mut expected: HashMap<u32, f64> = HashMap::new();
                for ((item, _), weight) in best {
                    *expected.entry(item).or_default() += weight;
                }
                prop_assert_eq!(sums.len(), expected.len());
                for item in 0..3_000 {
                    prop_assert_eq!(sums.find(item).map(|entry| sums.total(entry)), expected.get(&item).copied());
                }
            }
        }
    }
}
