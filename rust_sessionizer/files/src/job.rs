//! The whole of it: from files to one file.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sessionizer_core::with_threads;

use crate::arrange::Arranger;
use crate::cut::{Cut, Cutter};
use crate::feed::{Log, real};
use crate::layout::Layout;
use crate::output::{Output, Table};
use crate::parquet_input::CHUNK;
use crate::run::Run;
use crate::scratch::{Scratch, free_bytes};
use crate::settings::{Budget, MOST_PARTITIONS, Settings};
use crate::shard::{ShardFile, write_shard};
use crate::split::{Splitter, split_log};
use crate::store::Room;
use crate::watch::{Stage, Watch};
use crate::{Error, Result};

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Events read: of the shard, where one was asked for.
    pub events: u64,
    /// Sessions.
    pub sessions: u64,
    /// Events listed in them.
    pub clicks: u64,
    /// Distinct owners; `None` where they were not counted.
    pub owners: Option<u64>,
}

/// What was made and is not in its place yet; dropped, it vanishes.
pub struct Pending {
    summary: Summary,
    places: Places,
    output: PathBuf,
}

impl Pending {
    /// Puts the output in its place.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<Summary> {
        self.places.finish(&self.output)?;
        Ok(self.summary)
    }
}

/// What the limit of memory is spent on.
struct Plan {
    threads: usize,
    partitions: usize,
    /// Bytes kept in memory instead of on disk.
    room: u64,
    /// Bytes that all threads together work with.
    work: u64,
}

/// A chunk as it is read, as it is grouped, and what the reader of Parquet holds beside it: at least.
const READING: u64 = 24 << 20;

/// The same where rows are so long, all three of them.
fn reading(row_bytes: u64) -> u64 {
    READING.max(row_bytes.saturating_mul(3 * CHUNK as u64))
}

impl Plan {
    fn new(settings: &Settings, layout: &Layout, events: u64, reading: u64) -> Self {
        let limit = settings.memory_limit;
        let Budget { kept: room, work } =
            settings.budget.unwrap_or(Budget { kept: limit / 100 * 34, work: limit / 100 * 40 });
        let at_once = usize::try_from(limit / 100 * 40 / reading).unwrap_or(1);
        let threads = settings.thread_count().min(at_once).max(1);
        let each = work / threads as u64;
        // Half as large as they may be, since hashing does not fill them evenly; not so small that there is more to manage than to do.
        let for_memory = events.saturating_mul(layout.width() + 72).div_ceil(each / 2 + 1);
        let wanted = for_memory.max(events / 2_000_000).max(threads as u64 * 2).min(events / 20_000 + 1);
        let most = MOST_PARTITIONS as u64;
        let chosen = usize::try_from(wanted.clamp(1, most)).unwrap_or(1);
        Self { threads, partitions: settings.partitions.unwrap_or(chosen), room, work }
    }
}

/// Cuts the log that some files hold together into sessions and writes them in the order of their start, those of one start in
/// the order of the log: a Parquet file, or a file for [`join_shards`] where a shard is asked for.
///
/// The result is the same for any limit of memory, threads and partitions. It appears whole or not at all; the inputs
/// are only read.
///
/// # Errors
/// Every [`Error`] there is.
pub fn sessionize_files(inputs: &[PathBuf], output: &Path, settings: &Settings, watch: &Watch) -> Result<Summary> {
    prepare_sessions(inputs, output, settings, watch)?.finish()
}

