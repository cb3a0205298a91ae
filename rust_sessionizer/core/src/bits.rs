//! Texts as numbers.
//!
//! Names are often numbers that wear something: `v-000000123456`. Where the texts of a column differ in no more than 64 bits, wherever in
//! the text those lie, these bits are a number: the same for equal texts and no others, and in the order of the texts' bytes.

use rayon::prelude::*;

use crate::ByteColumn;
use crate::raw::zeros;

/// Words of a text, and one for its length.
const WORDS: usize = 5;

/// Rows of a chunk, after which the pass ends where the texts differ in too many bits; and rows that the first guess is made of.
const STEP: usize = if cfg!(test) { 4 } else { 4_096 };

/// Bytes of the longest text that fits.
const LONGEST: usize = (WORDS - 1) * 8;

/// A number for every row; none where the texts differ in more than 64 bits, or one has more than 32 bytes.
pub(crate) fn numbers(texts: &impl ByteColumn) -> Option<Vec<i64>> {
    let rows = texts.rows();
    if rows == 0 {
        return Some(Vec::new());
    }
    let first = words(texts.value(0))?;
    let differs = |row: usize| Some(xor(words(texts.value(row))?, first));
    let few = (0..rows).step_by(rows.div_ceil(STEP));
    let mut differing = few.map(differs).try_fold([0; WORDS], |all, one| Some(or(all, one?)))?;
    let mut numbers: Vec<i64> = zeros(rows);
    loop {
        if ones(&differing) > u64::BITS {
            return None;
        }
        let pieces = pieces(&differing);
        let parts = numbers.par_chunks_mut(STEP).enumerate().map(|(part, numbers)| {
            let mut all = differing;
            for (number, row) in numbers.iter_mut().zip(part * STEP..) {
                let words = words(texts.value(row))?;
                all = or(all, xor(words, first));
                *number = drawn(&pieces, &words);
            }
            (ones(&all) <= u64::BITS).then_some(all)
        });
        let all = parts.try_reduce(|| differing, |a, b| Some(or(a, b)))?;
        if all == differing {
            return Some(numbers);
        }
        // There are bits that the few did not differ in.
        differing = all;
    }
}

/// Bits next to each other, and where in the number they go.
struct Piece {
    word: usize,
    mask: u64,
    from: u32,
    to: u32,
}

/// The pieces, drawn together.
#[inline]
fn drawn(pieces: &[Piece], words: &[u64; WORDS]) -> i64 {
    let bits = pieces.iter().map(|piece| (words[piece.word] & piece.mask) >> piece.from << piece.to);
    let number = bits.fold(0, |number, bits| number | bits);
    // The smallest is the smallest with a sign, too.
    (number ^ 1 << 63).cast_signed()
}

fn or(a: [u64; WORDS], b: [u64; WORDS]) -> [u64; WORDS] {
    std::array::from_fn(|place| a[place] | b[place])
}

fn xor(a: [u64; WORDS], b: [u64; WORDS]) -> [u64; WORDS] {
    std::array::from_fn(|place| a[place] ^ b[place])
}

fn ones(words: &[u64; WORDS]) -> u32 {
    words.iter().map(|word| word.count_ones()).sum()
}

/// The bits that are set, as few pieces as there are: those of the first word are the highest of the number.
fn pieces(bits: &[u64; WORDS]) -> Vec<Piece> {
    let (mut pieces, mut to) = (Vec::new(), 0);
    for (word, &bits) in bits.iter().enumerate().rev() {
        let mut left = bits;
        while left != 0 {
            let from = left.trailing_zeros();
            let width = (left >> from).trailing_ones();
            let mask = (u64::MAX >> (u64::BITS - width)) << from;
            pieces.push(Piece { word, mask, from, to });
            left &= !mask;
            to += width;
        }
    }
    pieces
}

