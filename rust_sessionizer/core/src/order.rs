//! A log in any order, brought into the order of time.
//!
//! 1. *Count* how many events fall into each of up to two thousand parts of the log's time.
//! 2. *Scatter* the events, each with its visitor and what is carried along, into those buckets. Every thread takes a
//!    stretch of the log and has a place of its own in every bucket, so that the order of rows is kept. Events wait in
//!    the cache until there are enough for a write to memory.
//! 3. *Sort* every bucket, which lies in the cache, by counting again: some two parts an event.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use crate::raw::{prefetch, write_in_lines, zeros};
use crate::sessions::Span;
use crate::timeline::{Carry, Entries, Entry, Sorted, Visitors};

/// Events of a bucket, more or less as time is even; a few in tests, so that short logs have many.
const BUCKET: usize = if cfg!(test) { 8 } else { 16_384 };

/// Bits of a bucket's number: for as many buckets as that makes, at most two thousand; at least one, so that times are shifted by less
/// than 64.
fn bucket_bits(events: usize) -> u32 {
    (events / BUCKET).next_power_of_two().ilog2().clamp(1, 11)
}

/// From here on a bucket is sorted by all threads.
const LARGE: usize = if cfg!(test) { 32 } else { 1 << 18 };

/// A log whose events were put into buckets of equal time. The buckets are in order; in each, the events are in that of rows.
pub(crate) struct Scattered<'a, V: ?Sized, C, const WORDS: usize> {
    pub(crate) log: Entries<'a, V, C>,
    pub(crate) entries: Vec<[u64; WORDS]>,
    cut: Cut,
    /// Where each bucket begins, and at the end their length.
    begins: Vec<usize>,
    /// How many rows each thread took, and how many of them went into each bucket.
    step: usize,
    counts: Vec<Vec<u32>>,
}

/// How time is cut into buckets: equal ones where nearly all events are, the first and the last with what is farther off. One wrong
/// time would else put all others into one bucket.
#[derive(Clone, Copy)]
struct Cut {
    first: i64,
    /// The least time since the first that is cut equally.
    low: u64,
    /// Bits of the time that do not tell the bucket.
    shift: u32,
    last: usize,
    /// The last time since the first.
    most: u64,
}

/// Rows that tell where nearly all events are, and of how many one may be far off at either end; fewer in tests, where logs are short.
const SAMPLE: usize = 1_024;
const FAR: usize = if cfg!(test) { 8 } else { 100 };

/// Some times of a log in any order, sorted; and of how many events each is one.
pub(crate) fn sample(times: &[i64]) -> (Cow<'_, [i64]>, usize) {
    let step = times.len().div_ceil(SAMPLE).max(1);
    let mut sample: Vec<i64> = times.iter().copied().step_by(step).collect();
    sample.sort_unstable();
    (Cow::Owned(sample), step)
}

#[allow(clippy::cast_possible_truncation)] // buckets have 11 bits at most
impl Cut {
    fn of(times: &[i64], span: &Span) -> Self {
        let mut cut = Self { first: span.first, low: 0, shift: 0, last: 0, most: span.range() };
        let (sample, _) = sample(times);
        // Few at both ends do not count, and an eighth of what does is added there.
        let few = sample.len() / FAR;
        let (low, high) = (cut.since(sample[few]), cut.since(sample[sample.len() - 1 - few]));
        cut.low = low.saturating_sub((high - low) / 8);
        let wide = high.saturating_add((high - low) / 8).min(cut.most) - cut.low;
        cut.shift = (u64::BITS - wide.leading_zeros()).saturating_sub(bucket_bits(times.len()));
        cut.last = (wide >> cut.shift) as usize;
        cut
    }

    #[inline]
    fn since(self, time: i64) -> u64 {
        time.wrapping_sub(self.first).cast_unsigned()
    }

    #[inline]
    fn bucket(self, since: u64) -> usize {
        (since.saturating_sub(self.low) >> self.shift).min(self.last as u64) as usize
    }

    /// The least and the most since the first time that a bucket may have.
    fn ends(self, bucket: usize) -> (u64, u64) {
        let least = |bucket: usize| self.low + ((bucket as u64) << self.shift);
        (
            if bucket == 0 { 0 } else { least(bucket) },
            if bucket == self.last { self.most } else { least(bucket + 1) - 1 },
        )
    }
}

/// Entries of a bucket that are asked for before they are read: two lines of the cache, of the smallest.
const AHEAD: usize = 16;

