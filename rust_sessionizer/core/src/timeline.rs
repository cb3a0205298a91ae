//! Events in the order of time, wherever they are kept.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::hashing::Seed;
use crate::numbering::{Event, Ordered};
use crate::sessions::{Span, ends};
use crate::{ByteColumn, Result, SameItem, bits, factorize_bytes};

/// Who the events of a log belong to.
pub trait Visitors: Sync {
    /// Whether equal keys mean the same visitor, so that [`Visitors::same`] need not be asked.
    const EXACT: bool;
    /// The number of rows.
    fn rows(&self) -> usize;
    /// The same for rows of one visitor, and for those of others most likely not.
    fn key(&self, row: usize, seed: Seed) -> i64;
    /// Whether two rows with the same key are of one visitor.
    fn same(&self, a: usize, b: usize) -> bool;
    /// Numbers that are equal where the visitors are.
    ///
    /// # Errors
    /// [`Error::TooManyDistinct`](crate::Error::TooManyDistinct) and [`Error::TooManyRows`](crate::Error::TooManyRows).
    fn numbers(&self) -> Result<Cow<'_, [i64]>>;
    /// The same, where the visitors' names differ in so few bits that these are numbers; none of numbers, which are what they are.
    fn as_numbers(&self) -> Option<Vec<i64>> {
        None
    }
}

impl Visitors for [i64] {
    const EXACT: bool = true;
    fn rows(&self) -> usize {
        self.len()
    }
    #[inline]
    fn key(&self, row: usize, _: Seed) -> i64 {
        self[row]
    }
    #[inline]
    fn same(&self, a: usize, b: usize) -> bool {
        self[a] == self[b]
    }
    fn numbers(&self) -> Result<Cow<'_, [i64]>> {
        Ok(Cow::Borrowed(self))
    }
}

/// Visitors that are texts.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a, T>(pub &'a T);

impl<T: ByteColumn> Visitors for Named<'_, T> {
    const EXACT: bool = false;
    fn rows(&self) -> usize {
        self.0.rows()
    }
    #[inline]
    fn key(&self, row: usize, seed: Seed) -> i64 {
        seed.bytes(self.0.value(row)).cast_signed()
    }
    #[inline]
    fn same(&self, a: usize, b: usize) -> bool {
        self.0.value(a) == self.0.value(b)
    }
    fn numbers(&self) -> Result<Cow<'_, [i64]>> {
        let codes = factorize_bytes(self.0)?.codes;
        Ok(Cow::Owned(codes.into_par_iter().map(i64::from).collect()))
    }
    fn as_numbers(&self) -> Option<Vec<i64>> {
        bits::numbers(self.0)
    }
}

/// What can be carried along: a word.
pub(crate) trait Value: Copy + Default + Send + Sync {
    fn to_word(self) -> u64;
    fn of_word(word: u64) -> Self;
}

impl Value for u32 {
    #[inline]
    fn to_word(self) -> u64 {
        self.into()
    }
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // it was one of 32 bits
    fn of_word(word: u64) -> Self {
        word as Self
    }
}

impl Value for i64 {
    #[inline]
    fn to_word(self) -> u64 {
        self.cast_unsigned()
    }
    #[inline]
    fn of_word(word: u64) -> Self {
        word.cast_signed()
    }
}

/// What is carried along with every event.
pub(crate) trait Carry: Copy + Send + Sync {
    type Value;
    fn of(&self, row: usize) -> Self::Value;
    /// The row, where that is what is carried.
    fn row(&self, value: Self::Value) -> usize;
}

/// What is carried along into the sessions' lists.
pub(crate) trait Listing: Carry<Value: Value> {
    /// Whether not every event is listed.
    fn filters(&self) -> bool;
    fn is_kept(&self, value: Self::Value) -> bool;
    fn is_repeat(&self, last: Self::Value, value: Self::Value) -> bool;
}

/// Nothing: sessions are numbered, not listed.
#[derive(Clone, Copy)]
pub(crate) struct Nothing;

impl Carry for Nothing {
    type Value = ();
    #[inline]
    fn of(&self, _: usize) {}
    #[inline]
    fn row(&self, (): ()) -> usize {
        0
    }
}

/// Row numbers.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) keep: Option<&'a [bool]>,
    pub(crate) drop_repeats: Option<SameItem<'a>>,
}

impl Carry for Rows<'_> {
    type Value = u32;
    #[inline]
    fn of(&self, row: usize) -> u32 {
        crate::sessions::row_number(row)
    }
    #[inline]
    fn row(&self, value: u32) -> usize {
        value as usize
    }
}

impl Listing for Rows<'_> {
    fn filters(&self) -> bool {
        self.keep.is_some() || self.drop_repeats.is_some()
    }
    #[inline]
    fn is_kept(&self, value: u32) -> bool {
        self.keep.is_none_or(|keep| keep[value as usize])
    }
    #[inline]
    fn is_repeat(&self, last: u32, value: u32) -> bool {
        self.drop_repeats.is_some_and(|same| same(last, value))
    }
}

