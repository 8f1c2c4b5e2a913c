//! Edits of what Vaultwall watches. Files are edited as a careful person does it: a new file is written and takes the old
//! one's place.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use crate::Fallible;
use crate::cluster::Cluster;
use crate::stage::Stage;

/// One edit, which can be made again and again.
pub enum Edit<'a> {
    /// A watched file gets this text.
    Replace(&'a WatchedFile, String),
    /// Objects are applied.
    Apply(&'a Cluster, String),
    /// A pod starts. Only that it runs is timed: it is there a little before that.
    Start(&'a Cluster, &'a Value),
    /// A pod is removed.
    Remove(&'a Cluster, &'a Value),
}

impl Edit<'_> {
    /// Makes it. The answer is the moment before; kubectl's own time comes after it.
    pub fn make(&self) -> Fallible<Instant> {
        match self {
            Self::Replace(file, text) => file.replace(text),
            Self::Apply(cluster, objects) => cluster.apply(objects),
            Self::Start(cluster, pod) => {
                cluster.create(pod)?;
                cluster.runs(pod)
            }
            Self::Remove(cluster, pod) => cluster.remove(pod),
        }
    }
}

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

    /// Returns the first content with more text below a line, which has to exist.
    pub fn with_below(&self, line: &str, more: &str) -> Fallible<String> {
        let anchor = format!("\n{line}\n");
        if !self.original.contains(&anchor) {
            return Err(format!("{}: has no line {line:?}", self.path.display()).into());
        }
        Ok(self
            .original
            .replacen(&anchor, &format!("{anchor}{more}\n"), 1))
    }

    /// Returns the first content with more text at its end.
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
