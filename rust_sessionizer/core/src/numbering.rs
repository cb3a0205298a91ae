//! The session of every event, in the order of time.
//!
//! An event belongs to the session of its visitor's last event, or begins a new one. Only what happened in the last `gap`
//! matters at any moment, so that all that is looked up stays in the cache.
//!
//! Every thread numbers a part of the events as if none had come before. A session that goes on from an earlier part is
//! taken for a new one there, which can only happen within a gap of the part's first event. Those that begin so *early* are
//! looked up among the last events of the parts before, and what is found tells the numbers that all should have.

use std::hint::select_unpredictable;
use std::ops::Range;

use rayon::prelude::*;

use crate::raw::zeros;
use crate::recent::Recent;

/// Events that are numbered before it is looked again which are recent, and whose visitors are asked for together, so that none
/// waits for memory; a few in tests, so that short logs have many.
const BLOCK: usize = if cfg!(test) { 4 } else { 64 };

/// Events below which a thread of its own is not worth it.
pub(crate) const SHORT: usize = if cfg!(test) { 8 } else { 1 << 16 };

/// Events in the order of time, known by their place in it.
pub(crate) trait Ordered: Sync {
    fn time(&self, place: usize) -> i64;
    fn event(&self, place: usize) -> Event;
    fn hash(&self, event: &Event) -> u64;
    /// Whether the event at a place is of the same visitor.
    fn same(&self, place: usize, event: &Event) -> bool;
}

impl<O: Ordered> Ordered for &O {
    #[inline]
    fn time(&self, place: usize) -> i64 {
        (**self).time(place)
    }
    #[inline]
    fn event(&self, place: usize) -> Event {
        (**self).event(place)
    }
    #[inline]
    fn hash(&self, event: &Event) -> u64 {
        (**self).hash(event)
    }
    #[inline]
    fn same(&self, place: usize, event: &Event) -> bool {
        (**self).same(place, event)
    }
}

/// What numbering needs to know of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) time: i64,
    /// The visitor's key.
    pub(crate) key: i64,
    /// The row, where it tells visitors apart.
    pub(crate) row: usize,
}

/// The numbering of a part of the events, as far as it has come.
pub(crate) struct Numbering {
    gap: u64,
    recent: Recent,
    /// The first place that was within the gap when it was last looked.
    low: usize,
    /// The first session's number, and the next one's: those of earlier parts are smaller.
    first: i32,
    next: i32,
    /// The first events of the first sessions: all that may go on from an earlier part.
    early: Vec<Event>,
    /// When the part begins; nothing where it has no events.
    since: Option<i64>,
}

impl Numbering {
    /// Of the part that begins at a place, with sessions numbered from there on.
    pub(crate) fn new(place: usize, gap: u64) -> Self {
        let first = signed(place);
        Self { gap, recent: Recent::new(), low: place, first, next: first, early: Vec::new(), since: None }
    }

    /// The first place that is still needed.
    pub(crate) fn low(&self) -> usize {
        self.low
    }

    /// Numbers the next places. `numbers` are those from the place `first` on, which is [`Numbering::low`] or earlier; `each` is
    /// told every place with its number.
    pub(crate) fn number<O: Ordered>(
        &mut self,
        events: &O,
        places: Range<usize>,
        numbers: &mut [i32],
        first: usize,
        mut each: impl FnMut(usize, i32),
    ) {
        let gap = self.gap;
        for from in places.clone().step_by(BLOCK) {
            let now = events.time(from);
            let since = *self.since.get_or_insert(now);
            while !is_near(events.time(self.low), now, gap) {
                self.low += 1;
            }
            let (low, block) = (signed(self.low), from..places.end.min(from + BLOCK));
            let mut hashes = [0; BLOCK];
            for (hash, place) in hashes.iter_mut().zip(block.clone()) {
                *hash = events.hash(&events.event(place));
                self.recent.prefetch(*hash);
            }
            let mut next = self.next;
            for (place, hash) in block.clone().zip(hashes) {
                let event = events.event(place);
                let same = |other: i32| events.same(index(other), &event);
                let hash_of = |other: i32| events.hash(&events.event(index(other)));
                let before = index(self.recent.swap(hash, signed(place), low, same, hash_of));
                // Chosen without a branch: whether an event begins a session is a coin's toss.
                let goes_on = (before != place) & is_near(events.time(before), event.time, gap);
                let number = select_unpredictable(goes_on, numbers[before - first], next);
                numbers[place - first] = number;
                next += i32::from(!goes_on);
                each(place, number);
            }
            if self.first > 0 && is_near(since, now, gap) {
                for place in block {
                    if numbers[place - first] == self.next {
                        self.early.push(events.event(place));
                        self.next += 1;
                    }
                }
            }
            self.next = next;
        }
    }
}

/// A part that was numbered: its events and numbers, as many of the last as [`Numbering::low`] says are needed.
pub(crate) struct Part<O, N> {
    pub(crate) numbering: Numbering,
    pub(crate) events: O,
    pub(crate) numbers: N,
    /// The place of the first number.
    pub(crate) first: usize,
}

impl<O: Ordered, N: AsRef<[i32]>> Part<O, N> {
    /// The number of the session that a later event belongs to, if it is one of this part's.
    fn find(&self, event: &Event) -> Option<i32> {
        let Numbering { recent, low, gap, .. } = &self.numbering;
        let same = |place: i32| self.events.same(index(place), event);
        let place = index(recent.find(self.events.hash(event), signed(*low), same)?);
        is_near(self.events.time(place), event.time, *gap).then(|| self.numbers.as_ref()[place - self.first])
    }

