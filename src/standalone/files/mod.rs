//! Reads changed files. The last valid contents of each file stay in force and are kept in step with the index.
//!
//! A file that cannot be read, that has an invalid object, that is being written or is suddenly empty changes nothing:
//! its earlier objects stay in force, and the reason is logged. Of a file that was never valid, refused policies count
//! by name: they allow nothing, and keep the default action of their vault at `Deny`, because their intent is unknown.
//! Only changed files are read again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::file_set::{Contents, FileSet, Refusal, files_of};
use super::paths::{Event, PathResolver};
use super::watch::{FileChanges, WatchError, Watcher};
use crate::index::Index;
use crate::limits::Limits;
use crate::objects::{LoadError, Located, LocatedViolation, list, load_file};
use crate::policy::VaultId;

/// Delay between the deletion of a file and the removal of its rules: editors and deployment tools delete a file before
/// they create the new one.
const DELETION_DELAY: Duration = Duration::from_millis(100);

/// The files of `-f`, and the index of their objects.
pub(super) struct Files {
    paths: Vec<PathBuf>,
    limits: Limits,
    resolver: PathResolver,
    /// Every file that was read, by its path as it was named or found.
    read: BTreeMap<PathBuf, Stamp>,
    /// Deleted files, and when their rules are removed.
    deleted: BTreeMap<PathBuf, Instant>,
    file_set: FileSet,
    /// Paths that could not be used at the start and still cannot: their contents are unknown.
    unknown: BTreeSet<PathBuf>,
    /// Paths that cannot be read, with the error; each is logged once.
    errors: BTreeMap<PathBuf, String>,
    started: bool,
    index: Index,
}

/// Device, inode, size and times of a file. It changes whenever the content may have changed.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Result of reading a file.
struct Reading {
    /// Its objects; if there are problems, only the refused policies. `None` if the objects are unknown.
    contents: Option<Contents>,
    /// Why the file cannot be used.
    problems: Vec<String>,
    /// Warnings about objects without a namespace that are not in force from this file yet.
    assumed: Vec<String>,
}

fn stamp(file: &Path) -> Stamp {
    let of = std::fs::metadata(file).ok()?;
    let modified = of.mtime().wrapping_mul(1_000_000_000);
    let modified = modified.wrapping_add(of.mtime_nsec());
    Some((of.dev(), of.ino(), of.size(), modified, of.ctime_nsec()))
}

fn path_of(error: &LoadError) -> &Path {
    match error {
        LoadError::Unreadable { file, .. }
        | LoadError::TooLarge { file }
        | LoadError::Syntax { file, .. }
        | LoadError::TwoReadings { file, .. } => file,
    }
}

impl Files {
    /// Creates an empty set; [`Files::load`] reads the files.
    pub(super) fn new(paths: Vec<PathBuf>, limits: Limits) -> Self {
        Self {
            paths,
            limits,
            resolver: PathResolver::default(),
            read: BTreeMap::new(),
            deleted: BTreeMap::new(),
            file_set: FileSet::default(),
            unknown: BTreeSet::new(),
            errors: BTreeMap::new(),
            started: false,
            index: Index::new(limits).without_network_policies(),
        }
    }

    /// The index of the committed objects.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// The index, for resolving.
    pub(super) fn index_mut(&mut self) -> &mut Index {
        &mut self.index
    }

    /// Whether a valid policy is committed.
    pub(super) fn has_policy(&self) -> bool {
        self.file_set.has_policy()
    }

    /// The policies of a vault, valid or not, and their files.
    pub(super) fn policies_of(&self, vault: &VaultId) -> impl Iterator<Item = (&str, &Path)> {
        self.file_set.policies_of(vault)
    }

    /// Paths that could not be used at the start and still cannot. Their contents may be stricter than the others.
    pub(super) fn unknown(&self) -> &BTreeSet<PathBuf> {
        &self.unknown
    }

    /// Errors of the paths of `-f` that cannot be read.
    pub(super) fn unreadable_paths(&self) -> Vec<&str> {
        let named = self.paths.iter();
        named
            .filter_map(|path| self.errors.get(path))
            .map(String::as_str)
            .collect()
    }

