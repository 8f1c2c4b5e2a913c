//! Which files are meant by paths: a file is itself, a folder is every YAML and JSON file beneath it, in the order of names.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::LoadError;

/// Endings of the files that are read in folders; a file that is named is read whatever its ending.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 32;

/// The files of `paths`, each once, and the paths that cannot be read. Hidden files and folders are left out: editors
/// keep their copies there, and a mounted `ConfigMap` its versions.
pub fn files_of(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<LoadError>) {
    let mut found = Found::default();
    for path in paths {
        found.visit(path, 0);
    }
    (found.files, found.errors)
}

#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    errors: Vec<LoadError>,
    /// Canonical paths: a file is read once, and a circle of links ends.
    seen: BTreeSet<PathBuf>,
}

impl Found {
    fn visit(&mut self, path: &Path, depth: usize) {
        if let Err(source) = self.try_visit(path, depth) {
            self.errors.push(LoadError::Unreadable {
                file: path.to_owned(),
                source,
            });
        }
    }

    fn try_visit(&mut self, path: &Path, depth: usize) -> io::Result<()> {
        if !self.seen.insert(path.canonicalize()?) {
            return Ok(());
        }
        if !fs::metadata(path)?.is_dir() {
            self.files.push(path.to_owned());
            return Ok(());
        }
        if depth == MAX_DEPTH {
            return Err(io::Error::other("folders are nested too deeply"));
        }
        let mut entries = fs::read_dir(path)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        for entry in entries {
            let hidden = entry
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            let ending = entry.extension().and_then(|ending| ending.to_str());
            if !hidden && (entry.is_dir() || ending.is_some_and(|ending| ENDINGS.contains(&ending)))
            {
                self.visit(&entry, depth + 1);
            }
        }
        Ok(())
    }
}
