//! Health: whether the process can still do its work (`/healthz`), and whether it does its work at the moment
//! (`/readyz`).
//!
//! A loop reports its health with a [`Pulse`]: a loop that hangs or has ended does not answer. A [`Condition`] is unmet
//! until its task reports that it is met.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};

/// Time after which a loop counts as hung. It is shorter than the usual timeout of a probe, 1 s.
const PULSE_TIMEOUT: Duration = Duration::from_millis(800);

/// Loops, tasks and conditions behind the health endpoints. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Checks>>);

#[derive(Debug, Default)]
struct Checks {
    loops: Vec<(&'static str, mpsc::Sender<oneshot::Sender<()>>)>,
    tasks: Vec<Task>,
    conditions: Vec<(&'static str, watch::Receiver<Met>)>,
}

/// A task, and the check whether it runs.
struct Task {
    name: &'static str,
    runs: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

/// State of a condition: met, or the reason why not.
type Met = Result<(), String>;

impl Health {
    /// Returns the health of a process without loops, tasks and conditions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a loop that must answer: it waits on [`Pulse::beat`] in addition to its other work.
    pub fn pulse(&self, name: &'static str) -> Pulse {
        let (questions, receiver) = mpsc::channel(1);
        self.checks().loops.push((name, questions));
        Pulse(receiver)
    }

    /// Adds a task that must run; `runs` checks whether it does.
    pub fn task(&self, name: &'static str, runs: impl Fn() -> bool + Send + Sync + 'static) {
        let runs = Box::new(runs);
        self.checks().tasks.push(Task { name, runs });
    }

    /// Adds a condition of readiness; until it is met, `/readyz` answers `name: why`.
    pub fn condition(&self, name: &'static str, why: &str) -> Condition {
        let (state, met) = watch::channel(Err(why.to_owned()));
        self.checks().conditions.push((name, met));
        Condition(state)
    }

    /// Returns the problems of the process, one line each; none: it is healthy.
    pub async fn unhealthy(&self) -> Vec<String> {
        let (loops, mut problems) = {
            let checks = self.checks();
            let ended = checks.tasks.iter().filter(|task| !(task.runs)());
            let problems: Vec<String> = ended
                .map(|task| format!("{}: its task has ended", task.name))
                .collect();
            (checks.loops.clone(), problems)
        };
        let answers = join_all(loops.into_iter().map(|(name, questions)| async move {
            let problem = match tokio::time::timeout(PULSE_TIMEOUT, ask(questions)).await {
                Ok(true) => return None,
                Ok(false) => "its loop has ended".to_owned(),
                Err(_) => format!("no answer in {} ms", PULSE_TIMEOUT.as_millis()),
            };
            Some(format!("{name}: {problem}"))
        }));
        problems.extend(answers.await.into_iter().flatten());
        problems
    }

    /// Returns the unmet conditions, one line each; none: this replica is ready.
    pub fn unready(&self) -> Vec<String> {
        let checks = self.checks();
        let unmet = checks.conditions.iter().filter_map(|(name, met)| {
            // The condition's task has ended.
            if met.has_changed().is_err() {
                return Some(format!("{name}: its task has ended"));
            }
            let why = met.borrow().as_ref().err()?.clone();
            Some(format!("{name}: {why}"))
        });
        unmet.collect()
    }

    fn checks(&self) -> MutexGuard<'_, Checks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the loop answered; a loop that has ended does not.
async fn ask(questions: mpsc::Sender<oneshot::Sender<()>>) -> bool {
    let (answers, answer) = oneshot::channel();
    questions.send(answers).await.is_ok() && answer.await.is_ok()
}

/// The loop's side of its health check.
#[derive(Debug)]
pub struct Pulse(mpsc::Receiver<oneshot::Sender<()>>);

impl Pulse {
    /// Waits for the next check and answers it. Cancel-safe, so it can be a branch of `select!`.
    pub async fn beat(&mut self) {
        match self.0.recv().await {
            Some(answer) => {
                // The check may have timed out.
                let _ = answer.send(());
            }
            // There are no more checks.
            None => std::future::pending().await,
        }
    }
}

/// The task's side of a condition of readiness. Dropping it makes the condition unmet.
#[derive(Debug)]
pub struct Condition(watch::Sender<Met>);

impl Condition {
    /// Reports that the condition is met.
    pub fn met(&self) {
        self.set(Ok(()));
    }

    /// Reports that the condition is not met, and why.
    pub fn unmet(&self, why: &str) {
        self.set(Err(why.to_owned()));
    }

    fn set(&self, met: Met) {
        self.0.send_if_modified(|current| {
            let changes = *current != met;
            *current = met;
            changes
        });
    }
}
