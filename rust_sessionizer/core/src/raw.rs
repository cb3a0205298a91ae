//! What needs `unsafe`, all of it, each block with its proof: huge pages for long columns, writes past the cache, and eight
//! comparisons at once.

use std::collections::TryReserveError;

/// From here on a column is worth huge pages.
const LONG: usize = 1 << 23;

/// Zeros, on huge pages where the system has them and the column is long: a page is entered once for 2 MiB instead of
/// 512 times, and places far apart are found faster.
pub(crate) fn zeros<T: Copy + Default>(length: usize) -> Vec<T> {
    let mut column = vec![T::default(); length];
    advise_huge_pages(&mut column);
    column
}

/// Room for as many elements, on such pages too.
pub(crate) fn room<T>(capacity: usize) -> Vec<T> {
    try_room(capacity).unwrap_or_else(|_| Vec::with_capacity(capacity))
}

/// The same, or why there is none.
pub(crate) fn try_room<T>(capacity: usize) -> Result<Vec<T>, TryReserveError> {
    let mut column = Vec::new();
    column.try_reserve_exact(capacity)?;
    advise_huge_pages(column.spare_capacity_mut());
    Ok(column)
}

/// Entries that are written at once, which together fill whole lines of the cache.
const LINE: usize = 8;

/// Writes every entry to the next of the places it is told for, as many as there are. Entries wait until a line is full, which
/// then goes to memory past the cache: what is there now need not be read for that, which halves the traffic.
///
/// # Panics
/// Where more entries come than there are places, or fewer.
#[allow(unsafe_code)]
pub(crate) fn write_in_lines<const WORDS: usize>(
    places: Vec<&mut [[u64; WORDS]]>,
    entries: impl Iterator<Item = (usize, [u64; WORDS])>,
) {
    // Fences when it is dropped: also if `entries` panics, and before the borrow of the places ends.
    let _fence = Fence;
    let mut left = places;
    let mut lines = vec![[[0; WORDS]; LINE]; left.len()];
    // Where the line's entries begin, so that it ends where a line of the cache does.
    let mut begins: Vec<usize> = left.iter().map(|places| line_place(places)).collect();
    let mut ends = begins.clone();
    for (number, entry) in entries {
        let (line, end) = (&mut lines[number], &mut ends[number]);
        line[*end % LINE] = entry;
        *end += 1;
        if *end == LINE {
            *end = 0;
            let full = &line[std::mem::take(&mut begins[number])..];
            let (places, rest) = std::mem::take(&mut left[number]).split_at_mut(full.len());
            // SAFETY: the places stay borrowed by `left`'s type until this function ends, and before that it fences, whatever happens:
            // `_fence` is nobody else's to forget. Places that were written are looked at no more: `left` has those after them.
            unsafe { write_past_cache(places.as_flattened_mut(), full.as_flattened()) };
            left[number] = rest;
        }
    }
    for (((places, line), begin), end) in left.into_iter().zip(&lines).zip(begins).zip(ends) {
        places.copy_from_slice(&line[begin..end]);
    }
}

/// How many entries after the begin of a line of the cache the first one lies, if one begins there at all.
fn line_place<const WORDS: usize>(places: &[[u64; WORDS]]) -> usize {
    let begins_line = |before: usize| places.as_ptr().addr().wrapping_sub(before * WORDS * 8).is_multiple_of(64);
    (0..LINE).find(|&before| begins_line(before)).unwrap_or(0)
}

struct Fence;

#[cfg(target_arch = "x86_64")]
impl Drop for Fence {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it touches no memory, and SSE is part of x86-64.
        unsafe { std::arch::x86_64::_mm_sfence() }
    }
}

/// Copies.
///
/// # Safety
/// The calling thread must fence before anything else reads or writes the places.
#[allow(unsafe_code)]
#[inline]
unsafe fn write_past_cache(places: &mut [u64], words: &[u64]) {
    #[cfg(target_arch = "x86_64")]
    if places.as_ptr().addr().is_multiple_of(16) && words.len().is_multiple_of(2) {
        use std::arch::x86_64::{_mm_set_epi64x, _mm_stream_si128};
        for (places, words) in places.as_chunks_mut::<2>().0.iter_mut().zip(words.as_chunks::<2>().0) {
            let (low, high) = (words[0].cast_signed(), words[1].cast_signed());
            // SAFETY: the sixteen bytes of `places` are borrowed exclusively, and lie at a multiple of sixteen: the first do, as
            // was looked at above, and each pair follows the one before. SSE2 is part of x86-64. The caller fences.
            unsafe { _mm_stream_si128(std::ptr::from_mut(places).cast(), _mm_set_epi64x(high, low)) }
        }
        return;
    }
    places.copy_from_slice(words);
}

