//! The sessions of a part of the visitors, in a file of this crate's own, for joining.
//!
//! A mark, then the runs' parts one after the other, then a directory (what and where they are, as little-endian numbers and
//! texts with their length before them, then the parts' checksum), the directory's checksum, where it begins, and the mark again.

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

/// The last byte is the version.
const MARK: &[u8; 8] = b"SSHARD\x00\x02";

/// What was read of a log before the other shards' events were left out: the same for all of its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) chunks: u64,
}

/// A shard as it was found.
pub(crate) struct ShardFile {
    path: PathBuf,
    pub(crate) layout: Layout,
    /// What all shards of one log have in common.
    told: String,
    read: Extent,
    shard: Shard,
    pub(crate) events: u64,
    /// `None` where they were not counted.
    pub(crate) owners: Option<u64>,
    pub(crate) runs: Vec<Run>,
}

pub(crate) fn write_shard(
    path: &Path,
    layout: &Layout,
    settings: &Settings,
    runs: &[Run],
    read: Extent,
    (events, owners): (u64, Option<u64>),
    watch: &Watch,
) -> Result<(u64, u64)> {
    let file = File::create(path).map_err(Error::io(path))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut at = MARK.len() as u64;
    file.write_all(MARK).map_err(Error::io(path))?;
    let mut parts = Digest::default();
    let mut directory = Directory::default();
    let shard = settings.shard.unwrap_or(Shard { number: 0, of: 1 });
    directory.text(&told(settings));
    let counted = u64::from(owners.is_some());
    let Extent { rows, bytes, chunks } = read;
    for number in [rows, bytes, chunks, shard.number as u64, shard.of as u64, events, counted, owners.unwrap_or(0)] {
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
            let bytes = blob.read_all()?;
            parts.add(&bytes);
            file.write_all(&bytes).map_err(Error::io(path))
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
    directory.number(parts.finish());
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
    /// Reads the directory, and the parts for their checksum.
    pub(crate) fn open(path: &Path, watch: &Watch) -> Result<Self> {
        let refused = |reason: &str| Error::Shard { file: path.to_owned(), reason: reason.to_owned() };
        let damaged = || refused("it is no whole shard; make it again");
        let mut file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        let tail = MARK.len() as u64 + 16;
        if size < tail + MARK.len() as u64 {
            return Err(damaged());
        }
        let mut begin = [0; 8];
        file.read_exact(&mut begin).map_err(Error::io(path))?;
        if begin[..7] == MARK[..7] && begin[7] != MARK[7] {
            return Err(refused(
                "another version of the program wrote it, in another form; make all shards with one version",
            ));
        }
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
        let (shard, parts) = Reader { bytes: &bytes, file: &kept, data: at }.shard(path).ok_or_else(damaged)?;
        if digest_of(path, &mut file, at - MARK.len() as u64, watch)? != parts {
            return Err(refused("it is damaged; make it again"));
        }
        Ok(shard)
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
            if shard.read != first.read {
                let told = |Extent { rows, bytes, .. }: Extent| format!("a log of {rows} events in {bytes} bytes");
                return wrong(
                    shard,
                    format!("it was made of {}, {} of {}", told(shard.read), first.path.display(), told(first.read)),
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
    /// The shard, and the checksum of its parts.
    fn shard(mut self, path: &Path) -> Option<(ShardFile, u64)> {
        let told = self.text()?;
        let read = Extent { rows: self.number()?, bytes: self.number()?, chunks: self.number()? };
        let shard = Shard { number: self.count()?, of: self.count()? };
        let events = self.number()?;
        let owners = match (self.number()?, self.number()?) {
            (0, 0) => None,
            (1, owners) => Some(owners),
            _ => return None,
        };
        let layout = self.layout()?;
        let runs = self.count()?;
        let runs = (0..runs).map(|_| self.run(&layout)).collect::<Option<Vec<_>>>()?;
        let parts = self.number()?;
        let shard = ShardFile { path: path.to_owned(), layout, told, read, shard, events, owners, runs };
        self.bytes.is_empty().then_some((shard, parts))
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

/// A checksum of the parts, word by word: bytes one by one would take longer than reading them.
#[derive(Debug, Default)]
struct Digest {
    state: u64,
    length: u64,
    /// Less than a word.
    rest: Vec<u8>,
}

impl Digest {
    fn add(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.rest.is_empty() {
            let (more, left) = bytes.split_at(bytes.len().min(8 - self.rest.len()));
            self.rest.extend_from_slice(more);
            bytes = left;
            if let Some(&word) = self.rest.as_chunks::<8>().0.first() {
                self.word(u64::from_le_bytes(word));
                self.rest.clear();
            }
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for &word in words {
            self.word(u64::from_le_bytes(word));
        }
        self.rest.extend_from_slice(rest);
    }

    /// One-to-one in the word and in the state, so that one changed word is always seen.
    fn word(&mut self, word: u64) {
        self.state = (self.state ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }

    fn finish(mut self) -> u64 {
        let mut last = [0; 8];
        last[..self.rest.len()].copy_from_slice(&self.rest);
        self.word(u64::from_le_bytes(last));
        self.word(self.length);
        self.state
    }
}

/// The checksum of the parts, which begin behind the mark.
fn digest_of(path: &Path, file: &mut File, length: u64, watch: &Watch) -> Result<u64> {
    file.seek(SeekFrom::Start(MARK.len() as u64)).map_err(Error::io(path))?;
    let mut digest = Digest::default();
    let mut bytes = vec![0; 1 << 20];
    let mut left = length;
    while left > 0 {
        watch.check()?;
        let step = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut bytes[..step]).map_err(Error::io(path))?;
        digest.add(&bytes[..step]);
        watch.add(step as u64);
        left -= step as u64;
    }
    Ok(digest.finish())
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{join_shards, sessionize_files};

    #[test]
    fn the_checksum_does_not_depend_on_the_pieces() {
        let bytes: Vec<u8> = (0..100).collect();
        let of = |pieces: &[&[u8]]| {
            let mut digest = Digest::default();
            for piece in pieces {
                digest.add(piece);
            }
            digest.finish()
        };
        let whole = of(&[&bytes]);
        for cut in 0..bytes.len() {
            assert_eq!(of(&[&bytes[..cut], &bytes[cut..=cut], &bytes[cut + 1..]]), whole);
            assert_ne!(of(&[&bytes[..cut]]), whole);
        }
        assert_ne!(of(&[&bytes, &[0]]), whole);
    }

    /// A text that is none gets through where the checksums were made for it.
    #[test]
    fn a_text_that_is_none_is_told_with_the_shard() {
        let folder = std::env::temp_dir().join(format!("shard-test-{}", std::process::id()));
        assert!(fs::create_dir_all(&folder).is_ok());
        let (log, shard, output) = (folder.join("log.csv"), folder.join("a.shard"), folder.join("out"));
        assert!(fs::write(&log, "visitor_id,item_id,timestamp\nann,seven,0\n").is_ok());
        let settings = Settings { shard: Some(Shard { number: 0, of: 1 }), ..Settings::default() };
        assert!(sessionize_files(&[log], &shard, &settings, &Watch::default()).is_ok());
        let mut bytes = fs::read(&shard).unwrap_or_default();
        let text = bytes.windows(5).position(|text| text == b"seven").unwrap_or(0);
        bytes[text] = 0xFF;
        let tail = bytes.len() - 24;
        let word = |bytes: &[u8]| bytes.first_chunk::<8>().map_or(0, |&word| u64::from_le_bytes(word));
        let at = usize::try_from(word(&bytes[tail + 8..])).unwrap_or(0);
        let mut parts = Digest::default();
        parts.add(&bytes[MARK.len()..at]);
        bytes[tail - 8..tail].copy_from_slice(&parts.finish().to_le_bytes());
        let directory = checksum(&bytes[at..tail]);
        bytes[tail..tail + 8].copy_from_slice(&directory.to_le_bytes());
        assert!(fs::write(&shard, bytes).is_ok());
        let joined = join_shards(std::slice::from_ref(&shard), &output, &Settings::default(), &Watch::default());
        let told = joined.map_or_else(|error| error.to_string(), |_| String::new());
        assert!(told.contains("a.shard cannot be read: it is damaged: a text in it is not UTF-8"), "{told}");
        let _ = fs::remove_dir_all(folder);
    }
}
