//! The best items of each query.

/// A list a query: the best items so far, best first, the smaller index first among equals.
pub(crate) struct Best<'a> {
    length: usize,
    /// [queries, length]; -inf where there is no item yet.
    scores: Vec<f32>,
    /// [queries, length]; -1 where there is no item yet.
    items: &'a mut [i32],
}

impl<'a> Best<'a> {
    pub(crate) fn new(length: usize, items: &'a mut [i32]) -> Self {
        items.fill(-1);
        Self { length, scores: vec![f32::NEG_INFINITY; items.len()], items }
    }

    /// The score that an item of any query must exceed to be listed, at first.
    pub(crate) fn least(&self) -> f32 {
        if self.length == 0 { f32::INFINITY } else { f32::NEG_INFINITY }
    }

    /// Lists an item that scores higher than the last of its query's list; the score of the new last one.
    ///
    /// A query's items come by rising index.
    pub(crate) fn insert(&mut self, query: usize, score: f32, item: i32) -> f32 {
        let range = query * self.length..(query + 1) * self.length;
        let (scores, items) = (&mut self.scores[range.clone()], &mut self.items[range]);
        let mut place = scores.len() - 1;
        while place > 0 && scores[place - 1] < score {
            scores[place] = scores[place - 1];
            items[place] = items[place - 1];
            place -= 1;
        }
        scores[place] = score;
        items[place] = item;
        scores[scores.len() - 1]
    }
}
