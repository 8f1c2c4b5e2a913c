//! Says which files may be read now and which are still being written. Reads no file.
//!
//! The kernel queues an event before the system call that causes it returns, so whoever drains the queue after reading
//! a file knows whether somebody had begun to write it: see [`Watcher::start_reading`]. What remains is a
//! writer's very first call while it is under way; mostly it empties the file, and an empty file is never used.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// A file that is written for longer than this is worth a word.
const WRITING: Duration = Duration::from_secs(1);
/// Room for some hundred events.
const BUFFER: usize = 16 * 1024;

/// Halves of moves that are remembered until the other half comes.
const MOVES_KEPT: usize = 64;

/// Why files cannot be watched.
#[derive(thiserror::Error, Debug)]
pub enum WatchError {
    /// The system has no more watches, or refuses one.
    #[error(
        "{folder}: cannot be watched for changes: {source}; if the system's limit is reached, raise \
         fs.inotify.max_user_watches and fs.inotify.max_user_instances",
        folder = folder.display()
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No events can be received at all.
    #[error("files cannot be watched for changes: {0}; raise fs.inotify.max_user_instances")]
    Events(#[from] io::Error),
}

/// What happened since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Noticed {
    /// Names, by canonical folder, of what was written to its end, put in place, or taken away.
    pub paths: BTreeSet<PathBuf>,
    /// Events were lost: anything may have changed.
    pub lost: bool,
}

/// Watches folders.
pub(super) struct Watcher {
    inotify: AsyncFd<OwnedFd>,
    /// The canonical paths of a watched folder; several when it is mounted in several places.
    folders: BTreeMap<i32, BTreeSet<PathBuf>>,
    noticed: Noticed,
    /// When the first of it was noticed.
    since: Option<Instant>,
    /// Files that somebody has begun to write and not yet closed, and since when; none: already told.
    writing: BTreeMap<PathBuf, Option<Instant>>,
    /// Files that were written to since reading started.
    modified: BTreeSet<PathBuf>,
    /// Files that were being written when they were moved, by the move's cookie.
    moved: BTreeMap<u32, PathBuf>,
}

