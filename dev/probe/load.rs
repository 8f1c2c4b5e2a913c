//! Sends requests until it is stopped, and counts the answers.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::question::{Error, Question, causes};

/// Pause between two requests of one client: with four clients, a gap of 10 ms meets a request. Shorter pauses use most
/// of a small machine.
const PAUSE: Duration = Duration::from_millis(30);
/// Highest number of different failures in the output.
const MAX_CAUSES: usize = 20;

/// Counts of answers and failures.
#[derive(Default, Serialize)]
pub(crate) struct Counts {
    /// Number of requests.
    requests: u64,
    /// Number of answers by status code.
    answers: BTreeMap<u16, u64>,
    /// Number of requests without an answer.
    failures: u64,
    /// Number of failures by cause, for the first few causes.
    causes: BTreeMap<String, u64>,
}

impl Counts {
    fn add(&mut self, answer: Result<u16, String>) {
        self.requests += 1;
        match answer {
            Ok(status) => *self.answers.entry(status).or_default() += 1,
            Err(cause) => {
                self.failures += 1;
                if self.causes.len() < MAX_CAUSES || self.causes.contains_key(&cause) {
                    *self.causes.entry(cause).or_default() += 1;
                }
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        for (status, count) in other.answers {
            *self.answers.entry(status).or_default() += count;
        }
        for (cause, count) in other.causes {
            *self.causes.entry(cause).or_default() += count;
        }
    }
}

/// Sends requests until standard input ends. Prints `started` on standard error after the first answer.
pub(crate) async fn load(question: &Question, clients: usize) -> Result<Counts, Error> {
    let (end, ended) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for index in 0..clients {
        let client = question.client(index % 2 == 0)?;
        let (question, mut ended) = (question.clone(), ended.clone());
        tasks.spawn(async move {
            let mut counts = Counts::default();
            while !*ended.borrow() {
                let answer = question.send(&client).await;
                if index == 0 && counts.requests == 0 {
                    eprintln!("started");
                }
                counts.add(match answer {
                    Ok((status, _)) => Ok(status),
                    Err(error) => Err(causes(&error)),
                });
                let _ = tokio::time::timeout(PAUSE, ended.changed()).await;
            }
            counts
        });
    }
    tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
    end.send_replace(true);
    let mut counts = Counts::default();
    while let Some(done) = tasks.join_next().await {
        counts.merge(done?);
    }
    Ok(counts)
}
