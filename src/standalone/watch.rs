//! Says that files changed, and which of them are still being written. Reads nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Watches files and folders.
pub(super) struct Watcher {
    /// Watching ends when this is dropped.
    _alive: RecommendedWatcher,
    events: UnboundedReceiver<(Instant, notify::Result<Event>)>,
    writing: BTreeSet<PathBuf>,
}

impl Watcher {
    /// Starts. Of a file its folder is watched, because editors replace files.
    pub(super) fn start(paths: &[PathBuf]) -> notify::Result<Self> {
        let (sender, events) = unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event| {
            // The receiver is gone only when everything stops.
            let _ = sender.send((Instant::now(), event));
        })?;
        let mut folders = BTreeSet::new();
        for path in paths {
            let (folder, mode) = if path.is_dir() {
                (path.as_path(), RecursiveMode::Recursive)
            } else {
                let parent = path
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty());
                (
                    parent.unwrap_or(Path::new(".")),
                    RecursiveMode::NonRecursive,
                )
            };
            if folders.insert(folder.to_owned()) {
                watcher.watch(folder, mode)?;
            }
        }
        Ok(Self {
            _alive: watcher,
            events,
            writing: BTreeSet::new(),
        })
    }

    /// Waits for a change that may be read, and takes all that came with it. The answer is when the first was seen.
    pub(super) async fn changed(&mut self) -> Option<Instant> {
        loop {
            let (seen, event) = self.events.recv().await?;
            let mut complete = self.note(event);
            while let Ok((_, event)) = self.events.try_recv() {
                complete |= self.note(event);
            }
            if complete {
                return Some(seen);
            }
        }
    }

    /// Files that somebody has begun to write and not yet closed, by file name and folder as the system names them.
    pub(super) fn unfinished(&self) -> BTreeSet<PathBuf> {
        self.writing.clone()
    }

    /// Whether something may be read now.
    fn note(&mut self, event: notify::Result<Event>) -> bool {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!("watching the files: {error}; reading all of them again");
                self.writing.clear();
                return true;
            }
        };
        if event.need_rescan() {
            self.writing.clear();
            return true;
        }
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                self.writing.extend(event.paths);
                false
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_)
            | EventKind::Create(_) => {
                for path in &event.paths {
                    self.writing.remove(path);
                }
                true
            }
            _ => false,
        }
    }
}
