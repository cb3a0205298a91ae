//! Sessions of events in the order of time, in one sweep.
//!
//! At any moment only what happened in the last `gap` matters, so that everything a sweep works on stays in the cache,
//! and all it writes to memory is the answer:
//!
//! 1. *Number.* An event belongs to the session of its visitor's last event, or begins a new one.
//! 2. *Close.* A session whose last event is longer ago than the gap has its length; where all before it are closed too,
//!    it has its place in the answer.
//! 3. *List.* Events of closed sessions go to their places.
//!
//! The three take turns, a block of events each. Threads take a stretch of the events each: a session belongs to the stretch
//! of its first listed event. A thread first reads what came before its stretch, to know which sessions are not its own, and
//! at the end goes on until its last session is closed.

use rayon::prelude::*;

use crate::order::split;
use crate::raw::zeros;
use crate::recent::Recent;
use crate::timeline::Timeline;

/// Events that a step takes at once; a few in tests, so that short logs have many.
const BLOCK: usize = if cfg!(test) { 4 } else { 1_024 };

/// Events below which a thread of its own is not worth it.
const SHORT: usize = if cfg!(test) { 8 } else { 1 << 16 };

/// Sessions as lists.
pub(crate) struct Swept<T> {
    /// What is carried along, of every listed event, session after session.
    pub(crate) values: Vec<T>,
    /// Their times; empty where not asked for.
    pub(crate) times: Vec<i64>,
    /// Where each session starts in the two, and at the end their length.
    pub(crate) offsets: Vec<i64>,
    /// The place of every session's first listed event.
    pub(crate) heads: Vec<u32>,
}

/// Sessions ordered by the place of their first listed event.
pub(crate) fn list<T: Timeline>(events: &T, gap: u64, with_times: bool) -> Swept<T::Value> {
    let stretches = Stretches::new(events, gap);
    // Where all is listed, every stretch knows its part of the answer. Where not, it knows the most it may need.
    let room: Vec<usize> = if events.filters() { stretches.most_listed() } else { stretches.listed() };
    let total = room.iter().sum();
    let mut values = zeros(total);
    let mut times = zeros(if with_times { total } else { 0 });
    let time_rooms: Vec<usize> = room.iter().map(|&room| if with_times { room } else { 0 }).collect();
    let places = split(&mut values, room.iter().copied()).into_par_iter();
    let parts: Vec<Part> = places
        .zip(split(&mut times, time_rooms.iter().copied()))
        .enumerate()
        .map(|(number, (values, times))| {
            let (first, last) = (stretches.firsts[number], stretches.firsts[number + 1]);
            if events.filters() {
                Sweep::<_, true>::new(events, gap, first, last, values, times).run()
            } else {
                Sweep::<_, false>::new(events, gap, first, last, values, times).run()
            }
        })
        .collect();
    if events.filters() {
        close_up(&mut values, &room, &parts);
        close_up(&mut times, &time_rooms, &parts);
    }
    let (offsets, heads) = join(&parts);
    Swept { values, times, offsets, heads }
}

/// Moves the parts together.
fn close_up<T: Copy>(whole: &mut Vec<T>, rooms: &[usize], parts: &[Part]) {
    if whole.is_empty() {
        return;
    }
    let (mut from, mut to) = (0, 0);
    for (room, part) in rooms.iter().zip(parts) {
        whole.copy_within(from..from + part.listed, to);
        from += room;
        to += part.listed;
    }
    whole.truncate(to);
}

/// Sessions that begin in a stretch.
struct Part {
    heads: Vec<u32>,
    /// Where each ends among the part's events.
    ends: Vec<u32>,
    listed: usize,
}

