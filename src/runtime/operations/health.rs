//! Health: whether the process can still do its work (`/healthz`), and whether it does it now (`/readyz`).
//!
//! A loop answers for itself by a [`Pulse`]: one that hangs does not, and one that ended cannot. A [`Condition`] is unmet
//! until somebody says that it is met.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};

/// How long a loop may think before it counts as hung. Shorter than a usual probe's time.
const PATIENCE: Duration = Duration::from_millis(800);

/// What is asked for health and readiness. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
struct Asked {
    loops: Vec<(&'static str, mpsc::Sender<oneshot::Sender<()>>)>,
    tasks: Vec<Task>,
    conditions: Vec<(&'static str, watch::Receiver<Met>)>,
}

/// A task and how to find out whether it runs.
struct Task {
    name: &'static str,
    runs: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

/// Met, or why not.
type Met = Result<(), String>;

impl Health {
    /// Health of a process that nothing is known of yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A loop that has to answer: it waits on [`Pulse::asked`] beside its other work.
    pub fn pulse(&self, name: &'static str) -> Pulse {
        let (asks, asked) = mpsc::channel(1);
        self.asked().loops.push((name, asks));
        Pulse(asked)
    }

    /// A task that has to run, by a question that says whether it does.
    pub fn task(&self, name: &'static str, runs: impl Fn() -> bool + Send + Sync + 'static) {
        let runs = Box::new(runs);
        self.asked().tasks.push(Task { name, runs });
    }

    /// Something that has to be so before this replica is ready; until it is met, `/readyz` says `name: why`.
    pub fn condition(&self, name: &'static str, why: &str) -> Condition {
        let (said, met) = watch::channel(Err(why.to_owned()));
        self.asked().conditions.push((name, met));
        Condition(said)
    }

    /// What is wrong with the process, one line each; nothing: it is healthy.
    pub async fn unhealthy(&self) -> Vec<String> {
        let (loops, mut problems) = {
            let asked = self.asked();
            let ended = asked.tasks.iter().filter(|task| !(task.runs)());
            let problems: Vec<String> = ended
                .map(|task| format!("{}: its task has ended", task.name))
                .collect();
            (asked.loops.clone(), problems)
        };
        let answers = join_all(loops.into_iter().map(|(name, asks)| async move {
            let problem = match tokio::time::timeout(PATIENCE, ask(asks)).await {
                Ok(true) => return None,
                Ok(false) => "its loop has ended".to_owned(),
                Err(_) => format!("no answer in {} ms", PATIENCE.as_millis()),
            };
            Some(format!("{name}: {problem}"))
        }));
        problems.extend(answers.await.into_iter().flatten());
        problems
    }

    /// What this replica is not ready for, one line each; nothing: it is ready.
    pub fn unready(&self) -> Vec<String> {
        let asked = self.asked();
        let unmet = asked.conditions.iter().filter_map(|(name, met)| {
            // Whoever could say that it is met is gone.
            if met.has_changed().is_err() {
                return Some(format!("{name}: its task has ended"));
            }
            let why = met.borrow().as_ref().err()?.clone();
            Some(format!("{name}: {why}"))
        });
        unmet.collect()
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the loop answered; it did not when it ended.
async fn ask(asks: mpsc::Sender<oneshot::Sender<()>>) -> bool {
    let (answers, answer) = oneshot::channel();
    asks.send(answers).await.is_ok() && answer.await.is_ok()
}

/// A loop's side of a question for health.
#[derive(Debug)]
pub struct Pulse(mpsc::Receiver<oneshot::Sender<()>>);

impl Pulse {
    /// Waits for the next question and answers it. Safe to drop at any time, as in `select!`.
    pub async fn asked(&mut self) {
        match self.0.recv().await {
            Some(answer) => {
                // Whoever asked may have lost patience.
                let _ = answer.send(());
            }
            // Nobody can ask any more.
            None => std::future::pending().await,
        }
    }
}

/// A condition's side of readiness. Dropped: it is no longer met.
#[derive(Debug)]
pub struct Condition(watch::Sender<Met>);

impl Condition {
    /// It is so.
    pub fn met(&self) {
        self.set(Ok(()));
    }

    /// It is not so, and why.
    pub fn unmet(&self, why: &str) {
        self.set(Err(why.to_owned()));
    }

    fn set(&self, met: Met) {
        self.0.send_if_modified(|now| {
            let changes = *now != met;
            *now = met;
            changes
        });
    }
}
