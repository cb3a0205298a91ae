//! Folders for intermediate files, which vanish with the process that made them, or are removed by the next one.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Error, Result};

const ENDING: &str = ".sessionizing";
const LOCK: &str = "lock";

/// A hidden folder that this process holds the lock of.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
    _lock: File,
    /// Dropped behind the folder.
    _above: Above,
}

/// Folders that were made for a scratch folder, the innermost last. What is empty when the work ends vanishes too.
#[derive(Debug)]
struct Above(Vec<PathBuf>);

impl Above {
    fn make(parent: &Path) -> Result<Self> {
        let mut made: Vec<PathBuf> = parent
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .map(Path::to_owned)
            .collect();
        made.reverse();
        let above = Self(made);
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
        Ok(above)
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Scratch {
    /// A new folder in `parent`, named after `name`; those of dead processes beside it are removed.
    pub(crate) fn new(parent: &Path, name: &OsStr) -> Result<Self> {
        let above = Above::make(parent)?;
        remove_dead(parent);
        let mut salt = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
        loop {
            let mut own = OsStr::new(".").to_owned();
            own.push(name);
            own.push(format!(".{}-{salt:x}{ENDING}", std::process::id()));
            let folder = parent.join(own);
            salt = salt.wrapping_add(1);
            match fs::create_dir(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                // Another process that made it too has removed it again.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    fs::create_dir_all(parent).map_err(Error::io(parent))?;
                    continue;
                }
                Err(error) => return Err(Error::Io { path: folder, error }),
            }
            // Another process may take the folder for a dead one's before it is locked: then try again.
            let path = folder.join(LOCK);
            let lock = match File::create(&path) {
                Ok(lock) => lock,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::Io { path, error }),
            };
            match lock.try_lock() {
                Ok(()) if path.exists() => return Ok(Self { folder, _lock: lock, _above: above }),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    let _ = fs::remove_dir_all(&folder);
                    return Err(without_locks(path, &error));
                }
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Without locks nobody could tell the folders of the living from those of the dead.
fn without_locks(path: PathBuf, error: &std::io::Error) -> Error {
    let told = format!(
        "cannot be locked ({error}); name a folder on a disk with file locks as scratch, and write the output to one"
    );
    Error::Io { path, error: std::io::Error::new(error.kind(), told) }
}

/// Removes the folders whose makers are gone; what cannot be removed is left to the next one.
fn remove_dead(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for folder in entries.flatten().map(|entry| entry.path()) {
        let hidden = folder
            .file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| name.starts_with('.') && name.ends_with(ENDING));
        if !hidden || !folder.is_dir() {
            continue;
        }
        match File::open(folder.join(LOCK)) {
            Ok(lock) => match lock.try_lock() {
                Ok(()) => drop(fs::remove_dir_all(&folder)),
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
            },
            // Killed before there was a lock: the folder is empty then, and only an empty one is removed so.
            Err(_) => drop(fs::remove_dir(&folder)),
        }
    }
}

/// Free bytes for this user on the disk of a folder; `None` where the system does not say.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_were_made_on_the_way_go_where_nothing_was_put_into_them() {
        let top = std::env::temp_dir().join(format!("scratch-above-{}", std::process::id()));
        let (kept, empty) = (top.join("kept"), top.join("empty/deep"));
        for parent in [&kept, &empty] {
            let scratch = Scratch::new(parent, OsStr::new("out")).unwrap_or_else(|error| unreachable!("{error}"));
            assert!(scratch.path().exists());
            if parent == &kept {
                assert!(fs::write(parent.join("out"), "whole").is_ok());
            }
        }
        assert!(kept.join("out").exists() && !top.join("empty").exists());
        let _ = fs::remove_dir_all(top);
    }

    #[test]
    fn a_disk_without_locks_is_named_with_what_to_do() {
        let refused = std::io::Error::from(std::io::ErrorKind::Unsupported);
        let told = without_locks(PathBuf::from("/mnt/share/.out.1-2.sessionizing/lock"), &refused).to_string();
        assert!(told.starts_with("/mnt/share/.out.1-2.sessionizing/lock: cannot be locked"), "{told}");
        assert!(told.contains("scratch"), "{told}");
    }

    #[test]
    fn folders_of_the_living_stay_and_those_of_the_dead_go() {
        let parent = std::env::temp_dir().join(format!("scratch-test-{}", std::process::id()));
        let name = OsStr::new("out.parquet");
        let living = Scratch::new(&parent, name).map(|scratch| (scratch.path().to_owned(), scratch));
        let (path, scratch) = living.unwrap_or_else(|error| unreachable!("{error}"));
        let dead = parent.join(format!(".dead{ENDING}"));
        let unlocked = parent.join(format!(".unlocked{ENDING}"));
        let foreign = parent.join(".something-else");
        for folder in [&dead, &unlocked, &foreign] {
            assert!(fs::create_dir(folder).is_ok());
        }
        assert!(fs::write(dead.join(LOCK), "").is_ok());
        assert!(fs::write(dead.join("0.events"), "left").is_ok());
        let second = Scratch::new(&parent, name);
        assert!(second.is_ok() && path.exists() && foreign.exists());
        assert!(!dead.exists() && !unlocked.exists());
        drop((scratch, second));
        assert!(!path.exists());
        let _ = fs::remove_dir_all(parent);
    }
}
