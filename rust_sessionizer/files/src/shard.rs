//! The sessions of a part of the visitors, in a file of this crate's own, for joining.
//!
//! A mark, then the runs' parts one after the other, then a directory (what and where they are, as little-endian numbers and
//! texts with their length before them), its checksum, where it begins, and the mark again.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::layout::{Column, Layout};
use crate::run::{INDEX_STEP, Run, StoredLane};
use crate::settings::{Settings, Shard};
use crate::store::{Blob, Heap, Kept};
use crate::watch::Watch;
use crate::{Error, Result};

const MARK: &[u8; 8] = b"SSHARD\x00\x01";

/// A shard as it was found.
pub(crate) struct ShardFile {
    path: PathBuf,
    pub(crate) layout: Layout,
    /// What all shards of one log have in common.
    told: String,
    shard: Shard,
    pub(crate) events: u64,
    pub(crate) owners: u64,
    pub(crate) runs: Vec<Run>,
}

pub(crate) fn write_shard(
    path: &Path,
    layout: &Layout,
    settings: &Settings,
    runs: &[Run],
    events: u64,
    owners: u64,
    watch: &Watch,
) -> Result<(u64, u64)> {
    let file = File::create(path).map_err(Error::io(path))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut at = MARK.len() as u64;
    file.write_all(MARK).map_err(Error::io(path))?;
    let mut directory = Directory::default();
    let shard = settings.shard.unwrap_or(Shard { number: 0, of: 1 });
    directory.text(&told(settings));
    for number in [shard.number as u64, shard.of as u64, events, owners] {
        directory.number(number);
    }
    directory.layout(layout);
    directory.number(runs.len() as u64);
    for run in runs {
        watch.check()?;
        let mut put = |blob: &Blob, directory: &mut Directory| -> Result<()> {
            directory.number(at);
            directory.number(blob.len());
            at += blob.len();
            file.write_all(&blob.read_all()?).map_err(Error::io(path))
        };
        directory.number(run.sessions);
        directory.number(run.clicks);
        for blob in [&run.starts, &run.places, &run.ends] {
            put(blob, &mut directory)?;
        }
        for lane in run.session_lanes.iter().chain(&run.click_lanes) {
            put(&lane.values, &mut directory)?;
            for blob in lane.ends.iter().chain(&lane.valid) {
                put(blob, &mut directory)?;
            }
        }
        directory.number(run.index.len() as u64);
        for &((start, place), clicks) in &run.index {
            for number in [start, place, clicks] {
                directory.number(number);
            }
        }
        watch.add(run.clicks);
    }
    let checksum = checksum(&directory.bytes);
    for bytes in [directory.bytes.as_slice(), &checksum.to_le_bytes(), &at.to_le_bytes(), MARK] {
        file.write_all(bytes).map_err(Error::io(path))?;
    }
    let file = file.into_inner().map_err(|error| Error::Io { path: path.to_owned(), error: error.into_error() })?;
    file.sync_all().map_err(Error::io(path))?;
    Ok((runs.iter().map(|run| run.sessions).sum(), runs.iter().map(|run| run.clicks).sum()))
}

fn told(settings: &Settings) -> String {
    format!("gap {:?}, drop_repeats {}, keep {:?}", settings.gap, settings.drop_repeats, settings.keep)
}

