//! Partitions to sessions.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use sessionizer_core::{Events, factorize_bytes, factorize_integers, sessionize, with_threads};

use crate::lane::{Kind, Lane};
use crate::layout::{Column, ITEM, KEEP, Layout, OWNER, TIME};
use crate::run::{INDEX_STEP, Run, StoredLane, ordered, put_words};
use crate::split::{Partition, Splitter, split_again};
use crate::store::{Heap, Room};
use crate::watch::Watch;
use crate::{Error, Result};

/// How partitions are cut.
pub(crate) struct Cutter<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) gap: Option<u64>,
    pub(crate) drop_repeats: bool,
    pub(crate) count_owners: bool,
    pub(crate) folder: &'a Path,
    pub(crate) room: &'a Arc<Room>,
    /// Bytes for all threads together.
    pub(crate) work: u64,
    pub(crate) limit: u64,
    pub(crate) threads: usize,
}

/// What came out of all partitions.
pub(crate) struct Cut {
    pub(crate) runs: Vec<Run>,
    /// `None` where they were not counted.
    pub(crate) owners: Option<u64>,
}

/// Beside the events themselves: keys, what the core holds, and the lists.
const WORK_PER_EVENT: u64 = 72;

impl Cutter<'_> {
    /// Cuts all partitions, several at a time as far as they fit.
    pub(crate) fn cut(&self, partitions: Vec<Partition>, watch: &Watch) -> Result<Cut> {
        // One file for the sessions of all partitions: a file each would be more than a process may hold open.
        let heap = Heap::new(self.folder.join("all.sessions"), self.room)?;
        let queue = Mutex::new(partitions);
        let gate = Gate::new(self.work);
        let done: Mutex<Cut> = Mutex::new(Cut { runs: Vec::new(), owners: self.count_owners.then_some(0) });
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let work = || -> Result<()> {
            loop {
                watch.check()?;
                let next = queue.lock().ok().and_then(|mut queue| queue.pop());
                let Some(partition) = next else { return Ok(()) };
                if failed.lock().map_or(true, |failed| failed.is_some()) {
                    return Ok(());
                }
                let need = self.needed(&partition);
                if need > self.work / 2 && need * self.threads as u64 > self.work && partition.depth < DEEPEST {
                    let smaller = self.split(partition, watch)?;
                    if let Ok(mut queue) = queue.lock() {
                        queue.extend(smaller);
                    }
                    continue;
                }
                if need > self.work {
                    return Err(self.too_large(&partition)?);
                }
                let _entered = gate.enter(need);
                let (run, owners) = self.cut_one(partition, &heap, watch)?;
                if let Ok(mut done) = done.lock() {
                    done.owners = done.owners.map(|known| known + owners);
                    done.runs.extend(run);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    // A pool of one thread of its own: the core's loops then neither wait for nor help other partitions.
                    let result = with_threads(Some(1), work).map_err(Error::Input).and_then(|result| result);
                    if let Err(error) = result
                        && let Ok(mut failed) = failed.lock()
                    {
                        failed.get_or_insert(error);
                    }
                });
            }
        });
        match failed.into_inner().ok().flatten() {
            Some(error) => Err(error),
            None => done.into_inner().map_err(|_| Error::Cancelled),
        }
    }

    /// Bytes that a partition takes while it is cut; its texts twice, as they came and as they are listed.
    fn needed(&self, partition: &Partition) -> u64 {
        let rows = partition.rows as u64;
        let texts = partition.bytes.saturating_sub(rows.saturating_mul(self.layout.width_without_texts()));
        partition.bytes + texts + rows * WORK_PER_EVENT
    }

    fn split(&self, partition: Partition, watch: &Watch) -> Result<Vec<Partition>> {
        let depth = partition.depth + 1;
        let name = format!("{depth}-{}-", unique());
        let splitter = Splitter::new(self.folder, &name, self.layout, 16, depth, self.room)?;
        split_again(partition, splitter, watch)
    }

    /// The error for a partition that cannot be made smaller.
    fn too_large(&self, partition: &Partition) -> Result<Error> {
        let needed = self.needed(partition);
        let column = &self.layout.lanes[OWNER];
        let mut owners: HashMap<Vec<u8>, usize> = HashMap::new();
        for block in &partition.blocks {
            let mut lanes = self.layout.empty();
            block.read(&mut Vec::new(), &mut lanes)?;
            for row in 0..block.rows {
                *owners.entry(lanes[OWNER].value(row).to_owned()).or_default() += 1;
            }
        }
        let most = owners.iter().max_by_key(|&(owner, &events)| (events, std::cmp::Reverse(owner)));
        let (owner, events) = most.map_or((String::new(), 0), |(owner, &events)| (shown(column, owner), events));
        let name = match owners.len() {
            1 => format!("the {events} events of {} {owner}", column.name),
            several => format!(
                "the {} events of {several} values of {} whose hashes are too alike, {owner} with the most ({events})",
                partition.rows, column.name
            ),
        };
        // Inverts the share of the limit that partitions are given.
        let raise = u64::try_from(u128::from(needed) * u128::from(self.limit) / u128::from(self.work.max(1)) + 1);
        Ok(Error::Memory {
            limit: self.limit,
            needed,
            what: name,
            raise: raise.unwrap_or(u64::MAX),
            also: ", or leave them out if this is no person",
        })
    }

    fn cut_one(&self, partition: Partition, heap: &Arc<Heap>, watch: &Watch) -> Result<(Option<Run>, u64)> {
        let rows = partition.rows;
        let mut lanes = self.layout.empty();
        for lane in &mut lanes {
            lane.reserve(rows);
        }
        let mut rows_in_chunk: Vec<u32> = Vec::with_capacity(rows);
        // The rows at which chunks begin, to find an event's place in the log.
        let mut chunks: Vec<(usize, u32)> = Vec::with_capacity(partition.blocks.len());
        for block in partition.blocks {
            chunks.push((rows_in_chunk.len(), block.chunk));
            block.read(&mut rows_in_chunk, &mut lanes)?;
        }
        let (keys, owners) = self.keys(&lanes)?;
        let times = lanes[TIME].integers(true);
        let keep: Option<Vec<bool>> =
            self.layout.keeps.then(|| (0..rows).map(|row| lanes[KEEP].value(row) != [0]).collect());
        let items = &lanes[ITEM];
        let same = |a: u32, b: u32| items.same(a as usize, b as usize);
        let found = sessionize(&Events {
            keys: &*keys,
            times: &times,
            gap: self.gap,
            keep: keep.as_deref(),
            drop_repeats: if self.drop_repeats { Some(&same) } else { None },
        })?;
        drop((keys, keep));
        watch.add(rows as u64);
        watch.check()?;
        if found.heads.is_empty() {
            return Ok((None, owners));
        }
        let place = |&row: &u32| {
            let number = chunks.partition_point(|&(first, _)| first <= row as usize) - 1;
            u64::from(chunks[number].1) << 32 | u64::from(rows_in_chunk[row as usize])
        };
        let starts = put_words(found.heads.iter().map(|&row| ordered(times[row as usize])), heap)?;
        let places = put_words(found.heads.iter().map(place), heap)?;
        let ends = put_words(found.offsets[1..].iter().map(|end| end.cast_unsigned()), heap)?;
        let index = (0..found.heads.len())
            .step_by(usize::try_from(INDEX_STEP).unwrap_or(1))
            .map(|session| {
                let row = found.heads[session];
                ((ordered(times[row as usize]), place(&row)), found.offsets[session].cast_unsigned())
            })
            .collect();
        drop(times);
        let put = |lane: &usize, rows: &[u32]| StoredLane::put(lanes[*lane].gather(rows), heap);
        let run = Run {
            sessions: found.heads.len() as u64,
            clicks: found.rows.len() as u64,
            starts,
            places,
            ends,
            session_lanes: self
                .layout
                .session_lanes()
                .iter()
                .map(|lane| put(lane, &found.heads))
                .collect::<Result<_>>()?,
            click_lanes: self.layout.click_lanes().iter().map(|lane| put(lane, &found.rows)).collect::<Result<_>>()?,
            index,
        };
        Ok((Some(run), owners))
    }

    /// Numbers that are equal where the owner and what sessions are apart by are, and the number of distinct owners if asked for.
    fn keys(&self, lanes: &[Lane]) -> Result<(Vec<i64>, u64)> {
        let key_lanes = self.layout.key_lanes();
        let signed = |lane: usize| self.layout.lanes[lane].data_type.is_signed_integer();
        let mut keys = match self.layout.lanes[OWNER].kind() {
            Kind::Fixed(_) => lanes[OWNER].integers(signed(OWNER)),
            Kind::Text => factorize_bytes(&lanes[OWNER])?.codes.into_iter().map(i64::from).collect(),
        };
        let mut owners = 0;
        if self.count_owners {
            owners = factorize_integers(&keys)?.first_rows.len() as u64;
        }
        for &lane in &key_lanes[1..] {
            let values = &lanes[lane];
            let codes = match self.layout.lanes[lane].kind() {
                Kind::Text => factorize_bytes(values)?.codes,
                Kind::Fixed(_) => factorize_integers(&values.integers(signed(lane)))?.codes,
            };
            let known = factorize_integers(&keys)?.codes;
            // A null is like no value: codes are never negative.
            let code = |row: usize| if values.is_null(row) { -1 } else { i64::from(codes[row]) };
            keys = known
                .iter()
                .enumerate()
                .map(|(row, &known)| i64::from(known) << 32 | (code(row) & 0xFFFF_FFFF))
                .collect();
        }
        Ok((keys, owners))
    }
}