/// Puts the events of a log into buckets of equal time.
pub(crate) fn scatter<'a, V: Visitors + ?Sized, C: Carry, const WORDS: usize>(
    log: Entries<'a, V, C>,
    times: &[i64],
    span: &Span,
) -> Scattered<'a, V, C, WORDS>
where
    [u64; WORDS]: Entry<C::Value>,
{
    let cut = Cut::of(times, span);
    let buckets = cut.last + 1;
    let step = times.len().div_ceil(rayon::current_num_threads()).max(4_096);
    let counts: Vec<Vec<u32>> = times
        .par_chunks(step)
        .map(|times| {
            let mut counts = vec![0; buckets];
            for &time in times {
                counts[cut.bucket(cut.since(time))] += 1;
            }
            counts
        })
        .collect();
    let mut entries: Vec<[u64; WORDS]> = zeros(times.len());
    places(&mut entries, &counts).into_par_iter().enumerate().for_each(|(part, places)| {
        let first = part * step;
        let event = |(row, &time): (usize, &i64)| {
            let since = cut.since(time);
            (cut.bucket(since), Entry::new(log.packing, since, log.visitors.key(row, log.seed), log.carry.of(row)))
        };
        write_in_lines(places, (first..).zip(times.iter().skip(first).take(step)).map(event));
    });
    let mut begins = vec![0; buckets + 1];
    for bucket in 0..buckets {
        begins[bucket + 1] = begins[bucket] + counts.iter().map(|counts| counts[bucket] as usize).sum::<usize>();
    }
    Scattered { log, entries, cut, begins, step, counts }
}

impl<'a, V: Visitors + ?Sized, C: Carry, const WORDS: usize> Scattered<'a, V, C, WORDS>
where
    [u64; WORDS]: Entry<C::Value>,
{
    /// Where the events of some buckets are.
    pub(crate) fn places(&self, buckets: &Range<usize>) -> Range<usize> {
        self.begins[buckets.start]..self.begins[buckets.end]
    }

    /// The buckets in as many parts of about as many events.
    pub(crate) fn stretches(&self, parts: usize) -> Vec<Range<usize>> {
        let buckets = self.begins.len() - 1;
        let rows = self.begins[buckets];
        let bucket_at = |part: usize| self.begins.partition_point(|&begin| begin < rows * part / parts).min(buckets);
        (0..parts).map(|part| bucket_at(part)..if part + 1 < parts { bucket_at(part + 1) } else { buckets }).collect()
    }

    /// Sorts the entries of a bucket into as many places, as what `held` makes of them.
    pub(crate) fn sort_into<T: Copy + Send>(
        &self,
        scratch: &mut Scratch,
        bucket: usize,
        entries: &[[u64; WORDS]],
        to: &mut [T],
        held: impl Fn(u32, &[u64; WORDS]) -> T,
        entry_of: impl Fn(&T) -> &[u64; WORDS] + Sync,
    ) {
        let since = |held: &T| entry_of(held).since(self.log.packing);
        if entries.len() >= LARGE {
            to.iter_mut().zip((0..).zip(entries)).for_each(|(to, (place, entry))| *to = held(place, entry));
            return to.par_sort_by_key(since);
        }
        scratch.sort_into(entries, to, |entry| entry.since(self.log.packing), held, since, self.cut.ends(bucket));
    }

    /// For every row of the log, what `of` makes of its bucket and its entry.
    pub(crate) fn gather_back(&self, times: &[i64], of: impl Fn(usize, &[u64; WORDS]) -> i32 + Sync) -> Vec<i32> {
        let mut rows = zeros(times.len());
        rows.par_chunks_mut(self.step).zip(times.par_chunks(self.step)).enumerate().for_each(
            |(part, (rows, times))| {
                let before =
                    |bucket: usize| self.counts[..part].iter().map(|counts| counts[bucket] as usize).sum::<usize>();
                let mut next: Vec<usize> =
                    (0..self.begins.len() - 1).map(|bucket| self.begins[bucket] + before(bucket)).collect();
                for (row, &time) in rows.iter_mut().zip(times) {
                    let bucket = self.cut.bucket(self.cut.since(time));
                    let place = &mut next[bucket];
                    *row = of(bucket, &self.entries[*place]);
                    // No processor foresees a thousand readers.
                    prefetch(&self.entries, *place + AHEAD);
                    *place += 1;
                }
            },
        );
        rows
    }

    /// Sorts all buckets.
    pub(crate) fn sort(mut self) -> Sorted<'a, V, C, WORDS> {
        let mut entries = std::mem::take(&mut self.entries);
        let buckets: Vec<_> = split(&mut entries, self.begins.windows(2).map(|ends| ends[1] - ends[0]));
        let since = |entry: &[u64; WORDS]| entry.since(self.log.packing);
        let (large, small): (Vec<_>, Vec<_>) =
            buckets.into_iter().enumerate().partition(|(_, entries)| entries.len() >= LARGE);
        small.into_par_iter().for_each_init(
            || (Scratch::default(), Vec::new()),
            |(scratch, copy), (bucket, entries)| {
                copy.resize(copy.len().max(entries.len()), [0; WORDS]);
                let copy = &mut copy[..entries.len()];
                scratch.sort_into(entries, copy, since, |_, entry| *entry, since, self.cut.ends(bucket));
                entries.copy_from_slice(copy);
            },
        );
        for (_, entries) in large {
            entries.par_sort_by_key(since);
        }
        Sorted { log: self.log, entries }
    }
}

