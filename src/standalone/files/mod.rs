//! What was last good of every file, kept in step with the index.
//!
//! A file that cannot be read, that holds anything invalid, that is being written or is suddenly empty changes nothing:
//! its objects of before stay in force, and the reason is said. Of a file that never was good, refused policies are known
//! by name: they open nothing, and keep the default action of their vault at `Deny`, because what they mean is not
//! known. Only what changed is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::contents::{Contents, Ledger, Refusal, places_of};
use super::places::{Meaning, Places};
use super::watch::{Noticed, WatchError, Watcher};
use crate::index::Index;
use crate::limits::Limits;
use crate::objects::{LoadError, LocatedViolation, list, load_file};

/// How long a file must be gone until its rules go, too: editors and deployment tools take a file away before they put
/// the new one in its place.
const GONE: Duration = Duration::from_millis(100);

/// The files of `-f` and the index that is made from them.
pub(super) struct Files {
    paths: Vec<PathBuf>,
    limits: Limits,
    places: Places,
    /// Every file that was read, by its path as it was named or found.
    read: BTreeMap<PathBuf, Stamp>,
    /// Files that are gone, and when their rules go.
    gone: BTreeMap<PathBuf, Instant>,
    ledger: Ledger,
    /// Paths that could not be used at the start and still cannot: what they mean is not known.
    unknown: BTreeSet<PathBuf>,
    /// Paths that cannot be read, and why; said once.
    errors: BTreeMap<PathBuf, String>,
    started: bool,
    index: Index,
}

/// Differs when a file's content may.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// What reading a file came to.
struct Reading {
    /// What it holds; with problems, the policies that are refused; none if that is not known.
    contents: Option<Contents>,
    /// Why it cannot be used.
    problems: Vec<String>,
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
        | LoadError::Syntax { file, .. } => file,
    }
}

impl Files {
    /// Nothing is read yet.
    pub(super) fn new(paths: Vec<PathBuf>, limits: Limits) -> Self {
        Self {
            paths,
            limits,
            places: Places::default(),
            read: BTreeMap::new(),
            gone: BTreeMap::new(),
            ledger: Ledger::default(),
            unknown: BTreeSet::new(),
            errors: BTreeMap::new(),
            started: false,
            index: Index::new(limits),
        }
    }

    /// The index.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// The index, to resolve from.
    pub(super) fn index_mut(&mut self) -> &mut Index {
        &mut self.index
    }

    /// Whether a policy is in force.
    pub(super) fn has_policy(&self) -> bool {
        self.ledger.has_policy()
    }

    /// Paths that could not be used at the start and still cannot. Whatever they mean may be stricter than what is
    /// known without them.
    pub(super) fn unknown(&self) -> &BTreeSet<PathBuf> {
        &self.unknown
    }

    /// The paths of `-f` that cannot be read, and why.
    pub(super) fn unreadable_paths(&self) -> Vec<&str> {
        let named = self.paths.iter();
        named
            .filter_map(|path| self.errors.get(path))
            .map(String::as_str)
            .collect()
    }