fn join(parts: &[Part]) -> (Vec<i64>, Vec<u32>) {
    let counts = || parts.iter().map(|part| part.heads.len());
    let total: usize = counts().sum();
    let mut heads = zeros(total);
    let mut offsets = zeros(total + 1);
    let bases = parts.iter().scan(0_i64, |sum, part| {
        let base = *sum;
        *sum += i64::from(number(part.listed));
        Some(base)
    });
    let jobs: Vec<_> =
        parts.iter().zip(bases).zip(split(&mut heads, counts())).zip(split(&mut offsets[1..], counts())).collect();
    jobs.into_par_iter().for_each(|(((part, base), heads), offsets)| {
        let each = |((place, offset), (head, end)): ((&mut u32, &mut i64), (&u32, &u32))| {
            *place = *head;
            *offset = base + i64::from(*end);
        };
        let places = heads.par_iter_mut().zip(offsets).with_min_len(SHORT);
        places.zip(part.heads.par_iter().zip(&part.ends)).for_each(each);
    });
    (offsets, heads)
}

/// Where threads begin and end.
struct Stretches {
    /// The first places, and at the end the number of events.
    firsts: Vec<usize>,
    /// For every first place, how many events from there on go on with a session from before.
    crossing: Vec<usize>,
}

impl Stretches {
    fn new<T: Timeline>(events: &T, gap: u64) -> Self {
        let step = events.len().div_ceil(rayon::current_num_threads()).max(SHORT);
        let mut firsts: Vec<usize> = (0..events.len()).step_by(step).collect();
        if firsts.is_empty() {
            firsts.push(0);
        }
        let mut crossing: Vec<usize> = firsts.par_iter().map(|&first| count_crossing(events, gap, first)).collect();
        firsts.push(events.len());
        crossing.push(0);
        Self { firsts, crossing }
    }

    fn listed(&self) -> Vec<usize> {
        self.each().map(|(length, coming, going)| length + going - coming).collect()
    }

    fn most_listed(&self) -> Vec<usize> {
        self.each().map(|(length, _, going)| length + going).collect()
    }

    /// The events of every stretch, those of them that belong to one before, and those of later ones that belong to it or to
    /// one before.
    fn each(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let lengths = self.firsts.windows(2).map(|ends| ends[1] - ends[0]);
        lengths.zip(self.crossing.windows(2)).map(|(length, crossing)| (length, crossing[0], crossing[1]))
    }
}

/// Whether the second of two events, in the order of time, is within the gap.
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

fn swap<T: Timeline>(recent: &mut Recent, events: &T, place: usize, low: usize) -> Option<usize> {
    let same = |other: i32| events.same(index(other), place);
    let hash_of = |other: i32| events.hash(index(other));
    recent.swap(events.hash(place), signed(place), signed(low), same, hash_of).map(index)
}

fn follow<T: Timeline>(recent: &mut Recent, events: &T, place: usize, low: usize) -> Option<usize> {
    let same = |other: i32| events.same(index(other), place);
    recent.follow(events.hash(place), signed(place), signed(low), same).map(index)
}

fn count_crossing<T: Timeline>(events: &T, gap: u64, first: usize) -> usize {
    if first == 0 {
        return 0;
    }
    let mut recent = Recent::new();
    let mut low = find_first_near(events, gap, first);
    for place in low..first {
        swap(&mut recent, events, place, low);
    }
    let (mut crossing, mut last) = (0, first - 1);
    for place in first..events.len() {
        if !is_near(events.time(last), events.time(place), gap) {
            break;
        }
        low = first_near(events, gap, low, place);
        if follow(&mut recent, events, place, low).is_some() {
            crossing += 1;
            last = place;
        }
    }
    crossing
}

/// Marks an event that is not listed.
const UNLISTED: u32 = 1 << 31;
/// The event of a session that belongs to another stretch.
const FOREIGN: u32 = u32::MAX;
/// The event of a session of which none is listed yet.
const WAITING: u32 = u32::MAX - 1;
/// While what came before is read: none is listed so far, but the session may have begun earlier still.
const UNSURE: u32 = u32::MAX - 2;

