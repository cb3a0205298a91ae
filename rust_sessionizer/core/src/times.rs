//! Times of any unit in milliseconds.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::{Error, Result};

/// The unit that a time is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Days.
    Day,
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
    /// Nanoseconds.
    Nanosecond,
}

impl TimeUnit {
    fn plural(self) -> &'static str {
        match self {
            Self::Day => "days",
            Self::Second => "seconds",
            Self::Millisecond => "milliseconds",
            Self::Microsecond => "microseconds",
            Self::Nanosecond => "nanoseconds",
        }
    }
}

/// Times in milliseconds: coarser units multiplied, finer ones rounded down (towards the past).
///
/// # Errors
/// [`Error::TimeRange`] with the first row that does not fit.
pub fn to_millis<'a>(column: &str, values: &'a [i64], unit: TimeUnit) -> Result<Cow<'a, [i64]>> {
    let multiplied = |factor: i64| {
        let millis: Option<Vec<i64>> = values.par_iter().map(|value| value.checked_mul(factor)).collect();
        millis.map(Cow::Owned).ok_or_else(|| {
            let row = values.iter().position(|value| value.checked_mul(factor).is_none()).unwrap_or(0);
            Error::TimeRange { column: column.to_owned(), row, value: values[row].to_string(), unit: unit.plural() }
        })
    };
    let divided = |by: i64| Ok(Cow::Owned(values.par_iter().map(|value| value.div_euclid(by)).collect()));
    match unit {
        TimeUnit::Day => multiplied(86_400_000),
        TimeUnit::Second => multiplied(1_000),
        TimeUnit::Millisecond => Ok(Cow::Borrowed(values)),
        TimeUnit::Microsecond => divided(1_000),
        TimeUnit::Nanosecond => divided(1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finer_units_round_towards_the_past() {
        let micros = [1_999, -1, -1_000, i64::MIN];
        let millis = to_millis("t", &micros, TimeUnit::Microsecond);
        assert_eq!(millis.as_deref(), Ok(&[1, -1, -1, -9_223_372_036_854_776][..]));
    }

    #[test]
    fn coarser_units_that_do_not_fit_are_named() {
        let seconds = [1, i64::MAX / 1_000, i64::MAX / 1_000 + 1, i64::MIN];
        assert_eq!(
            to_millis("t", &seconds, TimeUnit::Second),
            Err(Error::TimeRange {
                column: "t".to_owned(),
                row: 2,
                value: "9223372036854776".to_owned(),
                unit: "seconds",
            })
        );
    }
}