/// A value of an owner as a person reads it.
fn shown(column: &Column, owner: &[u8]) -> String {
    if column.kind() == Kind::Text {
        return format!("'{}'", String::from_utf8_lossy(owner));
    }
    let signed = column.data_type.is_signed_integer();
    let negative = signed && owner.last().is_some_and(|&byte| byte >= 0x80);
    let mut wide = [if negative { 0xFF } else { 0 }; 8];
    wide[..owner.len()].copy_from_slice(owner);
    if signed { i64::from_le_bytes(wide).to_string() } else { u64::from_le_bytes(wide).to_string() }
}

/// As often as a partition is split anew, sixteen parts each time.
const DEEPEST: u32 = 3;

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Lets in as much as fits; the others wait.
struct Gate {
    left: Mutex<u64>,
    changed: Condvar,
}

impl Gate {
    fn new(room: u64) -> Self {
        Self { left: Mutex::new(room), changed: Condvar::new() }
    }

    /// `need` must not be more than there is room in all.
    fn enter(&self, need: u64) -> Entered<'_> {
        if let Ok(mut left) = self.left.lock() {
            while *left < need {
                match self.changed.wait(left) {
                    Ok(again) => left = again,
                    Err(_) => return Entered { gate: self, need: 0 },
                }
            }
            *left -= need;
        }
        Entered { gate: self, need }
    }
}

struct Entered<'a> {
    gate: &'a Gate,
    need: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Ok(mut left) = self.gate.left.lock() {
            *left += self.need;
        }
        self.gate.changed.notify_all();
    }
}
