//! Sessions visitor by visitor, of a log in any order: where those of the last gap are too many to be kept in mind.
//!
//! 1. *Partition.* Every thread splits its stretch of the log into buckets by a hash of the visitor, so that a visitor's
//!    events lie in one bucket, small enough for the cache.
//! 2. *Cut.* Every bucket is ordered by (visitor, time, row) and cut where the pause is longer than the gap. A session's
//!    length is noted at the row of its first listed event, its head.
//! 3. *Order.* Sessions are put in the order of (start, head) and their lengths are summed up to places. In a log that
//!    is ordered by time that is the order of the heads, which needs no sort.
//! 4. *List.* Every bucket writes its rows to their sessions' places.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use crate::partition::{Part, bucket_bits, hash, partition};
use crate::sessions::{Events, Sessions, Span, row_number};

/// The sessions of a log that is not too long for row numbers of 31 bits.
pub(crate) fn sessionize(events: &Events, times: &Span) -> Sessions {
    let rows = events.keys.len();
    let bits = bucket_bits(rows);
    let lengths: Vec<AtomicU32> = (0..rows).into_par_iter().map(|_| AtomicU32::new(0)).collect();
    let buckets = match Packing::new(bits, rows, times) {
        Some(packing) => {
            let packed = |row, hash| packing.pack(hash, events.times[row], row_number(row));
            cut(events, bits, packed, |event| packing.unpack(event), &lengths)
        }
        None => cut(events, bits, |row, hash| (hash, events.times[row], row_number(row)), |event| event, &lengths),
    };
    let (heads, offsets) = if times.ordered { order_by_row(&lengths) } else { order_by_time(events, &lengths) };
    let listed = offsets.last().map_or(0, |&end| index(end));
    Sessions { rows: list(&buckets, &lengths, listed), offsets, heads }
}

/// An event in one number that sorts by (visitor, time, row): the hash without the bits that its bucket stands for, the
/// time since the first, the row.
#[derive(Clone, Copy)]
struct Packing {
    bucket_bits: u32,
    row_bits: u32,
    time_bits: u32,
    first: i64,
}

impl Packing {
    /// `None` where that does not fit.
    fn new(bucket_bits: u32, rows: usize, times: &Span) -> Option<Self> {
        let row_bits = usize::BITS - rows.leading_zeros();
        let range = times.last.wrapping_sub(times.first).cast_unsigned();
        let time_bits = u64::BITS - range.leading_zeros();
        let fits = rows > 0 && row_bits + time_bits + u64::BITS - bucket_bits <= u128::BITS;
        fits.then_some(Self { bucket_bits, row_bits, time_bits, first: times.first })
    }

    fn pack(self, hash: u64, time: i64, row: u32) -> u128 {
        let hash = u128::from(hash << self.bucket_bits >> self.bucket_bits);
        let since = u128::from(time.wrapping_sub(self.first).cast_unsigned());
        (hash << self.time_bits | since) << self.row_bits | u128::from(row)
    }

    #[allow(clippy::cast_possible_truncation)] // cut to their bits
    fn unpack(self, packed: u128) -> (u64, i64, u32) {
        let row = packed as u64 & ((1 << self.row_bits) - 1);
        let packed = packed >> self.row_bits;
        let since = packed as u64 & u64::MAX.checked_shr(u64::BITS - self.time_bits).unwrap_or(0);
        let hash = (packed >> self.time_bits) as u64;
        (hash, self.first.wrapping_add(since.cast_signed()), row as u32)
    }
}

/// Marks the first row of a session.
const HEAD: u32 = 1 << 31;

/// From here on a bucket is sorted by all threads.
const LARGE: usize = 1 << 18;

/// The listed rows of every bucket, session after session, heads marked; their lengths go to the heads' places.
fn cut<T: Copy + Default + Ord + Send + Sync>(
    log: &Events,
    bits: u32,
    pack: impl Fn(usize, u64) -> T + Sync,
    unpack: impl Fn(T) -> (u64, i64, u32) + Sync,
    lengths: &[AtomicU32],
) -> Vec<Vec<u32>> {
    let parts: Vec<Part<T>> = partition(log.keys.len(), bits, |row| hash(log.keys[row]), pack);
    (0..1_usize << bits)
        .into_par_iter()
        .map_init(Vec::new, |sorted, bucket| {
            sorted.clear();
            for part in &parts {
                sorted.extend_from_slice(part.bucket(bucket));
            }
            if sorted.len() < LARGE {
                sorted.sort_unstable();
            } else {
                sorted.par_sort_unstable();
            }
            cut_bucket(log, sorted.iter().map(|&event| unpack(event)), lengths)
        })
        .collect()
}

