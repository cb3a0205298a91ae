//! Randomness from a counter: every number follows from the seed, the step and its purpose, so that nothing has to be
//! kept for a resume and the number of threads does not show.

/// What random numbers are for; numbers of different purposes have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Samples,
    EmbeddingDropout,
    /// Of a layer.
    HiddenDropout(usize),
}

impl Purpose {
    fn number(self) -> u64 {
        match self {
            Self::Samples => 0,
            Self::EmbeddingDropout => 1,
            Self::HiddenDropout(layer) => 2 + layer as u64,
        }
    }
}

/// The random numbers of one step and purpose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    key: [u32; 2],
    step: u32,
    purpose: u32,
}

impl Stream {
    /// The numbers of `step`, counted from the start of the training.
    #[allow(clippy::cast_possible_truncation)] // the halves of 64 bits, meant so
    pub(crate) fn new(seed: u64, step: u64, purpose: Purpose) -> Self {
        let high = (step >> 32) | (purpose.number() << 16);
        Self { key: [seed as u32, (seed >> 32) as u32], step: step as u32, purpose: high as u32 }
    }

    /// Four numbers of 32 bits, by their place.
    #[inline(always)]
    pub(crate) fn at(self, first: u32, second: u32) -> [u32; 4] {
        philox([first, second, self.step, self.purpose], self.key)
    }
}

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // the halves of 64 bits, meant so
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let first = u64::from(c0) * 0xD251_1F53;
        let second = u64::from(c2) * 0xCD9E_8D57;
        (c0, c1, c2, c3) =
            ((second >> 32) as u32 ^ c1 ^ k0, second as u32, (first >> 32) as u32 ^ c3 ^ k1, first as u32);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// A dropout mask: 0 with probability `share`, else 1 / (1 - share).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dropout {
    stream: Stream,
    threshold: u32,
    kept: f32,
}

impl Dropout {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share of 2^32
    pub(crate) fn new(stream: Stream, share: f32) -> Self {
        Self { stream, threshold: (f64::from(share) * 4_294_967_296.0) as u32, kept: 1.0 / (1.0 - share) }
    }

    /// Rows of the mask for the units `4 * quad ..` (as many as `rows` has), an entry a lane; lanes from `lanes` on are 0.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // lanes and units are far below 2^32
    pub(crate) fn rows(self, quad: usize, lanes: usize, stride: usize, rows: &mut [f32]) {
        if self.threshold == 0 {
            for row in rows.chunks_exact_mut(stride) {
                row[..lanes].fill(self.kept);
                row[lanes..].fill(0.0);
            }
            return;
        }
        let mut four = [[0_u32; 16]; 4];
        for begin in (0..stride).step_by(16) {
            let (first, quad) = (begin as u32, quad as u32);
            for lane in 0..16_u32 {
                let words = self.stream.at(first + lane, quad);
                for (place, word) in four.iter_mut().zip(words) {
                    place[lane as usize] = word;
                }
            }
            for (row, words) in rows.chunks_exact_mut(stride).zip(&four) {
                for (lane, (entry, &word)) in row[begin..begin + 16].iter_mut().zip(words).enumerate() {
                    let drop = word < self.threshold || begin + lane >= lanes;
                    *entry = if drop { 0.0 } else { self.kept };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_numbers() {
        // The known answers of the authors' Random123 library.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let all = u32::MAX;
        assert_eq!(philox([all; 4], [all; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn a_mask_drops_its_share_and_the_lanes_that_are_not_there() {
        let dropout = Dropout::new(Stream::new(3, 5, Purpose::EmbeddingDropout), 0.25);
        let mut dropped = 0;
        for quad in 0..500 {
            let mut rows = [1.0; 4 * 32];
            dropout.rows(quad, 20, 32, &mut rows);
            for row in rows.chunks(32) {
                assert!(row[20..].iter().all(|&entry| entry == 0.0));
                assert!(row[..20].iter().all(|&entry| entry == 0.0 || (entry - 4.0 / 3.0).abs() < 1e-6));
                dropped += row[..20].iter().filter(|&&entry| entry == 0.0).count();
            }
        }
        assert!((f64::from(u32::try_from(dropped).unwrap_or(0)) / 40_000.0 - 0.25).abs() < 0.01);
    }

    #[test]
    fn steps_purposes_and_seeds_have_numbers_of_their_own() {
        let numbers = [
            Stream::new(1, 1, Purpose::Samples).at(0, 0),
            Stream::new(2, 1, Purpose::Samples).at(0, 0),
            Stream::new(1, 2, Purpose::Samples).at(0, 0),
            Stream::new(1, 1 << 32, Purpose::Samples).at(0, 0),
            Stream::new(1, 1, Purpose::HiddenDropout(0)).at(0, 0),
            Stream::new(1, 1, Purpose::HiddenDropout(1)).at(0, 0),
        ];
        for (index, left) in numbers.iter().enumerate() {
            assert!(numbers[index + 1..].iter().all(|right| left != right));
        }
    }
}
