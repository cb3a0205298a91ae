//! A team of threads for many short phases of work, each ended before the next begins.
//!
//! A pool for long tasks hands work over through queues and sleeping threads, which takes longer than the work here: a
//! training step has some ten phases of 20 to 500 microseconds. So the members wait for a phase awake, for a short while,
//! and then asleep. Nobody waits for a member that has not come: the caller takes part in each phase and ends it by
//! itself where the others are kept busy elsewhere.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

use crate::error::{Error, Result};

/// Looks at the state before a waiting member falls asleep: some 50 microseconds.
const LOOKS: u32 = 1 << 11;
/// In the state: a phase is open to members. Below it: the members inside; above it: the number of the phase.
const OPEN: u64 = 1 << 16;
const INSIDE: u64 = OPEN - 1;
const PHASE: u64 = 1 << 17;

/// What one phase is about, as the members see it.
struct Phase<'a> {
    /// Does the task of a number.
    work: &'a (dyn Fn(usize) + Sync),
    /// The next task of each member's own part, and the end of that part.
    parts: &'a [(AtomicUsize, usize)],
}

impl Phase<'_> {
    /// Does tasks until none is left: first those of the member's own part, whose data it has had before, then others'.
    fn take_part(&self, member: usize) {
        for offset in 0..self.parts.len() {
            let (next, end) = &self.parts[(member + offset) % self.parts.len()];
            loop {
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= *end {
                    break;
                }
                (self.work)(task);
            }
        }
    }
}

#[derive(Default)]
struct Shared {
    /// Whether a phase is open, and how many members are inside; see [`OPEN`].
    state: AtomicU64,
    /// The open phase.
    phase: AtomicPtr<()>,
    failed: AtomicBool,
    ended: AtomicBool,
}

struct Member {
    asleep: Arc<AtomicBool>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

/// Threads that work on one phase after the other. The thread that calls is one of them.
pub(crate) struct Team {
    shared: Arc<Shared>,
    members: Vec<Member>,
}

impl Team {
    /// A team of `threads` threads, the caller included.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let mut team = Self { shared: Arc::default(), members: Vec::new() };
        for number in 1..threads {
            let (shared, asleep) = (Arc::clone(&team.shared), Arc::new(AtomicBool::new(false)));
            let flag = Arc::clone(&asleep);
            let handle = thread::Builder::new()
                .name(format!("gru4rec-{number}"))
                .spawn(move || serve(&shared, &flag, number))
                .map_err(|error| Error::Threads { reason: error.to_string() })?;
            team.members.push(Member { asleep, thread: handle.thread().clone(), handle: Some(handle) });
        }
        Ok(team)
    }

    /// Calls `work` with each of `tasks`, on all threads; returns when all are done. Which thread does which is left open.
    pub(crate) fn for_each<T: Send>(&mut self, tasks: Vec<T>, work: impl Fn(T) + Sync) {
        if self.members.is_empty() || tasks.len() < 2 {
            tasks.into_iter().for_each(work);
            return;
        }
        let slots: Vec<Slot<T>> = tasks.into_iter().map(|task| Slot(UnsafeCell::new(Some(task)))).collect();
        let threads = self.members.len() + 1;
        let parts: Vec<(AtomicUsize, usize)> = (0..threads)
            .map(|part| (AtomicUsize::new(part * slots.len() / threads), (part + 1) * slots.len() / threads))
            .collect();
        let slots = slots.as_slice();
        let phase = Phase {
            work: &|number: usize| {
                if let Some(task) = slots[number].take() {
                    work(task);
                }
            },
            parts: &parts,
        };
        self.run(&phase);
    }

    #[allow(unsafe_code)]
    fn run(&mut self, phase: &Phase) {
        let shared = &*self.shared;
        shared.phase.store(ptr::from_ref(phase).cast_mut().cast(), Ordering::Relaxed);
        // Opens the phase: whoever sees it open sees the pointer too.
        let before = shared.state.load(Ordering::Relaxed);
        shared.state.store(((before & !INSIDE & !OPEN) + PHASE) | OPEN, Ordering::SeqCst);
        // However this function is left, by a panic in `work` too, the members have left the phase before.
        let closing = Closing { shared };
        for member in &self.members {
            if member.asleep.load(Ordering::SeqCst) {
                member.thread.unpark();
            }
        }
        phase.take_part(0);
        drop(closing);
        assert!(!shared.failed.load(Ordering::SeqCst), "a task of the team failed");
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for member in &mut self.members {
            member.thread.unpark();
            if let Some(handle) = member.handle.take() {
                let _ = handle.join();
            }
        }
    }
}

