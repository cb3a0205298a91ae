//! Which columns are read, and of what types they are in all files.

use std::path::{Path, PathBuf};

use arrow_schema::DataType;
use sessionizer_core::Error as InputError;

use crate::lane::{Kind, Lane, in_utc, kind, plain};
use crate::settings::{CsvType, Settings};
use crate::{Error, Result};

/// A column of the result that is not computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
}

impl Column {
    pub(crate) fn kind(&self) -> Kind {
        kind(&self.data_type).unwrap_or(Kind::Fixed(8))
    }

    pub(crate) fn empty(&self) -> Lane {
        Lane::new(self.kind(), self.nullable)
    }
}

/// What is known of every event, a lane each: its time, owner and item, whether it is kept, what its session is apart by, what a
/// session has of its first event, and what is carried along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) lanes: Vec<Column>,
    pub(crate) keeps: bool,
    pub(crate) apart: usize,
    pub(crate) of_first: usize,
}

pub(crate) const TIME: usize = 0;
pub(crate) const OWNER: usize = 1;
pub(crate) const ITEM: usize = 2;
pub(crate) const KEEP: usize = 3;

impl Layout {
    fn first_apart(&self) -> usize {
        KEEP + usize::from(self.keeps)
    }

    /// The lanes by which events are grouped: the owner, then what sessions are apart by.
    pub(crate) fn key_lanes(&self) -> Vec<usize> {
        let first = self.first_apart();
        [OWNER].into_iter().chain(first..first + self.apart).collect()
    }

    /// The lanes that a session has one value of: those, then what it has of its first event.
    pub(crate) fn session_lanes(&self) -> Vec<usize> {
        let first = self.first_apart();
        [OWNER].into_iter().chain(first..first + self.apart + self.of_first).collect()
    }

    /// The lanes that are listed: item and time, then what is carried along.
    pub(crate) fn click_lanes(&self) -> Vec<usize> {
        [ITEM, TIME].into_iter().chain(self.first_apart() + self.apart + self.of_first..self.lanes.len()).collect()
    }

    /// How many of the last lanes may hold nulls: all but time, owner, item and whether an event is kept.
    pub(crate) fn carried(&self) -> usize {
        self.lanes.len() - self.first_apart()
    }

    pub(crate) fn empty(&self) -> Vec<Lane> {
        self.lanes.iter().map(Column::empty).collect()
    }

    /// Bytes that an event takes, texts taken for 24 of them.
    pub(crate) fn width(&self) -> u64 {
        self.width_with(24)
    }

    /// Bytes that an event takes in a block beside its texts.
    pub(crate) fn width_without_texts(&self) -> u64 {
        self.width_with(4)
    }

    fn width_with(&self, text: u64) -> u64 {
        let width = |column: &Column| {
            let values = match column.kind() {
                Kind::Fixed(width) => width as u64,
                Kind::Text => text,
            };
            values + u64::from(column.nullable)
        };
        4 + self.lanes.iter().map(width).sum::<u64>()
    }
}

/// What a column is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Time,
    Id,
    Flag,
    Carried,
}

/// The columns to be read, in the order of the lanes.
pub(crate) fn wanted(settings: &Settings) -> Vec<(&str, Role)> {
    let mut wanted =
        vec![(settings.timestamp.as_str(), Role::Time), (&settings.owner, Role::Id), (&settings.item, Role::Id)];
    wanted.extend(settings.keep.iter().map(|name| (name.as_str(), Role::Flag)));
    wanted.extend(
        settings
            .apart
            .iter()
            .chain(&settings.of_first)
            .chain(&settings.extra)
            .map(|name| (name.as_str(), Role::Carried)),
    );
    wanted
}

/// What one file says of a wanted column.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
    /// Whether the file itself shows the type: a CSV file without a value in the column takes that of the others.
    pub(crate) shown: bool,
    /// Whether the type is that of a text, which may be read otherwise.
    pub(crate) csv: bool,
}

