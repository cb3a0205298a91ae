//! Sessions of events in the order of time.
//!
//! Only what happened in the last `gap` matters at any moment, so that all that is looked up stays in the cache:
//!
//! 1. *Number.* An event belongs to the session of its visitor's last event, or begins a new one.
//! 2. *Filter*, where not every event is listed: sessions are numbered anew, by their first listed event.
//! 3. *Count* the events of every session, which tells where it begins in the answer.
//! 4. *List.* Every event goes to the next place of its session.
//!
//! Threads take a stretch of the events each, and the sessions that begin in it. A thread first reads what came before its
//! stretch, to know which sessions are not its own, and at the end goes on until its last session is over.

use std::hint::select_unpredictable;

use rayon::prelude::*;

use crate::order::split;
use crate::raw::zeros;
use crate::recent::Recent;
use crate::timeline::Timeline;

/// Events that are numbered before it is looked again which are recent; a few in tests, so that short logs have many.
const BLOCK: usize = if cfg!(test) { 4 } else { 1_024 };

/// Events below which a thread of its own is not worth it.
const SHORT: usize = if cfg!(test) { 8 } else { 1 << 16 };

/// Sessions as lists, ordered by the place of their first listed event.
pub(crate) struct Listed<T> {
    /// What is carried along, of every listed event, session after session.
    pub(crate) values: Vec<T>,
    /// Their times; empty where not asked for.
    pub(crate) times: Vec<i64>,
    /// The key of every session; empty where not asked for.
    pub(crate) keys: Vec<i64>,
    /// Where each session starts in the first two, and at the end their length.
    pub(crate) offsets: Vec<i64>,
}

/// Lists sessions; with times and keys if it is asked for.
pub(crate) fn list<T: Timeline, const TIMES_AND_KEYS: bool>(events: T, gap: u64) -> Listed<T::Value> {
    let mut numbered = number(&events, gap);
    if events.filters() {
        numbered.filter(&events);
    }
    let Numbered { numbers, stretches } = numbered;
    let sessions = || stretches.iter().map(|stretch| stretch.sessions);
    let total = sessions().sum();
    let mut places: Vec<u32> = zeros(total);
    let counts = split(&mut places, sessions()).into_par_iter().zip(&stretches);
    let listed: Vec<usize> = counts.map(|(places, stretch)| stretch.count(&numbers, places)).collect();
    let clicks = listed.iter().sum();
    let mut values = zeros(clicks);
    let mut times = zeros(if TIMES_AND_KEYS { clicks } else { 0 });
    let mut keys = zeros(if TIMES_AND_KEYS { total } else { 0 });
    let asked = |length| if TIMES_AND_KEYS { length } else { 0 };
    split(&mut places, sessions())
        .into_par_iter()
        .zip(split(&mut values, listed.iter().copied()))
        .zip(split(&mut times, listed.iter().map(|&listed| asked(listed))))
        .zip(split(&mut keys, sessions().map(asked)))
        .zip(&stretches)
        .for_each(|((((places, values), times), keys), stretch)| {
            stretch.list::<_, TIMES_AND_KEYS>(&events, &numbers, places, values, times, keys);
        });
    // What is not needed any more makes room for what comes.
    drop((events, numbers));
    let mut offsets = zeros(total + 1);
    let begins = listed.iter().scan(0_i64, |sum, &listed| {
        let begin = *sum;
        *sum += i64::from(small(listed));
        Some(begin)
    });
    let parts: Vec<_> =
        split(&mut offsets[1..], sessions()).into_iter().zip(split(&mut places, sessions())).zip(begins).collect();
    parts.into_par_iter().for_each(|((offsets, ends), begin)| {
        let each = |(offset, end): (&mut i64, &mut u32)| *offset = begin + i64::from(*end);
        offsets.par_iter_mut().zip(ends).with_min_len(SHORT).for_each(each);
    });
    Listed { values, times, keys, offsets }
}

/// The session of every event.
struct Numbered {
    /// By place; sessions are numbered by their first events, and events that are not listed have [`UNLISTED`].
    numbers: Vec<i32>,
    stretches: Vec<Stretch>,
}

/// Less than the number of any session.
const UNLISTED: i32 = -1;

/// The number of a session that begins in another stretch.
const ELSEWHERE: i32 = -1;

