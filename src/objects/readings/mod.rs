//! Spellings with two readings: kubectl reads YAML 1.1 with rules of its own, and this program reads YAML 1.2. A file
//! that the two read differently must not be valid here and mean something else in the cluster, so such a spelling is
//! refused, with its line and another spelling that has one reading.
//!
//! [`text`] finds what concerns the whole file, [`walk`] what concerns one value or key, [`plain`] knows the words and
//! numbers. It does not know the kinds: the reader decides which findings count.

mod plain;
mod text;
mod walk;

pub(crate) use walk::{Finding, Place, Readings};

/// A spelling that leaves the reading of the whole file open.
#[derive(Debug)]
pub(crate) struct TwoReadings {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The spelling, and another one.
    pub(crate) problem: String,
}

/// Checks the characters and lines of a file, before it is parsed.
///
/// # Errors
/// The reading of the whole file is open.
pub(crate) fn check_text(text: &str) -> Result<(), TwoReadings> {
    text::check(text)
}

/// Finds the spellings with two readings of each document that is not empty, in their order, in a file that the parser
/// of values has accepted.
///
/// # Errors
/// The reading of the whole file is open.
pub(crate) fn of(text: &str) -> Result<Vec<Readings>, TwoReadings> {
    walk::documents(text)
}