/// The items themselves, where they are numbers.
#[derive(Clone, Copy)]
pub(crate) struct Items<'a> {
    pub(crate) items: &'a [i64],
    pub(crate) drop_repeats: bool,
}

impl Carry for Items<'_> {
    type Value = i64;
    #[inline]
    fn of(&self, row: usize) -> i64 {
        self.items[row]
    }
    #[inline]
    fn row(&self, _: i64) -> usize {
        0
    }
}

impl Listing for Items<'_> {
    fn filters(&self) -> bool {
        self.drop_repeats
    }
    #[inline]
    fn is_kept(&self, _: i64) -> bool {
        true
    }
    #[inline]
    fn is_repeat(&self, last: i64, value: i64) -> bool {
        self.drop_repeats && last == value
    }
}

/// Events by (time, row), and what of them is listed.
pub(crate) trait Timeline: Ordered {
    type Value: Value;
    fn len(&self) -> usize;
    fn filters(&self) -> bool;
    /// The visitor's key.
    fn key(&self, place: usize) -> i64;
    fn value(&self, place: usize) -> Self::Value;
    fn is_kept(&self, place: usize) -> bool;
    fn is_repeat(&self, last: usize, place: usize) -> bool;
}

/// A log that came in the order of time.
pub(crate) struct InOrder<'a, V: ?Sized, C> {
    pub(crate) visitors: &'a V,
    pub(crate) times: &'a [i64],
    pub(crate) carry: C,
    pub(crate) seed: Seed,
}

impl<V: Visitors + ?Sized, C: Carry> Ordered for InOrder<'_, V, C> {
    #[inline]
    fn time(&self, place: usize) -> i64 {
        self.times[place]
    }
    #[inline]
    fn event(&self, place: usize) -> Event {
        Event { time: self.times[place], key: self.visitors.key(place, self.seed), row: place }
    }
    #[inline]
    fn hash(&self, event: &Event) -> u64 {
        hash::<V>(event.key, self.seed)
    }
    #[inline]
    fn same(&self, place: usize, event: &Event) -> bool {
        if V::EXACT {
            return self.visitors.key(place, self.seed) == event.key;
        }
        place == event.row || self.visitors.same(place, event.row)
    }
}

impl<V: Visitors + ?Sized, C: Listing> Timeline for InOrder<'_, V, C> {
    type Value = C::Value;
    #[inline]
    fn len(&self) -> usize {
        self.times.len()
    }
    fn filters(&self) -> bool {
        self.carry.filters()
    }
    #[inline]
    fn key(&self, place: usize) -> i64 {
        self.visitors.key(place, self.seed)
    }
    #[inline]
    fn value(&self, place: usize) -> C::Value {
        self.carry.of(place)
    }
    #[inline]
    fn is_kept(&self, place: usize) -> bool {
        self.carry.is_kept(self.carry.of(place))
    }
    #[inline]
    fn is_repeat(&self, last: usize, place: usize) -> bool {
        self.carry.is_repeat(self.carry.of(last), self.carry.of(place))
    }
}

#[inline]
fn hash<V: Visitors + ?Sized>(key: i64, seed: Seed) -> u64 {
    if V::EXACT { seed.number(key) } else { key.cast_unsigned() }
}

/// What tells the events of a log by their entries.
pub(crate) struct Entries<'a, V: ?Sized, C> {
    pub(crate) visitors: &'a V,
    pub(crate) carry: C,
    pub(crate) seed: Seed,
    pub(crate) packing: Packing,
}

impl<V: ?Sized, C: Copy> Clone for Entries<'_, V, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: ?Sized, C: Copy> Copy for Entries<'_, V, C> {}

impl<V: Visitors + ?Sized, C: Carry> Entries<'_, V, C> {
    #[inline]
    pub(crate) fn time(&self, entry: &impl Entry<C::Value>) -> i64 {
        self.packing.first.wrapping_add(entry.since(self.packing).cast_signed())
    }
    #[inline]
    pub(crate) fn event(&self, entry: &impl Entry<C::Value>) -> Event {
        let key = entry.key(self.packing);
        Event { time: self.time(entry), key, row: self.carry.row(entry.value()) }
    }
    #[inline]
    pub(crate) fn hash(&self, event: &Event) -> u64 {
        hash::<V>(event.key, self.seed)
    }
    #[inline]
    pub(crate) fn same(&self, entry: &impl Entry<C::Value>, event: &Event) -> bool {
        let row = || self.carry.row(entry.value());
        entry.key(self.packing) == event.key && (V::EXACT || row() == event.row || self.visitors.same(row(), event.row))
    }
}

/// A log that was brought into the order of time.
pub(crate) struct Sorted<'a, V: ?Sized, C, const WORDS: usize> {
    pub(crate) log: Entries<'a, V, C>,
    pub(crate) entries: Vec<[u64; WORDS]>,
}

