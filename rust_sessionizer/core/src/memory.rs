//! Memory for long columns: the only unsafe code of this crate.

/// From here on a column is worth huge pages.
const LONG: usize = 1 << 23;

/// Zeros, on huge pages where the system has them and the column is long: a page is entered once for 2 MiB instead of
/// 512 times, and places far apart are found faster.
pub(crate) fn zeros<T: Copy + Default>(length: usize) -> Vec<T> {
    let mut column = vec![T::default(); length];
    advise_huge_pages(&mut column);
    column
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn advise_huge_pages<T>(column: &mut [T]) {
    const PAGE: usize = 1 << 12;
    let bytes = size_of_val(column);
    if bytes < LONG {
        return;
    }
    // The whole pages inside the column: neither end is shared with another allocation.
    let start = column.as_mut_ptr().cast::<u8>();
    let before = start.align_offset(PAGE);
    let inside = bytes.saturating_sub(before) / PAGE * PAGE;
    if before > bytes || inside == 0 {
        return;
    }
    // SAFETY: `before + inside <= bytes`, so that `start + before` and the `inside` bytes from there on lie within one
    // allocation that is borrowed exclusively here. The advice changes how the system backs these pages, never what is
    // in them or whether they may be read and written. It may be refused, and that is fine.
    unsafe {
        let _ = libc::madvise(start.add(before).cast(), inside, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages<T>(_column: &mut [T]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short_columns_are_zeros_and_can_be_written() {
        for length in [0, 1, LONG / 8 - 1, LONG / 8, LONG + 3] {
            let mut column: Vec<i64> = zeros(length);
            assert!(column.iter().all(|&value| value == 0));
            column.fill(-1);
            assert_eq!(column.iter().sum::<i64>(), -i64::try_from(length).unwrap_or(0));
        }
    }
}
