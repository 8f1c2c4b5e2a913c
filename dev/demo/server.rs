//! A process of the demo. It is ended by its id, however the demo ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::fallible::Fallible;

/// Grace period after SIGTERM; then the process is killed.
const GRACE_PERIOD: Duration = Duration::from_secs(15);
/// Timeout for the start of a process.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Pause between two checks of a process.
const PAUSE: Duration = Duration::from_millis(10);

/// A running process. Dropping it ends the process and waits for its end.
pub struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// A process that outlives this one when this one is killed: the file with its id, and a word of its command line.
    child_process: Option<(PathBuf, PathBuf)>,
}

impl Server {
    /// Starts a process with all its output in a log.
    pub fn start(name: &'static str, command: Command, log: &Path) -> Fallible<Self> {
        let errors = File::create(log)?;
        Self::run(name, command, errors.try_clone()?, errors, log)
    }

    /// Starts a process with its standard output in a file of its own.
    pub fn start_printing(
        name: &'static str,
        command: Command,
        output: &Path,
        log: &Path,
    ) -> Fallible<Self> {
        Self::run(
            name,
            command,
            File::create(output)?,
            File::create(log)?,
            log,
        )
    }

    fn run(
        name: &'static str,
        mut command: Command,
        output: File,
        errors: File,
        log: &Path,
    ) -> Fallible<Self> {
        let program = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // In its own group: Ctrl-C reaches only the demo, which then ends all processes in order.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: cannot be run: {error}", program.display()))?;
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
            child_process: None,
        })
    }

    /// Names a process that outlives this one when this one is killed: the file with its id, and a word of its command
    /// line.
    pub fn with_child(mut self, id: PathBuf, word: PathBuf) -> Self {
        self.child_process = Some((id, word));
        self
    }

    /// Waits until it serves, or returns the reason why it does not.
    pub async fn ready(&mut self, mut serves: impl AsyncFnMut() -> bool) -> Fallible<Duration> {
        let started = Instant::now();
        while !serves().await {
            if let Some(ended) = self.ended() {
                return Err(ended.into());
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(format!("{} does not serve after {START_TIMEOUT:?}", self.name).into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(started.elapsed())
    }

    /// Name and exit status of a process that has ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(format!("{} ended: {status}", self.name))
    }

    /// Returns its log so far.
    pub fn log(&self) -> Fallible<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }

    fn end(&mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            // The process was not waited for yet, so the id still belongs to it.
            let _ = kill_process(Pid::from_child(&self.child), signal);
            let since = Instant::now();
            while since.elapsed() < GRACE_PERIOD {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn end_child_process(&self) {
        let Some((file, word)) = &self.child_process else {
            return;
        };
        let id = std::fs::read_to_string(file)
            .ok()
            .and_then(|id| id.trim().parse().ok())
            .and_then(Pid::from_raw);
        let Some(id) = id else { return };
        let command = format!("/proc/{}/cmdline", id.as_raw_nonzero());
        let word = word.as_os_str().as_encoded_bytes();
        let runs = || {
            std::fs::read(&command)
                .is_ok_and(|words| words.split(|byte| *byte == 0).any(|other| other == word))
        };
        let since = Instant::now();
        while runs() && since.elapsed() < GRACE_PERIOD {
            let _ = kill_process(id, Signal::KILL);
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
        }
        self.end_child_process();
    }
}