/// Eight bytes a word, the first the highest, zeros behind the last, and the length; other texts have other words, in the order of the texts.
#[inline]
fn words(text: &[u8]) -> Option<[u64; WORDS]> {
    if text.len() > LONGEST {
        return None;
    }
    let (whole, rest) = text.as_chunks::<8>();
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(whole) {
        *word = u64::from_be_bytes(*bytes);
    }
    if !rest.is_empty() {
        let free = 64 - 8 * rest.len();
        words[whole.len()] = match (text.last_chunk::<8>(), rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
            (Some(last), ..) => u64::from_be_bytes(*last) << free,
            (None, Some(high), Some(low)) => {
                u64::from(u32::from_be_bytes(*high)) << 32 | u64::from(u32::from_be_bytes(*low)) << free
            }
            _ => rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)) << free,
        };
    }
    words[WORDS - 1] = text.len() as u64;
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Texts(Vec<Vec<u8>>);

    impl ByteColumn for Texts {
        fn rows(&self) -> usize {
            self.0.len()
        }
        fn value(&self, row: usize) -> &[u8] {
            &self.0[row]
        }
    }

    fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let any = prop::collection::vec(any::<u8>(), 0..40);
        let few_bits = prop::collection::vec(prop::sample::select(b"ab\0".to_vec()), 0..34);
        let one = prop_oneof![8 => few_bits, 8 => "user-[0-9]{0,12}".prop_map(String::into_bytes), 1 => any];
        prop::collection::vec(one, 0..20)
    }

    proptest! {
        #[test]
        fn numbers_compare_as_their_texts_do(texts in texts()) {
            let texts = Texts(texts);
            if let Some(numbers) = numbers(&texts) {
                prop_assert_eq!(numbers.len(), texts.rows());
                for (text, number) in texts.0.iter().zip(&numbers) {
                    for (other, its_number) in texts.0.iter().zip(&numbers) {
                        prop_assert_eq!(text.cmp(other), number.cmp(its_number));
                    }
                }
            }
        }

        #[test]
        fn words_are_the_bytes_and_the_length(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected = (text.len() <= LONGEST).then(|| {
                let byte = |place: usize| text.get(place).copied().unwrap_or(0);
                let word = |word: usize| u64::from_be_bytes(std::array::from_fn(|place| byte(word * 8 + place)));
                let mut words: [u64; WORDS] = std::array::from_fn(word);
                words[WORDS - 1] = text.len() as u64;
                words
            });
            prop_assert_eq!(words(&text), expected);
        }
    }

    #[test]
    fn names_around_numbers_have_numbers_and_random_names_do_not() {
        let column = |name: fn(u64) -> String| Texts((0..9_000).map(|row| name(row).into_bytes()).collect());
        let distinct = |texts: &Texts| {
            let found = numbers(texts)?;
            Some(found.into_iter().collect::<std::collections::HashSet<_>>().len())
        };
        assert_eq!(distinct(&column(|row| format!("v-{row:012}"))), Some(9_000));
        assert_eq!(distinct(&column(|row| format!("user_{}", row * row))), Some(9_000));
        assert_eq!(distinct(&column(|row| format!("the-same-long-beginning-{row}"))), Some(9_000));
        let random = |row: u64| (row + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        assert_eq!(distinct(&column(|row| format!("{:016x}", (row + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93)))), None);
        assert_eq!(distinct(&Texts((0..9).map(|row| random(row).to_le_bytes().repeat(5)).collect())), None);
        assert_eq!(numbers(&Texts(vec![vec![7; 33]])), None);
        assert_eq!(numbers(&Texts(Vec::new())), Some(Vec::new()));
    }

    #[test]
    fn sixty_four_bits_are_not_too_many() {
        let texts = Texts(vec![vec![0; 8], vec![255; 8], vec![0; 8]]);
        assert_eq!(numbers(&texts), Some(vec![i64::MIN, i64::MAX, i64::MIN]));
        assert_eq!(numbers(&Texts(vec![vec![0; 9], vec![255; 9]])), None);
    }
}
