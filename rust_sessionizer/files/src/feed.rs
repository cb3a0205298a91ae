//! The files of a log, opened, and what is read of them at once.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::csv_input::{BLOCK, Blocks, CsvFile};
use crate::lane::Lane;
use crate::layout::{Layout, combine};
use crate::parquet_input::{CHUNK, ParquetFile, guarded, is_parquet};
use crate::settings::Settings;
use crate::watch::Watch;
use crate::{Error, Result};

/// What a file is read as.
enum Form {
    Parquet,
    Csv,
}

impl Form {
    /// By the file's beginning, or its name where it is too short or damaged to tell.
    fn of(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Err(Error::unreadable(path, "it is a folder; name its files"));
        }
        let named = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"));
        Ok(if is_parquet(path)? || named { Self::Parquet } else { Self::Csv })
    }
}

pub(crate) enum Source {
    Parquet(ParquetFile),
    Csv(CsvFile),
}

/// The log: all files in the given order, one below the other.
pub(crate) struct Log {
    pub(crate) sources: Vec<Source>,
    pub(crate) layout: Layout,
}

impl Log {
    pub(crate) fn open(paths: &[PathBuf], settings: &Settings) -> Result<Self> {
        let mut sources = Vec::with_capacity(paths.len());
        let mut found = Vec::with_capacity(paths.len());
        for path in paths {
            let (source, columns) = match Form::of(path)? {
                Form::Parquet => {
                    let (file, columns) = ParquetFile::open(path, settings)?;
                    (Source::Parquet(file), columns)
                }
                Form::Csv => {
                    let (file, columns) = CsvFile::open(path, settings)?;
                    (Source::Csv(file), columns)
                }
            };
            sources.push(source);
            found.push((path.as_path(), columns));
        }
        let layout = combine(settings, &found)?;
        Ok(Self { sources, layout })
    }

    /// The number of events: counted where files say it, otherwise guessed.
    pub(crate) fn events(&self) -> u64 {
        let events = |source: &Source| match source {
            Source::Parquet(file) => file.groups.iter().map(|&rows| rows as u64).sum(),
            Source::Csv(file) => file.bytes / 24,
        };
        self.sources.iter().map(events).sum()
    }

    /// Bytes of a row of the file with the longest ones, as far as footers tell.
    pub(crate) fn row_bytes(&self) -> u64 {
        let bytes = |source: &Source| match source {
            Source::Parquet(file) => file.raw_bytes / file.groups.iter().map(|&rows| rows as u64).sum::<u64>().max(1),
            Source::Csv(_) => 0,
        };
        self.sources.iter().map(bytes).max().unwrap_or(0)
    }

    /// Bytes to be read.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = |source: &Source| match source {
            Source::Parquet(file) => file.group_bytes.iter().sum(),
            Source::Csv(file) => file.bytes,
        };
        self.sources.iter().map(bytes).sum()
    }
}

/// A stretch of the log that one thread reads.
pub(crate) struct Task {
    source: usize,
    /// Of the first chunk; chunks are numbered in the order of the log.
    pub(crate) chunk: u32,
    pub(crate) bytes: u64,
    what: What,
}

/// Where a block of a CSV file begins: the file among those of the log, and the byte.
pub(crate) type Begin = (usize, u64);

impl Task {
    /// `None` for Parquet, which knows its rows.
    pub(crate) fn begin(&self) -> Option<Begin> {
        match self.what {
            What::Block { begin, .. } => Some((self.source, begin)),
            What::Groups { .. } => None,
        }
    }
}

enum What {
    Groups { groups: Vec<usize>, first_row: usize },
    Block { block: Vec<u8>, begin: u64 },
}

/// Hands out the stretches of a log in order.
pub(crate) struct Feed<'a> {
    log: &'a Log,
    at: Mutex<At>,
}

struct At {
    source: usize,
    group: usize,
    row: usize,
    blocks: Option<Blocks>,
    chunk: u32,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(log: &'a Log) -> Self {
        Self { log, at: Mutex::new(At { source: 0, group: 0, row: 0, blocks: None, chunk: 0 }) }
    }

