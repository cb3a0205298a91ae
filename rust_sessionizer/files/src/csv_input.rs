//! CSV files: a header, fields in quotes where they hold a delimiter, a quote (doubled) or an end of line.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use arrow_cast::parse::{string_to_datetime, string_to_time_nanoseconds};
use arrow_schema::{DataType, TimeUnit};
use chrono::Utc;
use memchr::memchr;
use memchr::memrchr;
use sessionizer_core::Error as InputError;

use crate::lane::{Lane, Values};
use crate::layout::{Found, Layout, Role, place_of, wanted};
use crate::settings::{CsvType, Settings};
use crate::watch::Watch;
use crate::{Error, Result};

/// Bytes that are handled at once. The same whatever the limit of memory, so that parts made on several machines fit together.
pub(crate) const BLOCK: usize = 4 << 20;

/// A longer record is taken for a quote that is never closed.
const LONGEST_RECORD: usize = 64 << 20;

/// Some programs begin UTF-8 texts with it.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Records that a type is guessed from.
const GUESSED_FROM: usize = 1_000;

/// A CSV file whose header was read.
#[derive(Debug)]
pub(crate) struct CsvFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    delimiter: u8,
    fields: usize,
    /// Of the wanted columns, by lane.
    places: Vec<usize>,
    columns: Vec<(String, Role)>,
}

impl CsvFile {
    /// Reads the header and guesses the types.
    pub(crate) fn open(path: &Path, settings: &Settings) -> Result<(Self, Vec<Found>)> {
        let bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
        let (names, block, begin) = header(path, settings.delimiter)?;
        let mut records = Records { block: &block, at: begin, delimiter: settings.delimiter };
        let mut fields = Vec::new();
        let wanted = wanted(settings);
        let find = |&(name, _): &(&str, Role)| place_of(name, &names).map_err(Error::column(path));
        let places = wanted.iter().map(find).collect::<Result<Vec<_>>>()?;
        let mut guesses = vec![Guess::default(); places.len()];
        for _ in 0..GUESSED_FROM {
            if !records.next(&mut fields) {
                break;
            }
            for (guess, &place) in guesses.iter_mut().zip(&places) {
                if let Some(field) = fields.get(place) {
                    guess.look_at(&field.text(&block));
                }
            }
        }
        let columns: Vec<Found> = wanted
            .iter()
            .zip(&guesses)
            .map(|((name, role), guess)| {
                let told = settings.csv_types.iter().find(|(column, _)| column == name).map(|(_, told)| *told);
                let data_type = match role {
                    Role::Time => crate::lane::in_utc(),
                    Role::Flag => DataType::Boolean,
                    Role::Id => {
                        arrow_type(told.unwrap_or(if guess.not_integer { CsvType::Text } else { CsvType::Integer }))
                    }
                    Role::Carried => arrow_type(told.unwrap_or_else(|| guess.guessed())),
                };
                let shown = guess.seen || told.is_some() || matches!(role, Role::Time | Role::Flag);
                Found { data_type, nullable: true, shown, csv: true }
            })
            .collect();
        for (found, (name, role)) in columns.iter().zip(&wanted) {
            found.check(name, *role).map_err(Error::column(path))?;
        }
        let file = Self {
            path: path.to_owned(),
            bytes,
            delimiter: settings.delimiter,
            fields: names.len(),
            places,
            columns: wanted.iter().map(|&(name, role)| (name.to_owned(), role)).collect(),
        };
        Ok((file, columns))
    }

    pub(crate) fn blocks(&self) -> Result<Blocks> {
        let mut blocks = Blocks::new(&self.path, self.delimiter)?;
        blocks.header = true;
        Ok(blocks)
    }

