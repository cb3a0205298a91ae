//! How the sessions most like a query are found, and how they vote.

use crate::decay::{Decay, Table};
use crate::error::{Error, Result};

/// Distances whose weights are looked up.
const LOOKED_UP: usize = 256;
/// The most clicks of a query that can be looked at: a bit each.
const LONGEST: usize = 64;
const STRONGEST: f64 = 4.0;
const LARGEST: f64 = 1_000.0;

/// Which shared clicks of a neighbour vote for the clicks around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The one clicked last in the query.
    Last,
    /// Each of them.
    All,
}

/// How often an item counts that a neighbour holds several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// Once, where it weighs most.
    Best,
    /// Each time.
    Sum,
}

/// The scoring family's parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The last clicks of a query that are looked at, in the second round too; what was clicked before them is not the query's.
    pub max_length: usize,
    /// The most recent sessions that share an item with the query, which are compared with it; 0: all.
    pub sample: usize,
    /// The sessions most like the query, which vote.
    pub neighbours: usize,
    /// What an item of the query counts, by the clicks after its last click.
    pub query_decay: Decay,
    /// The power of an item's rarity in the similarity.
    pub idf_similarity: f64,
    /// The power of a session's length that its similarity is divided by; 0.5 is the cosine's.
    pub length_norm: f64,
    /// A session so many milliseconds before the most recent one counts 1/e of it; 0: all alike.
    pub recency: i64,
    /// The power of the similarity by which a neighbour votes.
    pub sharpness: f64,
    /// Which shared clicks vote.
    pub anchor: Anchor,
    /// What a shared click's vote counts, by the clicks after it in the query.
    pub anchor_decay: Decay,
    /// What a click of a neighbour gets, by its distance to the shared click.
    pub distance_decay: Decay,
    /// The farthest clicks from the shared click that get anything; 0: all.
    pub reach: usize,
    /// What a click before the shared one gets of what it would get behind it.
    pub before: f64,
    /// What the shared click itself gets.
    pub same: f64,
    /// How often an item counts that a neighbour holds several times.
    pub repeats: Repeats,
    /// What items of the query are multiplied by.
    pub own: f64,
    /// The power of an item's rarity in its score.
    pub idf_score: f64,
    /// How many of the best items are asked in a second round, as a session that ends with the best; 0: there is none. Of more than
    /// `max_length`, the best `max_length` are.
    pub expand: usize,
    /// What the second round counts; both are divided by their highest score.
    pub expand_weight: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_length: 20,
            sample: 5_000,
            neighbours: 500,
            query_decay: Decay::Exponential(2.0),
            idf_similarity: 1.0,
            length_norm: 0.5,
            recency: 0,
            sharpness: 1.0,
            anchor: Anchor::Last,
            anchor_decay: Decay::None,
            distance_decay: Decay::Exponential(2.0),
            reach: 0,
            before: 0.5,
            same: 1.0,
            repeats: Repeats::Best,
            own: 1.0,
            idf_score: 0.0,
            expand: 0,
            expand_weight: 0.1,
        }
    }
}

/// Checked settings, with the weights that are looked up.
#[derive(Debug, Clone)]
pub struct Parameters {
    pub(crate) settings: Settings,
    pub(crate) distance: Table,
    /// `length^−length_norm`.
    norms: Vec<f64>,
}

impl Parameters {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// If one is out of its range.
    pub fn new(settings: Settings) -> Result<Self> {
        count("max_length", settings.max_length, LONGEST)?;
        count("neighbours", settings.neighbours, u32::MAX as usize)?;
        if settings.recency < 0 {
            refuse("recency", &settings.recency, "a number of milliseconds, or 0 for none".to_owned())?;
        }
        number("idf_similarity", settings.idf_similarity, STRONGEST)?;
        number("idf_score", settings.idf_score, STRONGEST)?;
        number("length_norm", settings.length_norm, STRONGEST)?;
        number("sharpness", settings.sharpness, STRONGEST)?;
        number("before", settings.before, LARGEST)?;
        number("same", settings.same, LARGEST)?;
        number("own", settings.own, LARGEST)?;
        number("expand_weight", settings.expand_weight, LARGEST)?;
        if settings.expand > LONGEST {
            refuse("expand", &settings.expand, format!("a number from 0 to {LONGEST}"))?;
        }
        let distance = Table::new(settings.distance_decay, LOOKED_UP);
        let norms = (0..LOOKED_UP).map(|length| norm(length, settings.length_norm)).collect();
        Ok(Self { settings, distance, norms })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    #[inline]
    pub(crate) fn norm(&self, length: usize) -> f64 {
        self.norms.get(length).copied().unwrap_or_else(|| norm(length, self.settings.length_norm))
    }
}

#[allow(clippy::cast_precision_loss)] // lengths are far below 2^53
fn norm(length: usize, power: f64) -> f64 {
    if power == 0.0 { 1.0 } else { (length as f64).powf(-power) }
}

fn count(name: &'static str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) { Ok(()) } else { refuse(name, &value, format!("a number from 1 to {most}")) }
}

fn number(name: &'static str, value: f64, most: f64) -> Result<()> {
    if (0.0..=most).contains(&value) { Ok(()) } else { refuse(name, &value, format!("a number from 0 to {most}")) }
}

fn refuse(name: &'static str, value: &dyn ToString, expected: String) -> Result<()> {
    Err(Error::Setting { name, value: value.to_string(), expected })
}
