//! Products of codes by the widest instructions there are: the only unsafe code of this crate.

use pulp::{Arch, Simd, WithSimd};

use crate::codes::{Cell, GROUP, QUAD};
use crate::index::Shortlist;
use crate::scan::Scan;

/// A whole number for each item of a group.
pub(crate) type Sums = [i32; GROUP];

/// Makes products; a kind of processor each.
pub(crate) trait Multiply: Copy {
    /// Of the codes of the items of G groups and the shifted ones of Q queries.
    fn products<const Q: usize, const G: usize>(self, cells: [&[Cell]; G], quads: [&[[u8; QUAD]]; Q])
    -> [[Sums; Q]; G];
}

/// Scans with what this processor has.
pub(crate) fn run<const Q: usize>(scan: Scan<Q>) -> [Shortlist; Q] {
    #[cfg(target_arch = "x86_64")]
    if let Some(vnni) = vnni::Vnni::detected() {
        return vnni::run(vnni, scan);
    }
    Arch::new().dispatch(Portable(scan))
}

#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Multiply for Plain {
    #[inline(always)]
    fn products<const Q: usize, const G: usize>(
        self,
        cells: [&[Cell]; G],
        quads: [&[[u8; QUAD]]; Q],
    ) -> [[Sums; Q]; G] {
        let mut sums = [[[0; GROUP]; Q]; G];
        for g in 0..G {
            for (number, cell) in cells[g].iter().enumerate() {
                for q in 0..Q {
                    let quad = quads[q][number].map(i32::from);
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
pub(crate) struct Portable<'a, const Q: usize>(pub(crate) Scan<'a, Q>);

impl<'a, const Q: usize> WithSimd for Portable<'a, Q> {
    type Output = [Shortlist<'a>; Q];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Self::Output {
        self.0.run(Plain)
    }
}

/// Four products of bytes and their sum in one instruction, for sixteen items at once.
#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::is_x86_feature_detected;
    use std::arch::x86_64::{__m512i, _mm512_dpbusd_epi32, _mm512_set1_epi32, _mm512_setzero_si512};

    use super::{Cell, Multiply, QUAD, Scan, Shortlist, Sums};

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
    pub(super) fn run<const Q: usize>(vnni: Vnni, scan: Scan<Q>) -> [Shortlist; Q] {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma")]
        fn compiled<const Q: usize>(vnni: Vnni, scan: Scan<Q>) -> [Shortlist; Q] {
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
            quads: [&[[u8; QUAD]]; Q],
        ) -> [[Sums; Q]; G] {
            let length = cells[0].len();
            let cells = cells.map(|cells| &cells[..length]);
            let quads = quads.map(|quads| &quads[..length]);
            let mut sums = [[zero(self); Q]; G];
            for number in 0..length {
                let mut queries = [zero(self); Q];
                for q in 0..Q {
                    queries[q] = four_everywhere(self, quads[q][number]);
                }
                for g in 0..G {
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
    fn zero(_: Vnni) -> __m512i {
        // SAFETY: a `Vnni` exists, so that the processor has AVX-512.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    fn four_everywhere(_: Vnni, four: [u8; QUAD]) -> __m512i {
        // SAFETY: as above.
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
            let quads: [Vec<[u8; QUAD]>; 3] = std::array::from_fn(|q| {
                (0..length).map(|n| std::array::from_fn(|k| byte(q + 50, n * QUAD + k))).collect()
            });
            let cells = [&*cells[0], &*cells[1]];
            let quads = [&*quads[0], &*quads[1], &*quads[2]];
            assert_eq!(vnni.products(cells, quads), Plain.products(cells, quads));
        }
    }
}
