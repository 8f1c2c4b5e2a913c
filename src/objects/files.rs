//! The files of paths: a file stands for itself, a folder for every YAML and JSON file below it, in the order of names.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::LoadError;

/// Endings of the files that are read in folders; a file that is named is read whatever its ending.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 32;

/// A file or folder under both of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path as it was named or found.
    pub path: PathBuf,
    /// Path without symbolic links.
    pub canonical: PathBuf,
}

/// Files and folders that paths stand for.
#[derive(Debug, Default)]
pub struct Listing {
    /// The files, each once.
    pub files: Vec<Place>,
    /// The folders that were listed, each once.
    pub folders: Vec<Place>,
    /// The symbolic links that were followed inside folders.
    pub links: Vec<PathBuf>,
    /// The paths that cannot be read.
    pub errors: Vec<LoadError>,
}

/// Finds the files of `paths`. Hidden files and folders are left out: editors have their backup copies there, and a
/// mounted `ConfigMap` its versions.
pub fn list(paths: &[PathBuf]) -> Listing {
    let mut found = Found::default();
    for path in paths {
        found.visit(path, 0);
    }
    found.listing
}

/// Returns the files of `paths`, and the paths that cannot be read; see [`list`].
pub fn files_of(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<LoadError>) {
    let listing = list(paths);
    let files = listing.files.into_iter().map(|file| file.path).collect();
    (files, listing.errors)
}

/// Whether a name in a folder is ignored.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Whether a file of this name in a folder is read.
pub fn is_read_in_folders(name: &OsStr) -> bool {
    let ending = Path::new(name)
        .extension()
        .and_then(|ending| ending.to_str());
    !is_hidden(name) && ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

#[derive(Default)]
struct Found {
    listing: Listing,
    /// Canonical paths, so that a file is read once and a cycle of links ends.
    seen: BTreeSet<PathBuf>,
}

impl Found {
    fn visit(&mut self, path: &Path, depth: usize) {
        let visited = path
            .canonicalize()
            .and_then(|canonical| self.enter(path, canonical, depth));
        self.note_error(path, visited);
    }

    fn note_error(&mut self, path: &Path, visited: io::Result<()>) {
        if let Err(source) = visited {
            self.listing.errors.push(LoadError::Unreadable {
                file: path.to_owned(),
                source,
            });
        }
    }

    fn enter(&mut self, path: &Path, canonical: PathBuf, depth: usize) -> io::Result<()> {
        if !self.seen.insert(canonical.clone()) {
            return Ok(());
        }
        let place = Place {
            path: path.to_owned(),
            canonical,
        };
        if !fs::metadata(path)?.is_dir() {
            self.listing.files.push(place);
            return Ok(());
        }
        if depth == MAX_DEPTH {
            return Err(io::Error::other("folders are nested too deeply"));
        }
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let folder = place.canonical.clone();
        self.listing.folders.push(place);
        for entry in entries {
            let (entry, name) = (entry.path(), entry.file_name());
            if is_hidden(&name) || !(is_read_in_folders(&name) || entry.is_dir()) {
                continue;
            }
            if entry.is_symlink() {
                self.listing.links.push(entry.clone());
                self.visit(&entry, depth + 1);
            } else {
                let visited = self.enter(&entry, folder.join(&name), depth + 1);
                self.note_error(&entry, visited);
            }
        }
        Ok(())
    }
}