fn cut_bucket(log: &Events, events: impl ExactSizeIterator<Item = (u64, i64, u32)>, lengths: &[AtomicU32]) -> Vec<u32> {
    let mut rows: Vec<u32> = Vec::with_capacity(events.len());
    let mut before: Option<(u64, i64)> = None;
    // The session's head and length so far; none is open before its first listed event.
    let mut head = 0;
    let mut length = 0;
    let close = |head: u32, length: u32| {
        if length > 0 {
            lengths[head as usize].store(length, Ordering::Relaxed);
        }
    };
    for (hash, time, row) in events {
        // Later minus earlier always fits in 64 bits without a sign.
        let pause = |before: i64| time.wrapping_sub(before).cast_unsigned();
        let goes_on = before.is_some_and(|(before_hash, before_time)| {
            before_hash == hash && log.gap.is_none_or(|gap| pause(before_time) <= gap)
        });
        if !goes_on {
            close(head, length);
            length = 0;
        }
        before = Some((hash, time));
        if log.keep.is_some_and(|keep| !keep[row as usize]) {
            continue;
        }
        if length == 0 {
            head = row;
            rows.push(row | HEAD);
        } else {
            let repeat = log.drop_repeats.zip(rows.last());
            if repeat.is_some_and(|(same, &last)| same(last & !HEAD, row)) {
                continue;
            }
            rows.push(row);
        }
        length += 1;
    }
    close(head, length);
    rows
}

const STEP: usize = 65_536;

/// Heads in the order of rows, and where their sessions start. Leaves the starts in the place of the lengths.
fn order_by_row(lengths: &[AtomicU32]) -> (Vec<u32>, Vec<i64>) {
    let counts: Vec<(usize, i64)> = lengths
        .par_chunks(STEP)
        .map(|lengths| {
            let lengths = lengths.iter().map(|length| length.load(Ordering::Relaxed));
            lengths.fold((0, 0), |(heads, rows), length| (heads + usize::from(length > 0), rows + i64::from(length)))
        })
        .collect();
    let sessions = counts.iter().map(|(heads, _)| heads).sum();
    let mut heads = vec![0; sessions];
    let mut offsets = vec![0; sessions + 1];
    let mut jobs = Vec::with_capacity(counts.len());
    let (mut heads_left, mut offsets_left) = (heads.as_mut_slice(), &mut offsets[..sessions]);
    let mut start = 0;
    for (count, rows) in counts {
        let (heads, offsets);
        (heads, heads_left) = heads_left.split_at_mut(count);
        (offsets, offsets_left) = offsets_left.split_at_mut(count);
        jobs.push((heads, offsets, start));
        start += rows;
    }
    jobs.into_par_iter().enumerate().for_each(|(part, (heads, offsets, mut start))| {
        let mut places = heads.iter_mut().zip(offsets);
        for (row, cell) in lengths.iter().enumerate().skip(part * STEP).take(STEP) {
            let length = cell.load(Ordering::Relaxed);
            if length > 0
                && let Some((head, offset)) = places.next()
            {
                *head = row_number(row);
                *offset = start;
                cell.store(place(start), Ordering::Relaxed);
                start += i64::from(length);
            }
        }
    });
    offsets[sessions] = start;
    (heads, offsets)
}

/// Heads in the order of (start, row), and where their sessions start. Leaves the starts in the place of the lengths.
fn order_by_time(log: &Events, lengths: &[AtomicU32]) -> (Vec<u32>, Vec<i64>) {
    let mut heads: Vec<(i64, u32)> = lengths
        .par_iter()
        .zip(log.times)
        .enumerate()
        .filter(|(_, (length, _))| length.load(Ordering::Relaxed) > 0)
        .map(|(row, (_, &time))| (time, row_number(row)))
        .collect();
    heads.par_sort_unstable();
    let mut start = 0;
    let mut offsets = Vec::with_capacity(heads.len() + 1);
    for &(_, head) in &heads {
        offsets.push(start);
        start += i64::from(lengths[head as usize].swap(place(start), Ordering::Relaxed));
    }
    offsets.push(start);
    (heads.into_par_iter().map(|(_, head)| head).collect(), offsets)
}

/// Every row at its session's place. Places are written once, each by one thread.
fn list(buckets: &[Vec<u32>], starts: &[AtomicU32], listed: usize) -> Vec<u32> {
    let rows: Vec<AtomicU32> = (0..listed).into_par_iter().map(|_| AtomicU32::new(0)).collect();
    buckets.par_iter().for_each(|bucket| {
        let mut place = 0;
        for &marked in bucket {
            let row = marked & !HEAD;
            if marked != row {
                place = starts[row as usize].load(Ordering::Relaxed) as usize;
            }
            rows[place].store(row, Ordering::Relaxed);
            place += 1;
        }
    });
    rows.into_par_iter().map(AtomicU32::into_inner).collect()
}

/// A place is not beyond the number of rows.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn place(start: i64) -> u32 {
    start as u32
}

/// Offsets are positions in a slice.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn index(offset: i64) -> usize {
    offset as usize
}
