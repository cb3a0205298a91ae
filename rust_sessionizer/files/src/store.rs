//! Bytes in memory as long as there is room, else on disk.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Room for bytes in memory.
#[derive(Debug)]
pub(crate) struct Room {
    left: AtomicU64,
}

impl Room {
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(bytes) })
    }

    fn take(&self, bytes: u64) -> bool {
        let less = |left: u64| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// A file of blobs one after the other, removed when the last of them is dropped.
#[derive(Debug)]
pub(crate) struct Heap {
    path: PathBuf,
    file: File,
    end: AtomicU64,
    room: Arc<Room>,
}

impl Heap {
    /// Nothing is on disk before the first byte has to go there, but the file's name.
    pub(crate) fn new(path: PathBuf, room: &Arc<Room>) -> Result<Arc<Self>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(Error::io(&path))?;
        Ok(Arc::new(Self { path, file, end: AtomicU64::new(0), room: Arc::clone(room) }))
    }

    /// A file that is there already and stays there.
    pub(crate) fn existing(path: &Path) -> Result<Arc<Kept>> {
        let file = File::open(path).map_err(Error::io(path))?;
        Ok(Arc::new(Kept { path: path.to_owned(), file }))
    }

    /// Keeps bytes; threads may do so at the same time.
    pub(crate) fn put(self: &Arc<Self>, bytes: Vec<u8>) -> Result<Blob> {
        let length = bytes.len() as u64;
        if self.room.take(length) {
            let mut bytes = bytes;
            bytes.shrink_to_fit();
            return Ok(Blob::Memory(Held { bytes, room: Arc::clone(&self.room) }));
        }
        let offset = self.end.fetch_add(length, Ordering::Relaxed);
        self.file.write_all_at(&bytes, offset).map_err(Error::io(&self.path))?;
        Ok(Blob::Disk { heap: Arc::clone(self), offset, length })
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A file of somebody else's.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    file: File,
}

/// Bytes in memory that give their room back.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    room: Arc<Room>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.left.fetch_add(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

/// Bytes that were put away.
#[derive(Debug)]
pub(crate) enum Blob {
    Memory(Held),
    Disk { heap: Arc<Heap>, offset: u64, length: u64 },
    Kept { file: Arc<Kept>, offset: u64, length: u64 },
}

impl Blob {
    /// What a reader of the blob is told that it reads.
    pub(crate) fn source(&self) -> &Path {
        match self {
            Self::Memory(_) => Path::new("memory"),
            Self::Disk { heap, .. } => &heap.path,
            Self::Kept { file, .. } => &file.path,
        }
    }

    /// Whether somebody else wrote it.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Self::Kept { .. })
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(held) => held.bytes.len() as u64,
            Self::Disk { length, .. } | Self::Kept { length, .. } => *length,
        }
    }

    /// The bytes from `offset` on, as many as `bytes` is long.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        match self {
            Self::Memory(held) => {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX);
                let found = held.bytes.get(begin..).and_then(|rest| rest.get(..bytes.len()));
                if let Some(found) = found {
                    bytes.copy_from_slice(found);
                    return Ok(());
                }
                Err(Error::unreadable(Path::new("memory"), "a range beyond its end was asked for"))
            }
            Self::Disk { heap, offset: begin, .. } => {
                heap.file.read_exact_at(bytes, begin + offset).map_err(Error::io(&heap.path))
            }
            Self::Kept { file, offset: begin, length } => {
                if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > *length) {
                    return Err(Error::unreadable(&file.path, "it is damaged: a part reaches beyond its end"));
                }
                file.file.read_exact_at(bytes, begin + offset).map_err(Error::io(&file.path))
            }
        }
    }

    pub(crate) fn read_all(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len()).unwrap_or(usize::MAX)];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }
}