    /// The events of a block; the rows of errors are counted from its beginning.
    pub(crate) fn read(&self, block: &[u8], layout: &Layout) -> Result<Vec<Lane>> {
        let mut lanes = layout.empty();
        let mut records = Records::new(block, self.delimiter);
        let mut fields = Vec::with_capacity(self.fields);
        let mut row = 0;
        while records.next(&mut fields) {
            if fields.len() != self.fields {
                let reason = format!(
                    "has {} {} where the header has {}",
                    fields.len(),
                    if fields.len() == 1 { "field" } else { "fields" },
                    self.fields
                );
                return Err(Error::Record { file: self.path.clone(), row, reason });
            }
            for ((number, lane), &place) in lanes.iter_mut().enumerate().zip(&self.places) {
                let text = fields[place].text(block);
                if let Err(expected) = self.push(lane, number, &layout.lanes[number].data_type, &text) {
                    let column = self.columns[number].0.clone();
                    return Err(match expected {
                        None => Error::Column { file: self.path.clone(), error: InputError::NullValue { column, row } },
                        Some(expected) => {
                            Error::Value { file: self.path.clone(), column, row, value: shown(&text), expected }
                        }
                    });
                }
            }
            row += 1;
        }
        Ok(lanes)
    }

    /// Adds a value; otherwise what was expected, `None` for anything at all.
    fn push(
        &self,
        lane: &mut Lane,
        number: usize,
        data_type: &DataType,
        text: &[u8],
    ) -> std::result::Result<(), Option<Cow<'static, str>>> {
        let role = self.columns[number].1;
        if let Some(valid) = &mut lane.valid {
            valid.push(u8::from(!text.is_empty()));
        } else if text.is_empty() {
            return Err(None);
        }
        match &mut lane.values {
            Values::Text { ends, bytes } => {
                if std::str::from_utf8(text).is_err() {
                    return Err(Some("UTF-8 text".into()));
                }
                bytes.extend_from_slice(text);
                ends.push(bytes.len() as u64);
            }
            Values::Fixed { width, bytes } if text.is_empty() => bytes.resize(bytes.len() + *width, 0),
            Values::Fixed { width: 8, bytes } if role == Role::Time => {
                let time =
                    time(text).ok_or(Some("a time: milliseconds, or text such as 2026-03-01T12:00:00Z".into()))?;
                bytes.extend_from_slice(&time.to_le_bytes());
            }
            Values::Fixed { bytes, .. } if matches!(data_type, DataType::Int64) => {
                let value = integer(text).ok_or_else(|| Some(expected(data_type)))?;
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            Values::Fixed { width, bytes } => {
                let value = fixed(text, data_type).ok_or_else(|| Some(expected(data_type)))?;
                bytes.extend_from_slice(&value[..*width]);
            }
        }
        Ok(())
    }

    /// The same error, its row counted from the beginning of the file and not of the block that begins at a byte. Reads the file
    /// again, since nobody counts rows as long as all is well.
    pub(crate) fn in_file(&self, begin: u64, mut error: Error, watch: &Watch) -> Result<Error> {
        if let Error::Value { row, .. } | Error::Record { row, .. } = &mut error {
            *row += self.rows_before(begin, watch)?;
        } else if let Error::Column { error: InputError::NullValue { row, .. }, .. } = &mut error {
            *row += self.rows_before(begin, watch)?;
        }
        Ok(error)
    }

    fn rows_before(&self, begin: u64, watch: &Watch) -> Result<usize> {
        let mut before = 0;
        let mut blocks = self.blocks()?;
        while let Some((offset, block)) = blocks.next()? {
            watch.check()?;
            if offset >= begin {
                break;
            }
            let mut records = Records::new(&block, self.delimiter);
            let mut fields = Vec::new();
            while records.next(&mut fields) {
                before += 1;
            }
        }
        Ok(before)
    }
}

/// The names of the columns, the first block, and where the first record behind the header begins in it.
fn header(path: &Path, delimiter: u8) -> Result<(Vec<String>, Vec<u8>, usize)> {
    let mut blocks = Blocks::new(path, delimiter)?;
    let Some((_, block)) = blocks.next()? else {
        return Err(Error::unreadable(path, "it is empty; a CSV file begins with the names of its columns"));
    };
    let mut records = Records::new(&block, delimiter);
    let mut fields = Vec::new();
    records.next(&mut fields);
    let mut names = Vec::with_capacity(fields.len());
    for field in &fields {
        match String::from_utf8(field.text(&block).into_owned()) {
            Ok(name) => names.push(name),
            Err(_) => {
                return Err(Error::unreadable(path, "its header is no UTF-8 text; is it a CSV or a Parquet file?"));
            }
        }
    }
    let begin = records.at;
    Ok((names, block, begin))
}