/// All of [`sessionize_files`] but the last step.
///
/// # Errors
/// As there.
pub fn prepare_sessions(inputs: &[PathBuf], output: &Path, settings: &Settings, watch: &Watch) -> Result<Pending> {
    settings.check()?;
    if inputs.is_empty() {
        return Err(Error::NoInput);
    }
    refuse_own_input(inputs, output)?;
    let log = Log::open(inputs, settings)?;
    let table = Table::new(&log.layout, settings.columns.as_deref())?;
    let share = settings.shard.map_or(1, |shard| shard.of as u64);
    let events = log.events() / share;
    let plan = Plan::new(settings, &log.layout, events, reading(log.row_bytes()));
    let places = Places::new(output, settings.scratch.as_deref())?;
    places.check_disk(
        events.saturating_mul(log.layout.width() + 8).saturating_sub(plan.room),
        output_bytes(&log.layout, events, settings.shard.is_some()),
    )?;

    let room = Room::new(plan.room);
    let folder = places.scratch();
    watch.begin(Stage::Read, log.bytes());
    let splitter = Splitter::new(folder, "", &log.layout, plan.partitions, 0, &room)?;
    let (partitions, read) = split_log(&log, splitter, settings.shard, plan.threads, watch)?;
    let events = partitions.iter().map(|partition| partition.rows as u64).sum();
    watch.begin(Stage::Cut, events);
    let cutter = Cutter {
        layout: &log.layout,
        gap: settings.gap,
        drop_repeats: settings.drop_repeats,
        count_owners: settings.count_owners,
        folder,
        room: &room,
        work: plan.work,
        limit: settings.memory_limit,
        threads: plan.threads,
    };
    let Cut { runs, owners } = cutter.cut(partitions, watch)?;
    let partial = places.partial();
    let (sessions, clicks) = if settings.shard.is_some() {
        watch.begin(Stage::Write, runs.iter().map(|run| run.clicks).sum());
        write_shard(&partial, &log.layout, settings, &runs, read, (events, owners), watch)?
    } else {
        write_table(&partial, &runs, &log.layout, &table, &plan, watch)?
    };
    watch.check()?;
    Ok(Pending { summary: Summary { events, sessions, clicks, owners }, places, output: output.to_owned() })
}

/// Joins all shards of a log into the file that [`sessionize_files`] would have written without shards. Of the settings, the limit
/// of memory, the threads and the columns count.
///
/// # Errors
/// [`Error::Shard`] where shards are missing, doubled or of different logs or settings.
pub fn join_shards(inputs: &[PathBuf], output: &Path, settings: &Settings, watch: &Watch) -> Result<Summary> {
    prepare_join(inputs, output, settings, watch)?.finish()
}

/// All of [`join_shards`] but the last step.
///
/// # Errors
/// As there.
pub fn prepare_join(inputs: &[PathBuf], output: &Path, settings: &Settings, watch: &Watch) -> Result<Pending> {
    settings.check()?;
    refuse_own_input(inputs, output)?;
    let size = |path: &PathBuf| fs::metadata(path).map_err(Error::io(path)).map(|found| found.len());
    watch.begin(Stage::Read, inputs.iter().map(size).sum::<Result<_>>()?);
    let mut shards = inputs.iter().map(|path| ShardFile::open(path, watch)).collect::<Result<Vec<_>>>()?;
    ShardFile::check_set(&shards)?;
    let runs: Vec<Run> = shards.iter_mut().flat_map(|shard| std::mem::take(&mut shard.runs)).collect();
    let layout = &shards.first().ok_or(Error::NoInput)?.layout;
    let table = Table::new(layout, settings.columns.as_deref())?;
    let clicks: u64 = runs.iter().map(|run| run.clicks).sum();
    let plan = Plan::new(settings, layout, clicks, READING);
    let places = Places::new(output, None)?;
    places.check_disk(0, output_bytes(layout, clicks, false))?;
    let partial = places.partial();
    let (sessions, clicks) = write_table(&partial, &runs, layout, &table, &plan, watch)?;
    watch.check()?;
    let events = shards.iter().map(|shard| shard.events).sum();
    // Every owner is in one shard. What only some shards counted is no number of all.
    let owners = shards.iter().map(|shard| shard.owners).sum();
    Ok(Pending { summary: Summary { events, sessions, clicks, owners }, places, output: output.to_owned() })
}

