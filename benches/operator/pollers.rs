//! Clients that ask again and again, each on one connection that is kept open, in threads of their own.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testkit::client::{Client, Verdict};

/// How often the client asks whose verdict changes.
const OFTEN: Duration = Duration::from_millis(1);
/// How often the others ask.
const SELDOM: Duration = Duration::from_millis(10);

/// An answer that is not as the one before.
#[derive(Debug)]
pub(crate) struct Changed {
    pub at: Instant,
    pub verdict: Verdict,
}

/// The client whose verdict changes.
pub(crate) struct Poller {
    changes: Receiver<Changed>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    pub(crate) fn start(source: Ipv4Addr, proxy: SocketAddrV4, first: Verdict) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, changes) = channel();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || poll(source, proxy, first, &sender, &stopped));
        Self {
            changes,
            stop,
            thread: Some(thread),
        }
    }

    /// The next change, if it comes in time.
    pub(crate) fn next(&self, timeout: Duration) -> Option<Changed> {
        self.changes.recv_timeout(timeout).ok()
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn poll(
    source: Ipv4Addr,
    proxy: SocketAddrV4,
    mut last: Verdict,
    sender: &Sender<Changed>,
    stop: &AtomicBool,
) {
    let mut client = Client::new(source, proxy);
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let verdict = client.verdict();
        let at = Instant::now();
        if verdict != last {
            last = verdict.clone();
            if sender.send(Changed { at, verdict }).is_err() {
                return;
            }
        }
        next = (next + OFTEN).max(at);
        thread::sleep(next - at);
    }
}

/// Clients whom no change concerns.
#[derive(Default)]
pub(crate) struct Untouched {
    stop: Arc<AtomicBool>,
    wrong: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<u64>>,
}

impl Untouched {
    /// From now on, these get these verdicts from a proxy, and no others.
    pub(crate) fn add(&mut self, proxy: SocketAddrV4, expected: &[(Ipv4Addr, Verdict)]) {
        let mut clients: Vec<(Client, Verdict)> = expected
            .iter()
            .map(|(source, verdict)| (Client::new(*source, proxy), verdict.clone()))
            .collect();
        let (stop, wrong) = (Arc::clone(&self.stop), Arc::clone(&self.wrong));
        self.threads.push(thread::spawn(move || {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                for (client, expected) in &mut clients {
                    let verdict = client.verdict();
                    asked += 1;
                    if verdict != *expected {
                        wrong.lock().unwrap().push(format!(
                            "{} at {proxy}: {verdict:?} instead of {expected:?}",
                            client.source
                        ));
                    }
                }
                thread::sleep(SELDOM);
            }
            asked
        }));
    }

    /// How often they asked, and every wrong verdict.
    pub(crate) fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let asked = self
            .threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        let wrong = self.wrong.lock().unwrap().clone();
        (asked, wrong)
    }
}