impl Found {
    /// Refuses a type that cannot be used for its purpose.
    pub(crate) fn check(&self, name: &str, role: Role) -> std::result::Result<(), InputError> {
        let data_type = plain(&self.data_type);
        let (usable, expected) = match role {
            Role::Id => (data_type.is_integer() || data_type == DataType::LargeUtf8, "an integer or a string"),
            Role::Time => (
                data_type.is_integer()
                    || matches!(data_type, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64),
                "a timestamp, a date or an integer (milliseconds)",
            ),
            Role::Flag => (data_type == DataType::Boolean, "a Boolean"),
            Role::Carried => {
                (kind(&data_type).is_some(), "an integer, a float, a Boolean, a timestamp, a date or a string")
            }
        };
        if usable {
            return Ok(());
        }
        Err(InputError::ColumnType { column: name.to_owned(), found: self.data_type.to_string(), expected })
    }
}

/// The layout of all files together.
pub(crate) fn combine(settings: &Settings, files: &[(&Path, Vec<Found>)]) -> Result<Layout> {
    let wanted = wanted(settings);
    let mut lanes: Vec<Column> = Vec::new();
    for (place, (name, role)) in wanted.iter().enumerate() {
        let mut known: Option<(PathBuf, Found)> = None;
        for (file, found) in files {
            let mut found = found[place].clone();
            found.data_type = if *role == Role::Time { in_utc() } else { plain(&found.data_type) };
            let Some((first, known)) = &mut known else {
                known = Some(((*file).to_owned(), found));
                continue;
            };
            if known.shown && found.shown && known.data_type != found.data_type {
                let common = common(known, &found);
                return Err(Error::Differs {
                    column: (*name).to_owned(),
                    file: (*file).to_owned(),
                    found: found.data_type.to_string().into(),
                    first: first.clone(),
                    expected: known.data_type.to_string().into(),
                    common,
                });
            }
            known.nullable |= found.nullable;
            if !known.shown {
                (*file).clone_into(first);
                (known.data_type, known.shown, known.csv) = (found.data_type, found.shown, found.csv);
            }
        }
        let Found { data_type, nullable, .. } = known.ok_or(Error::NoInput)?.1;
        lanes.push(Column { name: (*name).to_owned(), data_type, nullable: nullable && *role == Role::Carried });
    }
    Ok(Layout { lanes, keeps: settings.keep.is_some(), apart: settings.apart.len(), of_first: settings.of_first.len() })
}

/// What to take CSV files' texts for, so that both files have one type; `None` where nothing would do.
fn common(a: &Found, b: &Found) -> Option<CsvType> {
    let numbers = [a, b].iter().all(|found| matches!(found.data_type, DataType::Int64 | DataType::Float64));
    // The other file has the type that it has.
    match (a.csv, b.csv) {
        (true, true) => Some(if numbers { CsvType::Float } else { CsvType::Text }),
        (true, false) if b.data_type == DataType::LargeUtf8 => Some(CsvType::Text),
        (false, true) if a.data_type == DataType::LargeUtf8 => Some(CsvType::Text),
        (true, false) if numbers && b.data_type == DataType::Float64 => Some(CsvType::Float),
        (false, true) if numbers && a.data_type == DataType::Float64 => Some(CsvType::Float),
        _ => None,
    }
}

/// The one place of a column among those of a file.
pub(crate) fn place_of(name: &str, present: &[String]) -> std::result::Result<usize, InputError> {
    let mut places = (0..present.len()).filter(|&place| present[place] == name);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => Err(InputError::DuplicateColumn { column: name.to_owned() }),
        (None, _) => Err(InputError::MissingColumn { column: name.to_owned(), present: present.to_vec() }),
    }
}

/// The same error, its row counted from the beginning of the file.
pub(crate) fn moved(error: InputError, by: usize) -> InputError {
    match error {
        InputError::NullValue { column, row } => InputError::NullValue { column, row: row + by },
        InputError::TimeRange { column, row, value, unit } => {
            InputError::TimeRange { column, row: row + by, value, unit }
        }
        other => other,
    }
}