/// The part of the events that a thread takes.
struct Stretch {
    first: usize,
    end: usize,
    /// The number of the first session that begins in it, and how many do.
    first_session: i32,
    sessions: usize,
    /// How many listed events behind its end belong to them.
    crossing: usize,
}

impl Stretch {
    /// Counts the events of every session into `places`, and puts in its stead where the session begins; all together.
    fn count(&self, numbers: &[i32], places: &mut [u32]) -> usize {
        for &number in &numbers[self.first..self.end] {
            if let Some(place) = places.get_mut(self.own(number)) {
                *place += 1;
            }
        }
        let mut left = self.crossing;
        for &number in &numbers[self.end..] {
            if left == 0 {
                break;
            }
            if let Some(place) = places.get_mut(self.own(number)) {
                *place += 1;
                left -= 1;
            }
        }
        let mut begin = 0;
        for place in places {
            begin += std::mem::replace(place, begin);
        }
        begin as usize
    }

    /// Lists the events of every session from its place on, and leaves there where it ends.
    fn list<T: Timeline, const TIMES_AND_KEYS: bool>(
        &self,
        events: &T,
        numbers: &[i32],
        places: &mut [u32],
        values: &mut [T::Value],
        times: &mut [i64],
        keys: &mut [i64],
    ) {
        let (mut left, mut begun) = (values.len(), 0);
        for (place, &number) in (self.first..).zip(&numbers[self.first..]) {
            if left == 0 {
                break;
            }
            let session = self.own(number);
            let Some(next) = places.get_mut(session) else { continue };
            let target = *next as usize;
            *next += 1;
            left -= 1;
            values[target] = events.value(place);
            if TIMES_AND_KEYS {
                times[target] = events.time(place);
                // If it does not begin a session, what does will write over it.
                if let Some(key) = keys.get_mut(begun) {
                    *key = events.key(place);
                }
                begun += usize::from(session == begun);
            }
        }
    }

    /// The place of a session among those that begin here; of others, a number beyond.
    #[inline]
    fn own(&self, number: i32) -> usize {
        number.wrapping_sub(self.first_session).cast_unsigned() as usize
    }
}

impl Numbered {
    /// Numbers the sessions anew by their first listed events.
    fn filter<T: Timeline>(&mut self, events: &T) {
        let total: usize = self.stretches.iter().map(|stretch| stretch.sessions).sum();
        // The new number, and the last listed event.
        let mut renumbered: Vec<(i32, u32)> = vec![(UNLISTED, 0); total];
        let mut sessions = 0;
        for at in 0..self.stretches.len() {
            let (before, rest) = self.stretches.split_at_mut(at);
            let stretch = &mut rest[0];
            stretch.first_session = sessions;
            stretch.crossing = 0;
            for (place, number) in (stretch.first..).zip(&mut self.numbers[stretch.first..stretch.end]) {
                let (new, last) = &mut renumbered[index(*number)];
                if !events.is_kept(place) || (*new != UNLISTED && events.is_repeat(*last as usize, place)) {
                    *number = UNLISTED;
                    continue;
                }
                if *new == UNLISTED {
                    *new = sessions;
                    sessions += 1;
                }
                *last = small(place);
                *number = *new;
                if *new < stretch.first_session
                    && let Some(owner) = before.iter_mut().rfind(|owner| owner.first_session <= *new)
                {
                    owner.crossing += 1;
                }
            }
            stretch.sessions = index(sessions - stretch.first_session);
        }
    }
}

/// For every event the number of its session, by place; sessions are numbered by their first events.
pub(crate) fn number_events<T: Timeline>(events: &T, gap: u64) -> Vec<i32> {
    number(events, gap).numbers
}

fn number<T: Timeline>(events: &T, gap: u64) -> Numbered {
    let step = events.len().div_ceil(rayon::current_num_threads()).max(SHORT);
    let mut numbers = zeros(events.len());
    let parts: Vec<(i32, Vec<(usize, i32)>)> = numbers
        .par_chunks_mut(step)
        .enumerate()
        .map(|(part, numbers)| number_stretch(events, gap, part * step, numbers))
        .collect();
    let mut next = 0;
    let mut stretches = Vec::with_capacity(parts.len());
    for (part, (sessions, crossing)) in parts.iter().enumerate() {
        let first_session = next;
        next += sessions;
        let (first, end) = (part * step, events.len().min(part * step + step));
        stretches.push(Stretch { first, end, first_session, sessions: index(*sessions), crossing: crossing.len() });
    }
    for (numbers, stretch) in numbers.chunks_mut(step).zip(&stretches).skip(1) {
        numbers
            .par_iter_mut()
            .with_min_len(SHORT)
            .for_each(|number| *number = number.wrapping_add(stretch.first_session));
    }
    for ((_, crossing), stretch) in parts.iter().zip(&stretches) {
        for &(place, number) in crossing {
            numbers[place] = number + stretch.first_session;
        }
    }
    Numbered { numbers, stretches }
}

