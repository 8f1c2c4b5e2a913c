//! A thread in a network namespace of its own.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::thread::{UnshareFlags, gettid};

type Job = Box<dyn FnOnce() + Send>;

/// Runs what it is given inside the namespace. Sockets, threads and processes that are begun there stay in it.
pub struct Inside {
    jobs: Sender<Job>,
    /// By which others name the namespace.
    pub thread: i32,
}

impl Inside {
    pub fn new() -> Self {
        let (jobs, todo) = channel::<Job>();
        let (begun, begins) = channel();
        thread::spawn(move || {
            #[allow(deprecated, reason = "of all flags, only that for files is unsafe")]
            let unshared = rustix::thread::unshare(UnshareFlags::NEWNET);
            begun.send(unshared.map(|()| gettid())).unwrap();
            for job in todo {
                job();
            }
        });
        let thread = begins.recv().unwrap();
        let thread = thread.expect("a network namespace of one's own takes root: run this as root");
        Self {
            jobs,
            thread: thread.as_raw_nonzero().get(),
        }
    }

    /// Runs `job` inside and returns its result.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, answer) = channel();
        let job = move || sender.send(job()).unwrap();
        self.jobs.send(Box::new(job)).unwrap();
        answer.recv().expect("the job panicked, see above")
    }

    /// Runs a program inside, with text to read.
    pub fn command(&self, program: &'static str, arguments: &'static [&str], stdin: &str) {
        self.attempt(program, arguments, stdin)
            .unwrap_or_else(|error| panic!("{error}\nfor\n{stdin}"));
    }

    /// The same for a command that may fail; the error is the output of the program.
    pub fn attempt(
        &self,
        program: &'static str,
        arguments: &'static [&str],
        stdin: &str,
    ) -> Result<(), String> {
        let stdin = stdin.to_owned();
        self.run(move || {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|error| format!("{program}: {error}: install nftables and iproute2"))?;
            let mut pipe = child.stdin.take().unwrap();
            // A program that does not read all of it reports the reason below.
            let _ = pipe.write_all(stdin.as_bytes());
            drop(pipe);
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            output
                .status
                .success()
                .then_some(())
                .ok_or_else(|| format!("{program}: {stderr}"))
        })
    }
}