/// Asks for what will be read soon; beyond the end, for nothing that matters.
#[allow(unsafe_code)]
#[inline]
pub(crate) fn prefetch<T>(values: &[T], place: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program could see and never fails, whatever the address. SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().wrapping_add(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, place);
}

/// Entries that are compared at once.
pub(crate) const WAYS: usize = 8;

/// A bit an entry: those with the tag whose place is `low` or later, and those whose place is before.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline(always)]
pub(crate) fn match_ways(tags: &[i32; WAYS], places: &[i32; WAYS], tag: i32, low: i32) -> (u32, u32) {
    use std::arch::x86_64::{
        _mm_andnot_si128, _mm_cmpeq_epi32, _mm_cmplt_epi32, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32,
        _mm_set_epi32, _mm_set1_epi32,
    };
    // SAFETY: these work on values alone and need nothing but SSE2, which every x86-64 processor has.
    let both = unsafe {
        let first = |of: &[i32; WAYS]| _mm_set_epi32(of[3], of[2], of[1], of[0]);
        let second = |of: &[i32; WAYS]| _mm_set_epi32(of[7], of[6], of[5], of[4]);
        let (tag, low) = (_mm_set1_epi32(tag), _mm_set1_epi32(low));
        let (free_a, free_b) = (_mm_cmplt_epi32(first(places), low), _mm_cmplt_epi32(second(places), low));
        let known_a = _mm_andnot_si128(free_a, _mm_cmpeq_epi32(first(tags), tag));
        let known_b = _mm_andnot_si128(free_b, _mm_cmpeq_epi32(second(tags), tag));
        let (known, free) = (_mm_packs_epi32(known_a, known_b), _mm_packs_epi32(free_a, free_b));
        _mm_movemask_epi8(_mm_packs_epi16(known, free)).cast_unsigned()
    };
    (both & 0xFF, both >> 8)
}

/// A bit an entry: those with the tag whose place is `low` or later, and those whose place is before.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn match_ways(tags: &[i32; WAYS], places: &[i32; WAYS], tag: i32, low: i32) -> (u32, u32) {
    let bits = |of: &dyn Fn(usize) -> bool| (0..WAYS).fold(0, |bits, way| bits | u32::from(of(way)) << way);
    let free = bits(&|way| places[way] < low);
    (bits(&|way| tags[way] == tag) & !free, free)
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
    fn ways_are_matched_one_by_one() {
        let (tags, places) = ([1, 2, 1, 3, 1, -1, i32::MIN, 1], [5, 5, 4, 9, 3, i32::MAX, -1, 6]);
        for (tag, low) in [(1, 0), (1, 5), (-1, 5), (i32::MIN, 0), (i32::MIN, -1), (7, i32::MAX), (3, 9)] {
            let bits = |of: &dyn Fn(usize) -> bool| (0..WAYS).map(|way| u32::from(of(way)) << way).sum::<u32>();
            let expected = (bits(&|way| tags[way] == tag && places[way] >= low), bits(&|way| places[way] < low));
            assert_eq!(match_ways(&tags, &places, tag, low), expected);
        }
    }

    fn goes_to_its_places<const WORDS: usize>(shift: usize) {
        let (buckets, each) = (5, 37);
        let entry = |bucket: usize, number: usize| [(bucket * 1_000 + number) as u64; WORDS];
        let entries = (0..each * buckets).map(|at| (at * 3 % buckets, entry(at * 3 % buckets, at / buckets)));
        // Beginning anywhere, so that lines of the cache begin somewhere among them.
        let mut whole = vec![[0; WORDS]; shift + buckets * each];
        write_in_lines(whole[shift..].chunks_mut(each).collect(), entries);
        let expected = (0..buckets).flat_map(|bucket| (0..each).map(move |number| entry(bucket, number)));
        assert!(whole[shift..].iter().copied().eq(expected));
    }

    #[test]
    fn entries_go_to_their_places_in_order() {
        for shift in 0..9 {
            goes_to_its_places::<2>(shift);
            goes_to_its_places::<3>(shift);
        }
        write_in_lines::<2>(vec![&mut [], &mut []], std::iter::empty());
    }

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
