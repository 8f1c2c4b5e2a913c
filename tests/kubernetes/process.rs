//! A process that ends when its owner is dropped, and when the test process ends by whatever means.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Reads until the test process is gone, then ends the process and removes what nobody else will. Again, because another
/// process that ends just now may still write there.
const WATCH: &str = r#"
read -r _
kill -KILL "$1" 2>/dev/null
[ -z "$2" ] || for _ in 1 2 3 4 5; do rm -rf -- "$2" && break; sleep 0.2; done
"#;

pub(super) struct Process {
    name: &'static str,
    child: Child,
    watcher: Child,
    /// The kernel closes it with the test process, which ends the watcher's reading.
    _alive: ChildStdin,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes into `folder`, appended. `orphan` is removed if nobody is left to do so.
    pub(super) fn start(
        name: &'static str,
        mut command: Command,
        folder: &Path,
        orphan: Option<&Path>,
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let said = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            // Groups of their own: Ctrl-C reaches the test process alone, and ends these by its end.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut watcher = Command::new("sh")
            .args(["-c", WATCH, "sh", &child.id().to_string()])
            .arg(orphan.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let alive = watcher.stdin.take().unwrap();
        Self {
            name,
            child,
            watcher,
            _alive: alive,
            log,
        }
    }

    /// Waits until a condition holds; if the process ends before that, or time does, shows what it said.
    pub(super) fn wait_until(
        &mut self,
        mut condition: impl FnMut() -> std::io::Result<()>,
        patience: Duration,
    ) {
        let end = Instant::now() + patience;
        while let Err(error) = condition() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "{} is not ready ({}): {error}; it said:\n{}",
                self.name,
                ended.map_or_else(|| "still running".to_owned(), |status| status.to_string()),
                self.last_words()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watcher first: once the process is waited for, its number may be another's.
        for child in [&mut self.watcher, &mut self.child] {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
