//! Clicks and sessions left out.

use std::hint::select_unpredictable;
use std::ops::Range;

use rayon::prelude::*;

use crate::order::split;
use crate::raw::{room, zeros};
use crate::{Error, Result};

/// What an item's support counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Clicks on the item.
    Clicks,
    /// Sessions with a click on the item.
    Sessions,
}

/// What is left of a table with a row a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filtered {
    /// The sessions left.
    pub sessions: Vec<u32>,
    /// The clicks left, as positions in the flat list of clicks.
    pub clicks: Vec<u32>,
    /// Where each session left starts in `clicks`, and at the end their number.
    pub offsets: Vec<i64>,
}

/// A stretch of the sessions, and what is left of them.
struct Part {
    sessions: Vec<u32>,
    clicks: Vec<u32>,
    /// Where each session ends in `clicks`.
    ends: Vec<u32>,
}

impl Part {
    /// A stretch of the sessions with all their clicks.
    fn whole(offsets: &[i64], stretch: Range<usize>) -> Self {
        let (first, ends) = (position(offsets[stretch.start]), &offsets[stretch.start + 1..=stretch.end]);
        let last = position(offsets[stretch.end]);
        let mut part =
            Self { sessions: room(ends.len()), clicks: room((last - first) as usize), ends: room(ends.len()) };
        part.sessions.extend(narrow(stretch.start)..narrow(stretch.end));
        part.clicks.extend(first..last);
        part.ends.extend(ends.iter().map(|&end| position(end) - first));
        part
    }

    /// The sessions with their clicks.
    fn each(&self) -> impl Iterator<Item = (u32, &[u32])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let clicks = |(start, end): (u32, &u32)| &self.clicks[start as usize..*end as usize];
        self.sessions.iter().copied().zip(starts.zip(&self.ends).map(clicks))
    }
}

/// Where sessions start in the flat list of clicks, checked.
struct Lists<'a> {
    offsets: &'a [i64],
}

/// Sessions below which a thread of its own is not worth it.
const SHORT: usize = 1 << 14;

impl<'a> Lists<'a> {
    fn new(offsets: &'a [i64], clicks: usize) -> Result<Self> {
        let limit = u32::MAX as usize - 1;
        let rows = clicks.max(offsets.len());
        if rows > limit {
            return Err(Error::TooManyRows { rows, limit });
        }
        let last = offsets.last().copied().unwrap_or(0);
        let ends = usize::try_from(last).is_ok_and(|last| last == clicks);
        if ends && offsets.first().is_none_or(|&first| first == 0) && offsets.is_sorted() {
            return Ok(Self { offsets });
        }
        let reason = "the lists do not cover their values".to_owned();
        Err(Error::Unreadable { reason })
    }

    /// What `work` makes of stretches of the sessions that cover them, one a thread.
    fn by_stretches<T: Send>(&self, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
        let sessions = self.offsets.len().saturating_sub(1);
        let step = sessions.div_ceil(rayon::current_num_threads()).max(SHORT);
        let stretch = |part: usize| part * step..sessions.min(part * step + step);
        (0..sessions.div_ceil(step)).into_par_iter().map(|part| work(stretch(part))).collect()
    }
}

impl From<Vec<Part>> for Filtered {
    fn from(parts: Vec<Part>) -> Self {
        let (sessions, clicks) = (|part: &Part| part.sessions.len(), |part: &Part| part.clicks.len());
        let total = |of: &dyn Fn(&Part) -> usize| parts.iter().map(of).sum::<usize>();
        let mut whole = Self {
            sessions: zeros(total(&sessions)),
            clicks: zeros(total(&clicks)),
            offsets: zeros(total(&sessions) + 1),
        };
        let bases = parts.iter().scan(0_i64, |sum, part| {
            let base = *sum;
            *sum += i64::from(narrow(part.clicks.len()));
            Some(base)
        });
        let jobs: Vec<_> = split(&mut whole.sessions, parts.iter().map(sessions))
            .into_iter()
            .zip(split(&mut whole.clicks, parts.iter().map(clicks)))
            .zip(split(&mut whole.offsets[1..], parts.iter().map(sessions)))
            .zip(parts.iter().zip(bases))
            .collect();
        jobs.into_par_iter().for_each(|(((sessions, clicks), offsets), (part, base))| {
            sessions.copy_from_slice(&part.sessions);
            clicks.copy_from_slice(&part.clicks);
            for (offset, &end) in offsets.iter_mut().zip(&part.ends) {
                *offset = base + i64::from(end);
            }
        });
        whole
    }
}

