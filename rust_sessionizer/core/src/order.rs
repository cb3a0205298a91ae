//! A log in any order, brought into the order of time.
//!
//! 1. *Count* how many events fall into each of some hundred equal parts of the log's time.
//! 2. *Scatter* the events, each with its visitor and what is carried along, into those buckets. Every thread takes a
//!    stretch of the log and has a place of its own in every bucket, so that the order of rows is kept. Events wait in
//!    the cache until there are enough for a write to memory.
//! 3. *Sort* every bucket, which lies in the cache, by counting again: as many parts as it has events.

use rayon::prelude::*;

use crate::hashing::Seed;
use crate::raw::{write_in_lines, zeros};
use crate::sessions::Span;
use crate::timeline::{Carry, Entry, Packing, Sorted, Visitors};

/// Some ten thousand events a bucket, and at most two thousand buckets; at least two, so that times are shifted by less than 64.
fn bucket_bits(events: usize) -> u32 {
    (events / 16_384).next_power_of_two().ilog2().clamp(1, 11)
}

/// From here on a bucket is sorted by all threads.
const LARGE: usize = 1 << 18;

pub(crate) fn by_time<'a, V: Visitors + ?Sized, C: Carry, const WORDS: usize>(
    visitors: &'a V,
    times: &[i64],
    carry: C,
    seed: Seed,
    span: &Span,
    packing: Packing,
) -> Sorted<'a, V, C, WORDS>
where
    [u64; WORDS]: Entry<C::Value>,
{
    let bits = u64::BITS - span.range().leading_zeros();
    let shift = bits.saturating_sub(bucket_bits(times.len()));
    #[allow(clippy::cast_possible_truncation)] // 11 bits at most
    let bucket_of = |since: u64| (since >> shift) as usize;
    let buckets = bucket_of(span.range()) + 1;
    let step = times.len().div_ceil(rayon::current_num_threads()).max(4_096);
    let since = |time: i64| time.wrapping_sub(span.first).cast_unsigned();

    let counts: Vec<Vec<u32>> = times
        .par_chunks(step)
        .map(|times| {
            let mut counts = vec![0; buckets];
            for &time in times {
                counts[bucket_of(since(time))] += 1;
            }
            counts
        })
        .collect();
    let mut entries: Vec<[u64; WORDS]> = zeros(times.len());
    scatter(&mut entries, &counts).into_par_iter().enumerate().for_each(|(part, places)| {
        let first = part * step;
        let event = |(row, &time): (usize, &i64)| {
            let since = since(time);
            (bucket_of(since), Entry::new(packing, since, visitors.key(row, seed), carry.of(row)))
        };
        write_in_lines(places, (first..).zip(times.iter().skip(first).take(step)).map(event));
    });
    let lengths = (0..buckets).map(|bucket| counts.iter().map(|counts| counts[bucket] as usize).sum());
    let parts = (0_u64..).zip(split(&mut entries, lengths));
    let (large, small): (Vec<_>, Vec<_>) = parts.partition(|(_, bucket)| bucket.len() >= LARGE);
    small.into_par_iter().for_each_init(Scratch::default, |scratch, (number, bucket)| {
        let least = number << shift;
        scratch.sort(bucket, |entry| entry.since(packing), least, least | ((1 << shift) - 1));
    });
    for (_, bucket) in large {
        bucket.par_sort_by_key(|entry| entry.since(packing));
    }
    Sorted { visitors, carry, seed, packing, entries }
}

/// For every part of the log its places in every bucket.
fn scatter<'a, E>(entries: &'a mut [E], counts: &[Vec<u32>]) -> Vec<Vec<&'a mut [E]>> {
    let buckets = counts.first().map_or(0, Vec::len);
    let mut places: Vec<Vec<&mut [E]>> = counts.iter().map(|_| Vec::with_capacity(buckets)).collect();
    let lengths = (0..buckets).flat_map(|bucket| counts.iter().map(move |counts| counts[bucket] as usize));
    for (number, place) in split(entries, lengths).into_iter().enumerate() {
        places[number % counts.len()].push(place);
    }
    places
}

