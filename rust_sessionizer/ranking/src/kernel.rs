//! Products of codes by the widest instructions there are: the only unsafe code of this crate.

use pulp::{Arch, Simd, WithSimd};

use crate::codes::{Cell, GROUP, QUAD};
use crate::index::Shortlist;
use crate::scan::Scan;

/// A whole number for each item of a group.
pub(crate) type Sums = [i32; GROUP];

/// Makes products; a kind of processor each.
pub(crate) trait Multiply: Copy {
    /// Of the codes of the items of G groups and the shifted ones of Q queries, added to what each group's sums begin with.
    fn products<const Q: usize, const G: usize>(
        self,
        cells: [&[Cell]; G],
        starts: [&Sums; G],
        quads: &[[[u8; QUAD]; Q]],
    ) -> [[Sums; Q]; G];
}

/// Scans with what this processor has.
pub(crate) fn run(scan: Scan) -> Vec<Shortlist> {
    #[cfg(target_arch = "x86_64")]
    if let Some(vnni) = vnni::Vnni::detected() {
        return vnni::run(vnni, scan);
    }
    Arch::new().dispatch(Portable(scan))
}

/// Asks for the memory at an address, which is needed soon.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn ask_for<T>(place: *const T) {
    // SAFETY: a hint, which neither reads nor writes and may be given for any address; SSE is part of x86-64.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn ask_for<T>(_place: *const T) {}

#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Multiply for Plain {
    #[inline(always)]
    fn products<const Q: usize, const G: usize>(
        self,
        cells: [&[Cell]; G],
        starts: [&Sums; G],
        quads: &[[[u8; QUAD]; Q]],
    ) -> [[Sums; Q]; G] {
        let mut sums = starts.map(|start| [*start; Q]);
        for g in 0..G {
            for (number, cell) in cells[g].iter().enumerate() {
                for q in 0..Q {
                    let quad = quads[number][q].map(i32::from);
                    for (sum, codes) in sums[g][q].iter_mut().zip(&cell.0) {
                        *sum += (0..QUAD).map(|k| quad[k] * i32::from(codes[k])).sum::<i32>();
                    }
                }
            }
        }
        sums
    }
}

/// A scan by plain code, compiled for the widest registers there are.
pub(crate) struct Portable<'a>(pub(crate) Scan<'a>);

impl<'a> WithSimd for Portable<'a> {
    type Output = Vec<Shortlist<'a>>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Self::Output {
        self.0.run(Plain)
    }
}

/// Four products of bytes and their sum in one instruction, for sixteen items at once.
#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::is_x86_feature_detected;
    use std::arch::x86_64::{__m512i, _mm512_dpbusd_epi32, _mm512_set1_epi32};

    use super::{Cell, Multiply, QUAD, Scan, Shortlist, Sums, ask_for};

    /// Exists where the processor has the instructions.
    #[derive(Clone, Copy)]
    pub(super) struct Vnni(());

    impl Vnni {
        pub(super) fn detected() -> Option<Self> {
            let there = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
                && is_x86_feature_detected!("fma");
            there.then_some(Self(()))
        }
    }

    #[allow(unsafe_code)]
    pub(super) fn run(vnni: Vnni, scan: Scan) -> Vec<Shortlist> {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma")]
        fn compiled(vnni: Vnni, scan: Scan) -> Vec<Shortlist> {
            scan.run(vnni)
        }
        // SAFETY: a `Vnni` is made by `detected` alone, where the processor has all these features.
        unsafe { compiled(vnni, scan) }
    }

    impl Multiply for Vnni {
        #[inline(always)]
        fn products<const Q: usize, const G: usize>(
            self,
            cells: [&[Cell]; G],
            starts: [&Sums; G],
            quads: &[[[u8; QUAD]; Q]],
        ) -> [[Sums; Q]; G] {
            let length = cells[0].len();
            let cells = cells.map(|cells| &cells[..length]);
            let quads = &quads[..length];
            let mut sums: [[__m512i; Q]; G] = starts.map(|start| [bytemuck::cast(*start); Q]);
            for number in 0..length {
                let queries: [__m512i; Q] = std::array::from_fn(|q| four_everywhere(self, quads[number][q]));
                for g in 0..G {
                    // The groups that follow.
                    ask_for(cells[g].as_ptr().wrapping_add(number + G * length));
                    let items: __m512i = bytemuck::cast(cells[g][number]);
                    for q in 0..Q {
                        sums[g][q] = add_products(self, sums[g][q], queries[q], items);
                    }
                }
            }
            sums.map(|sums| sums.map(bytemuck::cast))
        }
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    fn four_everywhere(_: Vnni, four: [u8; QUAD]) -> __m512i {
        // SAFETY: a `Vnni` exists, so that the processor has AVX-512.
        unsafe { _mm512_set1_epi32(i32::from_ne_bytes(four)) }
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    fn add_products(_: Vnni, sums: __m512i, queries: __m512i, items: __m512i) -> __m512i {
        // SAFETY: a `Vnni` exists, so that the processor has AVX-512 VNNI.
        unsafe { _mm512_dpbusd_epi32(sums, queries, items) }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn both_kinds_of_products_are_the_same() {
        let Some(vnni) = vnni::Vnni::detected() else { return };
        for length in [1, 2, 7, 56] {
            let byte = |seed: usize, place: usize| (seed * 7_919 + place * 104_729 + place * place) as u8;
            let cell = |number: usize| {
                Cell(std::array::from_fn(|item| std::array::from_fn(|k| byte(number, item * QUAD + k).cast_signed())))
            };
            let cells: [Vec<Cell>; 2] = std::array::from_fn(|g| (0..length).map(|n| cell(g * length + n)).collect());
            let quad = |q: usize, number: usize| std::array::from_fn(|k| byte(q + 50, number * QUAD + k));
            let quads: Vec<[[u8; QUAD]; 3]> =
                (0..length).map(|number| std::array::from_fn(|q| quad(q, number))).collect();
            let cells = [&*cells[0], &*cells[1]];
            let starts = [[3; GROUP], [-5; GROUP]];
            let starts = [&starts[0], &starts[1]];
            assert_eq!(vnni.products(cells, starts, &quads), Plain.products(cells, starts, &quads));
        }
    }
}
