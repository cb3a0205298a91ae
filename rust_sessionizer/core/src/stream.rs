//! Sessions of a log that is ordered by time, in passes from front to back.
//!
//! At any moment only the visitors of the last `gap` matter, so that the table of visitors stays in the cache.
//!
//! 1. *Link.* Every event is linked to the event before it in its session. Threads take a stretch of the log each, and
//!    read the `gap` before their stretch first.
//! 2. *Number.* Sessions are numbered by their first listed event, which is the order of (start, row).
//! 3. *List.* Rows go to their sessions' places.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use rayon::prelude::*;

use crate::memory::zeros;
use crate::partition::hash;
use crate::sessions::{Events, Sessions, row_number};

/// Where the events of a `gap` are more than this, their visitors do not fit in the cache.
const WINDOW: usize = 1 << 16;

/// Whether the visitors of the last `gap` are few, for most of the log.
pub(crate) fn is_worth_it(times: &[i64], gap: u64) -> bool {
    let starts = times.iter().step_by(WINDOW);
    let dense = starts.clone().zip(starts.skip(1)).filter(|&(&a, &b)| b.wrapping_sub(a).cast_unsigned() <= gap).count();
    dense * 4 <= times.len() / WINDOW
}

/// The sessions of a log that is ordered by time and not too long for row numbers of 31 bits.
pub(crate) fn sessionize(events: &Events, gap: u64) -> Sessions {
    let (links, roots) = link(events, gap);
    if events.keep.is_none() && events.drop_repeats.is_none() {
        list_all(links, &roots)
    } else {
        list_some(events, links, roots.iter().sum())
    }
}

const NONE: u32 = u32::MAX;

/// Rows of one thread.
fn stretch(rows: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads()).max(WINDOW)
}

/// For every row the row before it in its session, or `NONE`; and for every stretch the number of those without one.
fn link(events: &Events, gap: u64) -> (Vec<u32>, Vec<usize>) {
    let rows = events.keys.len();
    let seed = RandomState::new().hash_one(0).cast_signed();
    let mut links = zeros(rows);
    let step = stretch(rows);
    let roots = links
        .par_chunks_mut(step)
        .enumerate()
        .map(|(stretch, links)| {
            let first = stretch * step;
            let last = first + links.len();
            let start = events.times[first];
            let near = |&time: &i64| start.wrapping_sub(time).cast_unsigned() > gap;
            let warm = events.times[..first].partition_point(near);
            let mut table = Table::new(gap, seed);
            let log = |from, to| (row_number(from)..).zip(&events.keys[from..to]).zip(&events.times[from..to]);
            for ((row, &key), &time) in log(warm, first) {
                table.swap(key, time, row);
            }
            let mut roots = 0;
            for (((row, &key), &time), link) in log(first, last).zip(links) {
                *link = table.swap(key, time, row);
                roots += usize::from(*link == NONE);
            }
            roots
        })
        .collect();
    (links, roots)
}

#[derive(Clone, Copy)]
struct Slot {
    key: i64,
    time: i64,
    row: u32,
}

const EMPTY: Slot = Slot { key: 0, time: 0, row: NONE };

/// The last event of every visitor, as far as it is not longer ago than the gap. Open addressing; a slot whose event is
/// longer ago may be taken, but is not empty before the table is built anew.
struct Table {
    slots: Vec<Slot>,
    shift: u32,
    taken: usize,
    gap: u64,
    seed: i64,
}

impl Table {
    fn new(gap: u64, seed: i64) -> Self {
        let mut table = Self { slots: Vec::new(), shift: 0, taken: 0, gap, seed };
        table.resize(12);
        table
    }

    fn resize(&mut self, bits: u32) {
        self.slots.clear();
        self.slots.resize(1 << bits, EMPTY);
        self.shift = u64::BITS - bits;
        self.taken = 0;
    }

    #[allow(clippy::cast_possible_truncation)] // fewer bits than an address has
    fn home(&self, key: i64) -> usize {
        (hash(key ^ self.seed) >> self.shift) as usize
    }

    fn is_over(&self, slot: &Slot, now: i64) -> bool {
        now.wrapping_sub(slot.time).cast_unsigned() > self.gap
    }

