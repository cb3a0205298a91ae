//! The gap: the longest pause that does not end a session.

use crate::{Error, Result};

const UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Reads a length of time such as `30m`, `1h30m` or `7d` and gives it in milliseconds.
///
/// # Errors
/// [`Error::Gap`] where the text is no length of time or is longer than 2^63 milliseconds.
pub fn parse_gap(text: &str) -> Result<u64> {
    let wrong = |reason| Error::Gap { name: "gap", gap: format!("'{text}'"), reason };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong("is empty"));
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return Err(wrong("has a part without a number"));
        }
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let millis = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, millis) = millis.ok_or_else(|| wrong("has a number without a known unit"))?;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*millis));
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| i64::try_from(*total).is_ok())
            .ok_or_else(|| wrong("is too long"))?;
        rest = tail.trim_start();
    }
    Ok(total)
}

/// Takes a gap that is already in milliseconds.
///
/// # Errors
/// [`Error::Gap`] where it is negative.
pub fn gap_from_millis(millis: i64) -> Result<u64> {
    u64::try_from(millis).map_err(|_| Error::Gap { name: "gap", gap: format!("{millis} ms"), reason: "is negative" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit_and_sums_parts() {
        assert_eq!(parse_gap("30m"), Ok(1_800_000));
        assert_eq!(parse_gap("1h30m"), Ok(5_400_000));
        assert_eq!(parse_gap(" 1w 2d 3h 4m 5s 6ms "), Ok(788_645_006));
        assert_eq!(parse_gap("0ms"), Ok(0));
    }

    #[test]
    fn refuses_what_is_no_length_of_time() {
        for text in ["", " ", "m", "30", "30 m", "1.5h", "-1h", "1y", "1M", "h1", "1h-1m", "٣m"] {
            assert!(matches!(parse_gap(text), Err(Error::Gap { .. })), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(parse_gap("9223372036854775807ms"), Ok(i64::MAX.unsigned_abs()));
        for text in ["9223372036854775808ms", "99999999999999999999ms", "999999999999999w"] {
            assert!(matches!(parse_gap(text), Err(Error::Gap { .. })), "{text:?}");
        }
        assert!(gap_from_millis(-1).is_err());
        assert_eq!(gap_from_millis(0), Ok(0));
    }
}
