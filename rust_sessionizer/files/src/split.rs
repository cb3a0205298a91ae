//! Events split by their owner into partitions that fit in memory.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sessionizer_core::with_threads;

use crate::feed::{Begin, Feed, Log};
use crate::lane::{Kind, Lane};
use crate::layout::{Layout, OWNER};
use crate::settings::Shard;
use crate::shard::Extent;
use crate::store::{Blob, Heap, Room};
use crate::watch::Watch;
use crate::{Error, Result};

/// Events of some owners, in the order of the log.
pub(crate) struct Partition {
    pub(crate) blocks: Vec<Block>,
    pub(crate) rows: usize,
    pub(crate) bytes: u64,
    /// How often it was split already.
    pub(crate) depth: u32,
}

/// The events of a partition in one chunk of the log: each one's row in the chunk, then the lanes.
pub(crate) struct Block {
    pub(crate) chunk: u32,
    pub(crate) rows: usize,
    blob: Blob,
}

impl Block {
    /// The rows in the chunk, and the lanes.
    pub(crate) fn read(&self, rows: &mut Vec<u32>, lanes: &mut [Lane]) -> Result<()> {
        let bytes = self.blob.read_all()?;
        let (front, mut rest) = bytes.split_at(self.rows * 4);
        rows.extend(front.as_chunks::<4>().0.iter().map(|&row| u32::from_le_bytes(row)));
        for lane in lanes {
            lane.read_block(self.rows, &mut rest);
        }
        Ok(())
    }
}

/// Partitions that are being filled.
pub(crate) struct Splitter<'a> {
    layout: &'a Layout,
    shard: Option<Shard>,
    depth: u32,
    heaps: Vec<Arc<Heap>>,
    filled: Vec<Mutex<Vec<Block>>>,
}

impl<'a> Splitter<'a> {
    pub(crate) fn new(
        folder: &Path,
        name: &str,
        layout: &'a Layout,
        partitions: usize,
        depth: u32,
        room: &Arc<Room>,
    ) -> Result<Self> {
        let heap = |number: usize| Heap::new(folder.join(format!("{name}{number}.events")), room);
        // A file each gives its room on disk back as soon as it can; parts of a partition share one, or there would be too many.
        let heaps =
            if depth == 0 { (0..partitions).map(heap).collect::<Result<_>>()? } else { vec![heap(0)?; partitions] };
        Ok(Self { layout, shard: None, depth, heaps, filled: (0..partitions).map(|_| Mutex::default()).collect() })
    }