    /// When [`Files::update`] has something to do without an event.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.gone.values().min().copied()
    }

    /// Reads everything for the first time.
    pub(super) fn load(&mut self, watcher: &mut Watcher) -> Result<(), WatchError> {
        let everything = Noticed {
            lost: true,
            ..Noticed::default()
        };
        self.update(watcher, everything)?;
        self.started = true;
        Ok(())
    }

    /// Takes in what was noticed: reads again what changed, but not what is being written.
    pub(super) fn update(
        &mut self,
        watcher: &mut Watcher,
        noticed: Noticed,
    ) -> Result<(), WatchError> {
        let mut wanted = BTreeMap::new();
        let mut listing = noticed.lost;
        for path in noticed.paths {
            match self.places.meaning(&path) {
                Meaning::Nothing => {}
                Meaning::Content(file) => {
                    wanted.insert(file, path);
                }
                Meaning::Gone(file) => self.is_gone(&file),
                Meaning::Listing => listing = true,
            }
        }
        if listing {
            let all = noticed.lost;
            self.list(watcher, all, &mut wanted)?;
        }
        let read = self.read(watcher, wanted)?;
        self.accept(read);
        for path in watcher.take_overdue(Instant::now()) {
            if let Some(file) = self.places.file_at(&path) {
                let stays = self.stays(file);
                tracing::warn!(
                    "{}: somebody is writing it and has not closed it; {stays} until then",
                    file.display()
                );
            }
        }
        Ok(())
    }

    fn is_gone(&mut self, file: &Path) {
        if self.read.contains_key(file) || self.unknown.contains(file) {
            self.gone
                .entry(file.to_owned())
                .or_insert_with(|| Instant::now() + GONE);
        }
    }

    /// Looks which files there are, and adds those that changed. `all`: those that seem not to have, too.
    fn list(
        &mut self,
        watcher: &mut Watcher,
        all: bool,
        wanted: &mut BTreeMap<PathBuf, PathBuf>,
    ) -> Result<(), WatchError> {
        let listing = loop {
            let listing = list(&self.paths);
            self.places = Places::new(&self.paths, &listing);
            // A file may have come into a folder between looking and watching.
            if !watcher.watch(&self.places.watched())? {
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
        self.say_errors(errors);
        // What is beneath a path that cannot be read is not gone, only out of sight.
        let out_of_sight = |file: &Path| self.errors.keys().any(|path| file.starts_with(path));
        let gone: Vec<PathBuf> = self
            .read
            .keys()
            .filter(|file| !present.contains(*file) && !out_of_sight(file))
            .cloned()
            .collect();
        for file in gone {
            self.is_gone(&file);
        }
        Ok(())
    }

    fn say_errors(&mut self, errors: BTreeMap<PathBuf, String>) {
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

    /// Reads files, by path and canonical path. What was written to meanwhile is left for later.
    fn read(
        &mut self,
        watcher: &mut Watcher,
        wanted: BTreeMap<PathBuf, PathBuf>,
    ) -> Result<BTreeMap<PathBuf, Reading>, WatchError> {
        watcher.start_reading();
        let mut read = Vec::new();
        for (file, canonical) in wanted {
            if watcher.is_writing(&canonical) {
                self.not_known_yet(&file);
                continue;
            }
            let before = stamp(&file);
            let reading = self.read_file(&file);
            if stamp(&file) == before {
                read.push((file, canonical, before, reading));
            } else {
                self.not_known_yet(&file);
            }
        }
        watcher.drain()?;
        // Another one has come in its place and is not finished.
        let is_coming = |file: &Path| {
            let canonical = file.canonicalize();
            canonical.is_ok_and(|canonical| watcher.is_writing(&canonical))
        };
        self.gone.retain(|file, _| !is_coming(file));
        let mut complete = BTreeMap::new();
        for (file, canonical, stamp, reading) in read {
            if watcher.was_modified(&canonical) {
                self.not_known_yet(&file);
                continue;
            }
            self.gone.remove(&file);
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
                };
            }
        };
        let mut problems: Vec<String> = loaded.violations.iter().map(describe).collect();
        let mut contents = Contents::new();
        for (key, object) in loaded.objects {
            let Some(object) = object else { continue };
            if contents.insert(key.clone(), object).is_some() {
                let file = file.display();
                problems.push(format!("{file}: {key} stands here twice; remove one"));
            }
        }
        if contents.is_empty() && problems.is_empty() && self.ledger.holds_good(file) {
            problems.push(format!(
                "{}: it holds nothing now; delete the file to take its rules away",
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
        }
    }

    /// Takes over what is good, and what is gone long enough.
    fn accept(&mut self, read: BTreeMap<PathBuf, Reading>) {
        let (mut new, mut bad) = (BTreeMap::new(), BTreeSet::new());
        for (file, reading) in read {
            if !reading.problems.is_empty() {
                self.ledger.forget_waiting(&file);
                self.not_known_yet(&file);
                let stays = self.stays(&file);
                for problem in reading.problems {
                    tracing::error!("{problem}; {stays}");
                }
                if self.ledger.holds_good(&file) {
                    continue;
                }
                bad.insert(file.clone());
            }
            if let Some(contents) = reading.contents {
                new.insert(file, contents);
            }
        }
        let now = Instant::now();
        let moved = places_of(&self.ledger, &new);
        let ends = self.gone.iter();
        let ends = ends.filter(|(file, end)| **end <= now || moved.contains(file));
        let ends: Vec<PathBuf> = ends.map(|(file, _)| file.clone()).collect();
        for file in &ends {
            self.gone.remove(file);
            self.read.remove(file);
            new.insert(file.clone(), Contents::new());
        }
        if new.is_empty() {
            return;
        }
        let settled = self.ledger.settle(new, &mut self.index);
        for (file, refusal) in settled.refused {
            let stays = self.stays(&file);
            match refusal {
                Refusal::Repeated { key, other } => tracing::error!(
                    "{}: {key} stands here and in {}; remove one; {stays}",
                    file.display(),
                    other.display()
                ),
                Refusal::LastPolicy => tracing::error!(
                    "{}: the last policy is gone from the paths of -f; what was in force stays in force. Stop Vaultwall \
                     to take the firewall away",
                    file.display()
                ),
            }
            self.not_known_yet(&file);
        }
        for file in settled.taken {
            if ends.contains(&file) {
                tracing::info!("{}: is gone, and its rules with it", file.display());
            }
            if !bad.contains(&file) {
                self.unknown.remove(&file);
            }
        }
    }

    fn not_known_yet(&mut self, file: &Path) {
        if !self.started {
            self.unknown.insert(file.to_owned());
        }
    }

    fn stays(&self, file: &Path) -> &'static str {
        let beneath = self.read.range(file.to_owned()..);
        let held = beneath
            .take_while(|(read, _)| read.starts_with(file))
            .any(|(read, _)| self.ledger.holds_good(read));
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
