//! How a weight falls with a distance.

use crate::error::{Error, Result};

/// A weight of 1 at the distance 0 that never rises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// 1 at every distance.
    None,
    /// 1 − d/L, with L the length of what the distance is measured in.
    Length,
    /// 1 − d/scale, and 0 from `scale` on.
    Linear(f64),
    /// 1/(1 + d/scale).
    Harmonic(f64),
    /// exp(−d/scale).
    Exponential(f64),
}

impl Decay {
    /// The decay of a name: `none`, `length`, `linear`, `harmonic` or `exponential`.
    ///
    /// # Errors
    ///
    /// If there is no such form, or the scale is no positive number.
    pub fn named(setting: &'static str, form: &str, scale: f64) -> Result<Self> {
        let decay = match form {
            "none" => return Ok(Self::None),
            "length" => return Ok(Self::Length),
            "linear" => Self::Linear(scale),
            "harmonic" => Self::Harmonic(scale),
            "exponential" => Self::Exponential(scale),
            _ => {
                let expected = "none, length, linear, harmonic or exponential".to_owned();
                return Err(Error::Setting { name: setting, value: format!("'{form}'"), expected });
            }
        };
        if scale.is_finite() && scale > 0.0 {
            return Ok(decay);
        }
        let (value, expected) = (format!("'{form}' with the scale {scale}"), "given a positive scale".to_owned());
        Err(Error::Setting { name: setting, value, expected })
    }

    /// The weight at a distance, of something `length` long.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // lengths are far below 2^53
    pub fn at(self, distance: usize, length: usize) -> f64 {
        let far = distance as f64;
        match self {
            Self::None => 1.0,
            Self::Length => 1.0 - far / length as f64,
            Self::Linear(scale) => (1.0 - far / scale).max(0.0),
            Self::Harmonic(scale) => 1.0 / (1.0 + far / scale),
            Self::Exponential(scale) => (-far / scale).exp(),
        }
    }
}

/// A decay whose first weights are looked up.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    decay: Decay,
    first: Vec<f64>,
}

impl Table {
    pub(crate) fn new(decay: Decay, entries: usize) -> Self {
        let entries = if decay == Decay::Length { 0 } else { entries };
        Self { decay, first: (0..entries).map(|distance| decay.at(distance, 0)).collect() }
    }

    #[inline]
    pub(crate) fn at(&self, distance: usize, length: usize) -> f64 {
        match self.first.get(distance) {
            Some(&weight) => weight,
            None => self.decay.at(distance, length),
        }
    }

    /// The weights at the distances of something `length` long, where all of them are looked up.
    #[inline]
    pub(crate) fn upto(&self, length: usize) -> Option<&[f64]> {
        self.first.get(..length)
    }
}
