//! Clicks and sessions left out.

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

/// The sessions of a table: where each starts in the flat list of clicks, and the item code of every click.
fn check(offsets: &[i64], items: &[i32]) -> Result<()> {
    let limit = u32::MAX as usize - 1;
    let rows = items.len().max(offsets.len());
    if rows > limit {
        return Err(Error::TooManyRows { rows, limit });
    }
    let last = offsets.last().copied().unwrap_or(0);
    let ends = usize::try_from(last).is_ok_and(|last| last == items.len());
    if ends && offsets.first().is_none_or(|&first| first == 0) && offsets.is_sorted() {
        return Ok(());
    }
    let reason = "the lists do not cover their values".to_owned();
    Err(Error::Unreadable { reason })
}

/// The clicks of every session, as positions.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked before
fn sessions(offsets: &[i64]) -> impl Iterator<Item = std::ops::Range<u32>> {
    offsets.windows(2).map(|ends| ends[0] as u32..ends[1] as u32)
}

/// Drops clicks on the item of the click before.
///
/// # Errors
/// [`Error::TooManyRows`] from 2^32 - 1 clicks or sessions on; [`Error::Unreadable`] where `offsets` do not start
/// with 0, ascend and end with the number of clicks.
pub fn drop_repeats(offsets: &[i64], items: &[i32]) -> Result<Filtered> {
    check(offsets, items)?;
    let mut left = Filtered { offsets: vec![0], ..Filtered::default() };
    for (session, clicks) in (0..).zip(sessions(offsets)) {
        let first = clicks.start;
        left.clicks
            .extend(clicks.filter(|&click| click == first || items[click as usize] != items[click as usize - 1]));
        left.close(session);
    }
    Ok(left)
}

impl Filtered {
    #[allow(clippy::cast_possible_wrap)] // fewer than 2^32
    fn close(&mut self, session: u32) {
        self.sessions.push(session);
        self.offsets.push(self.clicks.len() as i64);
    }
}

/// Drops clicks on items with less than `min_support`, then sessions of less than `min_length` clicks, over and over
/// until nothing changes. Items are codes from 0 to `distinct` - 1.
///
/// # Errors
/// As [`drop_repeats`].
pub fn filter_support(
    offsets: &[i64],
    items: &[i32],
    distinct: usize,
    min_support: u64,
    min_length: u64,
    support_is: Support,
) -> Result<Filtered> {
    check(offsets, items)?;
    let code = |click: u32| items[click as usize].unsigned_abs() as usize;
    let mut left = Filtered { offsets: vec![0], ..Filtered::default() };
    for (session, clicks) in (0..).zip(sessions(offsets)) {
        left.clicks.extend(clicks);
        left.close(session);
    }
    loop {
        let support = left.support(code, distinct, support_is);
        let mut next = Filtered { offsets: vec![0], ..Filtered::default() };
        for (&session, clicks) in left.sessions.iter().zip(sessions(&left.offsets)) {
            let begin = next.clicks.len();
            let clicks = &left.clicks[clicks.start as usize..clicks.end as usize];
            next.clicks.extend(clicks.iter().filter(|&&click| support[code(click)] >= min_support));
            if ((next.clicks.len() - begin) as u64) < min_length {
                next.clicks.truncate(begin);
            } else {
                next.close(session);
            }
        }
        let unchanged = next.clicks.len() == left.clicks.len() && next.sessions.len() == left.sessions.len();
        left = next;
        if unchanged {
            return Ok(left);
        }
    }
}

impl Filtered {
    fn support(&self, code: impl Fn(u32) -> usize, distinct: usize, support_is: Support) -> Vec<u64> {
        let mut support = vec![0; distinct];
        if support_is == Support::Clicks {
            self.clicks.iter().for_each(|&click| support[code(click)] += 1);
            return support;
        }
        let mut last_seen = vec![u32::MAX; distinct];
        for (&session, clicks) in self.sessions.iter().zip(sessions(&self.offsets)) {
            for &click in &self.clicks[clicks.start as usize..clicks.end as usize] {
                let item = code(click);
                support[item] += u64::from(last_seen[item] != session);
                last_seen[item] = session;
            }
        }
        support
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flat(lists: &[Vec<i32>]) -> (Vec<i64>, Vec<i32>) {
        let mut offsets = vec![0];
        let mut end = 0;
        for list in lists {
            end += i64::try_from(list.len()).unwrap_or(0);
            offsets.push(end);
        }
        (offsets, lists.concat())
    }

    fn lists(items: &[i32], left: &Filtered) -> Vec<(u32, Vec<i32>)> {
        let clicks = |ends: std::ops::Range<u32>| {
            left.clicks[ends.start as usize..ends.end as usize].iter().map(|&click| items[click as usize]).collect()
        };
        left.sessions.iter().copied().zip(sessions(&left.offsets).map(clicks)).collect()
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
