//! Reports which files can be read now, and which are still being written. Reads no file.
//!
//! The kernel queues an event before the system call that causes it returns. So after reading a file, draining the
//! queue shows whether another program had begun to write it: see [`Watcher::start_reading`]. The only exception is the
//! very first call of a writer while it is in progress. In most cases that call truncates the file, and an empty file
//! is never used.

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

/// Time after which an unfinished write is reported.
const WRITING: Duration = Duration::from_secs(1);
/// Size of the buffer for events in bytes; some hundred fit.
const BUFFER: usize = 16 * 1024;

/// Most moves of which only the first event has arrived.
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
        /// Path of the folder.
        folder: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// No events can be received at all.
    #[error("files cannot be watched for changes: {0}; raise fs.inotify.max_user_instances")]
    Events(#[from] io::Error),
}

/// Changes since the last call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FileChanges {
    /// Paths, in canonical folders, of files that were closed after writing, moved, linked or deleted.
    pub paths: BTreeSet<PathBuf>,
    /// Whether events were lost: any file may have changed.
    pub lost: bool,
}

/// Watches folders with inotify.
pub(super) struct Watcher {
    inotify: AsyncFd<OwnedFd>,
    /// The canonical paths of a watched folder; several when it is mounted in several places.
    folders: BTreeMap<i32, BTreeSet<PathBuf>>,
    changes: FileChanges,
    /// Time of the first of these changes.
    since: Option<Instant>,
    /// Files that are open for writing, and since when; `None` if that was reported.
    writing: BTreeMap<PathBuf, Option<Instant>>,
    /// Files that were written since reading started.
    modified: BTreeSet<PathBuf>,
    /// Files that were moved while they were being written, by the cookie of the move.
    moved: BTreeMap<u32, PathBuf>,
}

impl Watcher {
    /// Creates a watcher without folders.
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
            changes: FileChanges::default(),
            since: None,
            writing: BTreeMap::new(),
            modified: BTreeSet::new(),
            moved: BTreeMap::new(),
        })
    }

    /// Watches exactly these folders, by canonical path. Returns whether one of them is new: earlier changes in it are
    /// unknown, so it has to be listed again. A folder that does not exist is no error; its parent reports its
    /// creation.
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
            // Added again each time: another folder may have the same name now.
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

    /// Waits until a file can be read, or has been open for writing too long. Returns the time when that was seen. It
    /// is safe to cancel.
    pub(super) async fn changed(&mut self) -> io::Result<Instant> {
        loop {
            if let Some(since) = self.since {
                return Ok(since);
            }
            let overdue = self.next_overdue();
            tokio::select! {
                ready = self.inotify.readable() => ready?.clear_ready(),
                () = wait_until(overdue) => return Ok(Instant::now()),
            }
            self.drain()?;
        }
    }

    /// Treats every file as changed.
    pub(super) fn changed_everywhere(&mut self) {
        self.changes.lost = true;
    }

    /// Returns and clears the changes.
    pub(super) fn take(&mut self) -> FileChanges {
        self.since = None;
        std::mem::take(&mut self.changes)
    }

    /// Whether a file, by its canonical path, is being written.
    pub(super) fn is_writing(&self, file: &Path) -> bool {
        self.writing.contains_key(file)
    }

    /// Starts recording which files are written, for [`Watcher::was_modified`].
    pub(super) fn start_reading(&mut self) {
        self.modified.clear();
    }

    /// Whether a file was modified since reading started, so that the content that was read may be neither the old nor
    /// the new one. The event at the end of the write has arrived, or will arrive.
    pub(super) fn was_modified(&self, file: &Path) -> bool {
        self.modified.contains(file) || self.is_writing(file)
    }

    /// Time at which the next file will have been open for writing too long.
    fn next_overdue(&self) -> Option<Instant> {
        let since = self.writing.values().flatten().min()?;
        Some(*since + WRITING)
    }

    /// Files that have been open for writing too long; each is returned once.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<PathBuf> {
        let overdue = self.writing.iter_mut().filter_map(|(file, since)| {
            since.filter(|since| *since + WRITING <= now)?;
            *since = None;
            Some(file.clone())
        });
        overdue.collect()
    }

    /// Handles all events that have happened until now.
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
                // The lost events may include the end of a write.
                self.writing.clear();
                self.changes.lost = true;
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
        // Files that were moved to a folder that is not watched never arrive.
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
            // A new regular file is open, and will be closed. A link or a folder is complete at once.
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
        self.changes.paths.insert(path);
    }
}

/// Waits until the deadline; forever without one.
pub(super) async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
