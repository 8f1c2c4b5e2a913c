//! A process that the demo started: it is ended by its own id, however the demo ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Fallible;

/// How long a process may take to end before it is killed.
const ENDING: Duration = Duration::from_secs(15);
/// How long a process may take until it serves.
const STARTING: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(10);

/// A running process. Dropping it ends it and waits for that.
pub struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// File with the id of a process that would outlive this one if it had to be killed, and a word of its command line.
    heir: Option<(PathBuf, PathBuf)>,
}

impl Server {
    /// Starts it, with all its output in a log.
    pub fn start(name: &'static str, command: Command, log: &Path) -> Fallible<Self> {
        let errors = File::create(log)?;
        Self::run(name, command, errors.try_clone()?, errors, log)
    }

    /// Starts it, with its standard output in a file of its own.
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
            // A group of its own: Ctrl-C reaches the demo alone, which then ends everything in order.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: cannot be run: {error}", program.display()))?;
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
            heir: None,
        })
    }

    /// Names what this process leaves behind when it is killed: the file with its id, and a word of its command line.
    pub fn leaves(mut self, id: PathBuf, word: PathBuf) -> Self {
        self.heir = Some((id, word));
        self
    }

    /// Waits until it serves, or returns the reason why it does not.
    pub async fn ready(&mut self, mut serves: impl AsyncFnMut() -> bool) -> Fallible<Duration> {
        let started = Instant::now();
        while !serves().await {
            if let Some(ended) = self.ended() {
                return Err(ended.into());
            }
            if started.elapsed() > STARTING {
                return Err(format!("{} does not serve after {STARTING:?}", self.name).into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(started.elapsed())
    }

    /// That it has ended, and how, if it has.
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
            // Not yet waited for, so the id is still this process's.
            let _ = kill_process(Pid::from_child(&self.child), signal);
            let since = Instant::now();
            while since.elapsed() < ENDING {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn end_heir(&self) {
        let Some((file, word)) = &self.heir else {
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
        while runs() && since.elapsed() < ENDING {
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
        self.end_heir();
    }
}
