//! The sessions of a stream.

use std::cmp::Reverse;
use std::collections::hash_map::RandomState;
use std::collections::{BinaryHeap, VecDeque};

use hashbrown::HashMap;

use crate::id::{Id, IdRef, Kind};
use crate::{Error, Result, What};

/// When sessions end, and how long events may be on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The longest pause inside a session, in milliseconds.
    pub gap: u64,
    /// How much earlier than the newest event before it an event may be, in milliseconds, and still be placed.
    pub tolerance: u64,
    /// Of listed events one after the other with the same item, list the first only.
    pub drop_repeats: bool,
}

/// An event as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// Its place in the stream: what it is known by when it comes again.
    pub offset: u64,
    /// Who.
    pub visitor: IdRef<'a>,
    /// What.
    pub item: IdRef<'a>,
    /// When, in milliseconds.
    pub time: i64,
    /// Whether it is listed; others only hold a session together.
    pub kept: bool,
}

/// An event that waits for its session to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) time: i64,
    pub(crate) offset: u64,
    pub(crate) item: Id,
    pub(crate) kept: bool,
}

/// The events of a visitor that were not given out.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    /// By time, those of one time by offset. Never empty.
    pub(crate) events: VecDeque<Waiting>,
    /// Not later than the last event of the first session: when to look for its end.
    due: i64,
}

impl Open {
    /// `None` where there are no events.
    pub(crate) fn new(events: VecDeque<Waiting>) -> Option<Self> {
        let due = events.front()?.time;
        Some(Self { events, due })
    }
}

/// A session that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose.
    pub visitor: Id,
    /// The time of the first listed event.
    pub start: i64,
    /// The offset of the first listed event.
    pub offset: u64,
    /// The items of the listed events.
    pub items: Vec<Id>,
    /// Their times.
    pub times: Vec<i64>,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events that were placed.
    pub placed: u64,
    /// Events that came too late to be placed.
    pub late: u64,
    /// Sessions that were given out.
    pub sessions: u64,
}

/// Cuts a stream of events into sessions, each given out once, when no event that may still be placed can change it.
///
/// The newest time seen, less the tolerance, is the watermark. An event below the watermark of the events before it is late: it is
/// counted and left out. A session ends when its last event lies more than the gap below the watermark. So what comes out depends on
/// the events and their order alone, not on how they are batched; it is what the batch sessionizer gives for the same events in the
/// same order, the late ones left out.
///
/// An event is known by its offset. Offsets ascend; those below the next expected one were fed before and are passed over.
#[derive(Debug, Clone)]
pub struct Sessionizer {
    pub(crate) settings: Settings,
    pub(crate) kinds: Option<(Kind, Kind)>,
    pub(crate) newest: Option<i64>,
    pub(crate) next: u64,
    pub(crate) counts: Counts,
    pub(crate) closed: bool,
    /// What every visitor waits for.
    pub(crate) open: HashMap<Id, Open, RandomState>,
    /// When to look at which visitor. Entries that the visitor no longer has are passed over.
    due: BinaryHeap<Reverse<(i64, Id)>>,
}