/// Numbers a stretch's events from 0 on, and gives the number of sessions that begin in it with their events behind it.
fn number_stretch<T: Timeline>(events: &T, gap: u64, first: usize, numbers: &mut [i32]) -> (i32, Vec<(usize, i32)>) {
    let mut recent = Recent::new();
    let mut sessions = 0;
    let end = first + numbers.len();
    let mut low = find_first_near(events, gap, first);
    for place in low..first {
        swap(&mut recent, events, place, low);
    }
    for from in (first..end).step_by(BLOCK) {
        low = first_near(events, gap, low, from);
        for place in from..end.min(from + BLOCK) {
            let before = swap(&mut recent, events, place, low);
            // Chosen without a branch: whether an event begins a session is a coin's toss.
            let goes_on = (before != place) & is_near(events.time(before), events.time(place), gap);
            if before < first && goes_on {
                numbers[place - first] = ELSEWHERE;
                continue;
            }
            let session = numbers[before.max(first) - first];
            numbers[place - first] = select_unpredictable(goes_on, session, sessions);
            sessions += i32::from(!goes_on);
        }
    }
    let mut crossing: Vec<(usize, i32)> = Vec::new();
    let mut last = end - 1;
    for place in end..events.len() {
        if !is_near(events.time(last), events.time(place), gap) {
            break;
        }
        low = first_near(events, gap, low, place);
        let Some(before) = follow(&mut recent, events, place, low) else { continue };
        last = place;
        let session = if before >= end {
            crossing.binary_search_by_key(&before, |&(place, _)| place).map_or(ELSEWHERE, |found| crossing[found].1)
        } else if before < first {
            ELSEWHERE
        } else {
            numbers[before - first]
        };
        crossing.push((place, session));
    }
    crossing.retain(|&(_, session)| session != ELSEWHERE);
    (sessions, crossing)
}

/// Whether the second of two events, in the order of time, is within the gap.
#[inline]
fn is_near(from: i64, to: i64, gap: u64) -> bool {
    // Later minus earlier always fits in 64 bits without a sign.
    to.wrapping_sub(from).cast_unsigned() <= gap
}

/// The first place from `low` on that is within the gap before `place`.
fn first_near<T: Timeline>(events: &T, gap: u64, mut low: usize, place: usize) -> usize {
    let now = events.time(place);
    while !is_near(events.time(low), now, gap) {
        low += 1;
    }
    low
}

/// The same, from the beginning.
fn find_first_near<T: Timeline>(events: &T, gap: u64, place: usize) -> usize {
    let now = events.time(place);
    let (mut from, mut to) = (0, place);
    while from < to {
        let middle = usize::midpoint(from, to);
        if is_near(events.time(middle), now, gap) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    from
}

/// The visitor's last event, or `place` where that is not recent.
#[inline]
fn swap<T: Timeline>(recent: &mut Recent, events: &T, place: usize, low: usize) -> usize {
    let same = |other: i32| events.same(index(other), place);
    let hash_of = |other: i32| events.hash(index(other));
    index(recent.swap(events.hash(place), signed(place), signed(low), same, hash_of))
}

fn follow<T: Timeline>(recent: &mut Recent, events: &T, place: usize, low: usize) -> Option<usize> {
    let same = |other: i32| events.same(index(other), place);
    recent.follow(events.hash(place), signed(place), signed(low), same).map(index)
}

/// Places are below 2^31.
#[allow(clippy::cast_possible_truncation)]
fn small(place: usize) -> u32 {
    place as u32
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
fn signed(place: usize) -> i32 {
    place as i32
}

#[allow(clippy::cast_sign_loss)]
fn index(place: i32) -> usize {
    place as usize
}
