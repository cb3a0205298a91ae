//! Session-parallel mini-batches (Hidasi et al., ICLR 2016, section 3.1).

use std::collections::TryReserveError;
use std::hint::select_unpredictable;

use crate::raw::try_room;
use crate::{Error, Result};

/// Which click every lane feeds at every step; the click after it is the target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    /// The position of the input click in the flat list of clicks.
    pub inputs: Vec<i64>,
    /// Its lane, ascending within a step.
    pub lanes: Vec<i32>,
    /// Whether it is the first click of its session.
    pub resets: Vec<bool>,
    /// Where each step starts in the other three, and at the end their length.
    pub steps: Vec<i64>,
}

/// The lanes that still have clicks to feed: a place each in every vector.
#[derive(Default)]
struct Lanes {
    numbers: Vec<i32>,
    /// The click that is fed next, and whether it begins its session.
    next: Vec<i64>,
    fresh: Vec<bool>,
    /// Predictions left in the session, that one included.
    left: Vec<i64>,
}

/// The sessions that no lane has taken yet.
struct Unused<'a> {
    lengths: &'a [i64],
    /// The first click of the first of them.
    begin: i64,
}

impl Lanes {
    fn take(&mut self, number: i32, unused: &mut Unused) -> bool {
        let Some((&length, rest)) = unused.lengths.split_first() else { return false };
        self.numbers.push(number);
        self.next.push(unused.begin);
        self.fresh.push(true);
        self.left.push(length - 1);
        *unused = Unused { lengths: rest, begin: unused.begin + length };
        true
    }

    /// Goes on by a click, where there are as many unused sessions as lanes, so that none can vanish: without a branch, since
    /// nobody foresees where a session ends.
    fn go_on(&mut self, unused: &mut Unused) {
        let Unused { lengths, mut begin } = *unused;
        let mut taken = 0;
        for ((next, left), fresh) in self.next.iter_mut().zip(&mut self.left).zip(&mut self.fresh) {
            let (over, length) = (*left == 1, lengths[taken]);
            *next = select_unpredictable(over, begin, *next + 1);
            *left = select_unpredictable(over, length, *left) - 1;
            *fresh = over;
            begin += select_unpredictable(over, length, 0);
            taken += usize::from(over);
        }
        *unused = Unused { lengths: &lengths[taken..], begin };
    }

    /// The same for the last ones.
    fn run_out(&mut self, unused: &mut Unused) {
        let before = std::mem::take(self);
        for ((number, next), left) in before.numbers.into_iter().zip(before.next).zip(before.left) {
            if left > 1 {
                self.numbers.push(number);
                self.next.push(next + 1);
                self.fresh.push(false);
                self.left.push(left - 1);
            } else {
                self.take(number, unused);
            }
        }
    }
}

/// Lane l starts with session l. After its last prediction a lane takes the next unused session, lower lanes first;
/// where none is left it vanishes, and the others go on.
///
/// # Errors
/// [`Error::ShortSession`] for a session of less than 2 clicks, [`Error::Setting`] where `lanes` is 0 or too large.
pub fn training_schedule(lengths: &[i64], lanes: i64) -> Result<Schedule> {
    let lane_numbers = i32::try_from(lanes).ok().filter(|&lanes| lanes > 0).ok_or_else(|| Error::Setting {
        name: "lanes",
        value: lanes.to_string(),
        expected: "1 or more, and less than 2^31",
    })?;
    if let Some((row, &length)) = lengths.iter().enumerate().find(|(_, length)| **length < 2) {
        return Err(Error::ShortSession { row, length });
    }
    let too_long = || Error::Setting {
        name: "the sum of lengths",
        value: lengths.iter().map(|&length| i128::from(length)).sum::<i128>().to_string(),
        expected: "what fits in memory",
    };
    let total = lengths.iter().try_fold(0_i64, |sum, &length| sum.checked_add(length - 1));
    let total = total.and_then(|total| usize::try_from(total).ok()).ok_or_else(too_long)?;
    let room = || Ok((try_room(total)?, try_room(total)?, try_room(total)?));
    let (inputs, numbers, resets) = room().map_err(|_: TryReserveError| too_long())?;
    let mut schedule = Schedule { inputs, lanes: numbers, resets, steps: vec![0] };
    let (mut lanes, mut unused) = (Lanes::default(), Unused { lengths, begin: 0 });
    for number in 0..lane_numbers {
        if !lanes.take(number, &mut unused) {
            break;
        }
    }
    while !lanes.numbers.is_empty() {
        schedule.inputs.extend_from_slice(&lanes.next);
        schedule.lanes.extend_from_slice(&lanes.numbers);
        schedule.resets.extend_from_slice(&lanes.fresh);
        #[allow(clippy::cast_possible_wrap)] // it fits in memory
        schedule.steps.push(schedule.inputs.len() as i64);
        if unused.lengths.len() >= lanes.numbers.len() {
            lanes.go_on(&mut unused);
        } else {
            lanes.run_out(&mut unused);
        }
    }
    Ok(schedule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Position by position: for every step and lane, which click is it?
    fn slow(lengths: &[i64], lanes: usize) -> Schedule {
        let begin = |session: usize| lengths[..session].iter().sum::<i64>();
        let mut at: Vec<Option<(usize, i64)>> =
            (0..lanes).map(|lane| (lane < lengths.len()).then_some((lane, 0))).collect();
        let mut used = lanes.min(lengths.len());
        let mut schedule = Schedule { steps: vec![0], ..Schedule::default() };
        while at.iter().any(Option::is_some) {
            for (lane, at) in (0..).zip(&mut at) {
                let Some((session, click)) = *at else { continue };
                schedule.inputs.push(begin(session) + click);
                schedule.lanes.push(lane);
                schedule.resets.push(click == 0);
                *at = if click + 2 < lengths[session] {
                    Some((session, click + 1))
                } else if used < lengths.len() {
                    used += 1;
                    Some((used - 1, 0))
                } else {
                    None
                };
            }
            schedule.steps.push(i64::try_from(schedule.inputs.len()).unwrap_or(0));
        }
        schedule
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_one(lengths in prop::collection::vec(2_i64..9, 0..30), lanes in 1_u8..9) {
            prop_assert_eq!(training_schedule(&lengths, i64::from(lanes)), Ok(slow(&lengths, usize::from(lanes))));
        }
    }

    #[test]
    fn the_tail_is_trained_on() {
        let schedule = training_schedule(&[2, 4, 2], 2);
        let expected = Schedule {
            inputs: vec![0, 2, 6, 3, 4],
            lanes: vec![0, 1, 0, 1, 1],
            resets: vec![true, true, true, false, false],
            steps: vec![0, 2, 4, 5],
        };
        assert_eq!(schedule, Ok(expected));
    }

    #[test]
    fn sessions_with_nothing_to_predict_are_named() {
        assert_eq!(training_schedule(&[2, 1], 1), Err(Error::ShortSession { row: 1, length: 1 }));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        assert!(matches!(training_schedule(&[2], 0), Err(Error::Setting { .. })));
        assert!(matches!(training_schedule(&[i64::MAX], 1), Err(Error::Setting { .. })));
        assert!(matches!(training_schedule(&[i64::MAX, i64::MAX], 1), Err(Error::Setting { .. })));
    }
}
