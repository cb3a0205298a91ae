//! The state of a stream as a file.
//!
//! A mark with the version, the content (little-endian numbers; texts with their length before them), its checksum. It appears
//! whole or not at all, and the same state gives the same bytes.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::id::{Id, Kind};
use crate::sessionizer::{Counts, Open, Sessionizer, Settings, Waiting};
use crate::{Error, Result};

const MARK: &[u8; 7] = b"SLIVE\r\n";
const VERSION: u8 = 2;

impl Sessionizer {
    /// Saves the state in place of the file, with a note of the caller's.
    ///
    /// # Errors
    /// [`Error::Io`]; the file is as it was then.
    pub fn save(&self, file: &Path, note: &str) -> Result<()> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| Error::Io { path, error }
        };
        let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let name = file.file_name().unwrap_or(OsStr::new("state"));
        remove_left(folder, name);
        let (partial, mut own) = partial(folder, name).map_err(io(file))?;
        let written = own.write_all(&self.to_bytes(note)).and_then(|()| own.sync_all());
        let moved = written.map_err(io(&partial)).and_then(|()| fs::rename(&partial, file).map_err(io(file)));
        if moved.is_err() {
            let _ = fs::remove_file(&partial);
        }
        moved?;
        if let Ok(folder) = File::open(folder) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    /// Goes on from a saved state; also gives the note.
    ///
    /// # Errors
    /// [`Error::State`] where the file is damaged, none of these, or of another version; [`Error::Io`].
    pub fn load(file: &Path) -> Result<(Self, String)> {
        let bytes = fs::read(file).map_err(|error| Error::Io { path: file.to_owned(), error })?;
        Self::from_bytes(&bytes).map_err(|reason| Error::State { file: file.to_owned(), reason: reason.to_owned() })
    }

    /// The state as bytes.
    #[must_use]
    pub fn to_bytes(&self, note: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.waiting() * 40);
        out.extend_from_slice(MARK);
        out.push(VERSION);
        text(&mut out, note);
        let Settings { gap, tolerance, drop_repeats } = self.settings;
        let Counts { placed, late, sessions } = self.counts;
        for number in [gap, tolerance, self.next, placed, late, sessions] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let kind = |kind| match kind {
            Kind::Integer => 1,
            Kind::Text => 2,
            Kind::Unsigned => 3,
        };
        let (visitor, item) = self.kinds.map_or((0, 0), |(visitor, item)| (kind(visitor), kind(item)));
        out.extend_from_slice(&[u8::from(drop_repeats), u8::from(self.closed), visitor, item]);
        out.push(u8::from(self.newest.is_some()));
        out.extend_from_slice(&self.newest.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&(self.open.len() as u64).to_le_bytes());
        let mut visitors: Vec<_> = self.open.iter().collect();
        visitors.sort_unstable_by_key(|(visitor, _)| *visitor);
        for (visitor, Open { events, .. }) in visitors {
            id(&mut out, visitor);
            out.extend_from_slice(&(events.len() as u64).to_le_bytes());
            for event in events {
                out.extend_from_slice(&event.time.to_le_bytes());
                out.extend_from_slice(&event.offset.to_le_bytes());
                out.push(u8::from(event.kept));
                id(&mut out, &event.item);
            }
        }
        let checksum = checksum(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The state of such bytes, and the note.
    ///
    /// # Errors
    /// Why they are none.
    pub fn from_bytes(bytes: &[u8]) -> std::result::Result<(Self, String), &'static str> {
        const DAMAGED: &str = "it is damaged or cut short; go on from an older one, or start anew";
        let Some((mark, rest)) = bytes.split_first_chunk::<7>() else { return Err(DAMAGED) };
        if mark != MARK {
            return Err("it is no state of a Sessionizer");
        }
        if rest.first().is_some_and(|version| *version != VERSION) {
            return Err("another version of the program wrote it, in another form");
        }
        let Some((content, expected)) = bytes.split_last_chunk::<8>() else { return Err(DAMAGED) };
        if checksum(content) != u64::from_le_bytes(*expected) {
            return Err(DAMAGED);
        }
        Reader { bytes: content.get(8..).unwrap_or_default() }.state().ok_or(DAMAGED)
    }
}

