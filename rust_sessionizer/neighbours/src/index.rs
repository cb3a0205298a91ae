//! The index: sessions, and where each item stands in them.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use memmap2::Mmap;

use crate::vote::Scratch;

/// Words before the arrays: see `file`.
pub(crate) const HEADER: usize = 16;

/// How much of everything an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub items: usize,
    pub sessions: usize,
    pub clicks: usize,
    /// Entries of all items' lists of sessions.
    pub listed: usize,
    /// Whether sessions have times.
    pub timed: bool,
}

impl Sizes {
    /// The arrays' lengths, in the order in which they lie behind the header.
    pub(crate) fn lengths(self) -> [usize; 8] {
        let times = if self.timed { self.sessions } else { 0 };
        let items = self.items;
        [self.clicks, self.sessions + 1, times, items + 1, self.listed, items, items, items]
    }

    fn ranges(self) -> [Range<usize>; 8] {
        let mut end = HEADER;
        self.lengths().map(|length| {
            let begin = end;
            end += length;
            begin..end
        })
    }

    pub(crate) fn words(self) -> usize {
        HEADER + self.lengths().iter().sum::<usize>()
    }
}

/// The words of an index, header and all.
pub(crate) enum Words {
    Owned(Vec<u32>),
    Mapped(Mmap),
}

impl Words {
    #[inline]
    pub(crate) fn get(&self) -> &[u32] {
        match self {
            Self::Owned(words) => words,
            // A mapping begins at a page, so that it is aligned for words; its length was checked when it was opened.
            Self::Mapped(bytes) => bytemuck::try_cast_slice(bytes).unwrap_or_default(),
        }
    }
}

/// Sessions, and every item's most recent ones.
pub struct Index {
    words: Words,
    sizes: Sizes,
    ranges: [Range<usize>; 8],
    most: usize,
    /// What queries need while they run, kept for the next ones.
    scratches: Mutex<Vec<Scratch>>,
}

impl Index {
    pub(crate) fn new(words: Words, sizes: Sizes, most: usize) -> Self {
        Self { words, sizes, ranges: sizes.ranges(), most, scratches: Mutex::new(Vec::new()) }
    }

    /// Items of the vocabulary.
    #[must_use]
    pub fn items(&self) -> usize {
        self.sizes.items
    }

    /// Sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sizes.sessions
    }

    /// Clicks of all sessions.
    #[must_use]
    pub fn clicks(&self) -> usize {
        self.sizes.clicks
    }

    /// Whether it is known when sessions started.
    #[must_use]
    pub fn has_times(&self) -> bool {
        self.sizes.timed
    }

    /// The most sessions that are kept an item.
    #[must_use]
    pub fn sessions_per_item(&self) -> usize {
        self.most
    }

    /// Bytes of the index, in memory as in its file.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sizes.words() * size_of::<u32>()
    }

    pub(crate) fn words(&self) -> &[u32] {
        self.words.get()
    }

    pub(crate) fn view(&self) -> View<'_> {
        let words = self.words();
        let [clicks, ends, times, lists, listed, holders, support, popular] =
            self.ranges.clone().map(|range| words.get(range).unwrap_or_default());
        View { clicks, offsets: ends, times, list_offsets: lists, listed, holders, support, popular }
    }

    pub(crate) fn scratch(&self) -> Scratch {
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&self, scratch: Scratch) {
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }
}

/// The arrays of an index of V items and S sessions with C clicks.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// [C]: the items of all sessions, click by click, session by session, the oldest session first.
    pub clicks: &'a [u32],
    /// [S + 1]: where each session begins.
    pub offsets: &'a [u32],
    /// [S]: seconds from the first session's start to each one's; nothing where it is not known.
    pub times: &'a [u32],
    /// [V + 1]: where each item's list begins.
    pub list_offsets: &'a [u32],
    /// The sessions of each item, the most recent first, each once.
    pub listed: &'a [u32],
    /// [V]: sessions that hold each item, whether listed or not.
    pub holders: &'a [u32],
    /// [V]: clicks of each item.
    pub support: &'a [u32],
    /// [V]: the items by falling support, the smaller number first among equals.
    pub popular: &'a [u32],
}

impl<'a> View<'a> {
    /// Whether every number names something that is there.
    pub(crate) fn is_sound(&self) -> bool {
        let cuts = |offsets: &[u32], end: usize| {
            offsets.first() == Some(&0) && offsets.is_sorted() && offsets.last().map(|&last| last as usize) == Some(end)
        };
        let below = |values: &[u32], end: usize| values.iter().max().is_none_or(|&most| (most as usize) < end);
        cuts(self.offsets, self.clicks.len())
            && cuts(self.list_offsets, self.listed.len())
            && below(self.clicks, self.support.len())
            && below(self.popular, self.support.len())
            && below(self.listed, self.offsets.len() - 1)
    }

    #[inline]
    pub(crate) fn session(&self, session: u32) -> &'a [u32] {
        slice(self.clicks, self.offsets, session)
    }

    #[inline]
    pub(crate) fn length(&self, session: u32) -> usize {
        let session = session as usize;
        (self.offsets[session + 1] - self.offsets[session]) as usize
    }

    /// The sessions of an item, the most recent first.
    #[inline]
    pub(crate) fn of_item(&self, item: u32) -> &'a [u32] {
        slice(self.listed, self.list_offsets, item)
    }

    /// ln(1 + sessions / sessions with the item), for an item that so many sessions hold.
    #[allow(clippy::cast_precision_loss)] // sessions are fewer than 2^32
    fn rarity(&self, holders: u32) -> f64 {
        ((self.offsets.len() - 1) as f64 / f64::from(holders.max(1))).ln_1p()
    }

    /// The score of an item that no neighbour votes for.
    #[inline]
    pub(crate) fn fill(&self, item: u32) -> f32 {
        fill(self.support[item as usize])
    }
}

/// The score of an item with so many clicks that no neighbour votes for: below 0, and rising with the clicks.
#[inline]
#[allow(clippy::cast_possible_truncation)] // the nearest f32 is what is meant
pub(crate) fn fill(support: u32) -> f32 {
    (-1.0 / (1.0 + f64::from(support))) as f32
}

#[inline]
fn slice<'a>(values: &'a [u32], offsets: &[u32], row: u32) -> &'a [u32] {
    let row = row as usize;
    &values[offsets[row] as usize..offsets[row + 1] as usize]
}

/// Items held by fewer sessions than this share their rarity's power with many others.
const COMMON: usize = 1 << 10;

/// A power of items' rarity in one index, kept by the number of sessions that hold an item.
#[derive(Default)]
pub(crate) struct Rarities {
    power: f64,
    /// NaN where it was not needed yet.
    known: Vec<f64>,
}

impl Rarities {
    pub(crate) fn set_power(&mut self, power: f64) {
        if self.power.to_bits() != power.to_bits() || self.known.is_empty() {
            self.power = power;
            self.known.clear();
            self.known.resize(COMMON, f64::NAN);
        }
    }

    #[inline]
    pub(crate) fn of(&mut self, view: &View, item: u32) -> f64 {
        let holders = view.holders[item as usize];
        match self.known.get_mut(holders as usize) {
            None => view.rarity(holders).powf(self.power),
            Some(known) => {
                if known.is_nan() {
                    *known = view.rarity(holders).powf(self.power);
                }
                *known
            }
        }
    }
}