/// A session that is not yet closed, or of which not every event is listed.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Its last event.
    last: u32,
    /// Its last listed event.
    last_listed: u32,
    /// Its length; once it is closed, the place of its next event in the answer.
    length: u32,
}

struct Sweep<'a, T: Timeline, const FILTERS: bool> {
    events: &'a T,
    gap: u64,
    first: usize,
    last: usize,
    values: &'a mut [T::Value],
    times: &'a mut [i64],
    recent: Recent,
    /// The first place that is recent at the block's first event.
    low: usize,
    /// For every event from `kept_from` on the number of its session.
    numbers: Ring<u32>,
    open: Ring<Open>,
    /// Sessions so far.
    sessions: usize,
    /// Sessions closed so far, and their events.
    closed: usize,
    listed: usize,
    /// Events listed so far are those before.
    listed_to: usize,
    /// Sessions of which an event may have to be listed.
    open_from: usize,
    heads: Vec<u32>,
    ends: Vec<u32>,
}

impl<'a, T: Timeline, const FILTERS: bool> Sweep<'a, T, FILTERS> {
    fn new(
        events: &'a T,
        gap: u64,
        first: usize,
        last: usize,
        values: &'a mut [T::Value],
        times: &'a mut [i64],
    ) -> Self {
        Self {
            events,
            gap,
            first,
            last,
            values,
            times,
            recent: Recent::new(),
            low: first,
            numbers: Ring::new(),
            open: Ring::new(),
            sessions: 0,
            closed: 0,
            listed: 0,
            listed_to: first,
            open_from: 0,
            heads: zeros(last - first),
            ends: zeros(last - first),
        }
    }

    fn run(mut self) -> Part {
        if self.first < self.last {
            self.read_before();
            self.sweep();
            self.read_after();
        }
        self.heads.truncate(self.sessions);
        self.ends.truncate(self.sessions);
        Part { heads: self.heads, ends: self.ends, listed: self.listed }
    }

    /// Which sessions go on from before the stretch, and whether they belong to this one.
    fn read_before(&mut self) {
        if self.first == 0 {
            return;
        }
        let mut reach = self.first - find_first_near(self.events, self.gap, self.first);
        loop {
            let from = self.first.saturating_sub(reach);
            self.recent = Recent::new();
            self.numbers = Ring::new();
            self.numbers.reserve(from, self.first);
            let mut low = from;
            let sure = from == 0 || !FILTERS;
            for place in from..self.first {
                low = first_near(self.events, self.gap, low, place);
                let before = swap(&mut self.recent, self.events, place, low).map(|before| *self.numbers.at(before));
                *self.numbers.at(place) = if !FILTERS || self.events.is_kept(place) || before == Some(FOREIGN) {
                    FOREIGN
                } else if sure || before == Some(WAITING) {
                    WAITING
                } else if before.is_none() && !is_near(self.events.time(from), self.events.time(place), self.gap) {
                    // All that its session could have begun with was read.
                    WAITING
                } else {
                    UNSURE
                };
            }
            self.low = first_near(self.events, self.gap, low, self.first);
            if !FILTERS || (self.low..self.first).all(|place| *self.numbers.at(place) != UNSURE) {
                return;
            }
            reach *= 4;
        }
    }

    fn sweep(&mut self) {
        let mut from = self.first;
        while from < self.last {
            let to = self.last.min(from + BLOCK);
            self.low = first_near(self.events, self.gap, self.low, from);
            self.reserve(from, to);
            self.number(from, to);
            self.close(to - 1);
            self.list(to);
            from = to;
        }
    }

    fn reserve(&mut self, from: usize, to: usize) {
        self.numbers.reserve(self.low.min(self.listed_to), to);
        self.open.reserve(self.open_from, self.sessions + (to - from));
    }

