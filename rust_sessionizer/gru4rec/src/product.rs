//! Matrix products in the layouts of this crate, without packing.
//!
//! Both take the right factor by rows, whose entries stand beside each other and fill the vector registers, and
//! broadcast the entries of the left factor. They differ in how the left factor lies.

use pulp::{Arch, Simd, WithSimd};

use crate::prefetch::Ahead;

/// Widths are multiples of this many entries, the widest vector register.
pub(crate) const GRAIN: usize = 16;

/// The next multiple of [`GRAIN`].
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(GRAIN)
}

/// Runs `work`, compiled for the widest registers there are.
///
/// For the compiler to do so, the closure must be marked `#[inline(always)]`.
pub(crate) fn elementwise(arch: Arch, work: impl FnMut()) {
    struct Work<F>(F);
    impl<F: FnMut()> WithSimd for Work<F> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _simd: S) {
            (self.0)();
        }
    }
    arch.dispatch(Work(work));
}

/// The right factor: `depth` rows of which `width` entries count, `stride` entries apart.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub(crate) entries: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) depth: usize,
    pub(crate) width: usize,
}

/// `out[i] = sum over k of left[starts[i] + k] * right[k]`.
pub(crate) struct RowsTimes<'a> {
    pub(crate) left: &'a [f32],
    /// Where each row of the left factor begins.
    pub(crate) starts: &'a [usize],
    pub(crate) right: Right<'a>,
    /// What is asked for meanwhile.
    pub(crate) ahead: Ahead<'a>,
    /// A row of `stride` entries for each of `starts`.
    pub(crate) out: &'a mut [f32],
    pub(crate) stride: usize,
}

/// `out[i] = sum over k of left[k * left_stride + first + i] * right[k]`, for `count` columns of the left factor.
pub(crate) struct ColumnsTimes<'a> {
    pub(crate) left: &'a [f32],
    pub(crate) left_stride: usize,
    pub(crate) first: usize,
    /// At least [`GRAIN`].
    pub(crate) count: usize,
    pub(crate) right: Right<'a>,
    pub(crate) out: &'a mut [f32],
    pub(crate) stride: usize,
}

impl Right<'_> {
    /// Calls `each(first vector, vectors)` for groups of vectors that fit in the registers beside their rows' sums.
    #[inline(always)]
    fn groups<S: Simd>(self, mut each: impl FnMut(usize, usize)) {
        let most = if S::F32_LANES == 8 { 2 } else { 5 };
        let total = self.width / S::F32_LANES;
        let mut first = 0;
        while first < total {
            let groups = (total - first).div_ceil(most);
            let vectors = (total - first).div_ceil(groups);
            each(first, vectors);
            first += vectors;
        }
    }
}

/// The sums of R rows times V vectors: the inner loop of everything.
#[inline(always)]
fn tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    right: Right,
    offset: usize,
    ahead: &mut Ahead,
    left: impl Fn(usize, usize) -> f32,
) -> [[S::f32s; V]; R] {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    for k in 0..right.depth {
        let begin = k * right.stride + offset;
        let (row, _) = S::as_simd_f32s(&right.entries[begin..begin + V * S::F32_LANES]);
        let row = &row[..V];
        ahead.ask();
        for r in 0..R {
            let factor = simd.splat_f32s(left(k, r));
            for v in 0..V {
                sums[r][v] = simd.mul_add_f32s(factor, row[v], sums[r][v]);
            }
        }
    }
    sums
}

#[inline(always)]
fn store<S: Simd, const V: usize>(sums: &[S::f32s; V], out: &mut [f32]) {
    let (out, _) = S::as_mut_simd_f32s(&mut out[..V * S::F32_LANES]);
    // One by one: a copy of the whole would keep the sums in memory, in the inner loop too.
    #[allow(clippy::manual_memcpy)]
    for v in 0..V {
        out[v] = sums[v];
    }
}

impl RowsTimes<'_> {
    fn rows(&self) -> usize {
        self.starts.len()
    }

    #[inline(always)]
    fn group<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, first: usize) {
        let offset = first * S::F32_LANES;
        let (left, depth) = (self.left, self.right.depth);
        let mut begin = 0;
        while begin < self.starts.len() {
            let last = self.starts.len() - 1;
            // Where rows are missing in the last group, the last row stands in for them.
            let mut rows: [&[f32]; R] = [&[]; R];
            for r in 0..R {
                let start = self.starts[(begin + r).min(last)];
                rows[r] = &left[start..start + depth];
            }
            let sums = tile::<S, R, V>(
                simd,
                self.right,
                offset,
                &mut self.ahead,
                #[inline(always)]
                |k, r| rows[r][k],
            );
            for r in 0..R.min(last + 1 - begin) {
                store::<S, V>(&sums[r], &mut self.out[(begin + r) * self.stride + offset..]);
            }
            begin += R;
        }
    }
}