/// Parts of the given lengths, one after the other.
pub(crate) fn split<T>(mut whole: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let cut = |length| {
        let (part, rest) = std::mem::take(&mut whole).split_at_mut(length);
        whole = rest;
        part
    };
    lengths.map(cut).collect()
}

/// What sorting a bucket needs besides, kept from one to the next.
struct Scratch<E> {
    copy: Vec<E>,
    ends: Vec<u32>,
}

impl<E> Default for Scratch<E> {
    fn default() -> Self {
        Self { copy: Vec::new(), ends: Vec::new() }
    }
}

/// Up to here insertion is fast.
const FEW: u32 = 24;

impl<E: Copy + Default> Scratch<E> {
    /// By the number, equal ones in the order they came in; all lie between `least` and `most`.
    fn sort(&mut self, bucket: &mut [E], number: impl Fn(&E) -> u64, least: u64, most: u64) {
        if bucket.len() <= FEW as usize {
            return bucket.sort_by_key(number);
        }
        // About two parts an event.
        let shift = (u64::BITS - (most - least).leading_zeros()).saturating_sub(bucket.len().ilog2() + 1);
        #[allow(clippy::cast_possible_truncation)] // about as many as events
        let part_of = |number: u64| ((number - least) >> shift) as usize;
        let part = |entry: &E| part_of(number(entry));
        self.ends.clear();
        self.ends.resize(part_of(most) + 1, 0);
        for entry in &*bucket {
            self.ends[part(entry)] += 1;
        }
        let (mut begin, mut most_of_one) = (0, 0);
        for end in &mut self.ends {
            most_of_one = most_of_one.max(*end);
            begin += std::mem::replace(end, begin);
        }
        if shift > 0 && most_of_one > FEW {
            let ends = |(least, most): (u64, u64), number: u64| (least.min(number), most.max(number));
            let (closest, farthest) = bucket.iter().map(&number).fold((u64::MAX, 0), ends);
            if (closest, farthest) == (least, most) {
                return bucket.sort_by_key(number);
            }
            return self.sort(bucket, number, closest, farthest);
        }
        self.copy.resize(self.copy.len().max(bucket.len()), E::default());
        let copy = &mut self.copy[..bucket.len()];
        for entry in &*bucket {
            let place = &mut self.ends[part(entry)];
            copy[*place as usize] = *entry;
            *place += 1;
        }
        if shift == 0 {
            bucket.copy_from_slice(copy);
        } else {
            // None is far from its place.
            insert(bucket, copy.iter().copied(), number);
        }
    }
}

/// Puts the entries one after the other to their places among those before.
fn insert<E: Copy>(places: &mut [E], entries: impl Iterator<Item = E>, number: impl Fn(&E) -> u64) {
    let mut most = 0;
    for (place, entry) in (0..places.len()).zip(entries) {
        let own = number(&entry);
        places[place] = entry;
        if own >= most {
            most = own;
            continue;
        }
        let mut hole = place;
        while hole > 0 && number(&places[hole - 1]) > own {
            places[hole] = places[hole - 1];
            hole -= 1;
        }
        places[hole] = entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorts_as_the_standard_library_does(
            numbers in prop::collection::vec(prop_oneof![0_u64..40, any::<u64>(), Just(u64::MAX), 1_u64 << 40..(1 << 40) + 9], 0..300),
            from_zero in any::<bool>(),
        ) {
            let mut found: Vec<(u64, usize)> = numbers.into_iter().zip(0..).collect();
            let mut expected = found.clone();
            expected.sort_by_key(|entry| entry.0);
            let smallest = found.iter().map(|entry| entry.0).min().unwrap_or(0);
            Scratch::default().sort(&mut found, |entry| entry.0, if from_zero { 0 } else { smallest }, u64::MAX);
            prop_assert_eq!(found, expected);
        }
    }
}