/// For every part of the log its places in every bucket.
fn places<'a, E>(entries: &'a mut [E], counts: &[Vec<u32>]) -> Vec<Vec<&'a mut [E]>> {
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
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    ends: Vec<u32>,
}

/// Up to here insertion is fast.
const FEW: u32 = 24;

impl Scratch {
    /// By the number, equal ones in the order they came in; all lie between `least` and `most`. `held` makes of an entry and its place
    /// what is sorted, of which `number_of` tells the number again.
    fn sort_into<E, T: Copy>(
        &mut self,
        entries: &[E],
        to: &mut [T],
        number: impl Fn(&E) -> u64,
        held: impl Fn(u32, &E) -> T,
        number_of: impl Fn(&T) -> u64,
        (least, most): (u64, u64),
    ) {
        let numbered = || (0..).zip(entries).map(|(place, entry)| held(place, entry));
        if entries.len() <= FEW as usize {
            to.iter_mut().zip(numbered()).for_each(|(to, held)| *to = held);
            return insert(to, number_of);
        }
        // About two parts an event.
        let shift = (u64::BITS - (most - least).leading_zeros()).saturating_sub(entries.len().ilog2() + 1);
        #[allow(clippy::cast_possible_truncation)] // about as many as events
        let part_of = |number: u64| ((number - least) >> shift) as usize;
        self.ends.clear();
        self.ends.resize(part_of(most) + 1, 0);
        for entry in entries {
            self.ends[part_of(number(entry))] += 1;
        }
        let (mut begin, mut most_of_one) = (0, 0);
        for end in &mut self.ends {
            most_of_one = most_of_one.max(*end);
            begin += std::mem::replace(end, begin);
        }
        if shift > 0 && most_of_one > FEW {
            let ends = |(least, most): (u64, u64), number: u64| (least.min(number), most.max(number));
            let (closest, farthest) = entries.iter().map(&number).fold((u64::MAX, 0), ends);
            if (closest, farthest) == (least, most) {
                to.iter_mut().zip(numbered()).for_each(|(to, held)| *to = held);
                return to.sort_by_key(number_of);
            }
            return self.sort_into(entries, to, number, held, number_of, (closest, farthest));
        }
        for (entry, held) in entries.iter().zip(numbered()) {
            let place = &mut self.ends[part_of(number(entry))];
            to[*place as usize] = held;
            *place += 1;
        }
        if shift > 0 {
            // None is far from its place.
            insert(to, number_of);
        }
    }
}

/// Takes every entry to its place among those before.
fn insert<E: Copy>(entries: &mut [E], number: impl Fn(&E) -> u64) {
    let mut most = 0;
    for place in 0..entries.len() {
        let own = number(&entries[place]);
        if own >= most {
            most = own;
            continue;
        }
        let (entry, mut hole) = (entries[place], place);
        while hole > 0 && number(&entries[hole - 1]) > own {
            entries[hole] = entries[hole - 1];
            hole -= 1;
        }
        entries[hole] = entry;
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
            let given: Vec<(u64, usize)> = numbers.into_iter().zip(0..).collect();
            let mut expected = given.clone();
            expected.sort_by_key(|entry| entry.0);
            let smallest = given.iter().map(|entry| entry.0).min().unwrap_or(0);
            let mut found = vec![(0, 0); given.len()];
            let ends = (if from_zero { 0 } else { smallest }, u64::MAX);
            Scratch::default().sort_into(&given, &mut found, |entry| entry.0, |_, entry| *entry, |entry| entry.0, ends);
            prop_assert_eq!(found, expected);
        }
    }
}
