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
    /// Distinct owners; 0 where they were not counted.
    pub owners: u64,
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

/// A chunk as it is read, as it is grouped, and what the reader of Parquet holds beside it.
const READING: u64 = 24 << 20;

impl Plan {
    fn new(settings: &Settings, layout: &Layout, events: u64) -> Self {
        let limit = settings.memory_limit;
        let Budget { kept: room, work } =
            settings.budget.unwrap_or(Budget { kept: limit / 100 * 34, work: limit / 100 * 40 });
        let at_once = usize::try_from(limit / 100 * 40 / READING).unwrap_or(1);
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
    settings.check()?;
    if inputs.is_empty() {
        return Err(Error::NoInput);
    }
    refuse_own_input(inputs, output)?;
    let log = Log::open(inputs, settings)?;
    let table = Table::new(&log.layout, settings.columns.as_deref())?;
    let share = settings.shard.map_or(1, |shard| shard.of as u64);
    let events = log.events() / share;
    let plan = Plan::new(settings, &log.layout, events);
    let places = Places::new(output, settings)?;
    places.check_disk(
        events.saturating_mul(log.layout.width() + 8).saturating_sub(plan.room),
        events * log.layout.width() / 2,
    )?;

    let room = Room::new(plan.room);
    let folder = places.scratch();
    watch.begin(Stage::Read, log.bytes());
    let splitter = Splitter::new(folder, "", &log.layout, plan.partitions, 0, &room)?;
    let partitions = split_log(&log, splitter, settings.shard, plan.threads, watch)?;
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
        write_shard(&partial, &log.layout, settings, &runs, events, owners, watch)?
    } else {
        write_table(&partial, &runs, &log.layout, &table, &plan, watch)?
    };
    watch.check()?;
    places.finish(&partial, output)?;
    Ok(Summary { events, sessions, clicks, owners })
}

/// Joins all shards of a log into the file that [`sessionize_files`] would have written without shards. Of the settings, the limit
/// of memory, the threads, the columns and the folder for intermediate files count.
///
/// # Errors
/// [`Error::Shard`] where shards are missing, doubled or of different logs or settings.
pub fn join_shards(inputs: &[PathBuf], output: &Path, settings: &Settings, watch: &Watch) -> Result<Summary> {
    settings.check()?;
    refuse_own_input(inputs, output)?;
    let mut shards = inputs.iter().map(|path| ShardFile::open(path)).collect::<Result<Vec<_>>>()?;
    ShardFile::check_set(&shards)?;
    let runs: Vec<Run> = shards.iter_mut().flat_map(|shard| std::mem::take(&mut shard.runs)).collect();
    let layout = &shards.first().ok_or(Error::NoInput)?.layout;
    let table = Table::new(layout, settings.columns.as_deref())?;
    let clicks: u64 = runs.iter().map(|run| run.clicks).sum();
    let plan = Plan::new(settings, layout, clicks);
    let places = Places::new(output, settings)?;
    places.check_disk(0, clicks.saturating_mul(layout.width()) / 2)?;
    let partial = places.partial();
    let (sessions, clicks) = write_table(&partial, &runs, layout, &table, &plan, watch)?;
    watch.check()?;
    places.finish(&partial, output)?;
    let events = shards.iter().map(|shard| shard.events).sum();
    let owners = shards.iter().map(|shard| shard.owners).sum();
    Ok(Summary { events, sessions, clicks, owners })
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
    fn new(output: &Path, settings: &Settings) -> Result<Self> {
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
        let scratch = match &settings.scratch {
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
            return check(folder_of(&self.beside), scratch + output, "intermediate files and the output");
        }
        check(folder_of(&self.scratch), scratch, "intermediate files")?;
        check(folder_of(&self.beside), output, "the output")
    }

    /// Puts the whole output in its place.
    fn finish(&self, partial: &Path, output: &Path) -> Result<()> {
        fs::rename(partial, output).map_err(Error::io(output))?;
        if let Some(folder) = self.beside.path().parent()
            && let Ok(folder) = fs::File::open(folder)
        {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}