    /// Adds a chunk, or a part of it with the rows that its events have in it.
    fn add(&self, chunk: u32, rows: Option<&[u32]>, lanes: &[Lane]) -> Result<()> {
        let hashes = hashes(&lanes[OWNER], self.layout);
        let partitions = self.heaps.len();
        let mut starts = vec![0_u32; partitions + 1];
        let salted = |hash: u64| mix(hash ^ u64::from(self.depth).wrapping_mul(SALT));
        let place = |hash: u64| part(salted(hash), partitions);
        let ours = |hash: u64| self.shard.is_none_or(|shard| part(mix(hash ^ SHARD_SALT), shard.of) == shard.number);
        let places: Vec<u16> =
            hashes.iter().map(|&hash| if ours(hash) { narrow(place(hash)) } else { LEFT_OUT }).collect();
        for &place in places.iter().filter(|&&place| place != LEFT_OUT) {
            starts[usize::from(place) + 1] += 1;
        }
        for partition in 1..=partitions {
            starts[partition] += starts[partition - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; starts[partitions] as usize];
        for (row, &place) in (0..).zip(&places) {
            if place != LEFT_OUT {
                let at = &mut next[usize::from(place)];
                order[*at as usize] = row;
                *at += 1;
            }
        }
        let grouped: Vec<Lane> = lanes.iter().map(|lane| lane.gather(&order)).collect();
        for (partition, heap) in self.heaps.iter().enumerate() {
            let stretch = starts[partition] as usize..starts[partition + 1] as usize;
            if stretch.is_empty() {
                continue;
            }
            let bytes = grouped.iter().map(|lane| lane.block_bytes(&stretch)).sum::<usize>() + 4 * stretch.len();
            let mut block = Vec::with_capacity(bytes);
            for &row in &order[stretch.clone()] {
                block.extend_from_slice(&rows.map_or(row, |rows| rows[row as usize]).to_le_bytes());
            }
            for lane in &grouped {
                lane.write_block(&stretch, &mut block);
            }
            let block = Block { chunk, rows: stretch.len(), blob: heap.put(block)? };
            if let Ok(mut filled) = self.filled[partition].lock() {
                filled.push(block);
            }
        }
        Ok(())
    }

    fn finish(self) -> Vec<Partition> {
        let depth = self.depth;
        let partition = |filled: Mutex<Vec<Block>>| {
            let mut blocks = filled.into_inner().unwrap_or_default();
            blocks.sort_unstable_by_key(|block| block.chunk);
            let rows = blocks.iter().map(|block| block.rows).sum();
            let bytes = blocks.iter().map(|block| block.blob.len()).sum();
            Partition { blocks, rows, bytes, depth }
        };
        self.filled.into_iter().map(partition).filter(|partition| partition.rows > 0).collect()
    }
}

/// Reads a log with some threads and splits it; also tells how much was read, the other shards' events among it.
pub(crate) fn split_log(
    log: &Log,
    mut splitter: Splitter,
    shard: Option<Shard>,
    threads: usize,
    watch: &Watch,
) -> Result<(Vec<Partition>, Extent)> {
    splitter.shard = shard;
    let feed = Feed::new(log);
    let failed = AtomicBool::new(false);
    let rows = AtomicU64::new(0);
    let first: Mutex<Option<(u32, Option<Begin>, Error)>> = Mutex::new(None);
    // Of several errors the one that stands first in the log is told, whichever thread was faster.
    let fail = |chunk: u32, begin: Option<Begin>, error: Error| {
        failed.store(true, Ordering::Relaxed);
        if let Ok(mut first) = first.lock()
            && first.as_ref().is_none_or(|(known, _, _)| chunk < *known)
        {
            *first = Some((chunk, begin, error));
        }
    };
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let task = match watch.check().and_then(|()| feed.next()) {
                Ok(Some(task)) => task,
                Ok(None) => break,
                Err(error) => return fail(u32::MAX, None, error),
            };
            let (mut at, bytes, begin) = (task.chunk, task.bytes, task.begin());
            let added = feed.read(task, |chunk, lanes| {
                at = chunk;
                watch.check()?;
                rows.fetch_add(lanes[OWNER].len() as u64, Ordering::Relaxed);
                splitter.add(chunk, None, &lanes)
            });
            if let Err(error) = added {
                return fail(at, begin, error);
            }
            watch.add(bytes);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // The core's loops run in this thread: the global pool would be one that a forked process hangs on.
                if let Err(error) = with_threads(Some(1), work) {
                    fail(u32::MAX, None, error.into());
                }
            });
        }
    });
    if let Some((_, begin, error)) = first.into_inner().ok().flatten() {
        return Err(feed.in_file(begin, error, watch));
    }
    let read = Extent { rows: rows.into_inner(), bytes: log.bytes(), chunks: feed.chunks() };
    Ok((splitter.finish(), read))
}

/// Splits a partition that is too large once more.
pub(crate) fn split_again(partition: Partition, splitter: Splitter, watch: &Watch) -> Result<Vec<Partition>> {
    for block in partition.blocks {
        watch.check()?;
        let mut rows = Vec::new();
        let mut lanes = splitter.layout.empty();
        block.read(&mut rows, &mut lanes)?;
        splitter.add(block.chunk, Some(&rows), &lanes)?;
    }
    Ok(splitter.finish())
}

const SALT: u64 = 0x9E37_79B9_7F4A_7C15;
const SHARD_SALT: u64 = 0xC2B2_AE3D_27D4_EB4F;
const LEFT_OUT: u16 = u16::MAX;

/// There are few partitions.
#[allow(clippy::cast_possible_truncation)]
fn narrow(partition: usize) -> u16 {
    partition as u16
}

/// A number below `parts`, all of them alike for all hashes together.
#[allow(clippy::cast_possible_truncation)] // below `parts`
fn part(hash: u64, parts: usize) -> usize {
    ((u128::from(hash) * parts as u128) >> 64) as usize
}

/// The finaliser of `SplitMix64`: one-to-one.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The same for equal owners, on every machine.
fn hashes(owners: &Lane, layout: &Layout) -> Vec<u64> {
    let column = &layout.lanes[OWNER];
    if let Kind::Fixed(_) = column.kind() {
        let values = owners.integers(column.data_type.is_signed_integer());
        return values.into_iter().map(|value| mix(value.cast_unsigned().wrapping_add(SALT))).collect();
    }
    let hash = |row| {
        let text = owners.value(row);
        let (words, rest) = text.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let words = words.iter().chain([&last]).map(|&word| u64::from_le_bytes(word));
        words.fold(SALT ^ text.len() as u64, |hash, word| mix(hash ^ word).wrapping_add(SALT))
    };
    (0..owners.len()).map(hash).collect()
}
