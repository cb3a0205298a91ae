//! Who and what: numbers or texts.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::Equivalent;

/// A visitor or an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// A number.
    Integer(i64),
    /// A number that is never negative.
    Unsigned(u64),
    /// A text.
    Text(Arc<str>),
}

/// A visitor or an item of somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdRef<'a> {
    /// A number.
    Integer(i64),
    /// A number that is never negative.
    Unsigned(u64),
    /// A text.
    Text(&'a str),
}

/// What kind of id it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Numbers.
    Integer,
    /// Numbers that are never negative, those of 2^63 and more among them.
    Unsigned,
    /// Texts.
    Text,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Unsigned => "unsigned integer",
            Self::Text => "string",
        }
    }
}

impl Id {
    /// The same, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> IdRef<'_> {
        match self {
            Self::Integer(number) => IdRef::Integer(*number),
            Self::Unsigned(number) => IdRef::Unsigned(*number),
            Self::Text(text) => IdRef::Text(text),
        }
    }
}

impl IdRef<'_> {
    /// Whether it is a number or a text.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Integer(_) => Kind::Integer,
            Self::Unsigned(_) => Kind::Unsigned,
            Self::Text(_) => Kind::Text,
        }
    }

    /// The same id of that kind: a number stays the number it is. `None` where it is none of that kind.
    pub(crate) fn of_kind(self, kind: Kind) -> Option<Self> {
        match (self, kind) {
            (Self::Integer(number), Kind::Unsigned) => u64::try_from(number).ok().map(Self::Unsigned),
            (Self::Unsigned(number), Kind::Integer) => i64::try_from(number).ok().map(Self::Integer),
            _ => (self.kind() == kind).then_some(self),
        }
    }

    pub(crate) fn owned(self) -> Id {
        match self {
            Self::Integer(number) => Id::Integer(number),
            Self::Unsigned(number) => Id::Unsigned(number),
            Self::Text(text) => Id::Text(text.into()),
        }
    }
}

impl Hash for IdRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Integer(number) => number.hash(state),
            Self::Unsigned(number) => number.hash(state),
            Self::Text(text) => text.hash(state),
        }
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl std::fmt::Display for IdRef<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(number) => write!(formatter, "{number}"),
            Self::Unsigned(number) => write!(formatter, "{number}"),
            Self::Text(text) => write!(formatter, "'{text}'"),
        }
    }
}

impl Equivalent<Id> for IdRef<'_> {
    fn equivalent(&self, key: &Id) -> bool {
        key.borrowed() == *self
    }
}