/// Drops clicks on the item of the click before.
///
/// # Errors
/// [`Error::TooManyRows`] from 2^32 - 1 clicks or sessions on; [`Error::Unreadable`] where `offsets` do not start
/// with 0, ascend and end with the number of clicks.
pub fn drop_repeats(offsets: &[i64], items: &[i32]) -> Result<Filtered> {
    drop_repeats_by(offsets, items.len(), |a, b| items[a as usize] == items[b as usize])
}

/// The same, where `same` says whether two clicks are on one item.
///
/// # Errors
/// As [`drop_repeats`].
pub fn drop_repeats_by(offsets: &[i64], clicks: usize, same: impl Fn(u32, u32) -> bool + Sync) -> Result<Filtered> {
    let parts = Lists::new(offsets, clicks)?.by_stretches(|stretch| {
        let mut part = Part::whole(offsets, stretch);
        part.retain(0, |click, is_first| is_first || !same(click - 1, click));
        part
    });
    Ok(parts.into())
}

/// Cuts sessions apart in time: part k holds the sessions whose first click is at `cuts[k - 1]` or later and before
/// `cuts[k]`, and of these the clicks before `cuts[k]`. There is one part more than cuts; sessions without a click are in
/// none.
///
/// # Errors
/// As [`drop_repeats`]; [`Error::Setting`] where the cuts do not ascend.
pub fn split_sessions(offsets: &[i64], times: &[i64], cuts: &[i64]) -> Result<Vec<Filtered>> {
    let lists = Lists::new(offsets, times.len())?;
    if !cuts.is_sorted() {
        return Err(Error::Setting { name: "cuts", value: format!("{cuts:?}"), expected: "in ascending order" });
    }
    let count = cuts.len() + 1;
    // For every stretch its share of every part.
    let shares = lists.by_stretches(|stretch| {
        let clicks = (position(offsets[stretch.end]) - position(offsets[stretch.start])) as usize;
        let (sessions, clicks) = (stretch.len() / count, clicks / count);
        let empty = || Part { sessions: room(sessions), clicks: room(clicks), ends: room(sessions) };
        let mut parts: Vec<Part> = std::iter::repeat_with(empty).take(count).collect();
        for session in stretch.clone() {
            let clicks = position(offsets[session])..position(offsets[session + 1]);
            if clicks.is_empty() {
                continue;
            }
            let number = cuts.partition_point(|&cut| cut <= times[clicks.start as usize]);
            let to = cuts.get(number);
            let part = &mut parts[number];
            part.clicks.extend(clicks.filter(|&click| to.is_none_or(|&to| times[click as usize] < to)));
            part.sessions.push(narrow(session));
            part.ends.push(narrow(part.clicks.len()));
        }
        parts
    });
    let mut parts: Vec<Vec<Part>> = std::iter::repeat_with(Vec::new).take(count).collect();
    for share in shares {
        parts.iter_mut().zip(share).for_each(|(part, share)| part.push(share));
    }
    Ok(parts.into_iter().map(Filtered::from).collect())
}