/// The names of a file's columns.
pub(crate) fn names(path: &Path, delimiter: u8) -> Result<Vec<String>> {
    header(path, delimiter).map(|(names, _, _)| names)
}

fn arrow_type(csv_type: CsvType) -> DataType {
    match csv_type {
        CsvType::Integer => DataType::Int64,
        CsvType::Float => DataType::Float64,
        CsvType::Boolean => DataType::Boolean,
        CsvType::Text => DataType::LargeUtf8,
    }
}

/// What the values seen so far cannot be.
#[allow(clippy::struct_excessive_bools)] // each of them is one answer
#[derive(Debug, Clone, Copy, Default)]
struct Guess {
    not_integer: bool,
    not_float: bool,
    not_truth: bool,
    seen: bool,
}

impl Guess {
    fn look_at(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        self.seen = true;
        self.not_integer |= integer(text).is_none();
        self.not_float |= float(text).is_none();
        self.not_truth |= truth(text).is_none();
    }

    fn guessed(self) -> CsvType {
        match self {
            Self { seen: true, not_integer: false, .. } => CsvType::Integer,
            Self { seen: true, not_float: false, .. } => CsvType::Float,
            Self { seen: true, not_truth: false, .. } => CsvType::Boolean,
            _ => CsvType::Text,
        }
    }
}

fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for &digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
    }
    Some(value)
}

/// A value of a type of one width as bytes, those behind the width being of no use; `None` where the text is none.
fn fixed(text: &[u8], data_type: &DataType) -> Option<[u8; 8]> {
    use DataType::{
        Boolean, Date32, Date64, Float32, Float64, Int8, Int16, Int32, Time32, Time64, Timestamp, UInt8, UInt16,
        UInt32, UInt64,
    };
    let whole = match data_type {
        Boolean => truth(text)?.into(),
        Float64 => return Some(float(text)?.to_le_bytes()),
        Float32 => {
            let exact = float(text)?;
            #[allow(clippy::cast_possible_truncation)] // to the nearest there is
            let nearest = exact as f32;
            return (nearest.is_finite() || !exact.is_finite()).then_some(u64::from(nearest.to_bits()).to_le_bytes());
        }
        UInt64 => return Some(unsigned(text)?.to_le_bytes()),
        Date32 => day(text)?,
        Date64 => day(text)?.checked_mul(86_400_000)?,
        Timestamp(unit, _) => instant(text, *unit)?,
        Time32(unit) | Time64(unit) => of_day(text, *unit)?,
        _ => integer(text)?,
    };
    let fits = match data_type {
        Int8 => i8::try_from(whole).is_ok(),
        UInt8 => u8::try_from(whole).is_ok(),
        Int16 => i16::try_from(whole).is_ok(),
        UInt16 => u16::try_from(whole).is_ok(),
        Int32 | Date32 | Time32(_) => i32::try_from(whole).is_ok(),
        UInt32 => u32::try_from(whole).is_ok(),
        _ => true,
    };
    fits.then_some(whole.to_le_bytes())
}

/// What a text should be to become a value of a type of one width.
fn expected(data_type: &DataType) -> Cow<'static, str> {
    match data_type {
        DataType::Boolean => "true or false".into(),
        DataType::Float64 => "a number".into(),
        DataType::Int64 => "a whole number of 64 bits; csv_types can make the column a string".into(),
        other => format!("a value of type {other}, which the column has in the other files").into(),
    }
}

/// Whole numbers in the unit of the column, or an instant as text.
fn instant(text: &[u8], unit: TimeUnit) -> Option<i64> {
    integer(text).or_else(|| {
        let instant = string_to_datetime(&Utc, std::str::from_utf8(text).ok()?).ok()?;
        match unit {
            TimeUnit::Second => Some(instant.timestamp()),
            TimeUnit::Millisecond => Some(instant.timestamp_millis()),
            TimeUnit::Microsecond => Some(instant.timestamp_micros()),
            TimeUnit::Nanosecond => instant.timestamp_nanos_opt(),
        }
    })
}

