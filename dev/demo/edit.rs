//! Edits of the watched files, made as a careful person makes them: a new file is written and takes the old one's place.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use crate::Fallible;
use crate::stage::Stage;

/// A watched file, and what it held at first.
pub struct WatchedFile {
    path: PathBuf,
    original: String,
}

impl WatchedFile {
    pub fn open(stage: &Stage, name: &str) -> Fallible<Self> {
        let path = stage.policies.join(name);
        let original = fs::read_to_string(&path)?;
        Ok(Self { path, original })
    }

    /// What it held at first, with more below a line that must be in it.
    pub fn with_below(&self, line: &str, more: &str) -> Fallible<String> {
        let anchor = format!("\n{line}\n");
        if !self.original.contains(&anchor) {
            return Err(format!("{}: has no line {line:?}", self.path.display()).into());
        }
        Ok(self
            .original
            .replacen(&anchor, &format!("{anchor}{more}\n"), 1))
    }

    /// What it held at first, and more at its end.
    pub fn with_last(&self, more: &str) -> String {
        format!("{}\n{more}", self.original.trim_end())
    }

    pub fn original(&self) -> &str {
        &self.original
    }

    /// Replaces the file at once. The answer is the moment before it was replaced.
    pub fn replace(&self, text: &str) -> Fallible<Instant> {
        let aside = self.path.with_extension("aside");
        fs::write(&aside, text)?;
        let moment = Instant::now();
        fs::rename(&aside, &self.path)?;
        Ok(moment)
    }
}