/// Drops clicks on items with less than `min_support`, then sessions of less than `min_length` clicks, over and over
/// until nothing changes. Items are codes from 0 to `distinct` - 1.
///
/// # Errors
/// As [`drop_repeats`].
///
/// # Panics
/// Where an item is no such code.
pub fn filter_support(
    offsets: &[i64],
    items: &[i32],
    distinct: usize,
    min_support: u64,
    min_length: u64,
    support_is: Support,
) -> Result<Filtered> {
    let code = |click: u32| items[click as usize].unsigned_abs() as usize;
    let mut parts = Lists::new(offsets, items.len())?.by_stretches(|stretch| Part::whole(offsets, stretch));
    loop {
        let support = count_support(&parts, code, distinct, support_is);
        let shrink =
            |part: &mut Part| part.retain(min_length, |click, _| u64::from(support[code(click)]) >= min_support);
        let changed = parts.par_iter_mut().map(shrink).reduce(|| false, |a, b| a || b);
        if !changed {
            return Ok(parts.into());
        }
    }
}

impl Part {
    /// Keeps some clicks, which `keep` is told with whether one is the first of its session, and the sessions that are long enough
    /// then; says whether anything went.
    fn retain(&mut self, min_length: u64, keep: impl Fn(u32, bool) -> bool) -> bool {
        let before = (self.sessions.len(), self.clicks.len());
        let (mut start, mut sessions, mut end) = (0, 0, 0);
        for place in 0..self.sessions.len() {
            let old_end = self.ends[place] as usize;
            let begin = end;
            for from in start..old_end {
                let click = self.clicks[from];
                // Written in any case, and written over if it does not stay: so is a session.
                self.clicks[end] = click;
                end += usize::from(keep(click, from == start));
            }
            start = old_end;
            let stays = (end - begin) as u64 >= min_length;
            end = select_unpredictable(stays, end, begin);
            self.sessions[sessions] = self.sessions[place];
            self.ends[sessions] = narrow(end);
            sessions += usize::from(stays);
        }
        self.sessions.truncate(sessions);
        self.ends.truncate(sessions);
        self.clicks.truncate(end);
        before != (sessions, end)
    }
}

fn count_support(parts: &[Part], code: impl Fn(u32) -> usize + Sync, distinct: usize, by: Support) -> Vec<u32> {
    let count = |parts: &[Part]| {
        let mut support: Vec<u32> = vec![0; distinct];
        if by == Support::Clicks {
            parts.iter().flat_map(|part| &part.clicks).for_each(|&click| support[code(click)] += 1);
            return support;
        }
        let mut last_seen = vec![u32::MAX; distinct];
        for (session, clicks) in parts.iter().flat_map(Part::each) {
            for &click in clicks {
                let item = code(click);
                support[item] += u32::from(last_seen[item] != session);
                last_seen[item] = session;
            }
        }
        support
    };
    // All tables together are no larger than the clicks.
    let clicks: usize = parts.iter().map(|part| part.clicks.len()).sum();
    let together = parts.len().div_ceil((clicks / distinct.max(1)).max(1)).max(1);
    let sum = |mut a: Vec<u32>, b: Vec<u32>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    parts.par_chunks(together).map(count).reduce_with(sum).unwrap_or_default()
}

