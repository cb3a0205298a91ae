//! Large arrays on large pages.
//!
//! Whoever reads rows of a large table in any order finds, on pages of four kilobytes, nearly every row on a page whose place in memory the
//! processor has forgotten; a page of two megabytes holds thousands of rows. Linux gives such pages to who asks for them.

/// Bytes of a large page on the usual processors, and a multiple of a small one's on all.
#[cfg(target_os = "linux")]
const LARGE: usize = 1 << 21;

/// Room for `count` elements, on large pages where it is large and the system has them.
#[must_use]
pub fn room<T>(count: usize) -> Vec<T> {
    let room = Vec::with_capacity(count);
    ask(&room);
    room
}

/// A copy of a slice, in such room.
#[must_use]
pub fn copied<T: Copy>(slice: &[T]) -> Vec<T> {
    let mut copy = room(slice.len());
    copy.extend_from_slice(slice);
    copy
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn ask<T>(room: &Vec<T>) {
    let begin = (room.as_ptr() as usize).next_multiple_of(LARGE);
    let end = (room.as_ptr() as usize + room.capacity() * size_of::<T>()) / LARGE * LARGE;
    if size_of::<T>() > 0 && begin < end {
        // SAFETY: from `begin` to `end` is memory that the vector owns, in whole pages. The advice is about how it is mapped and leaves
        // what it holds as it is; where it is not taken, nothing is lost, so that the answer is not looked at.
        unsafe { libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask<T>(_room: &Vec<T>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_is_the_same_at_any_size() {
        for count in [0, 1, 1_000, 2_000_000] {
            let numbers: Vec<u32> = (0..count).collect();
            assert_eq!(copied(&numbers), numbers);
        }
        assert_eq!(copied(&[(), ()]).len(), 2);
    }
}