    /// Puts a visitor's event in the place of the one before, which is given back if the session goes on.
    fn swap(&mut self, key: i64, time: i64, row: u32) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = self.home(key);
        let mut free = None;
        loop {
            let slot = &self.slots[at];
            if slot.row == NONE {
                break;
            }
            let over = self.is_over(slot, time);
            if slot.key == key {
                let before = if over { NONE } else { slot.row };
                self.slots[at] = Slot { key, time, row };
                return before;
            }
            if over && free.is_none() {
                free = Some(at);
            }
            at = (at + 1) & mask;
        }
        self.taken += usize::from(free.is_none());
        self.slots[free.unwrap_or(at)] = Slot { key, time, row };
        if self.taken * 2 > self.slots.len() {
            self.rebuild(time);
        }
        NONE
    }

    /// Leaves out what is over, and doubles where more than a quarter is left.
    fn rebuild(&mut self, now: i64) {
        let mut live = std::mem::take(&mut self.slots);
        let bits = live.len().ilog2();
        live.retain(|slot| slot.row != NONE && !self.is_over(slot, now));
        self.resize(bits + u32::from(live.len() >= 1 << (bits - 2)));
        let mask = self.slots.len() - 1;
        for slot in live {
            let mut at = self.home(slot.key);
            while self.slots[at].row != NONE {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
            self.taken += 1;
        }
    }
}

/// Marks a session that began in an earlier stretch, by its place in `Crossing`.
const EARLIER: u32 = 1 << 31;

/// A session that goes on in a stretch after the one it began in.
struct Crossing {
    /// The event before, in an earlier stretch.
    link: u32,
    /// Its events in this stretch.
    rows: Vec<u32>,
}

/// Sessions where every event is listed: each thread numbers and lists those that begin in its stretch.
fn list_all(links: Vec<u32>, roots: &[usize]) -> Sessions {
    let step = stretch(links.len());
    let mut sessions = links;
    let mut heads = zeros(roots.iter().sum());
    let mut lengths = zeros(heads.len());
    let crossings: Vec<Vec<Crossing>> = sessions
        .par_chunks_mut(step)
        .zip(split(&mut heads, roots))
        .zip(split(&mut lengths, roots))
        .enumerate()
        .map(|(number, ((sessions, heads), lengths))| {
            number_stretch(row_number(number * step), sessions, heads, lengths)
        })
        .collect();

    // A session of an earlier stretch is known by its head's stretch and its number there.
    let bases: Vec<u32> = prefixes(roots);
    let mut known: Vec<Vec<u32>> = Vec::with_capacity(crossings.len());
    for crossings in &crossings {
        let mut sessions_here = Vec::with_capacity(crossings.len());
        for crossing in crossings {
            let earlier = sessions[crossing.link as usize];
            let stretch = crossing.link as usize / step;
            let session = if earlier & EARLIER == 0 {
                bases[stretch] + earlier
            } else {
                known[stretch][(earlier & !EARLIER) as usize]
            };
            sessions_here.push(session);
        }
        known.push(sessions_here);
    }
    let own: Vec<usize> = split(&mut lengths, roots)
        .into_par_iter()
        .map(|lengths| lengths.iter().map(|&length| length as usize).sum())
        .collect();
    let mut grown = own;
    for (crossings, known) in crossings.iter().zip(&known) {
        for (crossing, &session) in crossings.iter().zip(known) {
            lengths[session as usize] += row_number(crossing.rows.len());
            let stretch = bases.partition_point(|&base| base <= session) - 1;
            grown[stretch] += crossing.rows.len();
        }
    }

    let mut rows = zeros(sessions.len());
    let mut offsets: Vec<i64> = zeros(heads.len() + 1);
    let starts: Vec<u32> = prefixes(&grown);
    split(&mut rows, &grown)
        .into_par_iter()
        .zip(split(&mut lengths, roots))
        .zip(split(&mut offsets, roots))
        .zip(starts)
        .zip(sessions.par_chunks(step))
        .enumerate()
        .for_each(|(number, ((((rows, places), offsets), start), sessions))| {
            let mut next = 0;
            for (place, offset) in places.iter_mut().zip(offsets) {
                *offset = i64::from(start + next);
                next += std::mem::replace(place, next);
            }
            for (row, &session) in (row_number(number * step)..).zip(sessions) {
                if session & EARLIER == 0 {
                    let place = &mut places[session as usize];
                    rows[*place as usize] = row;
                    *place += 1;
                }
            }
        });
    offsets[heads.len()] = i64::from(row_number(rows.len()));
    // What is left goes behind the rows of its session that are there.
    let starts: Vec<u32> = prefixes(&grown);
    for (crossings, known) in crossings.iter().zip(&known) {
        for (crossing, &session) in crossings.iter().zip(known) {
            let stretch = bases.partition_point(|&base| base <= session) - 1;
            let place = &mut lengths[session as usize];
            let begin = (starts[stretch] + *place) as usize;
            rows[begin..begin + crossing.rows.len()].copy_from_slice(&crossing.rows);
            *place += row_number(crossing.rows.len());
        }
    }
    Sessions { rows, offsets, heads }
}

