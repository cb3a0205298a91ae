//! The sessions of a partition, in order, lane by lane.

use std::ops::Range;
use std::sync::Arc;

use crate::Result;
use crate::lane::{Kind, Lane, Values};
use crate::layout::Column;
use crate::store::{Blob, Heap};

/// A column that was put away.
#[derive(Debug)]
pub(crate) struct StoredLane {
    pub(crate) kind: Kind,
    pub(crate) values: Blob,
    pub(crate) ends: Option<Blob>,
    pub(crate) valid: Option<Blob>,
}

impl StoredLane {
    pub(crate) fn put(lane: Lane, heap: &Arc<Heap>) -> Result<Self> {
        let valid = lane.valid.map(|valid| heap.put(valid)).transpose()?;
        Ok(match lane.values {
            Values::Fixed { width, bytes } => {
                Self { kind: Kind::Fixed(width), values: heap.put(bytes)?, ends: None, valid }
            }
            Values::Text { ends, bytes } => {
                let ends = put_words(ends.into_iter(), heap)?;
                Self { kind: Kind::Text, values: heap.put(bytes)?, ends: Some(ends), valid }
            }
        })
    }

    pub(crate) fn read(&self, rows: Range<u64>) -> Result<Lane> {
        let count = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        let valid = match &self.valid {
            None => None,
            Some(valid) => {
                let mut bytes = vec![0; count];
                valid.read(rows.start, &mut bytes)?;
                Some(bytes)
            }
        };
        let values = match (self.kind, &self.ends) {
            (Kind::Text, Some(ends)) => {
                let from = rows.start.saturating_sub(1);
                let words = read_words(ends, from..rows.end)?;
                let (first, ends) = if rows.start == 0 { (0, words.as_slice()) } else { (words[0], &words[1..]) };
                let ends: Vec<u64> = ends.iter().map(|end| end.wrapping_sub(first)).collect();
                let length = ends.last().copied().unwrap_or(0);
                if !ends.is_sorted() || first.checked_add(length).is_none_or(|end| end > self.values.len()) {
                    return Err(damaged(&self.values));
                }
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
                self.values.read(first, &mut bytes)?;
                if self.values.is_foreign() && !are_texts(&bytes, &ends) {
                    return Err(crate::Error::unreadable(
                        self.values.source(),
                        "it is damaged: a text in it is not UTF-8",
                    ));
                }
                Values::Text { ends, bytes }
            }
            (Kind::Fixed(width), _) => {
                let mut bytes = vec![0; count * width];
                self.values.read(rows.start * width as u64, &mut bytes)?;
                Values::Fixed { width, bytes }
            }
            (Kind::Text, None) => return Err(damaged(&self.values)),
        };
        Ok(Lane { values, valid })
    }
}

pub(crate) fn damaged(part: &Blob) -> crate::Error {
    crate::Error::unreadable(part.source(), "it is damaged: its parts do not fit together")
}

fn are_texts(bytes: &[u8], ends: &[u64]) -> bool {
    std::str::from_utf8(bytes)
        .is_ok_and(|texts| ends.iter().all(|&end| usize::try_from(end).is_ok_and(|end| texts.is_char_boundary(end))))
}

/// Numbers of 64 bits in a row.
pub(crate) fn read_words(blob: &Blob, words: Range<u64>) -> Result<Vec<u64>> {
    let count = usize::try_from(words.end - words.start).unwrap_or(usize::MAX);
    let mut bytes = vec![0; count * 8];
    blob.read(words.start * 8, &mut bytes)?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|&word| u64::from_le_bytes(word)).collect())
}

pub(crate) fn put_words(words: impl ExactSizeIterator<Item = u64>, heap: &Arc<Heap>) -> Result<Blob> {
    let mut bytes = Vec::with_capacity(words.len() * 8);
    for word in words {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    heap.put(bytes)
}

/// Where a session stands among all of the log: the time of its first listed event (as an unsigned number in the same order),
/// then that event's place in the log.
pub(crate) type Key = (u64, u64);

pub(crate) fn ordered(time: i64) -> u64 {
    time.cast_unsigned() ^ (1 << 63)
}

pub(crate) fn time(ordered: u64) -> i64 {
    (ordered ^ (1 << 63)).cast_signed()
}

/// Sessions in the order of their keys.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) sessions: u64,
    pub(crate) clicks: u64,
    /// Key parts of every session.
    pub(crate) starts: Blob,
    pub(crate) places: Blob,
    /// Where every session's clicks end.
    pub(crate) ends: Blob,
    pub(crate) session_lanes: Vec<StoredLane>,
    pub(crate) click_lanes: Vec<StoredLane>,
    /// Every so many sessions: a key, and how many clicks come before it.
    pub(crate) index: Vec<(Key, u64)>,
}

/// Sessions from one entry of the index to the next.
pub(crate) const INDEX_STEP: u64 = 1_024;

impl Run {
    /// Bytes of all its parts.
    pub(crate) fn bytes(&self) -> u64 {
        let lanes = self.session_lanes.iter().chain(&self.click_lanes);
        let parts = lanes.flat_map(|lane| [Some(&lane.values), lane.ends.as_ref(), lane.valid.as_ref()]).flatten();
        [&self.starts, &self.places, &self.ends].into_iter().chain(parts).map(Blob::len).sum()
    }

    pub(crate) fn keys(&self, sessions: Range<u64>) -> Result<Vec<Key>> {
        let starts = read_words(&self.starts, sessions.clone())?;
        let places = read_words(&self.places, sessions)?;
        Ok(starts.into_iter().zip(places).collect())
    }

    /// How many sessions come before a key.
    pub(crate) fn before(&self, key: Key) -> Result<u64> {
        let block = self.index.partition_point(|(known, _)| *known < key) as u64;
        if block == 0 {
            return Ok(0);
        }
        let begin = (block - 1) * INDEX_STEP;
        let keys = self.keys(begin..(begin + INDEX_STEP).min(self.sessions))?;
        Ok(begin + keys.partition_point(|known| *known < key) as u64)
    }

    /// Where the clicks of sessions begin and end, the first entry being where the first session begins.
    pub(crate) fn bounds(&self, sessions: Range<u64>) -> Result<Vec<u64>> {
        if sessions.start == 0 {
            let mut bounds = vec![0];
            bounds.extend(read_words(&self.ends, sessions)?);
            return Ok(bounds);
        }
        read_words(&self.ends, sessions.start - 1..sessions.end)
    }
}

/// Empty lanes for the given columns.
pub(crate) fn empty(columns: &[Column], lanes: &[usize]) -> Vec<Lane> {
    lanes.iter().map(|&lane| columns[lane].empty()).collect()
}
