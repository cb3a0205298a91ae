//! What is ranked.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::tile::score;

/// The items: V rows of a table, and a bias each.
#[derive(Clone, Copy)]
pub struct Items<'a> {
    /// [V, H].
    pub table: &'a [f32],
    /// [V].
    pub bias: &'a [f32],
}

/// The queries, and the item whose rank each asks for.
#[derive(Clone, Copy)]
pub struct Queries<'a> {
    /// [Q, H].
    pub outputs: &'a [f32],
    /// H.
    pub width: usize,
    /// [Q].
    pub targets: &'a [i32],
    /// What each query leaves out.
    pub excluded: Option<Excluded<'a>>,
}

/// Query q leaves out `items[begins[q]..ends[q]]`; ranges may overlap, and hold an item twice.
#[derive(Clone, Copy)]
pub struct Excluded<'a> {
    /// [Q].
    pub begins: &'a [i64],
    /// [Q].
    pub ends: &'a [i64],
    /// The items of all queries.
    pub items: &'a [i32],
}

impl Items<'_> {
    pub(crate) fn count(self) -> usize {
        self.bias.len()
    }
}

impl<'a> Queries<'a> {
    pub(crate) fn count(self) -> usize {
        self.targets.len()
    }

    /// The vector of a query.
    #[inline(always)]
    pub(crate) fn output(self, query: usize) -> &'a [f32] {
        &self.outputs[query * self.width..][..self.width]
    }

    /// One score by itself.
    #[inline(always)]
    pub(crate) fn score(self, query: usize, items: Items, item: i32) -> f32 {
        let item = place(item);
        score(self.output(query), &items.table[item * self.width..][..self.width], items.bias[item])
    }

    pub(crate) fn check(self, items: Items) -> Result<()> {
        let (queries, width) = (self.count(), self.width);
        if width == 0 {
            return Err(Error::Setting { name: "the width", value: width.to_string(), expected: "1 or more" });
        }
        if items.count() >= i32::MAX as usize {
            let value = items.count().to_string();
            return Err(Error::Setting { name: "the number of items", value, expected: "less than 2147483647" });
        }
        length("outputs", self.outputs.len(), queries * width)?;
        length("table", items.table.len(), items.count() * width)?;
        known("targets", self.targets, items.count())?;
        self.excluded.map_or(Ok(()), |excluded| excluded.check(queries, items.count()))
    }
}

impl<'a> Excluded<'a> {
    pub(crate) fn check(self, queries: usize, items: usize) -> Result<()> {
        length("begins", self.begins.len(), queries)?;
        length("ends", self.ends.len(), queries)?;
        known("excluded", self.items, items)?;
        match (0..queries).find(|&query| self.of(query).is_none()) {
            None => Ok(()),
            Some(query) => {
                let (begin, end) = (self.begins[query], self.ends[query]);
                Err(Error::Range { query, begin, end, entries: self.items.len() })
            }
        }
    }

    /// A query's, ascending, each once.
    pub(crate) fn sorted(self, query: usize) -> Vec<i32> {
        let mut own = self.of(query).unwrap_or_default().to_vec();
        own.sort_unstable();
        own.dedup();
        own
    }

    fn of(self, query: usize) -> Option<&'a [i32]> {
        let begin = usize::try_from(self.begins[query]).ok()?;
        let end = usize::try_from(self.ends[query]).ok()?;
        self.items.get(begin..end)
    }
}

/// What some queries leave out: each query's items sorted, each once.
pub(crate) struct LeftOut {
    items: Vec<i32>,
    /// Where each query's items end; empty where no query leaves out anything.
    ends: Vec<usize>,
}

impl LeftOut {
    pub(crate) fn of(queries: Queries, range: Range<usize>) -> Self {
        let mut left_out = Self { items: Vec::new(), ends: Vec::new() };
        let Some(excluded) = queries.excluded else { return left_out };
        for query in range {
            left_out.items.extend_from_slice(&excluded.sorted(query));
            left_out.ends.push(left_out.items.len());
        }
        left_out
    }

    /// Of a query, counted from the first of the range.
    pub(crate) fn get(&self, query: usize) -> &[i32] {
        let Some(&end) = self.ends.get(query) else { return &[] };
        let begin = if query == 0 { 0 } else { self.ends[query - 1] };
        &self.items[begin..end]
    }
}

/// Where an item stands in the table; nowhere, where it is negative.
#[inline(always)]
fn place(item: i32) -> usize {
    item.cast_unsigned() as usize
}

fn length(name: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::Length { name, found, expected }) }
}

fn known(name: &'static str, named: &[i32], items: usize) -> Result<()> {
    match named.iter().find(|&&item| place(item) >= items) {
        None => Ok(()),
        Some(&item) => Err(Error::Item { name, item, items }),
    }
}