/// Clicks and sessions were counted before: they fit.
#[allow(clippy::cast_possible_truncation)]
fn narrow(count: usize) -> u32 {
    count as u32
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked before
fn position(offset: i64) -> u32 {
    offset as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flat<T: Copy>(lists: &[Vec<T>]) -> (Vec<i64>, Vec<T>) {
        let mut offsets = vec![0];
        let mut end = 0;
        for list in lists {
            end += i64::try_from(list.len()).unwrap_or(0);
            offsets.push(end);
        }
        (offsets, lists.concat())
    }

    fn lists<T: Copy>(items: &[T], left: &Filtered) -> Vec<(u32, Vec<T>)> {
        let clicks = |ends: std::ops::Range<u32>| {
            left.clicks[ends.start as usize..ends.end as usize].iter().map(|&click| items[click as usize]).collect()
        };
        let ends = left.offsets.windows(2).map(|ends| position(ends[0])..position(ends[1]));
        left.sessions.iter().copied().zip(ends.map(clicks)).collect()
    }

    fn slow_support(lists: &[Vec<i32>], min_support: u64, min_length: u64, by: Support) -> Vec<(u32, Vec<i32>)> {
        let mut left: Vec<(u32, Vec<i32>)> = (0..).zip(lists.iter().cloned()).collect();
        loop {
            let before = left.clone();
            let support = |item: i32| -> u64 {
                let clicks = |list: &Vec<i32>| list.iter().filter(|&&other| other == item).count() as u64;
                let of = |list| if by == Support::Clicks { clicks(list) } else { clicks(list).min(1) };
                before.iter().map(|(_, list)| of(list)).sum()
            };
            for (_, list) in &mut left {
                list.retain(|&item| support(item) >= min_support);
            }
            left.retain(|(_, list)| list.len() as u64 >= min_length);
            if left == before {
                return left;
            }
        }
    }

    proptest! {
        #[test]
        fn support_reaches_the_slow_fixed_point(
            lists_in in prop::collection::vec(prop::collection::vec(0_i32..12, 0..6), 0..25),
            min_support in 0_u64..6,
            min_length in 0_u64..4,
            by in prop_oneof![Just(Support::Clicks), Just(Support::Sessions)],
        ) {
            let (offsets, items) = flat(&lists_in);
            let left = filter_support(&offsets, &items, 12, min_support, min_length, by);
            let left = left.map(|left| lists(&items, &left));
            prop_assert_eq!(left, Ok(slow_support(&lists_in, min_support, min_length, by)));
        }

        #[test]
        fn repeats_are_dropped_as_dedup_does(lists_in in prop::collection::vec(prop::collection::vec(0_i32..3, 0..8), 0..9)) {
            let (offsets, items) = flat(&lists_in);
            let mut expected: Vec<(u32, Vec<i32>)> = (0..).zip(lists_in).collect();
            for (_, list) in &mut expected {
                list.dedup();
            }
            prop_assert_eq!(drop_repeats(&offsets, &items).map(|left| lists(&items, &left)), Ok(expected));
        }
    }

    proptest! {
        #[test]
        fn sessions_are_cut_as_one_by_one(
            lists_in in prop::collection::vec(prop::collection::vec(0_i64..30, 0..6), 0..25),
            mut cuts in prop::collection::vec(0_i64..30, 0..4),
        ) {
            cuts.sort_unstable();
            let (offsets, times) = flat(&lists_in);
            let found = split_sessions(&offsets, &times, &cuts);
            let bounds: Vec<i64> = [vec![i64::MIN], cuts, vec![i64::MAX]].concat();
            let expected: Vec<Vec<(u32, Vec<i64>)>> = bounds.windows(2).map(|ends| {
                let whole = (0..).zip(&lists_in).filter(|(_, list)| list.first().is_some_and(|first| (ends[0]..ends[1]).contains(first)));
                whole.map(|(session, list)| (session, list.iter().copied().filter(|&time| time < ends[1]).collect())).collect()
            }).collect();
            let found = found.map(|parts| parts.iter().map(|part| lists(&times, part)).collect::<Vec<_>>());
            prop_assert_eq!(found, Ok(expected));
        }
    }

    #[test]
    fn cuts_out_of_order_are_refused() {
        assert!(matches!(split_sessions(&[0], &[], &[2, 1]), Err(Error::Setting { .. })));
    }

    #[test]
    fn dropping_a_session_can_drop_the_next() {
        // 2 loses its partner's support when session 1 goes, and session 2 goes with it.
        let (offsets, items) = flat(&[vec![0, 0], vec![1, 2], vec![2, 0]]);
        let left = filter_support(&offsets, &items, 3, 2, 2, Support::Clicks);
        assert_eq!(left.map(|left| left.sessions), Ok(vec![0]));
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        for offsets in [&[0, 3][..], &[1, 2], &[0, 2, 1, 2], &[0, -1]] {
            assert!(matches!(drop_repeats(offsets, &[1, 1]), Err(Error::Unreadable { .. })));
        }
    }
}
