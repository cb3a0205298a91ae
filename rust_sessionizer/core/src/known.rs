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

/// A value's hash, and its code plus one: 0 marks a free slot.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: u64,
    code_plus_one: u32,
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
            let Slot { hash: held, code_plus_one } = self.slots[place];
            if code_plus_one == 0 {
                return self.add(place, hash, row);
            }
            let code = code_plus_one - 1;
            if held == hash && equal(self.firsts[code as usize], row) {
                return code;
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds what another one knows; what its codes are here.
    pub(crate) fn absorb(&mut self, other: &Self, equal: impl Fn(u32, u32) -> bool) -> Vec<u32> {
        // Values come in the order of their hashes, that is of their slots. A table that grew meanwhile would have all of them at its
        // front, and every one would be looked for behind all before it.
        let slots = ((self.firsts.len() + other.firsts.len()) * 2).next_power_of_two();
        if slots > self.slots.len() {
            self.grow(slots.ilog2());
        }
        let mut codes = vec![0; other.firsts.len()];
        for slot in other.slots.iter().filter(|slot| slot.code_plus_one > 0) {
            let code = slot.code_plus_one as usize - 1;
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
        let code_plus_one = self.firsts.len() as u32;
        self.slots[place] = Slot { hash, code_plus_one };
        if self.firsts.len() * 2 > self.slots.len() {
            self.grow(u64::BITS - self.shift + 1);
        }
        code_plus_one - 1
    }

    /// Moves to a table of two to the power of so many slots, more than there are.
    fn grow(&mut self, bits: u32) {
        let mut larger = Self::with_bits(bits);
        for slot in self.slots.iter().filter(|slot| slot.code_plus_one > 0) {
            let mut place = larger.home(slot.hash);
            while larger.slots[place].code_plus_one > 0 {
                place = (place + 1) & (larger.slots.len() - 1);
            }
            larger.slots[place] = *slot;
        }
        (self.slots, self.shift) = (larger.slots, larger.shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_few_takes_in_one_of_many() {
        let hash = |row: u32| crate::partition::hash(i64::from(row % 30_000));
        let equal = |a: u32, b: u32| a % 30_000 == b % 30_000;
        let known = |rows: std::ops::Range<u32>| {
            let mut known = Known::new();
            let codes: Vec<u32> = rows.map(|row| known.code(hash(row), row, equal)).collect();
            (known, codes)
        };
        let ((mut few, _), (many, codes)) = (known(29_990..30_010), known(30_000..90_000));
        let absorbed = few.absorb(&many, equal);
        for (row, &code) in (30_000..90_000).zip(&codes) {
            let joined = absorbed[code as usize];
            assert!(equal(few.firsts[joined as usize], row));
            assert_eq!(few.code(hash(row), row, equal), joined);
        }
        assert_eq!(few.firsts.len(), 30_000);
    }
}
