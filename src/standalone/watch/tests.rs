#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

struct Watched {
    folder: TempDir,
    watcher: Watcher,
}

impl Watched {
    fn new(files: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(folder.path().join(file), "old").unwrap();
        }
        let mut watcher = Watcher::start().unwrap();
        let only = BTreeSet::from([folder.path().to_owned()]);
        assert!(watcher.watch(&only).unwrap());
        assert!(!watcher.watch(&only).unwrap(), "not new");
        Self { folder, watcher }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names that can be read, and names that are being written.
    fn observe(&mut self) -> (Vec<String>, Vec<String>) {
        self.watcher.drain().unwrap();
        let name = |path: &PathBuf| {
            let name = path.strip_prefix(self.folder.path()).unwrap();
            name.display().to_string()
        };
        let writing = self.watcher.writing.keys().map(name).collect();
        let changes = std::mem::take(&mut self.watcher.changes);
        (changes.paths.iter().map(name).collect(), writing)
    }

    /// Waits for changes and compares their names.
    async fn next_is(&mut self, expected: &[&str]) {
        let soon = tokio::time::timeout(Duration::from_secs(30), self.watcher.changed());
        soon.await.unwrap().unwrap();
        let expected: BTreeSet<_> = expected.iter().map(|name| self.at(name)).collect();
        assert_eq!(self.watcher.take().paths, expected);
    }

    fn expect(&mut self, ready: &[&str], writing: &[&str]) {
        let observed = self.observe();
        assert_eq!(
            (observed.0.as_slice(), observed.1.as_slice()),
            (
                ready
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .as_slice(),
                writing
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .as_slice(),
            )
        );
    }
}

#[tokio::test]
async fn a_file_is_ready_when_its_writer_closes_it() {
    let mut watched = Watched::new(&["a.yaml"]);
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(watched.at("a.yaml"))
        .unwrap();
    watched.expect(&[], &["a.yaml"]);
    file.write_all(b"new").unwrap();
    watched.expect(&[], &["a.yaml"]);
    drop(file);
    watched.expect(&["a.yaml"], &[]);

    let mut file = File::create(watched.at("b.yaml")).unwrap();
    watched.expect(&[], &["b.yaml"]);
    file.write_all(b"new").unwrap();
    drop(file);
    watched.expect(&["b.yaml"], &[]);
}

#[tokio::test]
async fn moves_links_and_folders_are_ready_at_once() {
    let mut watched = Watched::new(&["a.yaml"]);
    fs::rename(watched.at("a.yaml"), watched.at("b.yaml")).unwrap();
    watched.expect(&["a.yaml", "b.yaml"], &[]);
    symlink("b.yaml", watched.at("link.yaml")).unwrap();
    fs::hard_link(watched.at("b.yaml"), watched.at("hard.yaml")).unwrap();
    fs::create_dir(watched.at("sub")).unwrap();
    watched.expect(&["hard.yaml", "link.yaml", "sub"], &[]);
    fs::remove_file(watched.at("link.yaml")).unwrap();
    watched.expect(&["link.yaml"], &[]);
}

#[tokio::test]
async fn a_file_that_is_moved_while_it_is_written_is_still_being_written() {
    let mut watched = Watched::new(&[]);
    let mut file = File::create(watched.at("a.tmp")).unwrap();
    file.write_all(b"half").unwrap();
    watched.expect(&[], &["a.tmp"]);
    fs::rename(watched.at("a.tmp"), watched.at("a.yaml")).unwrap();
    watched.expect(&["a.tmp"], &["a.yaml"]);
    drop(file);
    watched.expect(&["a.yaml"], &[]);
}

#[tokio::test]
async fn a_file_that_is_written_while_it_is_read_is_reported() {
    let mut watched = Watched::new(&["a.yaml", "b.yaml"]);
    watched.watcher.start_reading();
    fs::write(watched.at("a.yaml"), "new").unwrap();
    watched.watcher.drain().unwrap();
    assert!(watched.watcher.was_modified(&watched.at("a.yaml")));
    assert!(!watched.watcher.was_modified(&watched.at("b.yaml")));
    watched.expect(&["a.yaml"], &[]);
}

#[tokio::test]
async fn a_long_write_is_reported_once() {
    let mut watched = Watched::new(&["a.yaml"]);
    let _open = File::create(watched.at("a.yaml")).unwrap();
    watched.watcher.drain().unwrap();
    let due = watched
        .watcher
        .next_overdue()
        .expect("truncating is writing");
    assert!(
        watched
            .watcher
            .take_overdue(due.checked_sub(WRITING / 2).unwrap())
            .is_empty()
    );
    assert_eq!(watched.watcher.take_overdue(due), [watched.at("a.yaml")]);
    assert!(watched.watcher.take_overdue(due).is_empty());
    assert_eq!(watched.watcher.next_overdue(), None);
    assert!(watched.watcher.is_writing(&watched.at("a.yaml")));
}

#[tokio::test]
async fn another_folder_under_the_same_name_is_a_new_one() {
    let mut watched = Watched::new(&[]);
    let sub = watched.at("sub");
    let both = BTreeSet::from([watched.folder.path().to_owned(), sub.clone()]);
    assert!(!watched.watcher.watch(&both).unwrap(), "it does not exist");
    fs::create_dir(&sub).unwrap();
    assert!(watched.watcher.watch(&both).unwrap());
    fs::rename(&sub, watched.at("old")).unwrap();
    fs::create_dir(&sub).unwrap();
    assert!(watched.watcher.watch(&both).unwrap());
    watched.observe();
    fs::write(watched.at("old/x.yaml"), "").unwrap();
    fs::write(sub.join("y.yaml"), "").unwrap();
    watched.expect(&["sub/y.yaml"], &[]);
}

#[tokio::test]
async fn waiting_ends_with_the_first_file_that_can_be_read() {
    let mut watched = Watched::new(&["a.yaml"]);
    let mut file = File::create(watched.at("b.yaml")).unwrap();
    file.write_all(b"half").unwrap();
    let soon = tokio::time::timeout(Duration::from_millis(20), watched.watcher.changed());
    assert!(soon.await.is_err(), "half a file is not read");
    drop(file);
    watched.next_is(&["b.yaml"]).await;

    let file = File::create(watched.at("a.yaml")).unwrap();
    watched.next_is(&[]).await;
    assert_eq!(
        watched.watcher.take_overdue(Instant::now()),
        [watched.at("a.yaml")]
    );
    drop(file);
    watched.next_is(&["a.yaml"]).await;
}
