//! Resolves the paths of `-f` to files, and finds every symbolic link and folder where a change could alter the result.
//! Reads no content.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::objects::{Listing, is_hidden, is_read_in_folders};

/// Most symbolic links of one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// The files and folders of the paths of `-f`, by canonical path.
#[derive(Default)]
pub(super) struct PathResolver {
    files: BTreeMap<PathBuf, PathBuf>,
    folders: BTreeMap<PathBuf, PathBuf>,
    /// Symbolic links on the way to a path of `-f`, and the ends of these ways: a change there alters what the path
    /// means.
    symlinks: BTreeSet<PathBuf>,
}

/// Effect of a file system event at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// No file that is read is affected.
    Nothing,
    /// The content of a file may have changed.
    Content(PathBuf),
    /// A file was deleted.
    Deleted(PathBuf),
    /// The list of files may have changed.
    Listing,
}

impl PathResolver {
    /// Resolves the paths of `-f` with their listing.
    pub(super) fn new(paths: &[PathBuf], listing: &Listing) -> Self {
        let by_canonical = |found: &[crate::objects::Place]| {
            let pairs = found
                .iter()
                .map(|place| (place.canonical.clone(), place.path.clone()));
            pairs.collect::<BTreeMap<_, _>>()
        };
        let named = paths.iter().chain(&listing.links);
        Self {
            files: by_canonical(&listing.files),
            folders: by_canonical(&listing.folders),
            symlinks: named.flat_map(|path| symlinks(path)).collect(),
        }
    }

    /// Folders to watch.
    pub(super) fn watched(&self) -> BTreeSet<PathBuf> {
        let around = self.symlinks.iter().filter_map(|symlink| symlink.parent());
        self.folders
            .keys()
            .cloned()
            .chain(around.map(Path::to_owned))
            .collect()
    }

    /// Classifies an event by what exists at its path now, and adds a new file.
    pub(super) fn classify(&mut self, path: &Path) -> Event {
        let now = path.symlink_metadata();
        let folder = path.parent().and_then(|folder| self.folders.get(folder));
        if let Some(file) = self.files.get(path) {
            return match now {
                Ok(now) if now.is_file() => Event::Content(file.clone()),
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && folder.is_some()
                        && !self.symlinks.contains(path) =>
                {
                    Event::Deleted(file.clone())
                }
                _ => Event::Listing,
            };
        }
        if self.symlinks.contains(path) || self.folders.contains_key(path) {
            return Event::Listing;
        }
        let (Some(folder), Some(name), Ok(now)) = (folder, path.file_name(), now) else {
            return Event::Nothing;
        };
        if is_hidden(name) {
            return Event::Nothing;
        }
        if !now.is_file() {
            return Event::Listing;
        }
        if !is_read_in_folders(name) {
            return Event::Nothing;
        }
        let file = folder.join(name);
        self.files.insert(path.to_owned(), file.clone());
        Event::Content(file)
    }

    /// The file at a canonical path, by its path as it was named or found.
    pub(super) fn file_at(&self, canonical: &Path) -> Option<&PathBuf> {
        self.files.get(canonical)
    }
}

/// Follows a path: returns the canonical paths of its symbolic links, and of its end, which may not exist.
fn symlinks(path: &Path) -> Vec<PathBuf> {
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

    /// A folder as the kubelet mounts a `ConfigMap`, with some other files.
    fn mounted() -> (tempfile::TempDir, PathBuf, PathResolver) {
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
        let resolver = PathResolver::new(&paths, &list(&paths));
        (folder, root, resolver)
    }

    #[test]
    #[rustfmt::skip] // a table
    fn events_are_classified() {
        let (_folder, root, mut resolver) = mounted();
        let at = |name: &str| root.join(name);
        fs::write(at("new.yaml"), "").unwrap();
        fs::write(at(".b.yaml.swp"), "").unwrap();
        fs::create_dir(at("newfolder")).unwrap();
        for (event, expected) in [
            ("b.yaml",       Event::Content(at("b.yaml"))),
            ("sub/c.json",   Event::Content(at("sub/c.json"))),
            ("..v1/a.yaml",  Event::Content(at("a.yaml"))),
            ("new.yaml",     Event::Content(at("new.yaml"))),
            ("..data",       Event::Listing),
            ("a.yaml",       Event::Listing),
            ("sub",          Event::Listing),
            ("newfolder",    Event::Listing),
            ("",             Event::Listing),
            ("notes.txt",    Event::Nothing),
            (".b.yaml.swp",  Event::Nothing),
            ("..v2/a.yaml",  Event::Nothing),
            (".git",         Event::Nothing),
            ("neverthere",   Event::Nothing),
            ("../elsewhere", Event::Nothing),
        ] {
            assert_eq!(resolver.classify(&at(event).components().collect::<PathBuf>()), expected, "{event}");
        }
        fs::remove_file(at("b.yaml")).unwrap();
        assert_eq!(resolver.classify(&at("b.yaml")), Event::Deleted(at("b.yaml")));
    }

    #[test]
    fn every_folder_on_a_path_is_watched() {
        let (_folder, root, resolver) = mounted();
        let watched = resolver.watched();
        for name in ["", "sub", "..v1"] {
            let folder: PathBuf = root.join(name).components().collect();
            assert!(watched.contains(&folder), "{name} in {watched:?}");
        }
        assert!(watched.contains(root.parent().unwrap()));
        assert!(!watched.contains(&root.join("..v2")));
        assert!(!watched.contains(&root.join(".git")));
    }

    #[test]
    fn symbolic_links_and_a_missing_end_are_found() {
        let (_folder, root, _) = mounted();
        symlink("sub", root.join("current")).unwrap();
        assert_eq!(
            symlinks(&root.join("current/c.json")),
            [root.join("current"), root.join("sub/c.json")]
        );
        assert_eq!(
            symlinks(&root.join("current/no/such")),
            [root.join("current"), root.join("sub/no")]
        );
        symlink("loop", root.join("loop")).unwrap();
        assert!(symlinks(&root.join("loop")).len() > MAX_LINKS);
    }
}