/// A task that exactly one thread takes.
struct Slot<T>(UnsafeCell<Option<T>>);

// SAFETY: a slot is only touched through `take`, by the one thread that drew its number (see there), and the task moves
// to that thread, which `T: Send` allows.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    #[allow(unsafe_code)]
    fn take(&self) -> Option<T> {
        // SAFETY: numbers are drawn with `fetch_add` from counters that start at disjoint ranges and are refused past a
        // range's end, so that each number is drawn once and no two threads come here for the same slot. The caller's
        // writes to the slots come before the phase is opened, and its dropping of them after all have left.
        unsafe { (*self.0.get()).take() }
    }
}

/// Closes the phase when dropped, and waits until every member has left it.
struct Closing<'a> {
    shared: &'a Shared,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.shared.state.fetch_and(!OPEN, Ordering::SeqCst);
        let mut looks = 0;
        while self.shared.state.load(Ordering::SeqCst) & INSIDE != 0 {
            looks += 1;
            if looks < LOOKS { std::hint::spin_loop() } else { thread::yield_now() }
        }
    }
}

/// Leaves the phase when dropped.
struct Leaving<'a> {
    shared: &'a Shared,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.shared.failed.store(true, Ordering::SeqCst);
        }
        self.shared.state.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a member does all its life.
fn serve(shared: &Shared, asleep: &AtomicBool, number: usize) {
    let mut done = 0; // the number of the phase worked on last
    loop {
        let mut looks = 0;
        let seen = loop {
            let state = shared.state.load(Ordering::SeqCst);
            if state & OPEN != 0 && state / PHASE != done {
                break state;
            }
            if shared.ended.load(Ordering::SeqCst) {
                return;
            }
            looks += 1;
            if looks < LOOKS {
                std::hint::spin_loop();
                continue;
            }
            // Says so first and looks again: a phase opened in between is seen here, one opened later wakes the thread.
            asleep.store(true, Ordering::SeqCst);
            let state = shared.state.load(Ordering::SeqCst);
            let nothing_new = state & OPEN == 0 || state / PHASE == done;
            if nothing_new && !shared.ended.load(Ordering::SeqCst) {
                thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
            looks = 0;
        };
        // Enters if the phase is still open, and is counted in the same moment.
        if shared.state.compare_exchange(seen, seen + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            enter(shared, number);
            done = seen / PHASE;
        }
    }
}

#[allow(unsafe_code)]
fn enter(shared: &Shared, number: usize) {
    let _leaving = Leaving { shared };
    // SAFETY: the pointer was stored before the phase was opened, and this member was counted while it was open: `run`
    // does not return, nor unwind, before `_leaving` is dropped, which happens after the last use of `phase`. The phase
    // is only read; its `work` is `Sync`. That the pointer has lost its lifetime and the fat reference lies behind it
    // unchanged, since it points to the `Phase` itself.
    let phase = unsafe { &*shared.phase.load(Ordering::SeqCst).cast::<Phase>() };
    phase.take_part(number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_by_any_number_of_threads() {
        for threads in [1, 2, 3, 5] {
            let Ok(mut team) = Team::new(threads) else { continue };
            for tasks in [0, 1, 2, 7, 100] {
                for _ in 0..50 {
                    let mut counts = vec![0; tasks];
                    team.for_each(counts.iter_mut().enumerate().collect(), |(number, count)| *count += 1 + number);
                    assert!(counts.iter().enumerate().all(|(number, &count)| count == number + 1));
                }
            }
        }
    }

    #[test]
    fn sleeping_members_are_woken() {
        let Ok(mut team) = Team::new(3) else { return };
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(5));
            let mut counts = [0; 10];
            team.for_each(counts.iter_mut().collect(), |count| *count += 1);
            assert!(counts.iter().all(|&count| count == 1));
        }
    }

    #[test]
    fn a_failing_task_is_not_swallowed() {
        for threads in [1, 2] {
            let outcome = std::panic::catch_unwind(|| {
                let Ok(mut team) = Team::new(threads) else { return };
                team.for_each((0..20).collect(), |task| assert!(task != 3));
            });
            assert!(outcome.is_err());
        }
    }
}