impl Watcher {
    /// Watches nothing yet.
    #[expect(
        deprecated,
        reason = "an `OwnedFd` owns its descriptor for as long as it lives; what replaces `new` needs unsafe code"
    )]
    pub(super) fn start() -> Result<Self, WatchError> {
        let inotify =
            inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        Ok(Self {
            inotify: AsyncFd::new(inotify)?,
            folders: BTreeMap::new(),
            noticed: Noticed::default(),
            since: None,
            writing: BTreeMap::new(),
            modified: BTreeSet::new(),
            moved: BTreeMap::new(),
        })
    }

    /// Watches exactly these folders, canonical ones. Whether one of them is new: what happened in it before is not
    /// known, so it has to be looked into again. A folder that does not exist is no error, the folder around it tells.
    pub(super) fn watch(&mut self, folders: &BTreeSet<PathBuf>) -> Result<bool, WatchError> {
        let events = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let mut watched: BTreeMap<i32, BTreeSet<PathBuf>> = BTreeMap::new();
        let mut is_new = false;
        for folder in folders {
            // Asked for again each time: another folder may have come under the same name.
            match inotify::add_watch(self.inotify.get_ref(), folder, events) {
                Ok(watch) => {
                    is_new |= !self.folders.contains_key(&watch);
                    watched.entry(watch).or_default().insert(folder.clone());
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(source) => {
                    return Err(WatchError::Folder {
                        folder: folder.clone(),
                        source: source.into(),
                    });
                }
            }
        }
        for watch in self.folders.keys() {
            if !watched.contains_key(watch) {
                // It fails for a folder that was deleted, whose watch ended by itself.
                let _ = inotify::remove_watch(self.inotify.get_ref(), *watch);
            }
        }
        self.folders = watched;
        Ok(is_new)
    }

    /// Waits until something may be read, or a file has been written for remarkably long. The answer is when that was
    /// seen. Nothing is lost when this is not waited for to its end.
    pub(super) async fn changed(&mut self) -> io::Result<Instant> {
        loop {
            if let Some(since) = self.since {
                return Ok(since);
            }
            let overdue = self.next_overdue();
            tokio::select! {
                ready = self.inotify.readable() => ready?.clear_ready(),
                () = super::until(overdue) => return Ok(Instant::now()),
            }
            self.drain()?;
        }
    }

    /// What may be read now.
    pub(super) fn take(&mut self) -> Noticed {
        self.since = None;
        std::mem::take(&mut self.noticed)
    }

    /// Whether a file, by its canonical path, is being written.
    pub(super) fn is_writing(&self, file: &Path) -> bool {
        self.writing.contains_key(file)
    }

    /// From now on it is remembered what is written to.
    pub(super) fn start_reading(&mut self) {
        self.modified.clear();
    }

    /// Whether a file was written to since reading started, so that what was read of it may be neither its old content
    /// nor its new one. The end of the writing will be noticed, or is already.
    pub(super) fn was_modified(&self, file: &Path) -> bool {
        self.modified.contains(file) || self.is_writing(file)
    }

    /// When the next file will have been written for remarkably long.
    fn next_overdue(&self) -> Option<Instant> {
        let since = self.writing.values().flatten().min()?;
        Some(*since + WRITING)
    }

    /// Files that are written for remarkably long, each told once.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<PathBuf> {
        let overdue = self.writing.iter_mut().filter_map(|(file, since)| {
            since.filter(|since| *since + WRITING <= now)?;
            *since = None;
            Some(file.clone())
        });
        overdue.collect()
    }

    /// Takes in everything that has happened until now.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut happened = Vec::new();
        let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                    happened.push((event.wd(), event.events(), event.cookie(), name));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for (watch, events, cookie, name) in happened {
            if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                // The end of a writing may be among what was lost.
                self.writing.clear();
                self.noticed.lost = true;
                self.since.get_or_insert_with(Instant::now);
            }
            for folder in self.folders.get(&watch).cloned().unwrap_or_default() {
                match &name {
                    Some(name) => self.note(folder.join(name), events, cookie),
                    None => self.ready(folder),
                }
            }
            if events.contains(ReadFlags::IGNORED) {
                self.folders.remove(&watch);
            }
        }
        // Those that were moved to where nobody watches never arrive.
        if self.moved.len() > MOVES_KEPT {
            self.moved.clear();
        }
        Ok(())
    }

    fn note(&mut self, path: PathBuf, events: ReadFlags, cookie: u32) {
        if events.contains(ReadFlags::MODIFY) {
            self.modified.insert(path.clone());
            self.write(path);
        } else if events.contains(ReadFlags::CREATE) {
            // Who creates an ordinary file has it open, and will close it. A link and a folder are there at once.
            let being_written = path
                .symlink_metadata()
                .is_ok_and(|of| of.is_file() && of.nlink() == 1);
            if being_written {
                self.write(path);
            } else {
                self.ready(path);
            }
        } else if events.contains(ReadFlags::CLOSE_WRITE) || events.contains(ReadFlags::DELETE) {
            self.writing.remove(&path);
            self.ready(path);
        } else if events.contains(ReadFlags::MOVED_FROM) {
            if self.writing.remove(&path).is_some() {
                self.moved.insert(cookie, path.clone());
            }
            self.ready(path);
        } else if events.contains(ReadFlags::MOVED_TO) {
            self.writing.remove(&path);
            // A file may be moved by a program that still writes to it.
            if self.moved.remove(&cookie).is_some() {
                self.write(path);
            } else {
                self.ready(path);
            }
        } else if events.contains(ReadFlags::ATTRIB) {
            self.ready(path);
        }
    }

    fn write(&mut self, path: PathBuf) {
        self.writing
            .entry(path)
            .or_insert_with(|| Some(Instant::now()));
    }

    fn ready(&mut self, path: PathBuf) {
        self.since.get_or_insert_with(Instant::now);
        self.noticed.paths.insert(path);
    }
}

#[cfg(test)]
mod tests;
