//! A query's scores: its neighbours vote for the items around what they share with it.

use crate::index::{Rarities, View};
use crate::parameters::{Anchor, Parameters, Repeats};
use crate::queries::{Clicked, prepare};
use crate::similar::{Neighbour, similar};
use crate::sums::Sums;

/// What a query needs while it runs, and what it found.
#[derive(Default)]
pub(crate) struct Scratch {
    in_similarity: Rarities,
    in_score: Rarities,
    query: Vec<Clicked>,
    found: Vec<Neighbour>,
    places: Vec<usize>,
    /// What each click of a session gets of its vote.
    weights: Vec<f64>,
    sums: Sums,
    /// Of the sums' entries.
    totals: Vec<f64>,
    /// The same for the second round, for the items that are best in the first.
    second: Sums,
    best: Vec<i32>,
    /// Of the sums' entries; 0 where there is no vote after all.
    scores: Vec<f32>,
    /// Room for whoever asks.
    pub contenders: Vec<(f32, u32)>,
    pub excluded: Vec<u32>,
}

impl Scratch {
    /// Scores the items that the neighbours of a query vote for.
    pub(crate) fn score(&mut self, view: &View, parameters: &Parameters, clicks: &[i32]) {
        let settings = &parameters.settings;
        self.sums.clear();
        self.round(view, parameters, clicks);
        if settings.expand == 0 || settings.expand_weight == 0.0 {
            self.scores.clear();
            self.scores.extend(self.totals.iter().map(|&total| rounded(total)));
            return;
        }
        self.choose_best(settings.expand);
        let mut most = largest(&self.totals);
        if most > 0.0 && !self.best.is_empty() {
            let first = std::mem::take(&mut self.totals);
            std::mem::swap(&mut self.sums, &mut self.second);
            let best = std::mem::take(&mut self.best);
            self.sums.clear();
            self.round(view, parameters, &best);
            self.best = best;
            let second = std::mem::replace(&mut self.totals, first);
            std::mem::swap(&mut self.sums, &mut self.second);
            let most_of_second = largest(&second);
            most = if most_of_second > 0.0 { most * settings.expand_weight / most_of_second } else { 0.0 };
            for (entry, &total) in second.iter().enumerate() {
                let known = self.sums.place(self.second.item(entry));
                if known == self.totals.len() {
                    self.totals.push(0.0);
                }
                self.totals[known] += most * total;
            }
        }
        self.scores.clear();
        self.scores.extend(self.totals.iter().map(|&total| rounded(total)));
    }

    /// The totals of the votes for a list of clicks.
    fn round(&mut self, view: &View, parameters: &Parameters, clicks: &[i32]) {
        prepare(view, parameters, &mut self.in_similarity, clicks, &mut self.query);
        similar(view, parameters, &self.query, &mut self.found);
        self.vote(view, parameters);
        self.count(view, parameters);
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
            self.weights.clear();
            self.weights.resize(clicks.len(), 0.0);
            let mut shared = neighbour.shared;
            while shared != 0 {
                let anchor = self.query[shared.trailing_zeros() as usize];
                shared = if settings.anchor == Anchor::Last { 0 } else { shared & (shared - 1) };
                let places = clicks.iter().enumerate().filter(|&(_, &item)| item == anchor.item);
                self.places.clear();
                self.places.extend(places.map(|(place, _)| place));
                around(parameters, &self.places, anchor.vote, &mut self.weights);
            }
            voter += 1;
            for (&item, &weight) in clicks.iter().zip(&self.weights) {
                if weight > 0.0 {
                    self.sums.vote(item, voter, strength * weight);
                    voter += u32::from(settings.repeats == Repeats::Sum);
                }
            }
        }
    }

    fn count(&mut self, view: &View, parameters: &Parameters) {
        let settings = &parameters.settings;
        self.totals.clear();
        self.in_score.set_power(settings.idf_score);
        for entry in 0..self.sums.len() {
            let mut total = self.sums.total(entry);
            if settings.idf_score > 0.0 {
                total *= self.in_score.of(view, self.sums.item(entry));
            }
            self.totals.push(total);
        }
        for clicked in &self.query {
            if let Some(entry) = self.sums.find(clicked.item) {
                self.totals[entry] *= settings.own;
            }
        }
    }

    /// The best items that the query does not hold, the best one last.
    fn choose_best(&mut self, number: usize) {
        let entries = self.totals.iter().enumerate();
        let all = entries.map(|(entry, &total)| (rounded(total), self.sums.item(entry)));
        self.contenders.clear();
        self.contenders
            .extend(all.filter(|&(score, item)| score > 0.0 && !self.query.iter().any(|clicked| clicked.item == item)));
        keep_best(&mut self.contenders, number);
        self.best.clear();
        self.best.extend(self.contenders.iter().rev().map(|&(_, item)| item.cast_signed()));
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

#[allow(clippy::cast_possible_truncation)] // the nearest f32 is what is meant
fn rounded(total: f64) -> f32 {
    total.min(f64::from(f32::MAX)) as f32
}

fn largest(totals: &[f64]) -> f64 {
    totals.iter().copied().fold(0.0, f64::max)
}

/// Keeps the best so many, best first, the smaller item first among equals.
pub(crate) fn keep_best(contenders: &mut Vec<(f32, u32)>, number: usize) {
    let better = |one: &(f32, u32), other: &(f32, u32)| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1));
    if contenders.len() > number {
        contenders.select_nth_unstable_by(number - 1, better);
        contenders.truncate(number);
    }
    contenders.sort_unstable_by(better);
}

/// Adds what the clicks of a session get around the `places` where it holds a shared item, each from the place that gives it most.
fn around(parameters: &Parameters, places: &[usize], vote: f64, weights: &mut [f64]) {
    let settings = &parameters.settings;
    let length = weights.len();
    let reach = if settings.reach == 0 { length } else { settings.reach };
    let weight = |distance: usize| if distance > reach { 0.0 } else { parameters.distance.at(distance, length) };
    let (Some(&first), Some(&last)) = (places.first(), places.last()) else { return };
    let window = first.saturating_sub(reach)..(last + 1).saturating_add(reach).min(length);
    if let ([place], Some(by_distance)) = (places, parameters.distance.upto(length)) {
        let (ahead, behind) = weights[window.clone()].split_at_mut(place - window.start);
        for (sum, weight) in ahead.iter_mut().rev().zip(&by_distance[1..]) {
            *sum += vote * (settings.before * weight);
        }
        behind[0] += vote * settings.same;
        for (sum, weight) in behind.iter_mut().zip(by_distance).skip(1) {
            *sum += vote * weight;
        }
        return;
    }
    // The places before a click are `places[..earlier]`.
    let mut earlier = 0;
    for (place, sum) in window.clone().zip(&mut weights[window]) {
        while places.get(earlier).is_some_and(|&shared| shared < place) {
            earlier += 1;
        }
        let mut most: f64 = 0.0;
        if earlier > 0 {
            most = weight(place - places[earlier - 1]);
        }
        let mut later = earlier;
        if places.get(earlier) == Some(&place) {
            most = most.max(settings.same);
            later += 1;
        }
        if let Some(&shared) = places.get(later) {
            most = most.max(settings.before * weight(shared - place));
        }
        *sum += vote * most;
    }
}
