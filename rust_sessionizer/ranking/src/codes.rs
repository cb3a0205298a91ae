//! Vectors as small whole numbers, and how far off they are.

use bytemuck::{Pod, Zeroable};

/// Items whose codes lie beside each other.
pub(crate) const GROUP: usize = 16;
/// Entries of a vector that are multiplied at once.
pub(crate) const QUAD: usize = 4;
/// The largest code.
const LARGEST: f32 = 127.0;
/// What is added to a query's codes, so that they are not negative.
pub(crate) const SHIFT: i32 = 128;
/// A few sums are rounded on the way to a bound: what that may do to it, as a share of the largest summand.
pub(crate) const ROUNDING: f32 = 4.0 * f32::EPSILON;

/// Four entries of each item of a group, an item after the other.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Cell(pub(crate) [[i8; QUAD]; GROUP]);

/// What is asked of every group of items; where there is no item, nothing that could be found.
#[derive(Clone, Copy)]
pub(crate) struct Traits {
    /// What a code stands for.
    pub(crate) scale: [f32; GROUP],
    pub(crate) bias: [f32; GROUP],
    /// What the sum of products begins with: what [`SHIFT`] adds to it, taken off.
    pub(crate) start: [i32; GROUP],
    /// The largest of each of the group's [`Errors`].
    pub(crate) most: [f32; 3],
}

/// How far the items of a group may be off.
#[derive(Clone, Copy)]
pub(crate) struct Errors {
    /// The length of the vector's difference to what its codes stand for.
    pub(crate) rest: [f32; GROUP],
    /// The length of the vector.
    pub(crate) norm: [f32; GROUP],
    /// What adding the bias may round off.
    pub(crate) rounding: [f32; GROUP],
}

const NOTHING: Traits =
    Traits { scale: [0.0; GROUP], bias: [f32::NEG_INFINITY; GROUP], start: [0; GROUP], most: [0.0; 3] };
const NONE: Errors = Errors { rest: [0.0; GROUP], norm: [0.0; GROUP], rounding: [0.0; GROUP] };

/// The codes of a table's rows.
pub(crate) struct Codes {
    /// [groups, quads].
    pub(crate) cells: Vec<Cell>,
    /// [groups].
    pub(crate) traits: Vec<Traits>,
    /// [groups].
    pub(crate) errors: Vec<Errors>,
    /// Cells of a group.
    pub(crate) quads: usize,
}

impl Codes {
    pub(crate) fn of(table: &[f32], bias: &[f32], width: usize) -> Self {
        let (groups, quads) = (bias.len().div_ceil(GROUP), width.div_ceil(QUAD));
        let mut cells = pages::room(groups * quads);
        cells.resize(groups * quads, Cell::zeroed());
        let (mut traits, mut errors) = (vec![NOTHING; groups], vec![NONE; groups]);
        for (item, (row, &bias)) in table.chunks_exact(width).zip(bias).enumerate() {
            let (group, place) = (item / GROUP, item % GROUP);
            let coded = Coded::of(row);
            for (cell, four) in cells[group * quads..][..quads].iter_mut().zip(row.chunks(QUAD)) {
                for (code, &entry) in cell.0[place].iter_mut().zip(four) {
                    *code = coded.code(entry);
                }
            }
            let rounding = if bias.is_finite() { bias.abs() * ROUNDING } else { 0.0 };
            let (traits, errors) = (&mut traits[group], &mut errors[group]);
            (traits.scale[place], traits.bias[place]) = (coded.scale, bias);
            traits.start[place] = -SHIFT * row.iter().map(|&entry| i32::from(coded.code(entry))).sum::<i32>();
            (errors.rest[place], errors.norm[place], errors.rounding[place]) = (coded.rest, coded.norm, rounding);
            for (most, own) in traits.most.iter_mut().zip([coded.rest, coded.norm, rounding]) {
                *most = most.max(own);
            }
        }
        Self { cells, traits, errors, quads }
    }
}

/// How a vector is put into codes.
struct Coded {
    scale: f32,
    inverse: f32,
    rest: f32,
    norm: f32,
}

impl Coded {
    #[inline(always)]
    fn of(vector: &[f32]) -> Self {
        let largest = vector.iter().fold(0.0_f32, |largest, entry| largest.max(entry.abs()));
        let scale = largest / LARGEST;
        let inverse = if scale.is_normal() { scale.recip() } else { 0.0 };
        let mut coded = Self { scale, inverse, rest: 0.0, norm: 0.0 };
        let (mut rest, mut norm) = (0.0, 0.0);
        for &entry in vector {
            let off = f64::from(entry) - f64::from(scale) * f64::from(coded.code(entry));
            rest += off * off;
            norm += f64::from(entry) * f64::from(entry);
        }
        (coded.rest, coded.norm) = (up(rest.sqrt()), up(norm.sqrt()));
        coded
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // at most 127, but for rounding, which a cast cuts
    fn code(&self, entry: f32) -> i8 {
        (entry * self.inverse).round_ties_even() as i8
    }
}

/// A query's codes, and what bounds an item's score by them.
pub(crate) struct Asked {
    /// [quads], four shifted codes each.
    pub(crate) quads: Vec<[u8; QUAD]>,
    /// What a code stands for.
    pub(crate) scale: f32,
    /// What an item's rest weighs: the length of what the codes stand for.
    pub(crate) length: f32,
    /// What an item's length weighs: the length of the query's rest, and what rounding may add.
    pub(crate) rest: f32,
}

impl Asked {
    #[inline(always)]
    #[allow(clippy::cast_precision_loss)] // vectors are shorter than 2^24
    pub(crate) fn of(query: &[f32]) -> Self {
        let coded = Coded::of(query);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // -127 to 127, shifted: 1 to 255
        let shifted = |entry: f32| (i32::from(coded.code(entry)) + SHIFT) as u8;
        // Where the vector ends, the items' codes are 0.
        let quad = |four: &[f32]| std::array::from_fn(|place| four.get(place).map_or(0, |&entry| shifted(entry)));
        // Products of W terms, summed up in any order, are off by no more than W units of rounding of the vectors' lengths, here and
        // where the score itself is computed.
        let rounding = 2.0 * (query.len() + 16) as f32 * f32::EPSILON * coded.norm;
        Self {
            quads: query.chunks(QUAD).map(quad).collect(),
            scale: coded.scale,
            length: up(f64::from(coded.norm) + f64::from(coded.rest)),
            rest: coded.rest + rounding,
        }
    }
}

/// Rounded up.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // that is meant
fn up(number: f64) -> f32 {
    (number as f32).next_up()
}
