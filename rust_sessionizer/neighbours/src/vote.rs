//! A query's scores: its neighbours vote for the items around what they share with it.

use crate::index::View;
use crate::parameters::{Anchor, Parameters, Repeats};
use crate::queries::{Clicked, prepare};
use crate::similar::{Neighbour, similar};
use crate::sums::Sums;

/// What a query needs while it runs, and what it found.
#[derive(Default)]
pub(crate) struct Scratch {
    query: Vec<Clicked>,
    found: Vec<Neighbour>,
    places: Vec<usize>,
    sums: Sums,
    /// Of the sums' entries; 0 where there is no vote after all.
    scores: Vec<f32>,
    /// Room for whoever asks.
    pub contenders: Vec<(f32, u32)>,
    pub excluded: Vec<u32>,
}

impl Scratch {
    /// Scores the items that the neighbours of a query vote for.
    pub(crate) fn score(&mut self, view: &View, parameters: &Parameters, clicks: &[i32]) {
        prepare(view, parameters, clicks, &mut self.query);
        similar(view, parameters, &self.query, &mut self.found);
        self.sums.clear();
        self.vote(view, parameters);
        self.finish(view, parameters);
    }

    fn vote(&mut self, view: &View, parameters: &Parameters) {
        let settings = &parameters.settings;
        let mut voter = 0;
        for neighbour in &self.found {
            if neighbour.similarity <= 0.0 {
                continue;
            }
            let strength = match settings.sharpness {
                1.0 => neighbour.similarity,
                power => neighbour.similarity.powf(power),
            };
            let clicks = view.session(neighbour.session);
            let mut shared = neighbour.shared;
            while shared != 0 {
                let anchor = self.query[shared.trailing_zeros() as usize];
                shared = if settings.anchor == Anchor::Last { 0 } else { shared & (shared - 1) };
                self.places.clear();
                self.places.extend(
                    clicks.iter().enumerate().filter(|&(_, &item)| item == anchor.item).map(|(place, _)| place),
                );
                voter += 1;
                around(parameters, clicks, &self.places, strength * anchor.vote, &mut voter, &mut self.sums);
            }
        }
    }

    fn finish(&mut self, view: &View, parameters: &Parameters) {
        let settings = &parameters.settings;
        self.scores.clear();
        for entry in 0..self.sums.len() {
            let item = self.sums.item(entry);
            let mut score = self.sums.total(entry);
            if settings.idf_score > 0.0 {
                score *= view.rarity(item).powf(settings.idf_score);
            }
            if self.query.iter().any(|clicked| clicked.item == item) {
                score *= settings.own;
            }
            #[allow(clippy::cast_possible_truncation)] // the nearest f32 is what is meant
            self.scores.push(score.min(f64::from(f32::MAX)) as f32);
        }
    }

    /// The items that are voted for, and their scores.
    pub(crate) fn scored(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        let all = self.scores.iter().enumerate().map(|(entry, &score)| (self.sums.item(entry), score));
        all.filter(|&(_, score)| score > 0.0)
    }

    /// The score of an item that is voted for.
    #[inline]
    pub(crate) fn voted(&self, item: u32) -> Option<f32> {
        self.sums.find(item).map(|entry| self.scores[entry]).filter(|&score| score > 0.0)
    }

    /// The score of any item.
    #[inline]
    pub(crate) fn of(&self, view: &View, item: u32) -> f32 {
        self.voted(item).unwrap_or_else(|| view.fill(item))
    }
}

/// Votes of a session for the items around the `places` where it holds the shared one.
fn around(parameters: &Parameters, clicks: &[u32], places: &[usize], strength: f64, voter: &mut u32, sums: &mut Sums) {
    let settings = &parameters.settings;
    let (Some(&first), Some(&last)) = (places.first(), places.last()) else { return };
    let reach = if settings.reach == 0 { clicks.len() } else { settings.reach };
    let weight = |distance: usize| {
        if distance > reach { 0.0 } else { parameters.distance.at(distance, clicks.len()) }
    };
    // The places before a click are `places[..behind]`.
    let mut behind = 0;
    let window = first.saturating_sub(reach)..(last + 1).saturating_add(reach).min(clicks.len());
    for (place, &item) in window.clone().zip(&clicks[window]) {
        while places.get(behind).is_some_and(|&shared| shared < place) {
            behind += 1;
        }
        let mut most: f64 = 0.0;
        if behind > 0 {
            most = weight(place - places[behind - 1]);
        }
        let mut ahead = behind;
        if places.get(behind) == Some(&place) {
            most = most.max(settings.same);
            ahead += 1;
        }
        if let Some(&shared) = places.get(ahead) {
            most = most.max(settings.before * weight(shared - place));
        }
        if most > 0.0 {
            sums.vote(item, *voter, strength * most);
            if settings.repeats == Repeats::Sum {
                *voter += 1;
            }
        }
    }
}
