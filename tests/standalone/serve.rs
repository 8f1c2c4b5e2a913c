//! A running `vaultwall serve` and its log.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::standalone::sandbox::Sandbox;
use testkit::tokens::assert_absent;
use testkit::tool;
use testkit::wait::{TIMEOUT, wait_for};

/// Log message of a change that is in force.
pub(crate) const IN_FORCE: &str = "in force at";

/// Lines, each with its time.
type Lines = Vec<(Instant, String)>;

#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    more: Condvar,
}

impl Log {
    /// A test that failed elsewhere still wants to see them.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Serve {
    process: Child,
    shared: Arc<Log>,
}

impl Serve {
    /// The command, with everything that it needs for a sandbox.
    pub(crate) fn command(sandbox: &Sandbox) -> Command {
        Self::command_with(sandbox, &[])
    }

    /// The same, with other options in place of its own.
    pub(crate) fn command_with(sandbox: &Sandbox, other: &[(&str, &OsStr)]) -> Command {
        let own: [(&str, OsString); 7] = [
            ("-f", sandbox.objects().into()),
            ("--upstream", sandbox.upstream().to_string().into()),
            ("--data-listen", sandbox.data().to_string().into()),
            (
                "--management-listen",
                sandbox.management().to_string().into(),
            ),
            ("--envoy", tool("envoy").into()),
            ("--state-dir", sandbox.state().into()),
            ("--access-log", sandbox.at("access.log").into()),
        ];
        let replaced = |name: &str| other.iter().any(|(option, _)| *option == name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaultwall"));
        command.arg("serve");
        for (name, value) in own.iter().filter(|(name, _)| !replaced(name)) {
            command.arg(name).arg(value);
        }
        for (name, value) in other {
            command.arg(name).arg(value);
        }
        command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until the first configuration is in force.
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        let serve = Self::run(&mut Self::command(sandbox));
        serve.wait_for_line(0, IN_FORCE);
        serve
    }

    pub(crate) fn run(command: &mut Command) -> Self {
        let mut process = command.spawn().unwrap();
        let said = Arc::new(Log::default());
        let (stderr, writer) = (process.stderr.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = writer.lines();
                lines.push((Instant::now(), line));
                writer.more.notify_all();
            }
        });
        Self {
            process,
            shared: said,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Returns the number of lines so far.
    pub(crate) fn lines(&self) -> usize {
        self.shared.lines().len()
    }

    pub(crate) fn log(&self) -> String {
        let lines = self.shared.lines();
        let lines: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
        lines.join("\n")
    }

    /// Waits for a line with this text after the first `from` lines. Returns its time and the line.
    pub(crate) fn wait_for_line(&self, from: usize, text: &str) -> (Instant, String) {
        let end = Instant::now() + TIMEOUT;
        let mut lines = self.shared.lines();
        let mut looked_at = from;
        loop {
            while let Some((at, line)) = lines.get(looked_at) {
                if line.contains(text) {
                    return (*at, line.clone());
                }
                looked_at += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "Vaultwall should say: {text}");
            lines = self.shared.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits for a line that has all of these.
    pub(crate) fn wait_for_line_with(&self, from: usize, texts: &[&str]) {
        let (_, line) = self.wait_for_line(from, texts[0]);
        for text in texts {
            assert!(line.contains(text), "{text} is not in: {line}");
        }
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        wait_for("Vaultwall ends", || self.process.try_wait().unwrap())
    }

    /// Stops it as a person or an init system does.
    pub(crate) fn stop(&mut self, signal: Signal) -> ExitStatus {
        kill_process(self.pid(), signal).unwrap();
        self.ended()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- Vaultwall said\n{}\n---", self.log());
        } else {
            assert_absent("the log of Vaultwall and Envoy", &self.log());
        }
    }
}
