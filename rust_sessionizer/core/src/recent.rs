//! The last event of every visitor, as far as it is recent: what a pass through time has to remember.
//!
//! Events are known by their place in the order of time. A bucket is one line of the cache with room for eight visitors:
//! their tags (part of the hash) and the places of their last events. A place below the `low` of the moment is over, and
//! its room is free; so that nothing is ever taken out, and an empty bucket is one with places below any `low`.

use std::hint::select_unpredictable;

use crate::raw::{self, WAYS};

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    tags: [i32; WAYS],
    places: [i32; WAYS],
}

const EMPTY: Bucket = Bucket { tags: [0; WAYS], places: [-1; WAYS] };

/// Places are counted from 0 to less than 2^31.
pub(crate) struct Recent {
    buckets: Vec<Bucket>,
    shift: u32,
    /// Those for whom no number of buckets makes room, since their hashes are alike.
    crowded: Vec<i32>,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self::with_bits(8)
    }

    fn with_bits(bits: u32) -> Self {
        Self { buckets: vec![EMPTY; 1 << bits], shift: u64::BITS - bits, crowded: Vec::new() }
    }

    /// Puts `place` in the place of the visitor's last event, and gives that back if it is at `low` or later, else `place` itself.
    ///
    /// `same` says whether an event is the visitor's; `hash_of` tells events' hashes, in case there must be more room.
    #[allow(clippy::inline_always)] // a call costs as much as the look
    #[inline(always)]
    pub(crate) fn swap(
        &mut self,
        hash: u64,
        place: i32,
        low: i32,
        same: impl Fn(i32) -> bool,
        hash_of: impl Fn(i32) -> u64,
    ) -> i32 {
        let bucket = &mut self.buckets[home(hash, self.shift)];
        let tag = tag(hash);
        let (known, free) = bucket.look(tag, low);
        if known | free == 0 || !self.crowded.is_empty() {
            return self.swap_slowly(hash, place, low, same, hash_of);
        }
        // Chosen without a branch, which no processor would foresee.
        let way = select_unpredictable(known == 0, free, known).trailing_zeros() as usize % WAYS;
        let before = select_unpredictable(known == 0, place, bucket.places[way]);
        if !same(before) {
            // Another visitor has the same tag.
            return self.swap_slowly(hash, place, low, same, hash_of);
        }
        bucket.places[way] = place;
        bucket.tags[way] = tag;
        before
    }

    /// Asks for what will be looked at soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        raw::prefetch(&self.buckets, home(hash, self.shift));
    }

    /// The visitor's last event, if it is at `low` or later.
    pub(crate) fn find(&self, hash: u64, low: i32, same: impl Fn(i32) -> bool) -> Option<i32> {
        let bucket = &self.buckets[home(hash, self.shift)];
        let (known, _) = bucket.look(tag(hash), low);
        let crowded = self.crowded.iter().copied().filter(|&place| place >= low);
        ways(known).map(|way| bucket.places[way]).chain(crowded).find(|&place| same(place))
    }

    #[cold]
    #[inline(never)]
    fn swap_slowly(
        &mut self,
        hash: u64,
        place: i32,
        low: i32,
        same: impl Fn(i32) -> bool,
        hash_of: impl Fn(i32) -> u64,
    ) -> i32 {
        let Some(before) = self.find(hash, low, same) else {
            if !self.add(hash, place, low) {
                self.make_room(hash, place, low, hash_of);
            }
            return place;
        };
        let bucket = &mut self.buckets[home(hash, self.shift)].places;
        bucket.iter_mut().chain(&mut self.crowded).filter(|known| **known == before).for_each(|known| *known = place);
        before
    }

    /// Doubles the buckets until there is room for everyone, or until they are more than 64 for each recent visitor.
    fn make_room(&mut self, hash: u64, place: i32, low: i32, hash_of: impl Fn(i32) -> u64) {
        let held = self.buckets.iter().flat_map(|bucket| bucket.places).chain(self.crowded.iter().copied());
        let mut recent: Vec<i32> = held.filter(|&place| place >= low).collect();
        recent.sort_unstable();
        let is_large = |buckets: usize| buckets > 64 * recent.len().max(64);
        if is_large(self.buckets.len()) {
            self.crowded.retain(|&known| known >= low);
            self.crowded.push(place);
            return;
        }
        for bits in u64::BITS - self.shift + 1.. {
            let mut larger = Self::with_bits(bits);
            larger.crowded = recent.iter().copied().filter(|&known| !larger.add(hash_of(known), known, low)).collect();
            let fits = larger.add(hash, place, low);
            if !fits {
                larger.crowded.push(place);
            }
            if larger.crowded.is_empty() || is_large(larger.buckets.len()) {
                *self = larger;
                return;
            }
        }
    }

    fn add(&mut self, hash: u64, place: i32, low: i32) -> bool {
        let bucket = &mut self.buckets[home(hash, self.shift)];
        let (_, free) = bucket.look(tag(hash), low);
        ways(free).next().map(|way| (bucket.tags[way], bucket.places[way]) = (tag(hash), place)).is_some()
    }
}

impl Bucket {
    /// A bit a way: those with the tag and a recent event, and those that are free.
    #[allow(clippy::inline_always)] // a call costs as much as the look
    #[inline(always)]
    fn look(&self, tag: i32, low: i32) -> (u32, u32) {
        raw::match_ways(&self.tags, &self.places, tag, low)
    }
}

fn ways(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let way = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (way < WAYS).then_some(way)
    })
}

/// The upper bits of the hash choose the bucket, the lower ones are the tag.
#[allow(clippy::cast_possible_truncation)] // fewer bits than an address has
fn home(hash: u64, shift: u32) -> usize {
    (hash >> shift) as usize
}

#[allow(clippy::cast_possible_truncation)] // cut to its bits
fn tag(hash: u64) -> i32 {
    (hash as u32).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visitors by turns, the same answers as from a map, whatever the hash.
    fn agrees(hash: impl Fn(i32) -> u64, visitors: i32, reach: i32) {
        let visitor = |place: i32| place.wrapping_mul(7_919) % visitors * (1 + place % 2);
        let mut recent = Recent::new();
        let mut last = std::collections::HashMap::new();
        for place in 0..4_000 {
            let low = (place / 64 * 64 - reach).max(0);
            let same = |other: i32| visitor(other) == visitor(place);
            let hash_of = |other: i32| hash(visitor(other));
            let known = last.get(&visitor(place)).copied().filter(|&known| known >= low);
            assert_eq!(recent.find(hash_of(place), low, same), known);
            assert_eq!(recent.swap(hash_of(place), place, low, same, hash_of), known.unwrap_or(place));
            last.insert(visitor(place), place);
        }
    }

    #[test]
    fn finds_the_last_event_of_every_recent_visitor() {
        let good = |visitor: i32| crate::partition::hash(i64::from(visitor));
        for (visitors, reach) in [(1, 10), (50, 100), (5_000, 300), (5_000, 4_000)] {
            agrees(good, visitors, reach);
        }
    }

    #[test]
    fn a_hash_that_tells_nobody_apart_costs_time_alone() {
        agrees(|_| 7, 60, 200);
        agrees(|visitor| u64::from(visitor.unsigned_abs() % 3) << 62, 200, 400);
        agrees(|visitor| u64::from(visitor.unsigned_abs() % 40) << 58, 400, 600);
    }
}