impl ShardFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let damaged =
            || Error::Shard { file: path.to_owned(), reason: "it is no whole shard; make it again".to_owned() };
        let mut file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        let tail = MARK.len() as u64 + 16;
        if size < tail + MARK.len() as u64 {
            return Err(damaged());
        }
        let mut begin = [0; 8];
        file.read_exact(&mut begin).map_err(Error::io(path))?;
        let mut end = [0; 24];
        file.seek(SeekFrom::Start(size - tail)).map_err(Error::io(path))?;
        file.read_exact(&mut end).map_err(Error::io(path))?;
        let word = |bytes: &[u8]| bytes.as_chunks::<8>().0.first().map_or(0, |&word| u64::from_le_bytes(word));
        let (expected, at) = (word(&end[..8]), word(&end[8..16]));
        if &begin != MARK || end[16..] != MARK[..] || at < MARK.len() as u64 || at > size - tail {
            return Err(damaged());
        }
        let mut bytes = vec![0; usize::try_from(size - tail - at).map_err(|_| damaged())?];
        file.seek(SeekFrom::Start(at)).map_err(Error::io(path))?;
        file.read_exact(&mut bytes).map_err(Error::io(path))?;
        if checksum(&bytes) != expected {
            return Err(damaged());
        }
        let kept = Heap::existing(path)?;
        Reader { bytes: &bytes, file: &kept, data: at }.shard(path).ok_or_else(damaged)
    }

    /// Whether these are all shards of one log, each once.
    pub(crate) fn check_set(shards: &[Self]) -> Result<()> {
        let first = shards.first().ok_or(Error::NoInput)?;
        let wrong = |shard: &Self, reason: String| Err(Error::Shard { file: shard.path.clone(), reason });
        let mut by_number: Vec<Option<&Self>> = vec![None; first.shard.of.min(1 << 20)];
        for shard in shards {
            if shard.shard.of != first.shard.of {
                return wrong(
                    shard,
                    format!(
                        "it is one of {} shards, {} is one of {}",
                        shard.shard.of,
                        first.path.display(),
                        first.shard.of
                    ),
                );
            }
            if shard.told != first.told {
                return wrong(
                    shard,
                    format!("it was made with {}, {} with {}", shard.told, first.path.display(), first.told),
                );
            }
            if shard.layout != first.layout {
                return wrong(shard, format!("its columns are not those of {}", first.path.display()));
            }
            let place = by_number.get_mut(shard.shard.number);
            match place {
                Some(place @ None) => *place = Some(shard),
                Some(Some(other)) => {
                    return wrong(shard, format!("it is shard {} as {} is", shard.shard.number, other.path.display()));
                }
                None => return wrong(shard, "its number is beyond the number of shards".to_owned()),
            }
        }
        match by_number.iter().position(Option::is_none) {
            Some(missing) => wrong(first, format!("shard {missing} of {} is missing", first.shard.of)),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct Directory {
    bytes: Vec<u8>,
}

impl Directory {
    fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn layout(&mut self, layout: &Layout) {
        self.number(u64::from(layout.keeps));
        self.number(layout.apart as u64);
        self.number(layout.of_first as u64);
        self.number(layout.lanes.len() as u64);
        for column in &layout.lanes {
            self.text(&column.name);
            self.text(&column.data_type.to_string());
            self.number(u64::from(column.nullable));
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    file: &'a Arc<Kept>,
    /// Where the runs' parts end.
    data: u64,
}

impl Reader<'_> {
    fn shard(mut self, path: &Path) -> Option<ShardFile> {
        let told = self.text()?;
        let shard = Shard { number: self.count()?, of: self.count()? };
        let (events, owners) = (self.number()?, self.number()?);
        let layout = self.layout()?;
        let runs = self.count()?;
        let runs = (0..runs).map(|_| self.run(&layout)).collect::<Option<Vec<_>>>()?;
        self.bytes.is_empty().then(|| ShardFile { path: path.to_owned(), layout, told, shard, events, owners, runs })
    }

    fn number(&mut self) -> Option<u64> {
        let (word, rest) = self.bytes.split_first_chunk::<8>()?;
        self.bytes = rest;
        Some(u64::from_le_bytes(*word))
    }

    /// A number of things that each take a byte here at least.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.count()?;
        let (text, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    fn layout(&mut self) -> Option<Layout> {
        let keeps = self.number()? != 0;
        let (apart, of_first) = (self.count()?, self.count()?);
        let lanes = self.count()?;
        let mut columns = Vec::new();
        for _ in 0..lanes {
            let (name, data_type) = (self.text()?, self.text()?.parse().ok()?);
            let nullable = self.number()? != 0;
            crate::lane::kind(&data_type)?;
            columns.push(Column { name, data_type, nullable });
        }
        let known = crate::layout::KEEP + usize::from(keeps);
        (known.checked_add(apart)?.checked_add(of_first)? <= columns.len()).then_some(Layout {
            lanes: columns,
            keeps,
            apart,
            of_first,
        })
    }

    fn blob(&mut self, bytes: Option<u64>) -> Option<Blob> {
        let (offset, length) = (self.number()?, self.number()?);
        let inside = offset.checked_add(length)? <= self.data;
        (inside && bytes.is_none_or(|bytes| bytes == length)).then(|| Blob::Kept {
            file: Arc::clone(self.file),
            offset,
            length,
        })
    }

    fn run(&mut self, layout: &Layout) -> Option<Run> {
        let (sessions, clicks) = (self.number()?, self.number()?);
        let words = sessions.checked_mul(8)?;
        let [starts, places, ends] = [self.blob(Some(words))?, self.blob(Some(words))?, self.blob(Some(words))?];
        let session_lanes = layout
            .session_lanes()
            .iter()
            .map(|&lane| self.lane(&layout.lanes[lane], sessions))
            .collect::<Option<_>>()?;
        let click_lanes =
            layout.click_lanes().iter().map(|&lane| self.lane(&layout.lanes[lane], clicks)).collect::<Option<_>>()?;
        let entries = self.count()?;
        if entries as u64 != sessions.div_ceil(INDEX_STEP) {
            return None;
        }
        let index =
            (0..entries).map(|_| Some(((self.number()?, self.number()?), self.number()?))).collect::<Option<_>>()?;
        Some(Run { sessions, clicks, starts, places, ends, session_lanes, click_lanes, index })
    }

    fn lane(&mut self, column: &Column, rows: u64) -> Option<StoredLane> {
        let kind = column.kind();
        let (values, ends) = match kind {
            crate::lane::Kind::Fixed(width) => (self.blob(Some(rows.checked_mul(width as u64)?))?, None),
            crate::lane::Kind::Text => (self.blob(None)?, Some(self.blob(Some(rows.checked_mul(8)?))?)),
        };
        let valid = if column.nullable { Some(self.blob(Some(rows))?) } else { None };
        Some(StoredLane { kind, values, ends, valid })
    }
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
