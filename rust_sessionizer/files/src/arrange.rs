//! Sessions of all partitions in one order, stretch by stretch.

use std::ops::Range;

use rayon::prelude::*;

use crate::Result;
use crate::lane::Lane;
use crate::layout::Layout;
use crate::run::{INDEX_STEP, Key, Run, damaged, empty, time};

/// Sessions in order, with their clicks.
#[derive(Debug)]
pub(crate) struct Arranged {
    pub(crate) starts: Vec<i64>,
    /// Where each session's clicks end.
    pub(crate) ends: Vec<u64>,
    pub(crate) session_lanes: Vec<Lane>,
    pub(crate) click_lanes: Vec<Lane>,
}

impl Arranged {
    /// Bytes of the texts of a session and of its clicks.
    pub(crate) fn text_bytes(&self, session: usize, clicks: Range<usize>) -> u64 {
        let of_session = self.session_lanes.iter().map(|lane| lane.text_bytes(&(session..session + 1)));
        of_session.chain(self.click_lanes.iter().map(|lane| lane.text_bytes(&clicks))).sum()
    }
}

/// All runs, cut at the same keys into stretches that fit in memory.
pub(crate) struct Arranger<'a> {
    runs: &'a [Run],
    layout: &'a Layout,
    /// Between stretches.
    bounds: Vec<Key>,
}

impl<'a> Arranger<'a> {
    /// Stretches of about so many bytes each.
    pub(crate) fn new(runs: &'a [Run], layout: &'a Layout, stretch: u64) -> Self {
        let mut samples: Vec<(Key, u64)> = Vec::new();
        for run in runs {
            // Texts as long as they are on average.
            let click = run.bytes().div_ceil(run.clicks.max(1));
            for (place, &(key, before)) in run.index.iter().enumerate() {
                let after = run.index.get(place + 1).map_or(run.clicks, |&(_, after)| after);
                let clicks = after.saturating_sub(before);
                samples.push((key, clicks.saturating_mul(click).saturating_add(INDEX_STEP * SESSION_BYTES)));
            }
        }
        samples.sort_unstable();
        let mut bounds = Vec::new();
        let mut filled = 0;
        for (key, bytes) in samples {
            if filled >= stretch {
                bounds.push(key);
                filled = 0;
            }
            filled = bytes.saturating_add(filled);
        }
        Self { runs, layout, bounds }
    }

    pub(crate) fn stretches(&self) -> usize {
        self.bounds.len() + 1
    }

    /// How many sessions of each run come before a stretch.
    fn before(&self, stretch: usize) -> Result<Vec<u64>> {
        self.runs
            .iter()
            .map(|run| match stretch {
                0 => Ok(0),
                last if last == self.stretches() => Ok(run.sessions),
                inner => run.before(self.bounds[inner - 1]),
            })
            .collect()
    }

    /// Some stretches one after the other, each by a thread of the pool.
    pub(crate) fn arrange(&self, stretches: Range<usize>) -> Result<Vec<Arranged>> {
        let positions: Vec<Vec<u64>> = (stretches.start..=stretches.end)
            .into_par_iter()
            .map(|stretch| self.before(stretch))
            .collect::<Result<_>>()?;
        positions.par_windows(2).map(|ends| self.arrange_one(&ends[0], &ends[1])).collect()
    }

    fn arrange_one(&self, from: &[u64], to: &[u64]) -> Result<Arranged> {
        let mut keys: Vec<(Key, u32)> = Vec::new();
        let mut clicks: Vec<(u64, u32)> = Vec::new();
        let mut session_lanes = empty(&self.layout.lanes, &self.layout.session_lanes());
        let mut click_lanes = empty(&self.layout.lanes, &self.layout.click_lanes());
        let mut held = 0;
        for (run, (&from, &to)) in self.runs.iter().zip(from.iter().zip(to)) {
            if from >= to {
                continue;
            }
            let bounds = run.bounds(from..to)?;
            let (first, last) = (bounds[0], bounds[bounds.len() - 1]);
            if !bounds.is_sorted() || last > run.clicks {
                return Err(damaged(&run.ends));
            }
            for (key, ends) in run.keys(from..to)?.into_iter().zip(bounds.windows(2)) {
                keys.push((key, short(keys.len() as u64)?));
                clicks.push((held + ends[0] - first, short(ends[1] - ends[0])?));
            }
            held += last - first;
            for (lane, stored) in session_lanes.iter_mut().zip(&run.session_lanes) {
                let read = stored.read(from..to)?;
                lane.extend(&read, 0..read.len());
            }
            for (lane, stored) in click_lanes.iter_mut().zip(&run.click_lanes) {
                let read = stored.read(first..last)?;
                lane.extend(&read, 0..read.len());
            }
        }
        short(held)?;
        // Stretches of the runs are in order already, which this sort makes use of.
        #[allow(clippy::stable_sort_primitive)]
        keys.sort();
        let order: Vec<u32> = keys.iter().map(|&(_, session)| session).collect();
        let mut ends = Vec::with_capacity(order.len());
        let mut rows: Vec<u32> = Vec::with_capacity(usize::try_from(held).unwrap_or(0));
        for &session in &order {
            let (begin, length) = clicks[session as usize];
            let begin = short(begin)?;
            rows.extend(begin..begin + length);
            ends.push(rows.len() as u64);
        }
        drop(clicks);
        let gathered = |lanes: Vec<Lane>, rows: &[u32]| lanes.into_iter().map(|lane| lane.gather(rows)).collect();
        Ok(Arranged {
            starts: keys.into_iter().map(|((start, _), _)| time(start)).collect(),
            ends,
            session_lanes: gathered(session_lanes, &order),
            click_lanes: gathered(click_lanes, &rows),
        })
    }
}

/// Roughly, beside the clicks.
const SESSION_BYTES: u64 = 48;

/// Stretches are far shorter than 2^32 clicks, unless a session itself is longer.
fn short(number: u64) -> Result<u32> {
    u32::try_from(number).map_err(|_| {
        let (rows, limit) = (usize::try_from(number).unwrap_or(usize::MAX), u32::MAX as usize);
        crate::Error::Input(sessionizer_core::Error::TooManyRows { rows, limit })
    })
}