    fn number(&mut self, from: usize, to: usize) {
        for place in from..to {
            let before = swap(&mut self.recent, self.events, place, self.low);
            let time = self.events.time(place);
            let goes_on = before.is_some_and(|before| is_near(self.events.time(before), time, self.gap));
            let earlier = *self.numbers.at(before.unwrap_or(place));
            if FILTERS {
                let earlier = if goes_on { earlier } else { WAITING };
                self.number_some(place, earlier);
                continue;
            }
            if goes_on && earlier == FOREIGN {
                *self.numbers.at(place) = FOREIGN;
                continue;
            }
            let new = number(self.sessions);
            // Stays where it is if the session is not new, and is written over.
            if let Some(head) = self.heads.get_mut(self.sessions) {
                *head = number(place);
            }
            let session = if goes_on { earlier } else { new };
            self.sessions += usize::from(!goes_on);
            *self.numbers.at(place) = session;
            let open = self.open.at(session as usize);
            open.length = if goes_on { open.length + 1 } else { 1 };
            open.last = number(place);
        }
    }

    /// Where `earlier` is what the visitor's last event has, if the session goes on.
    fn number_some(&mut self, place: usize, earlier: u32) {
        let kept = self.events.is_kept(place);
        let number_here = match earlier {
            FOREIGN => FOREIGN,
            WAITING | UNSURE if !kept => WAITING,
            WAITING | UNSURE => {
                self.heads[self.sessions] = number(place);
                self.sessions += 1;
                let here = number(place);
                *self.open.at(self.sessions - 1) = Open { last: here, last_listed: here, length: 1 };
                number(self.sessions - 1)
            }
            earlier => {
                let session = earlier & !UNLISTED;
                let open = self.open.at(session as usize);
                open.last = number(place);
                if !kept || self.events.is_repeat(open.last_listed as usize, place) {
                    session | UNLISTED
                } else {
                    open.last_listed = number(place);
                    open.length += 1;
                    session
                }
            }
        };
        *self.numbers.at(place) = number_here;
    }

    /// Closes the sessions that are over at the event of `now`, as far as there is none before that is not.
    fn close(&mut self, now: usize) {
        let now = self.events.time(now);
        while self.closed < self.sessions {
            let last = self.open.at(self.closed).last as usize;
            if is_near(self.events.time(last), now, self.gap) {
                break;
            }
            self.close_next();
        }
    }

    fn close_next(&mut self) {
        let open = self.open.at(self.closed);
        let place = self.listed;
        self.listed += open.length as usize;
        open.length = number(place);
        self.ends[self.closed] = number(self.listed);
        self.closed += 1;
    }

    /// Lists the events before `to`, up to the first whose session is not closed.
    fn list(&mut self, to: usize) {
        while self.listed_to < to {
            let place = self.listed_to;
            let session = *self.numbers.at(place);
            if session & UNLISTED == 0 {
                let session = session as usize;
                if session >= self.closed {
                    break;
                }
                let open = self.open.at(session);
                let target = open.length as usize;
                open.length += 1;
                self.values[target] = self.events.value(place);
                if let Some(time) = self.times.get_mut(target) {
                    *time = self.events.time(place);
                }
            }
            self.listed_to += 1;
        }
        while self.open_from < self.closed && (self.open.at(self.open_from).last as usize) < self.listed_to {
            self.open_from += 1;
        }
    }

    /// The events behind the stretch of sessions that begin in it.
    fn read_after(&mut self) {
        let (mut place, mut last) = (self.last, self.last - 1);
        while place < self.events.len() && is_near(self.events.time(last), self.events.time(place), self.gap) {
            if (place - self.last).is_multiple_of(BLOCK) {
                self.close(place);
                self.list(place);
                self.reserve(place, place + BLOCK);
            }
            self.low = first_near(self.events, self.gap, self.low, place);
            let before = follow(&mut self.recent, self.events, place, self.low);
            let earlier = before.map_or(FOREIGN, |before| *self.numbers.at(before));
            if earlier == FOREIGN || earlier == WAITING {
                *self.numbers.at(place) = FOREIGN;
            } else {
                last = place;
                if FILTERS {
                    self.number_some(place, earlier);
                } else {
                    *self.numbers.at(place) = earlier;
                    let open = self.open.at(earlier as usize);
                    open.length += 1;
                    open.last = number(place);
                }
            }
            place += 1;
        }
        while self.closed < self.sessions {
            self.close_next();
        }
        self.list(place);
    }
}

