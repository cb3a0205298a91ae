//! What is asked.

use crate::error::{Error, Result};
use crate::index::{Rarities, View};
use crate::parameters::Parameters;

/// Lists of items: list q is `items[begins[q]..ends[q]]`. Lists may overlap, as those of a session's prefixes do.
#[derive(Clone, Copy)]
pub struct Clicks<'a> {
    /// The items of all lists; −1 is an item that is not known, which is skipped.
    pub items: &'a [i32],
    /// [Q].
    pub begins: &'a [i64],
    /// [Q].
    pub ends: &'a [i64],
}

impl<'a> Clicks<'a> {
    /// Lists.
    #[must_use]
    pub fn len(self) -> usize {
        self.begins.len()
    }

    /// Whether there is no list.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.begins.is_empty()
    }

    pub(crate) fn get(self, list: usize) -> &'a [i32] {
        self.range(list).unwrap_or_default()
    }

    fn range(self, list: usize) -> Option<&'a [i32]> {
        let begin = usize::try_from(self.begins[list]).ok()?;
        let end = usize::try_from(self.ends[list]).ok()?;
        self.items.get(begin..end)
    }

    pub(crate) fn check(self, what: &'static str, name: &'static str, items: usize) -> Result<()> {
        if self.ends.len() != self.begins.len() {
            return Err(Error::Length { name: "ends", found: self.ends.len(), expected: self.begins.len() });
        }
        if let Some(number) = (0..self.len()).find(|&list| self.range(list).is_none()) {
            let (begin, end) = (self.begins[number], self.ends[number]);
            return Err(Error::Range { what, number, begin, end, clicks: self.items.len() });
        }
        // A call may ask little of a long array, or the same clicks many times.
        let asked: usize = (0..self.len()).map(|list| self.get(list).len()).sum();
        if asked >= self.items.len() {
            return known(name, self.items, 0, items);
        }
        (0..self.len()).try_for_each(|list| {
            let own = self.get(list);
            known(name, own, usize::try_from(self.begins[list]).unwrap_or(0), items)
        })
    }
}

/// Refuses items that are neither of the vocabulary nor −1; `named` is the array from `first` on.
pub(crate) fn known(name: &'static str, named: &[i32], first: usize, items: usize) -> Result<()> {
    match named.iter().position(|&item| item < -1 || item >= 0 && item.cast_unsigned() as usize >= items) {
        None => Ok(()),
        Some(place) => Err(Error::Item { name, place: first + place, item: named[place], items, unknown: true }),
    }
}

/// An item of a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clicked {
    pub item: u32,
    /// What it counts in the similarity.
    pub weight: f64,
    /// What its vote counts.
    pub vote: f64,
}

/// The distinct items among a query's last known clicks, the one clicked last first.
pub(crate) fn prepare(
    view: &View,
    parameters: &Parameters,
    rarities: &mut Rarities,
    clicks: &[i32],
    query: &mut Vec<Clicked>,
) {
    let settings = &parameters.settings;
    query.clear();
    rarities.set_power(settings.idf_similarity);
    let known = clicks.iter().rev().filter_map(|&item| u32::try_from(item).ok()).take(settings.max_length);
    let length = known.clone().count();
    for (distance, item) in known.enumerate() {
        if query.iter().any(|clicked| clicked.item == item) {
            continue;
        }
        let mut weight = settings.query_decay.at(distance, length);
        if settings.idf_similarity > 0.0 {
            weight *= rarities.of(view, item);
        }
        query.push(Clicked { item, weight, vote: settings.anchor_decay.at(distance, length) });
    }
}
