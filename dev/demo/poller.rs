//! A client that repeats one request on one kept-alive connection, and records when the answer changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::fallible::Fallible;
use crate::http::Request;
use crate::requests::{Caller, Endpoint};
use crate::stage::{Stage, TOKEN};

/// Period of clients whose rules change.
pub const FAST: Duration = Duration::from_millis(1);
/// Period of clients whose rules stay the same.
pub const SLOW: Duration = Duration::from_millis(5);

/// A running client. It stops when it is dropped.
pub struct Poller {
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

/// Responses that a client has received so far.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Status code of the latest answer; 0 before the first.
    pub status: u16,
    /// Time of the first answer with this status code after a different one.
    pub since: Instant,
    /// Number of changes of the status code.
    pub changes: u64,
    /// Number of answers by status code.
    pub answers: BTreeMap<u16, u64>,
    /// Number of requests without an answer.
    pub errors: u64,
    /// Number of connections opened.
    pub connections: u64,
}

impl Seen {
    pub fn requests(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Whether all answers had this status code, on one connection.
    pub fn always(&self, status: u16) -> bool {
        self.undisturbed() && self.answers.keys().eq([&status])
    }

    /// Whether every request was answered, on one connection.
    pub fn undisturbed(&self) -> bool {
        self.errors == 0 && self.connections == 1
    }
}

impl Poller {
    /// Starts to read the secret as this caller, once in each `period`.
    pub fn start(stage: &Stage, caller: &Caller, period: Duration) -> Self {
        let mut client = stage.client(caller, Endpoint::Data);
        let forwarded = caller
            .forwarded_for
            .map(|client| ("x-forwarded-for", client.to_owned()));
        let mut headers = vec![("x-vault-token", TOKEN.to_owned())];
        headers.extend(forwarded);
        let request = Request {
            method: "GET".into(),
            target: "/v1/secret/data/app".into(),
            headers,
            body: String::new(),
        };
        let (sender, seen) = watch::channel(Seen {
            status: 0,
            since: Instant::now(),
            changes: 0,
            answers: BTreeMap::new(),
            errors: 0,
            connections: 0,
        });
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let answer = client.send(&request).await;
                let now = Instant::now();
                sender.send_modify(|seen| {
                    seen.connections = client.opened();
                    match &answer {
                        Ok(answer) => {
                            *seen.answers.entry(answer.status).or_default() += 1;
                            if answer.status != seen.status {
                                seen.changes += u64::from(seen.status != 0);
                                seen.status = answer.status;
                                seen.since = now;
                            }
                        }
                        Err(_) => seen.errors += 1,
                    }
                });
            }
        });
        Self { seen, task }
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits for a response with this status, and returns the moment of the first.
    pub async fn answered(&mut self, status: u16, timeout: Duration) -> Fallible<Instant> {
        let waiting = self.seen.wait_for(|seen| seen.status == status);
        match tokio::time::timeout(timeout, waiting).await {
            Ok(seen) => Ok(seen?.since),
            Err(_) => Err(format!("no answer was {status} within {timeout:?}").into()),
        }
    }

    /// Waits for this number of further answers.
    pub async fn more(&mut self, answers: u64, timeout: Duration) -> Fallible<()> {
        let enough = self.seen().requests() + answers;
        let waiting = self.seen.wait_for(|seen| seen.requests() >= enough);
        match tokio::time::timeout(timeout, waiting).await {
            Ok(seen) => Ok(seen.map(drop)?),
            Err(_) => Err(format!("{answers} answers did not come within {timeout:?}").into()),
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}