    /// Time of the next [`Files::update`] that is needed without an event.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deleted.values().min().copied()
    }

    /// Reads everything for the first time.
    pub(super) fn load(&mut self, watcher: &mut Watcher) -> Result<(), WatchError> {
        let everything = FileChanges {
            lost: true,
            ..FileChanges::default()
        };
        self.update(watcher, everything)?;
        self.started = true;
        Ok(())
    }

    /// Reads files that changed, except those that are being written.
    pub(super) fn update(
        &mut self,
        watcher: &mut Watcher,
        changes: FileChanges,
    ) -> Result<(), WatchError> {
        let mut wanted = BTreeMap::new();
        let mut listing = changes.lost;
        for path in changes.paths {
            match self.resolver.classify(&path) {
                Event::Nothing => {}
                Event::Content(file) => {
                    wanted.insert(file, path);
                }
                Event::Deleted(file) => self.file_deleted(&file),
                Event::Listing => listing = true,
            }
        }
        if listing {
            let all = changes.lost;
            self.list(watcher, all, &mut wanted)?;
        }
        let read = self.read(watcher, wanted)?;
        self.accept(read);
        for path in watcher.take_overdue(Instant::now()) {
            if let Some(file) = self.resolver.file_at(&path) {
                let stays = self.stays(file);
                tracing::warn!(
                    "{}: a process is writing it and has not closed it; {stays} until then",
                    file.display()
                );
            }
        }
        Ok(())
    }

    fn file_deleted(&mut self, file: &Path) {
        if self.read.contains_key(file) || self.unknown.contains(file) {
            self.deleted
                .entry(file.to_owned())
                .or_insert_with(|| Instant::now() + DELETION_DELAY);
        }
    }

    /// Lists the files, and adds those that changed to `wanted`; with `all`, those that seem unchanged too.
    fn list(
        &mut self,
        watcher: &mut Watcher,
        all: bool,
        wanted: &mut BTreeMap<PathBuf, PathBuf>,
    ) -> Result<(), WatchError> {
        let listing = loop {
            let listing = list(&self.paths);
            self.resolver = PathResolver::new(&self.paths, &listing);
            // A file may have been created between listing and watching.
            if !watcher.watch(&self.resolver.watched())? {
                break listing;
            }
        };
        let mut present = BTreeSet::new();
        for file in listing.files {
            let known = self.read.get(&file.path);
            if all || known != Some(&stamp(&file.path)) {
                wanted.insert(file.path.clone(), file.canonical);
            }
            present.insert(file.path);
        }
        let mut errors = BTreeMap::new();
        for error in &listing.errors {
            errors.insert(path_of(error).to_owned(), error.to_string());
        }
        self.log_errors(errors);
        // Files under a path that cannot be read are not deleted, only hidden.
        let is_hidden = |file: &Path| self.errors.keys().any(|path| file.starts_with(path));
        let deleted: Vec<PathBuf> = self
            .read
            .keys()
            .filter(|file| !present.contains(*file) && !is_hidden(file))
            .cloned()
            .collect();
        for file in deleted {
            self.file_deleted(&file);
        }
        Ok(())
    }

    fn log_errors(&mut self, errors: BTreeMap<PathBuf, String>) {
        for (path, error) in &errors {
            if self.errors.get(path) != Some(error) {
                let stays = self.stays(path);
                tracing::error!("{error}; {stays}");
            }
            if !self.started {
                self.unknown.insert(path.clone());
            }
        }
        for path in self
            .errors
            .keys()
            .filter(|path| !errors.contains_key(*path))
        {
            self.unknown.remove(path);
        }
        self.errors = errors;
    }

    /// Reads files, by path and canonical path. Skips files that are written in the meantime.
    fn read(
        &mut self,
        watcher: &mut Watcher,
        wanted: BTreeMap<PathBuf, PathBuf>,
    ) -> Result<BTreeMap<PathBuf, Reading>, WatchError> {
        watcher.start_reading();
        let mut read = Vec::new();
        for (file, canonical) in wanted {
            if watcher.is_writing(&canonical) {
                self.mark_unknown(&file);
                continue;
            }
            let before = stamp(&file);
            let reading = self.read_file(&file);
            if stamp(&file) == before {
                read.push((file, canonical, before, reading));
            } else {
                self.mark_unknown(&file);
            }
        }
        watcher.drain()?;
        // A new file in its place is being written.
        let is_replaced = |file: &Path| {
            let canonical = file.canonicalize();
            canonical.is_ok_and(|canonical| watcher.is_writing(&canonical))
        };
        self.deleted.retain(|file, _| !is_replaced(file));
        let mut complete = BTreeMap::new();
        for (file, canonical, stamp, reading) in read {
            if watcher.was_modified(&canonical) {
                self.mark_unknown(&file);
                continue;
            }
            self.deleted.remove(&file);
            self.read.insert(file.clone(), stamp);
            complete.insert(file, reading);
        }
        Ok(complete)
    }

    fn read_file(&self, file: &Path) -> Reading {
        let loaded = match load_file(file, &self.limits) {
            Ok(loaded) => loaded,
            Err(error) => {
                return Reading {
                    contents: None,
                    problems: vec![error.to_string()],
                    assumed: Vec::new(),
                };
            }
        };
        let assumed = loaded.assumed.into_iter();
        let assumed = assumed.filter(|key| !self.file_set.is_in(key, file));
        let assumed = assumed.map(|object| {
            let file = file.to_owned();
            Located { file, object }.assumed_namespace()
        });
        let assumed = assumed.collect();
        let mut problems: Vec<String> = loaded.violations.iter().map(describe).collect();
        let mut contents = Contents::new();
        for (key, object) in loaded.objects {
            let Some(object) = object else { continue };
            if contents.insert(key.clone(), object).is_some() {
                let file = file.display();
                problems.push(format!("{file}: {key} stands here twice; remove one"));
            }
        }
        if contents.is_empty() && problems.is_empty() && self.file_set.has_valid_objects(file) {
            problems.push(format!(
                "{}: it is empty; delete the file to remove its rules",
                file.display()
            ));
        }
        if !problems.is_empty() {
            let refused = contents.into_iter();
            let refused = refused.filter_map(|(key, object)| Some((key, object.unusable()?)));
            contents = refused.collect();
        }
        Reading {
            contents: Some(contents),
            problems,
            assumed,
        }
    }

    /// Commits valid contents, and deletions after their delay.
    fn accept(&mut self, read: BTreeMap<PathBuf, Reading>) {
        let (mut new, mut bad) = (BTreeMap::new(), BTreeSet::new());
        for (file, reading) in read {
            for warning in reading.assumed {
                tracing::warn!("{warning}");
            }
            if !reading.problems.is_empty() {
                self.file_set.remove_pending(&file);
                self.mark_unknown(&file);
                let stays = self.stays(&file);
                for problem in reading.problems {
                    tracing::error!("{problem}; {stays}");
                }
                if self.file_set.has_valid_objects(&file) {
                    continue;
                }
                bad.insert(file.clone());
            }
            if let Some(contents) = reading.contents {
                new.insert(file, contents);
            }
        }
        let now = Instant::now();
        let moved = files_of(&self.file_set, &new);
        let ends = self.deleted.iter();
        let ends = ends.filter(|(file, end)| **end <= now || moved.contains(file));
        let ends: Vec<PathBuf> = ends.map(|(file, _)| file.clone()).collect();
        for file in &ends {
            self.deleted.remove(file);
            self.read.remove(file);
            new.insert(file.clone(), Contents::new());
        }
        if new.is_empty() {
            return;
        }
        let committed = self.file_set.commit(new, &mut self.index);
        for (file, refusal) in committed.refused {
            let stays = self.stays(&file);
            match refusal {
                Refusal::Repeated { key, other } => tracing::error!(
                    "{}: {key} stands here and in {}; remove one; {stays}",
                    file.display(),
                    other.display()
                ),
                Refusal::LastPolicy => tracing::error!(
                    "{}: the last policy is gone from the paths of -f; what was in force stays in force. Stop \
                     Vaultwall to remove the firewall",
                    file.display()
                ),
            }
            self.mark_unknown(&file);
        }
        for file in committed.files {
            if ends.contains(&file) {
                tracing::info!(
                    "{}: the file is deleted, and its rules are removed",
                    file.display()
                );
            }
            if !bad.contains(&file) {
                self.unknown.remove(&file);
            }
        }
    }

    fn mark_unknown(&mut self, file: &Path) {
        if !self.started {
            self.unknown.insert(file.to_owned());
        }
    }

    fn stays(&self, file: &Path) -> &'static str {
        let beneath = self.read.range(file.to_owned()..);
        let held = beneath
            .take_while(|(read, _)| read.starts_with(file))
            .any(|(read, _)| self.file_set.has_valid_objects(read));
        if held {
            "what it held before stays in force"
        } else {
            "none of it is in force"
        }
    }
}

fn describe(violation: &LocatedViolation) -> String {
    let LocatedViolation {
        file,
        kind,
        name,
        field,
        reason,
        message,
        ..
    } = violation;
    format!("{file}: {kind} {name}: {field}: {message} ({reason})")
}

#[cfg(test)]
mod tests;
