//! Files as memory: the only unsafe code of this crate.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// The content of a file, of which pages are read when they are looked at.
#[allow(unsafe_code)]
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: what a mapping needs is that nobody changes or shortens the file while it is mapped. An index is written beside its
    // place and moved there (`file::save`), so that writing one anew leaves the file behind an open mapping as it is. Whoever changes
    // the file in place nevertheless changes numbers that every use checks against the arrays' bounds, or ends the process by
    // shortening it; that is left to the caller, as with every mapped file.
    unsafe { Mmap::map(file) }
}
