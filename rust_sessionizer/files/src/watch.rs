//! How far the work is, and whether it is to stop.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Error, Result};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// Events are read and split by visitor; counted in bytes of the files.
    #[default]
    Read,
    /// Sessions are cut; counted in events.
    Cut,
    /// Sessions are put in order and written; counted in events listed.
    Write,
}

/// How far the work is: looked at from one thread while others work.
#[derive(Debug, Default)]
pub struct Watch {
    stop: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
    stage: Mutex<Stage>,
}

impl Watch {
    /// Asks the work to stop soon, with [`Error::Cancelled`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The stage, and how much of it is done of how much.
    pub fn seen(&self) -> (Stage, u64, u64) {
        let stage = self.stage.lock().map_or(Stage::Write, |stage| *stage);
        (stage, self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    pub(crate) fn begin(&self, stage: Stage, total: u64) {
        if let Ok(mut place) = self.stage.lock() {
            self.done.store(0, Ordering::Relaxed);
            self.total.store(total, Ordering::Relaxed);
            *place = stage;
        }
    }

    pub(crate) fn add(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}
