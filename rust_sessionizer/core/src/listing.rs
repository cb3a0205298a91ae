//! Sessions of events in the order of time, as lists.
//!
//! 1. *Number* the events (`numbering.rs`).
//! 2. *Filter*, where not every event is listed: sessions are numbered anew, by their first listed event.
//! 3. *Count* the events of every session, which tells where it begins in the answer.
//! 4. *List.* Every event goes to the next place of its session.
//!
//! Sessions that are open at the same time have numbers and places near each other, so that the last two stay in the cache. A
//! thread takes the sessions that begin in its stretch of the events, and goes on behind its end until the last one is over.

use rayon::prelude::*;

use crate::numbering::{Numbered, SHORT, Stretch, index, number};
use crate::order::split;
use crate::raw::zeros;
use crate::timeline::Timeline;

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
    let mut numbered = number(&events, events.len(), gap);
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

/// Less than the number of any session.
const UNLISTED: i32 = -1;

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

/// Places are below 2^31.
#[allow(clippy::cast_possible_truncation)]
fn small(place: usize) -> u32 {
    place as u32
}
