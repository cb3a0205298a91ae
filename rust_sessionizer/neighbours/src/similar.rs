//! The sessions most like a query.

use crate::index::View;
use crate::parameters::Parameters;
use crate::queries::Clicked;

/// A session that shares an item with the query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Neighbour {
    pub session: u32,
    pub similarity: f64,
    /// Bit i is set where it holds the query's i-th item, and is among that item's most recent sessions.
    pub shared: u64,
}

/// The most similar of the most recent sessions that share an item with the query, the most recent first.
pub(crate) fn similar(view: &View, parameters: &Parameters, query: &[Clicked], found: &mut Vec<Neighbour>) {
    let settings = &parameters.settings;
    found.clear();
    let sample = if settings.sample == 0 { usize::MAX } else { settings.sample };
    // Each item's sessions, the most recent first, of which the head is looked at: its number + 1, 0 where there is none left.
    let mut lists: [&[u32]; u64::BITS as usize] = [&[]; u64::BITS as usize];
    let mut heads = [0_u32; u64::BITS as usize];
    let items = query.len().min(heads.len());
    let (lists, heads) = (&mut lists[..items], &mut heads[..items]);
    for ((list, head), clicked) in lists.iter_mut().zip(heads.iter_mut()).zip(query) {
        *list = view.of_item(clicked.item);
        *head = list.first().map_or(0, |&session| session + 1);
    }
    let mut newest_time = None;
    while found.len() < sample {
        let newest = heads.iter().copied().max().unwrap_or(0);
        if newest == 0 {
            break;
        }
        let (mut similarity, mut shared) = (0.0, 0);
        for (place, (list, head)) in lists.iter_mut().zip(heads.iter_mut()).enumerate() {
            if *head == newest {
                similarity += query[place].weight;
                shared |= 1 << place;
                *list = &list[1..];
                *head = list.first().map_or(0, |&session| session + 1);
            }
        }
        let session = newest - 1;
        similarity *= parameters.norm(view.length(session));
        if settings.recency > 0 {
            let time = view.times[session as usize];
            let newest_time = *newest_time.get_or_insert(time);
            similarity *= faded(newest_time - time, settings.recency);
        }
        found.push(Neighbour { session, similarity, shared });
    }
    if found.len() > settings.neighbours {
        found.select_nth_unstable_by(settings.neighbours - 1, |one, other| {
            other.similarity.total_cmp(&one.similarity).then(other.session.cmp(&one.session))
        });
        found.truncate(settings.neighbours);
        found.sort_unstable_by_key(|neighbour| std::cmp::Reverse(neighbour.session));
    }
}

#[allow(clippy::cast_precision_loss)] // spans of time are far below 2^53 milliseconds
fn faded(seconds: u32, recency: i64) -> f64 {
    (-f64::from(seconds) * 1_000.0 / recency as f64).exp()
}
