//! Hashes that nobody outside can foresee.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Secret numbers, drawn anew for every call, so that no log can be made to collide.
#[derive(Debug, Clone, Copy)]
pub struct Seed(u64, u64);

impl Seed {
    /// Drawn by the system.
    #[must_use]
    pub fn draw() -> Self {
        let state = RandomState::new();
        Self(state.hash_one(0), state.hash_one(1) | 1)
    }

    /// One-to-one, so that equal hashes mean equal numbers.
    #[inline]
    pub(crate) fn number(self, number: i64) -> u64 {
        let mixed = (number.cast_unsigned() ^ self.0).wrapping_mul(self.1);
        (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93)
    }

    /// Sixteen bytes a step, each folded in by a product of 128 bits.
    #[inline]
    pub(crate) fn bytes(self, text: &[u8]) -> u64 {
        let mut state = self.0.wrapping_add((text.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut rest = text;
        while let Some((sixteen, more)) = rest.split_first_chunk::<16>() {
            let (a, b) = halves(u128::from_le_bytes(*sixteen));
            state = fold(a ^ state, b ^ self.1);
            rest = more;
        }
        // What is left, at most 15 bytes, as two numbers that may overlap.
        let (a, b) = if let (Some(first), Some(last)) = (rest.first_chunk::<8>(), rest.last_chunk::<8>()) {
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
            (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
        } else {
            let byte = |place: usize| rest.get(place).copied().map_or(0, u64::from);
            (byte(0) | byte(1) << 8 | byte(2) << 16, 0)
        };
        fold(fold(a ^ state, b ^ self.1) ^ self.0, 0x9E37_79B9_7F4A_7C15)
    }
}

#[allow(clippy::cast_possible_truncation)] // cut in two
fn halves(number: u128) -> (u64, u64) {
    (number as u64, (number >> 64) as u64)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let (low, high) = halves(u128::from(a) * u128::from(b));
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_anywhere_have_other_hashes() {
        let seed = Seed::draw();
        let mut known = std::collections::HashSet::new();
        for length in 0..70 {
            let mut text = vec![0; length];
            assert!(known.insert(seed.bytes(&text)));
            for place in 0..length {
                text[place] = 1;
                assert!(known.insert(seed.bytes(&text)));
                text[place] = 0;
            }
        }
    }

    #[test]
    fn numbers_keep_apart() {
        let seed = Seed::draw();
        let mut hashes: Vec<u64> = (-5_000..5_000).map(|number| seed.number(number << 20)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 10_000);
    }
}
