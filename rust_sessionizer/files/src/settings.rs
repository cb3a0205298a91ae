//! What is asked for.

use std::path::PathBuf;

use sessionizer_core::Error;

/// Type of a CSV column, where it is not to be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CsvType {
    /// Whole numbers of 64 bits.
    Integer,
    /// Floating-point numbers of 64 bits.
    Float,
    /// `true` and `false`.
    Boolean,
    /// Texts.
    Text,
}

impl CsvType {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Text => "string",
        }
    }
}

/// A part of the visitors, by the hash of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0.
    pub number: usize,
    /// How many parts there are.
    pub of: usize,
}

/// What a limit of memory is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of events and sessions that are kept in memory instead of on disk.
    pub kept: u64,
    /// Bytes that all threads together work with.
    pub work: u64,
}

/// How logs are read, cut and written.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest pause inside a session, in milliseconds; `None`: one session a value of `owner`.
    pub gap: Option<u64>,
    /// The column of the visitor, or of the session where the log is already sessionized: integers or texts.
    pub owner: String,
    /// The column of the item: integers or texts.
    pub item: String,
    /// The column of the time.
    pub timestamp: String,
    /// Columns that are carried along as lists.
    pub extra: Vec<String>,
    /// Columns in which all events of a session are alike, beside the owner; a session has one value of each.
    pub apart: Vec<String>,
    /// Columns of which a session has the value of its first listed event, null or not.
    pub of_first: Vec<String>,
    /// A column of Booleans: events where it is false hold a session together but are not listed.
    pub keep: Option<String>,
    /// Of listed events one after the other with the same item, list the first only.
    pub drop_repeats: bool,
    /// The columns of the result and their order; `None`: all.
    pub columns: Option<Vec<String>>,
    /// Only these visitors; `None`: all.
    pub shard: Option<Shard>,
    /// Whether to count the distinct owners.
    pub count_owners: bool,
    /// Bytes that may be held at once.
    pub memory_limit: u64,
    /// What the limit is spent on; `None`: a third is kept, two fifths are for work, the rest is for readers and writers.
    pub budget: Option<Budget>,
    /// Threads; `None`: one a core.
    pub threads: Option<usize>,
    /// Into how many parts the log is split; `None`: by size and limit. Makes no difference to the result.
    pub partitions: Option<usize>,
    /// Where intermediate files go; `None`: beside the output.
    pub scratch: Option<PathBuf>,
    /// What separates the fields of a CSV file.
    pub delimiter: u8,
    /// Types of CSV columns that are not to be guessed.
    pub csv_types: Vec<(String, CsvType)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gap: Some(30 * 60_000),
            owner: "visitor_id".to_owned(),
            item: "item_id".to_owned(),
            timestamp: "timestamp".to_owned(),
            extra: Vec::new(),
            apart: Vec::new(),
            of_first: Vec::new(),
            keep: None,
            drop_repeats: false,
            columns: None,
            shard: None,
            count_owners: false,
            memory_limit: 4 << 30,
            budget: None,
            threads: None,
            partitions: None,
            scratch: None,
            delimiter: b',',
            csv_types: Vec::new(),
        }
    }
}

/// Less than this cannot work.
pub(crate) const LEAST_MEMORY: u64 = 64 << 20;

/// Each of them has a file that is held open; parts of one that is split again share one.
pub(crate) const MOST_PARTITIONS: usize = 256;

impl Settings {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |name, value: String, expected| Err(Error::Setting { name, value, expected });
        if self.memory_limit < LEAST_MEMORY {
            return wrong("memory_limit", crate::error::size(self.memory_limit), "64 MiB or more");
        }
        if self.threads == Some(0) {
            return wrong("threads", "0".to_owned(), "1 or more, or None for all cores");
        }
        if let Some(partitions) = self.partitions.filter(|partitions| !(1..=MOST_PARTITIONS).contains(partitions)) {
            return wrong("partitions", partitions.to_string(), "1 to 256, or None to choose by size");
        }
        if let Some(shard) = self.shard.filter(|shard| shard.number >= shard.of) {
            return wrong(
                "shard",
                format!("{} of {}", shard.number, shard.of),
                "a number from 0 to below the number of shards",
            );
        }
        let read = crate::layout::wanted(self);
        if let Some((name, _)) = self.csv_types.iter().find(|(name, _)| read.iter().all(|(known, _)| known != name)) {
            return wrong(
                "csv_types",
                format!("for '{name}'"),
                "for columns that are read (visitor, item, session, extra, apart)",
            );
        }
        if matches!(self.delimiter, b'"' | b'\n' | b'\r') {
            return wrong("delimiter", format!("{:?}", char::from(self.delimiter)), "no quote and no end of line");
        }
        Ok(())
    }

    /// As many threads as asked for.
    pub(crate) fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// Reads a number of bytes such as `4GiB`, `512 MB` or `1073741824`.
///
/// # Errors
/// [`Error::Setting`] where the text is none.
pub fn parse_size(text: &str) -> Result<u64, Error> {
    const UNITS: [(&str, u64); 10] = [
        ("", 1),
        ("b", 1),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    let wrong = || Error::Setting {
        name: "memory_limit",
        value: format!("'{text}'"),
        expected: "a number with a unit, such as '4GiB' or '512MiB', or a number of bytes",
    };
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    #[allow(clippy::cast_precision_loss)] // a limit need not be exact to the byte
    let bytes = number * *factor as f64;
    if !(bytes.is_finite() && bytes < 9e18) {
        return Err(wrong());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within range, as just checked
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_and_without_units() {
        assert_eq!(parse_size("4GiB"), Ok(4 << 30));
        assert_eq!(parse_size(" 1.5 GiB "), Ok(3 << 29));
        assert_eq!(parse_size("512 MB"), Ok(512_000_000));
        assert_eq!(parse_size("1073741824"), Ok(1 << 30));
        for text in ["", "GiB", "4 GiBs", "-1GiB", "1e3", "..", "99999999999TiB"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }
}
