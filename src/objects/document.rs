//! Bytes of a file → its documents. Reports every file that cannot be read at all, with its name and, where known, the
//! line. Does not interpret the documents.
//!
//! JSON is read by the same parser, because it is part of YAML 1.2. Plain scalars are read as in YAML 1.2: `no` is a
//! text, and so is `010`. See [`super::readings`] for those that kubectl reads differently.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_saphyr::{Options, UserMessageFormatter, budget, options};
use thiserror::Error;

use super::readings::{self, Readings, TwoReadings};

/// Largest file that is read, in bytes; 10,000 pods as kubectl prints them are smaller.
const MAX_FILE_BYTES: u64 = 128 << 20;
/// Most YAML nodes of a file, a few dozen bytes each in memory.
const MAX_NODES: usize = 16_000_000;
/// Deepest nesting. Our objects need about ten levels, a pod in a List about fifteen.
const MAX_DEPTH: usize = 64;
/// Most aliases of a file, and most nodes that they may expand to: enough to share a selector, too few to exhaust
/// memory.
const MAX_ALIASES: usize = 1_000;
const MAX_ALIASED_NODES: usize = 100_000;

/// A file that cannot be read at all.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The operating system does not return its content.
    #[error("{}: cannot be read: {source}; check that the path exists and may be read", file.display())]
    Unreadable {
        /// The file or folder.
        file: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// It is larger than [`MAX_FILE_BYTES`].
    #[error("{}: is larger than {MAX_FILE_BYTES} bytes; split it", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// It is not YAML or JSON within bounds.
    #[error(
        "{}{}: cannot be read as YAML or JSON: {problem}",
        file.display(),
        line.map(|line| format!(":{line}")).unwrap_or_default()
    )]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: Option<u64>,
        /// Message of the parser.
        problem: String,
    },
    /// kubectl reads it differently as a whole.
    #[error("{}:{line}: has two readings: {problem}", file.display())]
    TwoReadings {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The spelling, and another one.
        problem: String,
    },
}

/// Reads a file as text.
pub(crate) fn read(file: &Path) -> Result<String, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge {
            file: file.to_owned(),
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error
            .as_bytes()
            .iter()
            .take(valid)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        LoadError::Syntax {
            file: file.to_owned(),
            line: u64::try_from(line).ok(),
            problem: "it is not UTF-8 text".to_owned(),
        }
    })
}

/// A document, and its spellings that kubectl reads differently.
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) readings: Readings,
}

/// Returns the documents of a file, without empty ones.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Vec<Document>, LoadError> {
    let two_readings = |TwoReadings { line, problem }| LoadError::TwoReadings {
        file: file.to_owned(),
        line,
        problem,
    };
    readings::check_text(text).map_err(two_readings)?;
    let values = values(text).map_err(|error| syntax(file, &error))?;
    let readings = readings::of(text).map_err(two_readings)?;
    if readings.len() != values.len() {
        let problem = "its documents cannot be counted; remove those that are empty".to_owned();
        return Err(two_readings(TwoReadings { line: 1, problem }));
    }
    let documents = values.into_iter().zip(readings);
    Ok(documents
        .map(|(value, readings)| Document { value, readings })
        .collect())
}

fn values(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    serde_saphyr::from_multiple_with_options(text, settings())
}

fn syntax(file: &Path, error: &serde_saphyr::Error) -> LoadError {
    let problem = error
        .without_snippet()
        .render_with_formatter(&UserMessageFormatter);
    LoadError::Syntax {
        file: file.to_owned(),
        line: error
            .location()
            .map(|location| location.line())
            .filter(|line| *line > 0),
        problem: problem.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

fn settings() -> Options {
    options! {
        budget: budget! {
            max_events: MAX_NODES * 2,
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            max_documents: 100_000,
            max_total_scalar_bytes: 128 << 20,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_merge_keys: MAX_ALIASES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIASED_NODES,
            max_replay_stack_depth: 8,
        },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}
