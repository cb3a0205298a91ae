//! Which click every lane feeds at every step.

use crate::error::{Error, Result};

/// N predictions in T steps; step t holds the entries `steps[t]..steps[t + 1]` (Hidasi et al., ICLR 2016, section 3.1.1).
#[derive(Debug, Clone)]
pub struct Schedule {
    inputs: Vec<u32>,
    targets: Vec<u32>,
    resets: Vec<bool>,
    lanes: Vec<i32>,
    steps: Vec<usize>,
}

impl Schedule {
    /// Checks and takes over a schedule.
    ///
    /// `inputs` and `targets` are items below `items`; `resets` says where a session begins; `lanes` ascend within a
    /// step and only ever vanish.
    ///
    /// # Errors
    ///
    /// If the arrays differ in length, name unknown items, or do not describe steps.
    pub fn new(
        inputs: Vec<i32>,
        targets: Vec<i32>,
        resets: Vec<bool>,
        lanes: Vec<i32>,
        steps: &[i64],
        items: usize,
    ) -> Result<Self> {
        let length = inputs.len();
        for (name, found) in [("targets", targets.len()), ("resets", resets.len()), ("lanes", lanes.len())] {
            if found != length {
                return Err(Error::Length { name: name.to_owned(), found, expected: length });
            }
        }
        let starts: Option<Vec<usize>> = steps.iter().map(|&step| usize::try_from(step).ok()).collect();
        let ends_whole = |starts: &Vec<usize>| starts.first() == Some(&0) && starts.last() == Some(&length);
        let Some(starts) = starts.filter(ends_whole) else {
            return Err(Error::Schedule { reason: "its steps do not go from 0 to the number of entries" });
        };
        let mut before: Option<&[i32]> = None;
        for step in starts.windows(2) {
            if step[0] >= step[1] {
                return Err(Error::Schedule { reason: "a step holds no entry" });
            }
            let now = &lanes[step[0]..step[1]];
            if !now.is_sorted_by(|left, right| left < right) {
                return Err(Error::Schedule { reason: "the lanes of a step do not ascend" });
            }
            if before.is_some_and(|before| now.iter().any(|lane| before.binary_search(lane).is_err())) {
                return Err(Error::Schedule { reason: "a lane appears that was not in the step before" });
            }
            before = Some(now);
        }
        Ok(Self {
            inputs: checked("inputs", inputs, items)?,
            targets: checked("targets", targets, items)?,
            resets,
            lanes,
            steps: starts,
        })
    }

    /// The number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len() - 1
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lanes of the first step: the most there are.
    pub(crate) fn most_lanes(&self) -> usize {
        self.steps.get(1).copied().unwrap_or(0)
    }

    /// Lanes of a step.
    pub(crate) fn lanes(&self, step: usize) -> usize {
        self.steps[step + 1] - self.steps[step]
    }

    pub(crate) fn inputs(&self, step: usize) -> &[u32] {
        &self.inputs[self.steps[step]..self.steps[step + 1]]
    }

    pub(crate) fn targets(&self, step: usize) -> &[u32] {
        &self.targets[self.steps[step]..self.steps[step + 1]]
    }

    pub(crate) fn resets(&self, step: usize) -> &[bool] {
        &self.resets[self.steps[step]..self.steps[step + 1]]
    }

    /// Rows of the step before that are still there in `step`; None where no lane has vanished.
    pub(crate) fn survivors(&self, step: usize) -> Option<Vec<usize>> {
        if step == 0 || self.lanes(step) == self.lanes(step - 1) {
            return None;
        }
        let before = &self.lanes[self.steps[step - 1]..self.steps[step]];
        let now = &self.lanes[self.steps[step]..self.steps[step + 1]];
        Some(now.iter().map(|lane| before.partition_point(|other| other < lane)).collect())
    }
}

fn checked(name: &'static str, given: Vec<i32>, items: usize) -> Result<Vec<u32>> {
    given
        .into_iter()
        .map(|item| match u32::try_from(item) {
            Ok(known) if (known as usize) < items => Ok(known),
            _ => Err(Error::Item { name, item: item.into(), last: items.saturating_sub(1) }),
        })
        .collect()
}