/// Turns links into numbers of the sessions that begin here, or of `Crossing`s.
fn number_stretch(first: u32, sessions: &mut [u32], heads: &mut [u32], lengths: &mut [u32]) -> Vec<Crossing> {
    let mut crossings: Vec<Crossing> = Vec::new();
    let mut next = 0;
    for place in 0..sessions.len() {
        let row = first + row_number(place);
        let link = sessions[place];
        sessions[place] = if link == NONE {
            heads[next] = row;
            lengths[next] = 1;
            next += 1;
            row_number(next - 1)
        } else if link < first {
            crossings.push(Crossing { link, rows: vec![row] });
            row_number(crossings.len() - 1) | EARLIER
        } else {
            let session = sessions[(link - first) as usize];
            if session & EARLIER == 0 {
                lengths[session as usize] += 1;
            } else {
                crossings[(session & !EARLIER) as usize].rows.push(row);
            }
            session
        };
    }
    crossings
}

/// Parts of the given lengths, one after the other.
fn split<'a, T>(mut whole: &'a mut [T], lengths: &[usize]) -> Vec<&'a mut [T]> {
    let mut parts = Vec::with_capacity(lengths.len());
    for &length in lengths {
        let (part, rest) = whole.split_at_mut(length);
        parts.push(part);
        whole = rest;
    }
    parts
}

/// The sum of those before each.
fn prefixes(lengths: &[usize]) -> Vec<u32> {
    let sum = |sum: &mut u32, &length: &usize| {
        let before = *sum;
        *sum += row_number(length);
        Some(before)
    };
    lengths.iter().scan(0, sum).collect()
}

const UNLISTED: u32 = 1 << 31;

/// Sessions of which not all events are listed.
struct Listed {
    /// For every row its session in the order of first events, marked where the row is not listed.
    sessions: Vec<u32>,
    /// For every such session its place in the order of first listed events, or `NONE`.
    numbers: Vec<u32>,
    heads: Vec<u32>,
    lengths: Vec<u32>,
}

/// Sessions where not every event is listed.
fn list_some(events: &Events, links: Vec<u32>, roots: usize) -> Sessions {
    let listed = number_listed(events, links, roots);
    let (offsets, mut places) = places(listed.lengths);
    let count = listed.sessions.iter().filter(|&session| session & UNLISTED == 0).count();
    let mut rows = zeros(count);
    for (row, session) in (0..).zip(listed.sessions) {
        if session & UNLISTED == 0 {
            let place = &mut places[listed.numbers[session as usize] as usize];
            rows[*place as usize] = row;
            *place += 1;
        }
    }
    Sessions { rows, offsets, heads: listed.heads }
}

fn number_listed(events: &Events, links: Vec<u32>, roots: usize) -> Listed {
    let mut listed =
        Listed { sessions: links, numbers: Vec::with_capacity(roots), heads: Vec::new(), lengths: Vec::new() };
    let mut lasts: Vec<u32> = Vec::with_capacity(roots);
    for row in 0..listed.sessions.len() {
        let before = listed.sessions[row];
        let session = if before == NONE {
            listed.numbers.push(NONE);
            lasts.push(NONE);
            row_number(listed.numbers.len() - 1)
        } else {
            listed.sessions[before as usize] & !UNLISTED
        };
        listed.sessions[row] = session;
        let row_number = row_number(row);
        let last = lasts[session as usize];
        let repeat = last != NONE && events.drop_repeats.is_some_and(|same| same(last, row_number));
        if repeat || events.keep.is_some_and(|keep| !keep[row]) {
            listed.sessions[row] |= UNLISTED;
            continue;
        }
        lasts[session as usize] = row_number;
        let number = &mut listed.numbers[session as usize];
        if *number == NONE {
            *number = crate::sessions::row_number(listed.heads.len());
            listed.heads.push(row_number);
            listed.lengths.push(1);
        } else {
            listed.lengths[*number as usize] += 1;
        }
    }
    listed
}

/// Where sessions start, with the end of the last; and the same once more, to count on.
fn places(lengths: Vec<u32>) -> (Vec<i64>, Vec<u32>) {
    let mut places = lengths;
    let mut offsets = Vec::with_capacity(places.len() + 1);
    let mut start = 0;
    for place in &mut places {
        offsets.push(i64::from(start));
        start += std::mem::replace(place, start);
    }
    offsets.push(i64::from(start));
    (offsets, places)
}
