//! Asking for memory before it is needed: a row of a large table is as far away as memory is.

/// Entries of a cache line.
const LINE: usize = 16;

/// Rows that are needed soon. Their lines are asked for one at a time, in the middle of other work: a core can wait for
/// some ten lines at once, and stands still for more.
pub(crate) struct Ahead<'a> {
    rows: std::slice::Iter<'a, &'a [f32]>,
    row: &'a [f32],
}

impl<'a> Ahead<'a> {
    pub(crate) fn new(rows: &'a [&'a [f32]]) -> Self {
        Self { rows: rows.iter(), row: &[] }
    }

    /// About how many lines there are to ask for.
    pub(crate) fn lines(&self) -> usize {
        self.rows.as_slice().iter().map(|row| row.len().div_ceil(LINE)).sum()
    }

    /// Asks for the next line.
    #[inline(always)]
    pub(crate) fn ask(&mut self) {
        if self.row.is_empty() {
            let Some(row) = self.rows.next() else { return };
            self.row = row;
        }
        let (line, rest) = self.row.split_at(LINE.min(self.row.len()));
        ask_for(line);
        self.row = rest;
    }
}

/// Asks for the line where these entries begin.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn ask_for(line: &[f32]) {
    // SAFETY: a hint, which neither reads nor writes and may be given for any address; SSE is part of x86-64.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn ask_for(_line: &[f32]) {}
