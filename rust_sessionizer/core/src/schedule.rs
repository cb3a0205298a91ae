//! Session-parallel mini-batches (Hidasi et al., ICLR 2016, section 3.1).

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

struct Lane {
    number: i32,
    next: i64,
    left: i64,
    fresh: bool,
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
    let mut schedule = Schedule { steps: vec![0], ..Schedule::default() };
    let reserved = schedule.inputs.try_reserve_exact(total);
    let reserved = reserved.and_then(|()| schedule.lanes.try_reserve_exact(total));
    reserved.and_then(|()| schedule.resets.try_reserve_exact(total)).map_err(|_| too_long())?;
    let mut begin = 0;
    let mut sessions = lengths.iter().map(|&length| {
        begin += length;
        (begin - length, length - 1)
    });
    let mut active: Vec<Lane> = (0..lane_numbers)
        .zip(sessions.by_ref())
        .map(|(number, (next, left))| Lane { number, next, left, fresh: true })
        .collect();
    let mut fed = 0;
    while !active.is_empty() {
        active.retain_mut(|lane| {
            schedule.inputs.push(lane.next);
            schedule.lanes.push(lane.number);
            schedule.resets.push(lane.fresh);
            fed += 1;
            lane.next += 1;
            lane.left -= 1;
            lane.fresh = lane.left == 0;
            if lane.fresh {
                match sessions.next() {
                    Some((next, left)) => (lane.next, lane.left) = (next, left),
                    None => return false,
                }
            }
            true
        });
        schedule.steps.push(fed);
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
