//! Scores in registers: a few items for the queries of a panel.

use pulp::{Simd, bytemuck};

/// The most items of a tile: with a panel of two vectors a row, their sums fill the registers of AVX-512.
pub(crate) const ROWS: usize = 14;
/// Vectors of a panel's row.
pub(crate) const VECTORS: usize = 2;
/// The most lanes of a vector.
pub(crate) const LANES: usize = 16;

/// Queries of a panel: they lie beside each other, a lane each.
#[inline(always)]
pub(crate) fn panel<S: Simd>() -> usize {
    VECTORS * S::F32_LANES
}

/// Writes rows [at most `beside`, H] beside each other: [H, beside]. Where there is no row, what was there stays.
pub(crate) fn pack<'a>(rows: impl Iterator<Item = &'a [f32]>, beside: usize, packed: &mut [f32]) {
    for (place, row) in rows.enumerate() {
        for (entry, entries) in row.iter().zip(packed.chunks_exact_mut(beside)) {
            entries[place] = *entry;
        }
    }
}

/// Writes R rows [R, H] beside each other: [H, R].
#[inline(always)]
pub(crate) fn pack_all<const R: usize>(table: &[f32], packed: &mut [f32]) {
    let width = table.len() / R;
    let mut rows: [&[f32]; R] = [&[]; R];
    for r in 0..R {
        rows[r] = &table[r * width..][..width];
    }
    for (k, entries) in packed.chunks_exact_mut(R).enumerate().take(width) {
        for r in 0..R {
            entries[r] = rows[r][k];
        }
    }
}

/// The scores of R items [H, R] for the queries of a panel [H, lanes]: the inner loop of everything.
#[inline(always)]
pub(crate) fn scores<S: Simd, const R: usize>(
    simd: S,
    outputs: &[f32],
    rows: &[f32],
    bias: &[f32],
) -> [[S::f32s; VECTORS]; R] {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; R];
    for r in 0..R {
        sums[r] = [simd.splat_f32s(bias[r]); VECTORS];
    }
    for (beside, factors) in outputs.chunks_exact(panel::<S>()).zip(rows.chunks_exact(R)) {
        let (beside, _) = S::as_simd_f32s(beside);
        let beside = &beside[..VECTORS];
        for r in 0..R {
            let factor = simd.splat_f32s(factors[r]);
            for v in 0..VECTORS {
                sums[r][v] = simd.mul_add_f32s(factor, beside[v], sums[r][v]);
            }
        }
    }
    sums
}

/// One score by itself, by the same operations.
#[inline(always)]
pub(crate) fn score(output: &[f32], row: &[f32], bias: f32) -> f32 {
    row.iter().zip(output).fold(bias, |sum, (factor, beside)| factor.mul_add(*beside, sum))
}

/// The lanes where a mask holds, a bit each.
#[inline(always)]
pub(crate) fn bits<S: Simd>(mask: S::m32s) -> u32 {
    match *bytemuck::bytes_of(&mask) {
        [low, high] if S::F32_LANES == 16 => u32::from(u16::from_le_bytes([low, high])),
        ref bytes => {
            let size = bytes.len() / S::F32_LANES;
            (0..S::F32_LANES).fold(0, |bits, lane| bits | u32::from(bytes[lane * size] & 1) << lane)
        }
    }
}

/// The largest magnitude; NaN is larger than any.
#[inline(always)]
pub(crate) fn largest(entries: &[f32]) -> f32 {
    f32::from_bits(entries.iter().fold(0, |largest, entry| largest.max(entry.abs().to_bits())))
}
