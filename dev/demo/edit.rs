//! Edits of the files or objects that Vaultwall watches. A file is replaced by a complete new one.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::fallible::Fallible;
use crate::stage::Stage;

/// Line of `policy.yaml` below which rules are added.
pub const RULES: &str = "  ipRules:";
/// The rule that is added and removed.
pub const VISITOR_RULE: &str = "  - {name: visitor, value: 192.0.2.44}";

/// An edit that can be repeated.
pub enum Edit<'a> {
    /// Replaces the text of a watched file.
    Replace(&'a WatchedFile, String),
    /// Applies objects.
    Apply(&'a Cluster, String),
    /// Creates a pod and sets it running. The time counts from the second step.
    Start(&'a Cluster, &'a Value),
    /// Deletes a pod.
    Delete(&'a Cluster, &'a Value),
}

impl Edit<'_> {
    /// Makes the edit. Returns the time before, so that kubectl's own time counts too.
    pub fn make(&self) -> Fallible<Instant> {
        match self {
            Self::Replace(file, text) => file.replace(text),
            Self::Apply(cluster, objects) => cluster.apply(objects),
            Self::Start(cluster, pod) => {
                cluster.create(pod)?;
                cluster.set_running(pod)
            }
            Self::Delete(cluster, pod) => cluster.delete(pod),
        }
    }
}

/// A watched file and its original text.
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

    /// Replaces the file atomically. Returns the time before.
    pub fn replace(&self, text: &str) -> Fallible<Instant> {
        let new = self.path.with_extension("new");
        fs::write(&new, text)?;
        let started = Instant::now();
        fs::rename(&new, &self.path)?;
        Ok(started)
    }
}
