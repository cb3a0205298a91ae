//! The index as a file, which is memory-mapped when it is opened.
//!
//! Words of 32 bits, little-endian: a header of 16, then the arrays of [`View`](crate::index::View), in its order, one behind the
//! other. The header: 2 words of magic, the order of bytes, the version, items, sessions, clicks, entries of all lists, the most
//! sessions an item (0: all), whether there are times, 4 zeros, and a checksum of the rest in 2 words.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::index::{HEADER, Index, Sizes, Words};
use crate::{mapped, pool};

const MAGIC: [u32; 2] = [u32::from_le_bytes(*b"sess"), u32::from_le_bytes(*b"-kNN")];
const ORDER: u32 = 0x0102_0304;
const VERSION: u32 = 1;
/// Where the checksum stands.
const SUM: usize = 14;
/// Words of a block that is summed by itself.
const BLOCK: usize = 1 << 18;
const REBUILD: &str = "build the index anew";

/// Writes the header of an index whose arrays are there.
#[allow(clippy::cast_possible_truncation)] // all counts are below 2^32, and `most` is all where it is not
pub(crate) fn write_header(sizes: Sizes, most: usize, threads: usize, words: &mut [u32]) -> Result<()> {
    let (header, arrays) = words.split_at_mut(HEADER);
    let most = if most > u32::MAX as usize { 0 } else { most as u32 };
    let [items, sessions, clicks, listed] = [sizes.items, sizes.sessions, sizes.clicks, sizes.listed].map(|n| n as u32);
    header.copy_from_slice(&[
        MAGIC[0],
        MAGIC[1],
        ORDER,
        VERSION,
        items,
        sessions,
        clicks,
        listed,
        most,
        u32::from(sizes.timed),
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    let sum = checksum(header, arrays, threads)?;
    (header[SUM], header[SUM + 1]) = (sum as u32, (sum >> 32) as u32);
    Ok(())
}

impl Index {
    /// Writes the index to a file, which appears whole or not at all.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        let failed = |error| Error::system(path, "written", &error);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(name);
        let written = File::create(&partial).and_then(|mut file| {
            file.write_all(bytemuck::cast_slice(self.words()))?;
            file.sync_all()?;
            fs::rename(&partial, path)
        });
        written.map_err(|error| {
            let _ = fs::remove_file(&partial);
            failed(error)
        })
    }

    /// Opens what [`save`](Self::save) wrote. The file is read once, to check its sum, and stays mapped: several processes share it.
    ///
    /// # Errors
    ///
    /// If the system refuses, or the file is not what was written.
    pub fn open(path: &Path, threads: usize) -> Result<Self> {
        pool::check(threads)?;
        let failed = |error| Error::system(path, "read", &error);
        let wrong = |reason: String| Err(Error::file(path, reason));
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut header = [0_u32; HEADER];
        if bytes < size_of_val(&header) as u64 {
            return wrong(format!("has {bytes} bytes, fewer than an index begins with; {REBUILD}"));
        }
        file.read_exact(bytemuck::cast_slice_mut(&mut header)).map_err(failed)?;
        let [magic @ .., order, version] = &header[..4] else { return wrong(REBUILD.to_owned()) };
        let swapped = MAGIC.map(u32::swap_bytes);
        if *order == ORDER.swap_bytes() && (magic == MAGIC || magic == swapped) {
            return wrong(format!("was written by a machine with the other order of bytes; {REBUILD} on this one"));
        }
        if magic != MAGIC || *order != ORDER {
            return wrong("is no index of sessions: it does not begin as one".to_owned());
        }
        if *version != VERSION {
            return wrong(format!("has the format {version}; this version reads {VERSION}, so {REBUILD}"));
        }
        let [items, sessions, clicks, listed, most] = [4, 5, 6, 7, 8].map(|place| header[place] as usize);
        let sizes = Sizes { items, sessions, clicks, listed, timed: header[9] != 0 };
        let expected = sizes.words() as u64 * size_of::<u32>() as u64;
        if bytes != expected {
            return wrong(format!("has {bytes} bytes where its header announces {expected}; {REBUILD}"));
        }
        let mapped = mapped::map(&file).map_err(failed)?;
        let index = Self::new(Words::Mapped(mapped), sizes, if most == 0 { usize::MAX } else { most });
        let Some(arrays) = index.words().get(HEADER..) else {
            return wrong(format!("cannot be mapped as words; {REBUILD}"));
        };
        let sum = u64::from(header[SUM]) | u64::from(header[SUM + 1]) << 32;
        if checksum(&header, arrays, threads)? != sum {
            return wrong(format!("was altered after it was written: its checksum is not the header's; {REBUILD}"));
        }
        if !index.view().is_sound() {
            return wrong(format!("holds numbers that lie nowhere; {REBUILD}"));
        }
        Ok(index)
    }
}

/// A sum in which every bit and its place shows.
fn checksum(header: &[u32], words: &[u32], threads: usize) -> Result<u64> {
    let sums = pool::each(threads, words.chunks(BLOCK), |block| {
        let mut lanes = [1_u64, 2, 3, 4];
        let fours = block.chunks_exact(4);
        let rest = fours.remainder();
        for four in fours {
            for (lane, &word) in lanes.iter_mut().zip(four) {
                *lane = mix(*lane, u64::from(word));
            }
        }
        let lanes = rest.iter().map(|&word| u64::from(word)).chain(lanes);
        lanes.fold(block.len() as u64, mix)
    })?;
    Ok(header[..SUM].iter().map(|&word| u64::from(word)).chain(sums).fold(words.len() as u64, mix))
}

#[inline]
fn mix(sum: u64, value: u64) -> u64 {
    (sum ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}
