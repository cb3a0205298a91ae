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
        let (sessions, heads, lengths) = number(links, roots);
        let (offsets, mut places) = places(lengths);
        let mut rows = vec![0; sessions.len()];
        for (row, session) in (0..).zip(sessions) {
            let place = &mut places[session as usize];
            rows[*place as usize] = row;
            *place += 1;
        }
        return Sessions { rows, offsets, heads };
    }
    let listed = number_listed(events, links, roots);
    let (offsets, mut places) = places(listed.lengths);
    let mut rows = vec![0; places.last().map_or(0, |_| usize::try_from(offsets[offsets.len() - 1]).unwrap_or(0))];
    for (row, session) in (0..).zip(listed.sessions) {
        if session & UNLISTED == 0 {
            let place = &mut places[listed.numbers[session as usize] as usize];
            rows[*place as usize] = row;
            *place += 1;
        }
    }
    Sessions { rows, offsets, heads: listed.heads }
}

const NONE: u32 = u32::MAX;

/// For every row the row before it in its session, or `NONE`; and the number of those without one.
fn link(events: &Events, gap: u64) -> (Vec<u32>, usize) {
    let rows = events.keys.len();
    let seed = RandomState::new().hash_one(0).cast_signed();
    let mut links = vec![NONE; rows];
    let step = rows.div_ceil(rayon::current_num_threads()).max(WINDOW);
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
        .sum();
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

/// Numbers where every event is listed: the session of every row; heads; lengths.
fn number(links: Vec<u32>, roots: usize) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut sessions = links;
    let mut heads = Vec::with_capacity(roots);
    let mut lengths: Vec<u32> = Vec::with_capacity(roots);
    for row in 0..sessions.len() {
        let before = sessions[row];
        if before == NONE {
            sessions[row] = row_number(heads.len());
            heads.push(row_number(row));
            lengths.push(1);
        } else {
            let session = sessions[before as usize];
            sessions[row] = session;
            lengths[session as usize] += 1;
        }
    }
    (sessions, heads, lengths)
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