impl ColumnsTimes<'_> {
    fn rows(&self) -> usize {
        self.count
    }

    #[inline(always)]
    fn group<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, first: usize) {
        let offset = first * S::F32_LANES;
        let mut begin = 0;
        while begin < self.count {
            // The last group overlaps the one before: its sums are made again, the same.
            begin = begin.min(self.count - R);
            let sums = tile::<S, R, V>(
                simd,
                self.right,
                offset,
                &mut Ahead::new(&[]),
                #[inline(always)]
                |k, r| self.left[k * self.left_stride + self.first + begin..][..R][r],
            );
            for r in 0..R {
                store::<S, V>(&sums[r], &mut self.out[(begin + r) * self.stride + offset..]);
            }
            begin += R;
        }
    }
}

/// As many rows as the registers hold sums of beside V vectors of the right factor; fewer, where there are no more.
macro_rules! by_width {
    ($self:ident, $simd:ident, $S:ident) => {{
        let (right, rows) = ($self.right, $self.rows());
        right.groups::<$S>(
            #[inline(always)]
            |first, vectors| {
                if $S::F32_LANES == 8 {
                    match (vectors, rows) {
                        (1, _) => $self.group::<$S, 10, 1>($simd, first),
                        (_, 1) => $self.group::<$S, 1, 2>($simd, first),
                        (_, 2) => $self.group::<$S, 2, 2>($simd, first),
                        _ => $self.group::<$S, 6, 2>($simd, first),
                    }
                } else {
                    match (vectors, rows) {
                        (1, _) => $self.group::<$S, 12, 1>($simd, first),
                        (2, _) => $self.group::<$S, 10, 2>($simd, first),
                        (3, _) => $self.group::<$S, 8, 3>($simd, first),
                        (4, 1) => $self.group::<$S, 1, 4>($simd, first),
                        (4, 2) => $self.group::<$S, 2, 4>($simd, first),
                        (4, _) => $self.group::<$S, 6, 4>($simd, first),
                        (_, 1) => $self.group::<$S, 1, 5>($simd, first),
                        (_, 2) => $self.group::<$S, 2, 5>($simd, first),
                        _ => $self.group::<$S, 5, 5>($simd, first),
                    }
                }
            },
        );
    }};
}

impl WithSimd for RowsTimes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        by_width!(self, simd, S);
    }
}

impl WithSimd for ColumnsTimes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        by_width!(self, simd, S);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, so that sums are exact in any order.
    #[allow(clippy::cast_precision_loss)]
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 13) as f32 - 6.0).collect()
    }

    #[test]
    fn products_agree_with_the_slow_loop_at_any_size() {
        let arch = Arch::new();
        for (depth, groups) in [(1, 1), (3, 2), (17, 3), (5, 4), (40, 5), (2, 6), (9, 14)] {
            let width = groups * GRAIN;
            let entries = numbers(depth * width, 1);
            let right = Right { entries: &entries, stride: width, depth, width };
            for count in [1, 2, 5, 13, 16, 48] {
                let left = numbers(count * depth, 2);
                let starts: Vec<usize> = (0..count).rev().map(|row| row * depth).collect();
                let mut out = vec![0.0; count * width];
                let ahead = Ahead::new(&[]);
                arch.dispatch(RowsTimes { left: &left, starts: &starts, right, ahead, out: &mut out, stride: width });
                for (row, &start) in starts.iter().enumerate() {
                    for column in 0..width {
                        let sum: f32 = (0..depth).map(|k| left[start + k] * entries[k * width + column]).sum();
                        assert!((out[row * width + column] - sum).abs() < 1e-3);
                    }
                }
                if count < GRAIN {
                    continue;
                }
                let (left, left_stride) = (numbers(depth * (count + 3), 3), count + 3);
                arch.dispatch(ColumnsTimes {
                    left: &left,
                    left_stride,
                    first: 2,
                    count,
                    right,
                    out: &mut out,
                    stride: width,
                });
                for row in 0..count {
                    for column in 0..width {
                        let of = |k: usize| left[k * left_stride + 2 + row] * entries[k * width + column];
                        let sum: f32 = (0..depth).map(of).sum();
                        assert!((out[row * width + column] - sum).abs() < 1e-3);
                    }
                }
            }
        }
    }
}