    fn sessions(&self) -> i32 {
        self.numbering.next - self.numbering.first
    }
}

/// What the numbers of a part become when all parts are known.
#[derive(Debug)]
pub(crate) struct Joined {
    /// The first number that was given.
    first: i32,
    /// What the first ones become.
    early: Vec<i32>,
    /// What is to be taken from the others.
    surplus: i32,
    /// The number of the first session that begins in the part, and how many do.
    pub(crate) first_session: i32,
    pub(crate) sessions: i32,
}

impl Joined {
    #[inline]
    pub(crate) fn number(&self, given: i32) -> i32 {
        let early = self.early.get(given.wrapping_sub(self.first).cast_unsigned() as usize);
        early.copied().unwrap_or(given.wrapping_sub(self.surplus))
    }
}

/// Finds the sessions that go on from one part into the next.
pub(crate) fn join<O: Ordered, N: AsRef<[i32]>>(parts: &[Part<O, N>]) -> Vec<Joined> {
    let mut joined: Vec<Joined> = Vec::with_capacity(parts.len());
    let mut next = 0;
    for part in parts {
        let Numbering { early, first, gap, .. } = &part.numbering;
        let first_session = next;
        let goes_on = |event: &Event| {
            for (before, joined) in parts.iter().zip(&joined).rev() {
                if let Some(number) = before.find(event) {
                    return Some(joined.number(number));
                }
                if before.numbering.since.is_some_and(|since| !is_near(since, event.time, *gap)) {
                    break;
                }
            }
            None
        };
        let number = |event: &Event| {
            goes_on(event).unwrap_or_else(|| {
                next += 1;
                next - 1
            })
        };
        let early: Vec<i32> = early.iter().map(number).collect();
        let early_ones = signed(early.len());
        let surplus = first + early_ones - next;
        next += part.sessions() - early_ones;
        joined.push(Joined { first: *first, early, surplus, first_session, sessions: next - first_session });
    }
    joined
}

/// Numbers all events.
pub(crate) fn number<O: Ordered>(events: &O, length: usize, gap: u64) -> Numbered {
    let step = length.div_ceil(rayon::current_num_threads()).max(SHORT);
    let mut numbers = zeros(length);
    let numberings = numbers.par_chunks_mut(step).enumerate().map(|(part, numbers)| {
        let first = part * step;
        let mut numbering = Numbering::new(first, gap);
        numbering.number(events, first..first + numbers.len(), numbers, first, |_, _| ());
        numbering
    });
    let numberings: Vec<Numbering> = numberings.collect();
    let parts: Vec<_> = (numberings.into_iter().zip(numbers.chunks(step)).enumerate())
        .map(|(part, (numbering, numbers))| Part { numbering, events, numbers, first: part * step })
        .collect();
    let joined = join(&parts);
    drop(parts);
    let mut stretches: Vec<Stretch> = Vec::with_capacity(joined.len());
    for (part, (joined, numbers)) in joined.iter().zip(numbers.chunks_mut(step)).enumerate() {
        let (first, end) = (part * step, part * step + numbers.len());
        if part > 0 {
            let crossing = renumber(numbers, joined, &stretches);
            stretches.iter_mut().zip(crossing).for_each(|(stretch, crossing)| stretch.crossing += crossing);
        }
        let (first_session, sessions) = (joined.first_session, index(joined.sessions));
        stretches.push(Stretch { first, end, first_session, sessions, crossing: 0 });
    }
    Numbered { numbers, stretches }
}

/// The session of every event.
pub(crate) struct Numbered {
    /// By place; sessions are numbered by their first events. A negative one stands for an event that is not listed, once there was a filter.
    pub(crate) numbers: Vec<i32>,
    pub(crate) stretches: Vec<Stretch>,
}

/// The part of the events that a thread takes.
pub(crate) struct Stretch {
    pub(crate) first: usize,
    pub(crate) end: usize,
    /// The number of the first session that begins in it, and how many do.
    pub(crate) first_session: i32,
    pub(crate) sessions: usize,
    /// How many listed events behind its end belong to them.
    pub(crate) crossing: usize,
}

/// Gives a part's places the numbers they should have; how many of them belong to sessions of each of the stretches before.
fn renumber(numbers: &mut [i32], joined: &Joined, before: &[Stretch]) -> Vec<usize> {
    let none = || vec![0; before.len()];
    let each = |mut crossing: Vec<usize>, numbers: &mut [i32]| {
        for number in numbers {
            *number = joined.number(*number);
            if *number < joined.first_session {
                crossing[before.partition_point(|stretch| stretch.first_session <= *number) - 1] += 1;
            }
        }
        crossing
    };
    let both = |a: Vec<usize>, b: Vec<usize>| a.iter().zip(&b).map(|(a, b)| a + b).collect();
    numbers.par_chunks_mut(SHORT).fold(none, each).reduce(none, both)
}

/// Whether the second of two events, in the order of time, is within the gap.
#[inline]
fn is_near(from: i64, to: i64, gap: u64) -> bool {
    // Later minus earlier always fits in 64 bits without a sign.
    to.wrapping_sub(from).cast_unsigned() <= gap
}

/// Places are below 2^31.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
pub(crate) fn signed(place: usize) -> i32 {
    place as i32
}

#[allow(clippy::cast_sign_loss)]
pub(crate) fn index(place: i32) -> usize {
    place as usize
}