    pub(crate) fn next(&self) -> Result<Option<Task>> {
        // Whoever panicked while holding it has failed the whole work already.
        let Ok(mut at) = self.at.lock() else { return Ok(None) };
        let at = &mut *at;
        while let Some(source) = self.log.sources.get(at.source) {
            let task = match source {
                Source::Parquet(file) => next_groups(file, at),
                Source::Csv(file) => next_block(file, at)?,
            };
            if let Some((what, bytes, chunks)) = task {
                let chunk = at.chunk;
                at.chunk = chunk.checked_add(chunks).ok_or_else(|| too_long(at.row))?;
                return Ok(Some(Task { source: at.source, chunk, bytes, what }));
            }
            (at.source, at.group, at.row, at.blocks) = (at.source + 1, 0, 0, None);
        }
        Ok(None)
    }

    /// Reads a stretch, chunk by chunk, each with its number.
    pub(crate) fn read(&self, task: Task, mut each: impl FnMut(u32, Vec<Lane>) -> Result<()>) -> Result<()> {
        let layout = &self.log.layout;
        let mut chunk = task.chunk;
        match (&self.log.sources[task.source], task.what) {
            (Source::Parquet(file), What::Groups { groups, first_row }) => {
                file.read(&groups, first_row, layout, |lanes| {
                    chunk += 1;
                    each(chunk - 1, lanes)
                })
            }
            (Source::Csv(file), What::Block { block, .. }) => {
                let lanes = guarded(&file.path, || file.read(&block, layout))?;
                drop(block);
                each(chunk, lanes)
            }
            _ => Ok(()),
        }
    }

    /// The same error, its row counted from the beginning of the file and not of the block.
    pub(crate) fn in_file(&self, begin: Option<Begin>, error: Error, watch: &Watch) -> Error {
        let Some((source, begin)) = begin else { return error };
        match &self.log.sources[source] {
            Source::Csv(file) => file.in_file(begin, error, watch).unwrap_or_else(|error| error),
            Source::Parquet(_) => error,
        }
    }

    /// The chunks that were handed out.
    pub(crate) fn chunks(&self) -> u64 {
        self.at.lock().map_or(0, |at| at.chunk.into())
    }
}

/// Row groups that together make about one chunk.
fn next_groups(file: &ParquetFile, at: &mut At) -> Option<(What, u64, u32)> {
    let first = at.group;
    let (mut rows, mut bytes) = (0, 0);
    while at.group < file.groups.len() && (at.group == first || rows + file.groups[at.group] <= CHUNK) {
        rows += file.groups[at.group];
        bytes += file.group_bytes[at.group];
        at.group += 1;
    }
    if at.group == first {
        return None;
    }
    let first_row = at.row;
    at.row += rows;
    let chunks = u32::try_from(rows.div_ceil(CHUNK)).unwrap_or(u32::MAX);
    Some((What::Groups { groups: (first..at.group).collect(), first_row }, bytes, chunks))
}

fn next_block(file: &CsvFile, at: &mut At) -> Result<Option<(What, u64, u32)>> {
    let blocks = match &mut at.blocks {
        Some(blocks) => blocks,
        none => none.insert(file.blocks()?),
    };
    let next = blocks.next()?;
    Ok(next.map(|(begin, block)| {
        let bytes = block.len() as u64;
        (What::Block { block, begin }, bytes, 1)
    }))
}

fn too_long(rows: usize) -> Error {
    let limit = u32::MAX as usize * (CHUNK.min(BLOCK));
    Error::Input(sessionizer_core::Error::TooManyRows { rows, limit })
}

/// The names of a file's columns.
///
/// # Errors
/// [`Error::Unreadable`], [`Error::Io`].
pub fn column_names(path: &Path, delimiter: u8) -> Result<Vec<String>> {
    match Form::of(path)? {
        Form::Parquet => crate::parquet_input::names(path),
        Form::Csv => crate::csv_input::names(path, delimiter),
    }
}

/// The real path of a file, for comparing.
pub(crate) fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
