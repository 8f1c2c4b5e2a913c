//! Lists of the vault's paths: one line for each path, with its methods and whether it needs a token.

use std::fmt;
use std::path::{Path, PathBuf};

/// A path with its methods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Path without `/v1`, with parameters in braces.
    pub path: String,
    /// Methods, in a fixed order.
    pub methods: Vec<String>,
    /// Whether the vault wants a token.
    pub token: bool,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.token { "token" } else { "no token" };
        write!(f, "{} | {} | {token}", self.path, self.methods.join(" "))
    }
}

/// Path of a file in `tests/vault_paths`.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vault_paths")
        .join(name)
}

/// The lines of a file, without its comments.
pub fn lines(name: &str) -> Vec<String> {
    let text =
        std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Entries of `found` that are not listed, and listed ones that were not found.
pub fn differences<'a>(found: &'a [String], listed: &'a [String]) -> [Vec<&'a String>; 2] {
    let missing_in = |one: &'a [String], other: &[String]| {
        let missing = one.iter().filter(|entry| !other.contains(entry));
        missing.collect()
    };
    [missing_in(found, listed), missing_in(listed, found)]
}