impl<V: Visitors + ?Sized, C: Carry, const WORDS: usize> Ordered for Sorted<'_, V, C, WORDS>
where
    [u64; WORDS]: Entry<C::Value>,
{
    #[inline]
    fn time(&self, place: usize) -> i64 {
        self.log.time(&self.entries[place])
    }
    #[inline]
    fn event(&self, place: usize) -> Event {
        self.log.event(&self.entries[place])
    }
    #[inline]
    fn hash(&self, event: &Event) -> u64 {
        self.log.hash(event)
    }
    #[inline]
    fn same(&self, place: usize, event: &Event) -> bool {
        self.log.same(&self.entries[place], event)
    }
}

impl<V: Visitors + ?Sized, C: Listing, const WORDS: usize> Timeline for Sorted<'_, V, C, WORDS>
where
    [u64; WORDS]: Entry<C::Value>,
{
    type Value = C::Value;
    #[inline]
    fn len(&self) -> usize {
        self.entries.len()
    }
    fn filters(&self) -> bool {
        self.log.carry.filters()
    }
    #[inline]
    fn key(&self, place: usize) -> i64 {
        self.entries[place].key(self.log.packing)
    }
    #[inline]
    fn value(&self, place: usize) -> C::Value {
        self.entries[place].value()
    }
    #[inline]
    fn is_kept(&self, place: usize) -> bool {
        self.log.carry.is_kept(self.value(place))
    }
    #[inline]
    fn is_repeat(&self, last: usize, place: usize) -> bool {
        self.log.carry.is_repeat(self.value(last), self.value(place))
    }
}

/// How an event's time and key are put into an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packing {
    /// The first time.
    pub(crate) first: i64,
    /// The smallest key.
    pub(crate) smallest: i64,
    /// Bits that keys need.
    pub(crate) key_bits: u32,
}

impl Packing {
    /// Keys that may be any number, as hashes are, take all bits.
    pub(crate) fn of<V: Visitors + ?Sized>(visitors: &V, span: &Span) -> Self {
        let any = Self { first: span.first, smallest: 0, key_bits: u64::BITS };
        if !V::EXACT {
            return any;
        }
        let Ok(keys) = visitors.numbers() else { return any };
        let (smallest, largest) = ends(&keys);
        let key_bits = u64::BITS - largest.wrapping_sub(smallest).leading_zeros();
        Self { first: span.first, smallest, key_bits }
    }

    /// Whether a time and a key need no more than 64 bits together.
    pub(crate) fn fits(&self, span: &Span) -> bool {
        self.key_bits + span.bits() <= u64::BITS && self.key_bits < u64::BITS
    }

    #[inline]
    fn pack(self, since: u64, key: i64) -> u64 {
        since << self.key_bits | key.wrapping_sub(self.smallest).cast_unsigned()
    }
    #[inline]
    fn since(self, word: u64) -> u64 {
        word >> self.key_bits
    }
    #[inline]
    fn key(self, word: u64) -> i64 {
        self.smallest.wrapping_add((word & ((1 << self.key_bits) - 1)).cast_signed())
    }
}

/// An event on its way into the order of time. Sorting keeps the order of rows among events of one time, so that the row
/// itself need not be there.
pub(crate) trait Entry<P>: Copy + Default + Send + Sync {
    fn new(packing: Packing, since: u64, key: i64, value: P) -> Self;
    /// The time since the first.
    fn since(&self, packing: Packing) -> u64;
    fn key(&self, packing: Packing) -> i64;
    fn value(&self) -> P;
}

/// Words of an event without a value whose time and key need no more than 64 bits together.
pub(crate) const NARROWEST: usize = 1;

impl Entry<()> for [u64; NARROWEST] {
    #[inline]
    fn new(packing: Packing, since: u64, key: i64, (): ()) -> Self {
        [packing.pack(since, key)]
    }
    #[inline]
    fn since(&self, packing: Packing) -> u64 {
        packing.since(self[0])
    }
    #[inline]
    fn key(&self, packing: Packing) -> i64 {
        packing.key(self[0])
    }
    #[inline]
    fn value(&self) {}
}

/// Words of an event with a value whose time and key need no more than 64 bits together.
pub(crate) const NARROW: usize = 2;

impl<P: Value> Entry<P> for [u64; NARROW] {
    #[inline]
    fn new(packing: Packing, since: u64, key: i64, value: P) -> Self {
        [packing.pack(since, key), value.to_word()]
    }
    #[inline]
    fn since(&self, packing: Packing) -> u64 {
        packing.since(self[0])
    }
    #[inline]
    fn key(&self, packing: Packing) -> i64 {
        packing.key(self[0])
    }
    #[inline]
    fn value(&self) -> P {
        P::of_word(self[1])
    }
}

/// Words of any other event.
pub(crate) const WIDE: usize = 3;

impl<P: Value> Entry<P> for [u64; WIDE] {
    #[inline]
    fn new(_: Packing, since: u64, key: i64, value: P) -> Self {
        [since, key.cast_unsigned(), value.to_word()]
    }
    #[inline]
    fn since(&self, _: Packing) -> u64 {
        self[0]
    }
    #[inline]
    fn key(&self, _: Packing) -> i64 {
        self[1].cast_signed()
    }
    #[inline]
    fn value(&self) -> P {
        P::of_word(self[2])
    }
}
