//! Asking for memory before it is needed.

/// Asks for the cache lines of `row`; a row of a large table is as far away as memory is.
#[inline(always)]
pub(crate) fn prefetch(row: &[f32]) {
    const LINE: usize = 16; // entries
    for line in row.chunks(LINE) {
        one(line);
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)]
fn one(line: &[f32]) {
    // SAFETY: a hint, which neither reads nor writes and may be given for any address; SSE is part of x86-64.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn one(_line: &[f32]) {}