/// Whole days, or a date as text.
fn day(text: &[u8]) -> Option<i64> {
    integer(text).or_else(|| {
        let seconds = string_to_datetime(&Utc, std::str::from_utf8(text).ok()?).ok()?.timestamp();
        (seconds.rem_euclid(86_400) == 0).then_some(seconds.div_euclid(86_400))
    })
}

/// Whole numbers in the unit of the column, or a time of day as text.
fn of_day(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let nanos = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    integer(text).or_else(|| Some(string_to_time_nanoseconds(std::str::from_utf8(text).ok()?).ok()?.div_euclid(nanos)))
}

fn unsigned(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if all { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

fn float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn truth(text: &[u8]) -> Option<bool> {
    if text == b"1" || text.eq_ignore_ascii_case(b"true") {
        return Some(true);
    }
    (text == b"0" || text.eq_ignore_ascii_case(b"false")).then_some(false)
}

fn time(text: &[u8]) -> Option<i64> {
    integer(text).or_else(|| Some(string_to_datetime(&Utc, std::str::from_utf8(text).ok()?).ok()?.timestamp_millis()))
}

/// A value as far as it is worth showing.
fn shown(text: &[u8]) -> String {
    let lossy = String::from_utf8_lossy(text);
    let mut short: String = lossy.chars().take(60).collect();
    if short.len() < lossy.len() {
        short.push('…');
    }
    short
}

/// Where a field lies in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    begin: usize,
    end: usize,
    /// It holds doubled quotes.
    doubled: bool,
}

impl Field {
    fn text<'a>(&self, block: &'a [u8]) -> Cow<'a, [u8]> {
        let text = &block[self.begin..self.end];
        if !self.doubled {
            return text.into();
        }
        let mut single = Vec::with_capacity(text.len());
        let mut left = text;
        while let Some(quote) = memchr(b'"', left) {
            single.extend_from_slice(&left[..=quote]);
            left = left.get(quote + 2..).unwrap_or_default();
        }
        single.extend_from_slice(left);
        single.into()
    }
}

/// The records of a block, one after the other; lines without anything are left out.
struct Records<'a> {
    block: &'a [u8],
    at: usize,
    delimiter: u8,
}

impl<'a> Records<'a> {
    fn new(block: &'a [u8], delimiter: u8) -> Self {
        Self { block, at: 0, delimiter }
    }

    /// Whether there was another record.
    fn next(&mut self, fields: &mut Vec<Field>) -> bool {
        fields.clear();
        while let Some(b'\n' | b'\r') = self.block.get(self.at) {
            self.at += 1;
        }
        if self.at >= self.block.len() {
            return false;
        }
        loop {
            let (field, end) = self.field(self.at);
            fields.push(field);
            self.at = end + 1;
            if self.block.get(end) != Some(&self.delimiter) {
                return true;
            }
        }
    }

    /// The field that begins at a byte, and where the delimiter or the end of line behind it is.
    fn field(&self, begin: usize) -> (Field, usize) {
        let block = self.block;
        if block.get(begin) == Some(&b'"') {
            let mut doubled = false;
            let mut at = begin + 1;
            while let Some(quote) = memchr(b'"', &block[at.min(block.len())..]) {
                at += quote + 1;
                if block.get(at) == Some(&b'"') {
                    doubled = true;
                    at += 1;
                    continue;
                }
                // What stands between the closing quote and the delimiter is left out.
                return (Field { begin: begin + 1, end: at - 1, doubled }, self.end(at));
            }
            return (Field { begin: (begin + 1).min(block.len()), end: block.len(), doubled: false }, block.len());
        }
        let end = self.end(begin);
        let carriage = usize::from(end > begin && block.get(end) != Some(&self.delimiter) && block[end - 1] == b'\r');
        (Field { begin, end: end - carriage, doubled: false }, end)
    }

    fn end(&self, from: usize) -> usize {
        let rest = &self.block[from.min(self.block.len())..];
        from + rest.iter().position(|&byte| byte == self.delimiter || byte == b'\n').unwrap_or(rest.len())
    }
}

/// A file cut between records.
pub(crate) struct Blocks {
    path: PathBuf,
    file: File,
    delimiter: u8,
    offset: u64,
    rest: Vec<u8>,
    ended: bool,
    /// Whether the first record is to be left out.
    header: bool,
}

