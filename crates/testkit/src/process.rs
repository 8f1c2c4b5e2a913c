//! A process that ends when its owner is dropped, and when the test process ends by whatever means.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::tokens;
use crate::wait::{PAUSE, TIMEOUT, wait_until};

/// Reads until the test process has ended, then ends the process and removes its folder, if any. It repeats the
/// removal, because another process that is about to end may still write there.
const WATCH: &str = r#"
read -r _
kill -KILL "$1" 2>/dev/null
[ -z "$2" ] || for _ in 1 2 3 4 5; do rm -rf -- "$2" && break; sleep 0.2; done
"#;
/// Last lines of a log that a failing test prints.
const SHOWN: usize = 40;

/// A running process and its log.
pub struct Process {
    name: String,
    child: Child,
    watcher: Child,
    /// The kernel closes it with the test process, which ends the watcher's reading.
    _alive: ChildStdin,
    log: PathBuf,
}

/// CPU time of a running process so far, of all its threads. The scheduler counts nanoseconds, where `/proc/PID/stat`
/// has ticks; its first number is the time on a processor. Threads that ended do not count.
pub fn cpu_time(id: impl std::fmt::Display) -> Duration {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        let file = thread.unwrap().path().join("schedstat");
        let text = fs::read_to_string(file).expect("a kernel with scheduler statistics");
        let first = text.split_whitespace().next().unwrap();
        first.parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}

impl Process {
    /// Starts a command. Its stderr is appended to `NAME.log` in `folder`. At its end, no log in that folder may
    /// contain a token.
    pub fn start(name: &str, command: Command, folder: &Path) -> Self {
        Self::run(name, command, folder, None, Stdio::null())
    }

    /// Starts a command whose output on stdout is a log, too: it is appended to `NAME.stdout.log`.
    pub fn start_printing(name: &str, command: Command, folder: &Path) -> Self {
        let printed = append_to(&folder.join(format!("{name}.stdout.log")));
        Self::run(name, command, folder, None, printed.into())
    }

    /// Starts a command, and removes `folder` if the test process is killed.
    pub fn start_in_own(name: &str, command: Command, folder: &Path) -> Self {
        Self::run(name, command, folder, Some(folder), Stdio::null())
    }

    fn run(
        name: &str,
        mut command: Command,
        folder: &Path,
        remove: Option<&Path>,
        stdout: Stdio,
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let output = append_to(&log);
        let program = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(output)
            // Groups of their own: Ctrl-C reaches the test process alone, and the watcher ends these.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", program.display()));
        let mut watcher = Command::new("sh")
            .args(["-c", WATCH, "sh", &child.id().to_string()])
            .arg(remove.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let alive = watcher.stdin.take().unwrap();
        Self {
            name: name.to_owned(),
            child,
            watcher,
            _alive: alive,
            log,
        }
    }

    /// Waits until a condition holds.
    ///
    /// # Panics
    ///
    /// If the process ends before that, or after [`TIMEOUT`], with the end of its log.
    pub fn wait_until_ready<E: std::fmt::Display>(
        &mut self,
        mut check: impl FnMut() -> Result<(), E>,
    ) {
        let end = Instant::now() + TIMEOUT;
        while let Err(error) = check() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "{} is not ready ({}): {error}; the end of its log:\n{}",
                self.name,
                ended.map_or_else(|| "still running".to_owned(), |status| status.to_string()),
                self.end_of_log()
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its log contains a text.
    pub fn wait_for_log(&self, text: &str) {
        wait_until(text, || self.log().contains(text));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends it SIGTERM and waits until it has ended.
    ///
    /// # Panics
    ///
    /// If it does not end, or not with exit code 0.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait(TIMEOUT);
        assert!(
            status.is_some_and(|status| status.success()),
            "{} ended with {status:?}; the end of its log:\n{}",
            self.name,
            self.end_of_log()
        );
    }

    /// Kills it.
    pub fn kill(self) {
        drop(self);
    }

    /// Returns how it ended, if it has ended by itself.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended by itself, and returns how; `None` if it still runs after the timeout.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + timeout;
        loop {
            let status = self.exit_status();
            if status.is_some() || Instant::now() >= end {
                return status;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watcher first: once the process is waited for, its id may be another's.
        for child in [&mut self.watcher, &mut self.child] {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            eprintln!(
                "--- the end of the log of {}\n{}",
                self.name,
                self.end_of_log()
            );
        } else if let Some(folder) = self.log.parent() {
            tokens::assert_absent_in_logs(folder);
        }
    }
}

fn append_to(path: &Path) -> File {
    let mut options = File::options();
    options.create(true).append(true).open(path).unwrap()
}