/// The last entries of a long row of numbered ones.
struct Ring<T> {
    entries: Vec<T>,
    from: usize,
    to: usize,
}

impl<T: Copy + Default> Ring<T> {
    fn new() -> Self {
        Self { entries: vec![T::default(); 4 * BLOCK], from: 0, to: 0 }
    }

    /// Entries before `from` may be forgotten, those before `to` may be written.
    fn reserve(&mut self, from: usize, to: usize) {
        let size = self.entries.len();
        if to - from > size {
            let larger = (to - from).next_power_of_two() * 2;
            let mut entries = vec![T::default(); larger];
            for number in self.from.max(from)..self.to {
                entries[number & (larger - 1)] = self.entries[number & (size - 1)];
            }
            self.entries = entries;
        }
        (self.from, self.to) = (from, to);
    }

    #[inline]
    fn at(&mut self, number: usize) -> &mut T {
        let mask = self.entries.len() - 1;
        &mut self.entries[number & mask]
    }
}

/// For every event the number of its session, by place; sessions are numbered by their first events.
pub(crate) fn number_events<T: Timeline>(events: &T, gap: u64) -> Vec<i32> {
    let stretches = Stretches::new(events, gap);
    let mut numbers = zeros(events.len());
    let lengths = stretches.firsts.windows(2).map(|ends| ends[1] - ends[0]);
    let parts: Vec<(i32, Vec<(usize, i32)>)> = split(&mut numbers, lengths)
        .into_par_iter()
        .zip(&stretches.firsts)
        .map(|(numbers, &first)| number_stretch(events, gap, first, numbers))
        .collect();
    let step = stretches.firsts.get(1).copied().unwrap_or(1).max(1);
    let mut base = 0;
    let mut bases = Vec::with_capacity(parts.len());
    for (sessions, _) in &parts {
        bases.push(base);
        base += sessions;
    }
    numbers.par_chunks_mut(step).zip(&bases).skip(1).for_each(|(numbers, base)| {
        for number in numbers {
            *number = number.wrapping_add(*base);
        }
    });
    for ((_, crossing), base) in parts.iter().zip(&bases) {
        for &(place, number) in crossing {
            numbers[place] = number + base;
        }
    }
    numbers
}

/// The number of a session that begins in another stretch.
const ELSEWHERE: i32 = -1;

/// Numbers a stretch's events from 0 on, and gives the number of sessions that begin in it with their events behind it.
fn number_stretch<T: Timeline>(events: &T, gap: u64, first: usize, numbers: &mut [i32]) -> (i32, Vec<(usize, i32)>) {
    let mut recent = Recent::new();
    let mut sessions = 0;
    let mut crossing = Vec::new();
    if numbers.is_empty() {
        return (sessions, crossing);
    }
    let end = first + numbers.len();
    let mut low = find_first_near(events, gap, first);
    for place in low..first {
        swap(&mut recent, events, place, low);
    }
    for from in (first..end).step_by(BLOCK) {
        low = first_near(events, gap, low, from);
        for place in from..end.min(from + BLOCK) {
            let before = swap(&mut recent, events, place, low);
            let goes_on = before.is_some_and(|before| is_near(events.time(before), events.time(place), gap));
            let before = before.unwrap_or(place);
            if goes_on && before < first {
                numbers[place - first] = ELSEWHERE;
                continue;
            }
            let session = numbers[before.max(first) - first];
            numbers[place - first] = if goes_on { session } else { sessions };
            sessions += i32::from(!goes_on);
        }
    }
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

/// Places are below 2^31.
#[allow(clippy::cast_possible_truncation)]
fn number(place: usize) -> u32 {
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
