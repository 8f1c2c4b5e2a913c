//! What the paths of `-f` mean on disk: the files, and every place where a change could change that. Reads no content.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::objects::{Listing, is_hidden, is_read_in_folders};

/// As many symbolic links as the system follows.
const MAX_LINKS: usize = 40;

/// Files and folders by their canonical paths.
#[derive(Default)]
pub(super) struct Places {
    files: BTreeMap<PathBuf, PathBuf>,
    folders: BTreeMap<PathBuf, PathBuf>,
    /// Names at which another file, folder or link would give a path of `-f` another meaning.
    hinges: BTreeSet<PathBuf>,
}

/// What an event at a path is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing that is read.
    Nothing,
    /// A file's content.
    Content(PathBuf),
    /// A file that is no longer there.
    Gone(PathBuf),
    /// Which files there are.
    Listing,
}

impl Places {
    /// From a listing of the paths of `-f`.
    pub(super) fn new(paths: &[PathBuf], listing: &Listing) -> Self {
        let by_canonical = |places: &[crate::objects::Place]| {
            let pairs = places
                .iter()
                .map(|place| (place.canonical.clone(), place.path.clone()));
            pairs.collect::<BTreeMap<_, _>>()
        };
        let ways = paths.iter().chain(&listing.links);
        Self {
            files: by_canonical(&listing.files),
            folders: by_canonical(&listing.folders),
            hinges: ways.flat_map(|path| hinges(path)).collect(),
        }
    }

    /// The folders in which something can happen that matters.
    pub(super) fn watched(&self) -> BTreeSet<PathBuf> {
        let around = self.hinges.iter().filter_map(|hinge| hinge.parent());
        self.folders
            .keys()
            .cloned()
            .chain(around.map(Path::to_owned))
            .collect()
    }

    /// What an event is about; a file that is new is remembered. Looks at what is there now.
    pub(super) fn meaning(&mut self, path: &Path) -> Meaning {
        let now = path.symlink_metadata();
        let folder = path.parent().and_then(|folder| self.folders.get(folder));
        if let Some(file) = self.files.get(path) {
            return match now {
                Ok(now) if now.is_file() => Meaning::Content(file.clone()),
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && folder.is_some()
                        && !self.hinges.contains(path) =>
                {
                    Meaning::Gone(file.clone())
                }
                _ => Meaning::Listing,
            };
        }
        if self.hinges.contains(path) || self.folders.contains_key(path) {
            return Meaning::Listing;
        }
        let (Some(folder), Some(name), Ok(now)) = (folder, path.file_name(), now) else {
            return Meaning::Nothing;
        };
        if is_hidden(name) {
            return Meaning::Nothing;
        }
        if !now.is_file() {
            return Meaning::Listing;
        }
        if !is_read_in_folders(name) {
            return Meaning::Nothing;
        }
        let file = folder.join(name);
        self.files.insert(path.to_owned(), file.clone());
        Meaning::Content(file)
    }

    /// The file at a canonical path.
    pub(super) fn file_at(&self, canonical: &Path) -> Option<&PathBuf> {
        self.files.get(canonical)
    }
}

/// Every name on the way to what a path means, from the canonical folder that holds it: the symbolic links, and the
/// end of the way, which may be a name that does not exist.
fn hinges(path: &Path) -> Vec<PathBuf> {
    let Ok(path) = std::path::absolute(path) else {
        return Vec::new();
    };
    let steps = |path: &Path| -> Vec<OsString> {
        let named = path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        });
        named.collect()
    };
    let mut left: VecDeque<OsString> = steps(&path).into();
    let (mut here, mut found) = (PathBuf::from("/"), Vec::new());
    while let Some(step) = left.pop_front() {
        if step == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&step);
        match next.read_link() {
            Ok(target) => {
                found.push(next);
                if found.len() > MAX_LINKS {
                    return found;
                }
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for step in steps(&target).into_iter().rev() {
                    left.push_front(step);
                }
            }
            Err(_) if next.exists() => here = next,
            Err(_) => {
                found.push(next);
                return found;
            }
        }
    }
    found.push(here);
    found
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::objects::list;

    /// A folder as the kubelet mounts a `ConfigMap`, and some more.
    fn mounted() -> (tempfile::TempDir, PathBuf, Places) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["..v1", "..v2", "sub", ".git"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        for name in [
            "..v1/a.yaml",
            "..v2/a.yaml",
            "b.yaml",
            "sub/c.json",
            "notes.txt",
        ] {
            fs::write(root.join(name), "").unwrap();
        }
        symlink("..v1", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
        let paths = [root.clone()];
        let places = Places::new(&paths, &list(&paths));
        (folder, root, places)
    }

    #[test]
    #[rustfmt::skip] // a table
    fn an_event_is_about() {
        let (_folder, root, mut places) = mounted();
        let at = |name: &str| root.join(name);
        fs::write(at("new.yaml"), "").unwrap();
        fs::write(at(".b.yaml.swp"), "").unwrap();
        fs::create_dir(at("newfolder")).unwrap();
        for (event, expected) in [
            ("b.yaml",       Meaning::Content(at("b.yaml"))),
            ("sub/c.json",   Meaning::Content(at("sub/c.json"))),
            ("..v1/a.yaml",  Meaning::Content(at("a.yaml"))),
            ("new.yaml",     Meaning::Content(at("new.yaml"))),
            ("..data",       Meaning::Listing),
            ("a.yaml",       Meaning::Listing),
            ("sub",          Meaning::Listing),
            ("newfolder",    Meaning::Listing),
            ("",             Meaning::Listing),
            ("notes.txt",    Meaning::Nothing),
            (".b.yaml.swp",  Meaning::Nothing),
            ("..v2/a.yaml",  Meaning::Nothing),
            (".git",         Meaning::Nothing),
            ("neverthere",   Meaning::Nothing),
            ("../elsewhere", Meaning::Nothing),
        ] {
            assert_eq!(places.meaning(&at(event).components().collect::<PathBuf>()), expected, "{event}");
        }
        fs::remove_file(at("b.yaml")).unwrap();
        assert_eq!(places.meaning(&at("b.yaml")), Meaning::Gone(at("b.yaml")));
    }

    #[test]
    fn every_folder_on_the_way_is_watched() {
        let (_folder, root, places) = mounted();
        let watched = places.watched();
        for name in ["", "sub", "..v1"] {
            let folder: PathBuf = root.join(name).components().collect();
            assert!(watched.contains(&folder), "{name} in {watched:?}");
        }
        assert!(watched.contains(root.parent().unwrap()));
        assert!(!watched.contains(&root.join("..v2")));
        assert!(!watched.contains(&root.join(".git")));
    }

    #[test]
    fn a_link_on_the_way_and_a_name_that_is_missing_are_hinges() {
        let (_folder, root, _) = mounted();
        symlink("sub", root.join("current")).unwrap();
        assert_eq!(
            hinges(&root.join("current/c.json")),
            [root.join("current"), root.join("sub/c.json")]
        );
        assert_eq!(
            hinges(&root.join("current/no/such")),
            [root.join("current"), root.join("sub/no")]
        );
        symlink("loop", root.join("loop")).unwrap();
        assert!(hinges(&root.join("loop")).len() > MAX_LINKS);
    }
}
