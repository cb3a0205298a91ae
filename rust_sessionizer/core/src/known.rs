//! A table of the distinct values of a column, where they are few beside its rows.

use crate::raw::{prefetch, zeros};

/// The distinct values of some rows, in the order in which they came.
pub(crate) struct Known {
    /// A value each, as near as there is room to where its hash says; at least half are free.
    slots: Vec<Slot>,
    shift: u32,
    /// The first row of every value.
    pub(crate) firsts: Vec<u32>,
}

/// A value's key, and its code and one more: 0 is free.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: u64,
    after: u32,
}

impl Known {
    pub(crate) fn new() -> Self {
        Self::with_bits(10)
    }

    fn with_bits(bits: u32) -> Self {
        Self { slots: zeros(1 << bits), shift: u64::BITS - bits, firsts: Vec::new() }
    }

    /// Asks for what will be looked at soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(&self.slots, self.home(hash));
    }

    /// The code of a row's value, a new one if it is not known. `equal` says whether two rows whose hashes agree hold the same.
    #[inline]
    pub(crate) fn code(&mut self, hash: u64, row: u32, equal: impl Fn(u32, u32) -> bool) -> u32 {
        let mut place = self.home(hash);
        loop {
            let Slot { hash: held, after } = self.slots[place];
            if after == 0 {
                return self.add(place, hash, row);
            }
            let code = after - 1;
            if held == hash && equal(self.firsts[code as usize], row) {
                return code;
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds what another one knows; what its codes are here.
    pub(crate) fn absorb(&mut self, other: &Self, equal: impl Fn(u32, u32) -> bool) -> Vec<u32> {
        let mut codes = vec![0; other.firsts.len()];
        for slot in other.slots.iter().filter(|slot| slot.after > 0) {
            let code = slot.after as usize - 1;
            codes[code] = self.code(slot.hash, other.firsts[code], &equal);
        }
        codes
    }

    #[allow(clippy::cast_possible_truncation)] // fewer bits than an address has
    fn home(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    #[cold]
    fn add(&mut self, place: usize, hash: u64, row: u32) -> u32 {
        self.firsts.push(row);
        #[allow(clippy::cast_possible_truncation)] // at most as many as rows
        let after = self.firsts.len() as u32;
        self.slots[place] = Slot { hash, after };
        if self.firsts.len() * 2 > self.slots.len() {
            let mut larger = Self::with_bits(u64::BITS - self.shift + 1);
            for slot in self.slots.iter().filter(|slot| slot.after > 0) {
                let mut place = larger.home(slot.hash);
                while larger.slots[place].after > 0 {
                    place = (place + 1) & (larger.slots.len() - 1);
                }
                larger.slots[place] = *slot;
            }
            (self.slots, self.shift) = (larger.slots, larger.shift);
        }
        after - 1
    }
}