fn write_table(
    partial: &Path,
    runs: &[Run],
    layout: &Layout,
    table: &Table,
    plan: &Plan,
    watch: &Watch,
) -> Result<(u64, u64)> {
    watch.begin(Stage::Write, runs.iter().map(|run| run.clicks).sum());
    // A stretch is held as read, as arranged, as it is written and as it is compressed.
    let stretch = (plan.work / plan.threads as u64 / 6).min(48 << 20);
    let arranger = Arranger::new(runs, layout, stretch);
    let mut output = Output::new(partial, table, layout)?;
    with_threads(Some(plan.threads), || -> Result<(u64, u64)> {
        for begin in (0..arranger.stretches()).step_by(plan.threads) {
            watch.check()?;
            let stretches = begin..(begin + plan.threads).min(arranger.stretches());
            let sessions = arranger.arrange(stretches)?;
            let clicks = sessions.iter().filter_map(|stretch| stretch.ends.last()).sum();
            output.add(sessions)?;
            watch.add(clicks);
        }
        output.finish()
    })?
}

/// Bytes that the output takes at most, roughly: a table is compressed, a shard is not and has a key for every session.
fn output_bytes(layout: &Layout, events: u64, shard: bool) -> u64 {
    let bytes = events.saturating_mul(layout.width());
    if shard { bytes.saturating_add(events.saturating_mul(8)) } else { bytes / 2 }
}

fn refuse_own_input(inputs: &[PathBuf], output: &Path) -> Result<()> {
    let own = real(output);
    match inputs.iter().find(|input| real(input) == own) {
        Some(input) => Err(Error::OverInput { file: input.clone() }),
        None => Ok(()),
    }
}

/// Where intermediate files and the output grow.
struct Places {
    beside: Arc<Scratch>,
    scratch: Arc<Scratch>,
}

impl Places {
    fn new(output: &Path, scratch: Option<&Path>) -> Result<Self> {
        let name = output.file_name().unwrap_or(OsStr::new("sessions"));
        let parent = match output.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        if output.is_dir() {
            let error = rustix::io::Errno::ISDIR.into();
            return Err(Error::Io { path: output.to_owned(), error });
        }
        let beside = Arc::new(Scratch::new(parent, name)?);
        let scratch = match scratch {
            Some(folder) => Arc::new(Scratch::new(folder, name)?),
            None => Arc::clone(&beside),
        };
        Ok(Self { beside, scratch })
    }

    fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    fn partial(&self) -> PathBuf {
        self.beside.path().join("partial")
    }

    /// Whether there is room for the intermediate files and the output, each on its own disk or on one.
    fn check_disk(&self, scratch: u64, output: u64) -> Result<()> {
        let one_disk = Arc::ptr_eq(&self.scratch, &self.beside);
        let folder_of = |scratch: &Scratch| scratch.path().parent().unwrap_or(Path::new(".")).to_owned();
        let check = |folder: PathBuf, needed: u64, what| match free_bytes(&folder) {
            Some(free) if free < needed => Err(Error::Disk { folder, free, needed, what }),
            _ => Ok(()),
        };
        if one_disk {
            return check(folder_of(&self.beside), scratch.saturating_add(output), "intermediate files and the output");
        }
        check(folder_of(&self.scratch), scratch, "intermediate files")?;
        check(folder_of(&self.beside), output, "the output")
    }

    /// Puts the whole output in its place.
    fn finish(&self, output: &Path) -> Result<()> {
        fs::rename(self.partial(), output).map_err(Error::io(output))?;
        if let Some(folder) = self.beside.path().parent()
            && let Ok(folder) = fs::File::open(folder)
        {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Column;

    #[test]
    fn long_rows_are_read_by_fewer_threads() {
        let settings = Settings { memory_limit: 1 << 30, threads: Some(16), ..Settings::default() };
        let layout = Layout { lanes: Vec::new(), keeps: false, apart: 0, of_first: 0 };
        let threads = |row_bytes| Plan::new(&settings, &layout, 1, reading(row_bytes)).threads;
        assert_eq!([threads(24), threads(500), threads(u64::MAX)], [16, 1, 1]);
    }

    #[test]
    fn a_shard_needs_the_room_of_what_is_not_compressed() {
        let column =
            |name: &str| Column { name: name.to_owned(), data_type: arrow_schema::DataType::Int64, nullable: false };
        let lanes = ["time", "owner", "item"].map(column).to_vec();
        let layout = Layout { lanes, keeps: false, apart: 0, of_first: 0 };
        assert_eq!(output_bytes(&layout, 1_000, false), 14_000);
        assert_eq!(output_bytes(&layout, 1_000, true), 36_000);
    }
}