impl Sessionizer {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            kinds: None,
            newest: None,
            next: 0,
            counts: Counts::default(),
            closed: false,
            open: HashMap::default(),
            due: BinaryHeap::new(),
        }
    }

    /// How it was made.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// What kinds of ids visitors and items are; `None` before the first event.
    #[must_use]
    pub fn kinds(&self) -> Option<(Kind, Kind)> {
        self.kinds
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The offset that the next new event has at least.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// Events that wait for their sessions to end.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.open.values().map(|open| open.events.len()).sum()
    }

    /// Events before this time, in milliseconds, are too late; `None` before the first event.
    #[must_use]
    pub fn watermark(&self) -> Option<i64> {
        self.newest.map(|newest| newest.saturating_sub_unsigned(self.settings.tolerance))
    }

    /// Whether the end of the stream was told.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes events in the order of their offsets and gives the sessions that ended, by (start, offset).
    ///
    /// # Errors
    /// [`Error::Offset`], [`Error::Kind`] or [`Error::Closed`]; nothing has changed then.
    pub fn feed(&mut self, events: &[Arrival]) -> Result<Vec<Session>> {
        self.check(events)?;
        let Some((visitors, items)) = self.kinds else { return Ok(Vec::new()) };
        for event in events {
            if event.offset >= self.next
                && let (Some(visitor), Some(item)) = (event.visitor.of_kind(visitors), event.item.of_kind(items))
            {
                self.next = event.offset + 1;
                self.place(&Arrival { visitor, item, ..*event });
            }
        }
        Ok(self.give_out(self.watermark()))
    }

    /// The sessions that are left at the end of the stream, by (start, offset).
    pub fn close(&mut self) -> Vec<Session> {
        self.closed = true;
        self.give_out(None)
    }

    fn check(&mut self, events: &[Arrival]) -> Result<()> {
        let Some(first) = events.first() else { return Ok(()) };
        if self.closed && events.iter().any(|event| event.offset >= self.next) {
            return Err(Error::Closed);
        }
        if let Some(row) = (1..events.len()).find(|&row| events[row].offset <= events[row - 1].offset) {
            return Err(Error::Offset { row, offset: events[row].offset, before: events[row - 1].offset });
        }
        if let Some(row) = events.iter().position(|event| event.offset == u64::MAX) {
            return Err(Error::Offset { row, offset: u64::MAX, before: u64::MAX });
        }
        let (visitor, item) = self.kinds.unwrap_or((first.visitor.kind(), first.item.kind()));
        for (row, event) in events.iter().enumerate() {
            for (what, before, id) in [(What::Visitor, visitor, event.visitor), (What::Item, item, event.item)] {
                if id.of_kind(before).is_none() {
                    let (value, before, now) = (id.to_string(), before.name(), id.kind().name());
                    return Err(Error::Kind { what, row, value, before, now });
                }
            }
        }
        self.kinds = Some((visitor, item));
        Ok(())
    }

    fn place(&mut self, event: &Arrival) {
        if self.watermark().is_some_and(|watermark| event.time < watermark) {
            self.counts.late += 1;
            return;
        }
        self.counts.placed += 1;
        self.newest = self.newest.max(Some(event.time));
        let waiting = Waiting { time: event.time, offset: event.offset, item: event.item.owned(), kept: event.kept };
        if let Some(Open { events, due }) = self.open.get_mut(&event.visitor) {
            let place = events.partition_point(|before| before.time <= event.time);
            // Whoever joins the first session leaves its last event what it is.
            let alone = place == 0 && events[0].time.abs_diff(event.time) > self.settings.gap;
            events.insert(place, waiting);
            if alone && event.time < *due {
                *due = event.time;
                self.due.push(Reverse((event.time, event.visitor.owned())));
            }
        } else {
            let visitor = event.visitor.owned();
            self.due.push(Reverse((event.time, visitor.clone())));
            self.open.insert(visitor, Open { events: VecDeque::from([waiting]), due: event.time });
        }
    }

    /// The sessions whose last event lies more than the gap below the watermark; all of them where there is none.
    fn give_out(&mut self, watermark: Option<i64>) -> Vec<Session> {
        let gap = self.settings.gap;
        let over = |last: i64| watermark.is_none_or(|watermark| last < watermark && watermark.abs_diff(last) > gap);
        if watermark.is_none() && !self.closed {
            return Vec::new();
        }
        let mut sessions = Vec::new();
        while let Some(Reverse((time, _))) = self.due.peek()
            && over(*time)
            && let Some(Reverse((time, visitor))) = self.due.pop()
        {
            let Some(Open { events, due }) = self.open.get_mut(&visitor) else { continue };
            if *due != time {
                continue;
            }
            let (mut begin, mut lengths, mut left) = (0, Vec::new(), None);
            while begin < events.len() {
                let pause = |&end: &usize| events[end].time.abs_diff(events[end - 1].time) > gap;
                let end = (begin + 1..events.len()).find(pause).unwrap_or(events.len());
                let last = events[end - 1].time;
                if !over(last) {
                    left = Some(last);
                    break;
                }
                lengths.push(end - begin);
                begin = end;
            }
            let mut ended = events.drain(..begin);
            for length in lengths {
                sessions.extend(listed(&visitor, ended.by_ref().take(length), self.settings.drop_repeats));
            }
            drop(ended);
            if let Some(last) = left {
                *due = last;
                self.due.push(Reverse((last, visitor)));
            } else {
                self.open.remove(&visitor);
            }
        }
        sessions.sort_unstable_by_key(|session| (session.start, session.offset));
        self.counts.sessions += sessions.len() as u64;
        sessions
    }

    /// After the events were put there from outside.
    pub(crate) fn restore_due(&mut self) {
        self.due = self.open.iter().map(|(visitor, open)| Reverse((open.due, visitor.clone()))).collect();
    }
}

/// A session of what is listed of the events; `None` where nothing is.
fn listed(visitor: &Id, events: impl Iterator<Item = Waiting>, drop_repeats: bool) -> Option<Session> {
    let mut kept = events.filter(|event| event.kept);
    let first = kept.next()?;
    let (start, offset) = (first.time, first.offset);
    let mut session =
        Session { visitor: visitor.clone(), start, offset, items: vec![first.item], times: vec![first.time] };
    for event in kept {
        if drop_repeats && session.items.last() == Some(&event.item) {
            continue;
        }
        session.items.push(event.item);
        session.times.push(event.time);
    }
    Some(session)
}