const ENDING: &str = ".partial";

fn beginning(name: &OsStr) -> OsString {
    let mut beginning = OsStr::new(".").to_owned();
    beginning.push(name);
    beginning.push(".");
    beginning
}

/// A new hidden file beside a state, which nobody else writes to: locked, where the file system has locks.
fn partial(folder: &Path, name: &OsStr) -> std::io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        let mut own = beginning(name);
        own.push(format!("{}-{number}-{nanos:x}{ENDING}", std::process::id()));
        let path = folder.join(own);
        let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        // Another one may take it for a dead one's before it is locked: then try again.
        match file.try_lock() {
            Ok(()) if path.exists() => return Ok((path, file)),
            Err(TryLockError::Error(_)) => return Ok((path, file)),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
        }
    }
}

/// Removes what killed processes left beside a state; what cannot be removed is left to the next one.
fn remove_left(folder: &Path, name: &OsStr) {
    let beginning = beginning(name);
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let found = found.as_encoded_bytes();
        if found.starts_with(beginning.as_encoded_bytes())
            && found.ends_with(ENDING.as_bytes())
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn id(out: &mut Vec<u8>, id: &Id) {
    match id {
        Id::Integer(number) => out.extend_from_slice(&number.to_le_bytes()),
        Id::Unsigned(number) => out.extend_from_slice(&number.to_le_bytes()),
        Id::Text(name) => text(out, name),
    }
}

fn kind(byte: u8) -> Option<Kind> {
    match byte {
        1 => Some(Kind::Integer),
        2 => Some(Kind::Text),
        3 => Some(Kind::Unsigned),
        _ => None,
    }
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Reads what was written; `None` where it is not that.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn state(mut self) -> Option<(Sessionizer, String)> {
        let note = self.text()?.to_owned();
        let [gap, tolerance, next] = [self.number()?, self.number()?, self.number()?];
        let counts = Counts { placed: self.number()?, late: self.number()?, sessions: self.number()? };
        let (drop_repeats, closed) = (self.flag()?, self.flag()?);
        let kinds = match (self.byte()?, self.byte()?) {
            (0, 0) => None,
            (visitor, item) => Some((kind(visitor)?, kind(item)?)),
        };
        let seen = self.flag()?;
        let newest = match (seen, self.number()?) {
            (true, newest) => Some(newest.cast_signed()),
            (false, 0) => None,
            (false, _) => return None,
        };
        let mut state = Sessionizer::new(Settings { gap, tolerance, drop_repeats });
        (state.kinds, state.newest, state.next, state.counts, state.closed) = (kinds, newest, next, counts, closed);
        let mut before: Option<Id> = None;
        for _ in 0..self.number()? {
            let (visitor, item) = kinds?;
            let visitor = self.id(visitor)?;
            if before.is_some_and(|before| before >= visitor) {
                return None;
            }
            before = Some(visitor.clone());
            let mut events: VecDeque<Waiting> = VecDeque::new();
            for _ in 0..self.number()? {
                let (time, offset) = (self.number()?.cast_signed(), self.number()?);
                let event = Waiting { time, offset, kept: self.flag()?, item: self.id(item)? };
                let follows = events.back().is_none_or(|last| (last.time, last.offset) < (time, offset));
                if !follows || offset >= next || newest.is_none_or(|newest| time > newest) {
                    return None;
                }
                events.push_back(event);
            }
            state.open.insert(visitor, Open::new(events)?);
        }
        state.restore_due();
        (self.bytes.is_empty() && (!closed || state.open.is_empty())).then_some((state, note))
    }

    fn number(&mut self) -> Option<u64> {
        let (word, rest) = self.bytes.split_first_chunk::<8>()?;
        self.bytes = rest;
        Some(u64::from_le_bytes(*word))
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }

    fn id(&mut self, kind: Kind) -> Option<Id> {
        match kind {
            Kind::Integer => Some(Id::Integer(self.number()?.cast_signed())),
            Kind::Unsigned => Some(Id::Unsigned(self.number()?)),
            Kind::Text => Some(Id::Text(self.text()?.into())),
        }
    }
}
