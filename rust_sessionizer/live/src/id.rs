//! Who and what: numbers or texts.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::Equivalent;

/// A visitor or an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// A number.
    Integer(i64),
    /// A text.
    Text(Arc<str>),
}

/// A visitor or an item of somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdRef<'a> {
    /// A number.
    Integer(i64),
    /// A text.
    Text(&'a str),
}

/// What kind of id it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Numbers.
    Integer,
    /// Texts.
    Text,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::Text => "a string",
        }
    }
}

impl Id {
    /// The same, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> IdRef<'_> {
        match self {
            Self::Integer(number) => IdRef::Integer(*number),
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
            Self::Text(_) => Kind::Text,
        }
    }

    pub(crate) fn owned(self) -> Id {
        match self {
            Self::Integer(number) => Id::Integer(number),
            Self::Text(text) => Id::Text(text.into()),
        }
    }
}

impl Hash for IdRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Integer(number) => number.hash(state),
            Self::Text(text) => text.hash(state),
        }
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<Id> for IdRef<'_> {
    fn equivalent(&self, key: &Id) -> bool {
        key.borrowed() == *self
    }
}
