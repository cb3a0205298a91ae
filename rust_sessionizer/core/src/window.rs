//! A log in any order, numbered bucket by bucket.
//!
//! The events of a bucket are sorted into a window, which stays in the cache, and numbered there. The order of time is never
//! written to memory: every number takes the place of the entry it is for. Rows need not be carried along either. The log is read
//! once more, and since a bucket has its events in the order of rows, each row's number is the next one of its bucket.

use std::ops::Range;

use rayon::prelude::*;

use crate::numbering::{Event, Joined, Numbering, Ordered, Part, join};
use crate::order::{Scattered, Scratch, split};
use crate::timeline::{Carry, Entries, Entry, Visitors};

/// The last events that were sorted: all that are still needed, and others before them.
struct Window<'a, V: ?Sized, C, const WORDS: usize> {
    log: Entries<'a, V, C>,
    held: Vec<Held<WORDS>>,
    /// The place of the first one.
    first: usize,
    /// The place behind the last one; what lies beyond in `held` is room.
    end: usize,
}

/// An entry, and its place in its bucket.
#[derive(Clone, Copy)]
struct Held<const WORDS: usize> {
    entry: [u64; WORDS],
    in_bucket: u32,
}

impl<V: Visitors + ?Sized, C: Carry, const WORDS: usize> Window<'_, V, C, WORDS>
where
    [u64; WORDS]: Entry<C::Value>,
{
    /// Room for as many events more; those before `low` may go, and their `numbers`.
    fn make_room(&mut self, events: usize, low: usize, numbers: &mut Vec<i32>) -> &mut [Held<WORDS>] {
        let (over, held) = (low - self.first, self.end - self.first);
        // At least as much may go as has to be moved, so that an event is moved once on average.
        if over >= held - over {
            self.held.copy_within(over..held, 0);
            numbers.copy_within(over..held, 0);
            self.first = low;
        }
        let held = self.end - self.first;
        if self.held.len() < held + events {
            self.held.resize(held + events, Held { entry: [0; WORDS], in_bucket: 0 });
            numbers.resize(held + events, 0);
        }
        self.end += events;
        &mut self.held[held..held + events]
    }
}

impl<V: Visitors + ?Sized, C: Carry, const WORDS: usize> Ordered for Window<'_, V, C, WORDS>
where
    [u64; WORDS]: Entry<C::Value>,
{
    #[inline]
    fn time(&self, place: usize) -> i64 {
        self.log.time(&self.held[place - self.first].entry)
    }
    #[inline]
    fn event(&self, place: usize) -> Event {
        self.log.event(&self.held[place - self.first].entry)
    }
    #[inline]
    fn hash(&self, event: &Event) -> u64 {
        self.log.hash(event)
    }
    #[inline]
    fn same(&self, place: usize, event: &Event) -> bool {
        self.log.same(&self.held[place - self.first].entry, event)
    }
}

/// The number of every row's session.
pub(crate) fn number_rows<V, C, const WORDS: usize>(
    mut log: Scattered<V, C, WORDS>,
    times: &[i64],
    gap: u64,
) -> Vec<i32>
where
    V: Visitors + ?Sized,
    C: Carry,
    [u64; WORDS]: Entry<C::Value>,
{
    let stretches = log.stretches(rayon::current_num_threads());
    let mut entries = std::mem::take(&mut log.entries);
    let of_each = split(&mut entries, stretches.iter().map(|buckets| log.places(buckets).len()));
    let parts: Vec<_> =
        stretches.par_iter().zip(of_each).map(|(buckets, entries)| number_part(&log, buckets, entries, gap)).collect();
    let joined = join(&parts);
    drop(parts);
    let of_bucket: Vec<&Joined> =
        stretches.iter().zip(&joined).flat_map(|(buckets, joined)| buckets.clone().map(move |_| joined)).collect();
    log.entries = entries;
    #[allow(clippy::cast_possible_truncation)] // it was one of 32 bits
    log.gather_back(times, |bucket, entry| of_bucket[bucket].number(entry[0] as i32))
}

/// Numbers the events of some buckets, each in the place of its entry.
fn number_part<'a, V, C, const WORDS: usize>(
    log: &Scattered<'a, V, C, WORDS>,
    buckets: &Range<usize>,
    entries: &mut [[u64; WORDS]],
    gap: u64,
) -> Part<Window<'a, V, C, WORDS>, Vec<i32>>
where
    V: Visitors + ?Sized,
    C: Carry,
    [u64; WORDS]: Entry<C::Value>,
{
    let first = log.places(buckets).start;
    let mut window = Window { log: log.log, held: Vec::new(), first, end: first };
    let (mut scratch, mut numbers) = (Scratch::default(), Vec::new());
    let mut numbering = Numbering::new(first, gap);
    let of_each = split(entries, buckets.clone().map(|bucket| log.places(&(bucket..bucket + 1)).len()));
    for (bucket, entries) in buckets.clone().zip(of_each) {
        let room = window.make_room(entries.len(), numbering.low(), &mut numbers);
        let held = |in_bucket, entry: &[u64; WORDS]| Held { entry: *entry, in_bucket };
        log.sort_into(&mut scratch, bucket, entries, room, held, |held| &held.entry);
        let places = window.end - entries.len()..window.end;
        numbering.number(&window, places, &mut numbers, window.first, |place, number| {
            entries[window.held[place - window.first].in_bucket as usize][0] = number.cast_unsigned().into();
        });
    }
    Part { numbering, first: window.first, events: window, numbers }
}