impl Blocks {
    fn new(path: &Path, delimiter: u8) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut rest = Vec::new();
        file.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut rest).map_err(Error::io(path))?;
        let mut offset = 0;
        if rest == BYTE_ORDER_MARK {
            offset = rest.len() as u64;
            rest.clear();
        }
        Ok(Self { path: path.to_owned(), file, delimiter, offset, rest, ended: false, header: false })
    }

    /// The next records, and where in the file they begin.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>> {
        let mut block = std::mem::take(&mut self.rest);
        loop {
            if !self.ended {
                let wanted = BLOCK as u64;
                let more = self.file.by_ref().take(wanted).read_to_end(&mut block).map_err(Error::io(&self.path))?;
                self.ended = (more as u64) < wanted;
            }
            if block.is_empty() {
                return Ok(None);
            }
            let end = if self.ended { Some(block.len()) } else { last_end(&block, self.delimiter) };
            if let Some(end) = end {
                self.rest = block.split_off(end);
                break;
            }
            if block.len() > LONGEST_RECORD {
                let reason = "a record is longer than 64 MiB; is a quote never closed?";
                return Err(Error::unreadable(&self.path, reason));
            }
        }
        let mut offset = self.offset;
        self.offset += block.len() as u64;
        if std::mem::take(&mut self.header) {
            let mut records = Records::new(&block, self.delimiter);
            records.next(&mut Vec::new());
            let end = records.at.min(block.len());
            offset += end as u64;
            block.drain(..end);
        }
        Ok(Some((offset, block)))
    }
}

/// Behind the last whole record of a block that begins with one.
fn last_end(block: &[u8], delimiter: u8) -> Option<usize> {
    if memchr(b'"', block).is_none() {
        return memrchr(b'\n', block).map(|end| end + 1);
    }
    let mut records = Records::new(block, delimiter);
    let mut fields = Vec::new();
    let mut last = None;
    while records.next(&mut fields) {
        if records.at > block.len() || block[records.at - 1] != b'\n' {
            break;
        }
        last = Some(records.at);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<Vec<String>> {
        let block = text.as_bytes();
        let mut records = Records::new(block, b',');
        let mut fields = Vec::new();
        let mut found = Vec::new();
        while records.next(&mut fields) {
            found.push(fields.iter().map(|field| String::from_utf8_lossy(&field.text(block)).into_owned()).collect());
        }
        found
    }

    #[test]
    fn quotes_delimiters_and_ends_of_line() {
        assert_eq!(parsed("a,b\r\n1,2\n\n3,\n"), [["a", "b"], ["1", "2"], ["3", ""]]);
        assert_eq!(parsed("\"a,\"\"b\"\"\nc\",d\n5\" disc,e"), [["a,\"b\"\nc", "d"], ["5\" disc", "e"]]);
        assert_eq!(parsed(",\n"), [["", ""]]);
        assert_eq!(parsed("\"never closed, \n"), [["never closed, \n"]]);
        assert_eq!(parsed("\""), [[""]]);
        assert_eq!(parsed("\"a\"x,\"\""), [["a", ""]]);
    }

    #[test]
    fn blocks_end_between_records() {
        assert_eq!(last_end(b"a,b\nc,d\ne", b','), Some(8));
        assert_eq!(last_end(b"a,\"b\nc\"\n\"d\ne", b','), Some(8));
        assert_eq!(last_end(b"abc", b','), None);
        assert_eq!(last_end(b"\"abc\n", b','), None);
    }

    #[test]
    fn numbers_truths_and_times() {
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"9223372036854775808"), None);
        assert_eq!([integer(b""), integer(b"-"), integer(b"1a"), integer(b"1.0")], [None; 4]);
        assert_eq!([truth(b"TRUE"), truth(b"0"), truth(b"yes")], [Some(true), Some(false), None]);
        assert_eq!(time(b"1970-01-01T00:00:01.5Z"), Some(1_500));
        assert_eq!(time(b"1970-01-01 00:00:01"), Some(1_000));
        assert_eq!(time(b"1970-01-01"), Some(0));
        assert_eq!(time(b"31.12.2024 late"), None);
    }
}
