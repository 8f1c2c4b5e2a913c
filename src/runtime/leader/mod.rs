//! Leader election over one Lease (`coordination.k8s.io/v1`): of all replicas, one writes.
//!
//! [`candidate`] holds the rules, as a state machine without I/O; here are the API server, the clock and the task. A
//! [`Term`] is asked before every write. When it is lost it never comes back: the process ends and starts again as a
//! candidate that knows nothing.
//!
//! Deleting the lease by hand is safe as long as every replica has seen it; one that starts in the seconds after takes it
//! for a first start.

pub mod candidate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{ADDRESS_ANNOTATION, MANAGED_BY, MANAGED_BY_LABEL};
use crate::clock::{Clock, Uptime};
use candidate::{Action, Answer, Candidate, Record};

pub use candidate::Timing;

/// Field manager of the lease.
const FIELD_MANAGER: &str = "vaultwall-lease";

/// Which lease, and who is a candidate for it.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Name of the lease; replicas of one operator use the same.
    pub name: String,
    /// Its namespace: the operator's own.
    pub namespace: String,
    /// Who this is. No other process may have the same, not even an earlier one of this pod: see [`unique_identity`].
    pub identity: String,
    /// Where other replicas reach this one, `host:port`; they learn it from the lease.
    pub address: String,
    /// The lengths.
    pub timing: Timing,
}

/// An identity that begins with the pod's or machine's name and that no other process has.
pub fn unique_identity(name: &str) -> String {
    // Every `RandomState` is seeded by the system.
    let random = RandomState::new().build_hasher().finish();
    format!("{name}_{random:016x}")
}

/// Why a term is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// It could not be renewed in time.
    #[error(
        "the lease could not be renewed for {} s: the API server did not answer or refused; this replica writes nothing more",
        .0.as_secs_f32()
    )]
    Expired(Duration),
    /// The lease names somebody else.
    #[error("the lease was given to {}; this replica writes nothing more", holder(.0))]
    Taken(String),
    /// This replica was told to stop.
    #[error("this replica stops and has given the lease back")]
    Released,
}

fn holder(name: &str) -> &str {
    if name.is_empty() { "nobody" } else { name }
}

/// The time as leader. Clones are the same term.
#[derive(Clone, Debug)]
pub struct Term {
    clock: Clock,
    end: Arc<End>,
}

#[derive(Debug)]
struct End {
    /// Valid before this moment: nanoseconds of uptime.
    until: AtomicU64,
    timing: Timing,
    lost: OnceLock<Lost>,
}

impl Term {
    fn new(clock: Clock, until: Uptime, timing: Timing) -> Self {
        let end = Arc::new(End {
            until: AtomicU64::new(nanoseconds(until)),
            timing,
            lost: OnceLock::new(),
        });
        Self { clock, end }
    }

    /// Whether this replica still leads. Ask right before every write, and make the write [`Term::limited`].
    pub fn still_valid(&self) -> Result<(), Lost> {
        if let Some(lost) = self.end.lost.get() {
            return Err(lost.clone());
        }
        if nanoseconds(self.clock.uptime()) < self.end.until.load(Ordering::Acquire) {
            return Ok(());
        }
        // Once somebody was told that it is over, it stays so.
        let lost = || Lost::Expired(self.end.timing.renew_deadline());
        Err(self.end.lost.get_or_init(lost).clone())
    }

    /// Gives a request up after [`Timing::request`].
    ///
    /// # Errors
    /// The request's, or that it was given up.
    pub async fn limited<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, kube::Error> {
        let limit = self.end.timing.request();
        let Ok(answer) = tokio::time::timeout(limit, request).await else {
            let seconds = limit.as_secs_f32();
            let words = format!("the API server did not answer within {seconds} s");
            return Err(kube::Error::Service(words.into()));
        };
        answer
    }

    fn renewed(&self, until: Uptime) {
        self.end.until.store(nanoseconds(until), Ordering::Release);
    }

    fn lost(&self, lost: Lost) {
        let _ = self.end.lost.set(lost);
    }
}

fn nanoseconds(moment: Uptime) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX)
}

/// What this replica is.
#[derive(Clone, Debug)]
pub enum State {
    /// Nobody is known to lead.
    Unknown,
    /// Another replica leads.
    Following {
        /// Its identity.
        identity: String,
        /// Where to reach it; empty when it did not say.
        address: String,
    },
    /// This replica leads, as long as the term is valid.
    Leading(Term),
    /// This replica led and does no longer; the task has ended and so should the process.
    Lost(Lost),
}

/// A candidacy that is under way.
#[derive(Debug)]
pub struct Leadership {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Leadership {
    /// What this replica is, and will be.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Waits until the candidacy is over: stopped (the lease is given back by then) or lost.
    pub async fn ended(self) {
        let _ = self.task.await;
    }
}

/// Whether the task that feeds this state still runs; for health.
pub fn is_alive(state: &watch::Receiver<State>) -> bool {
    state.has_changed().is_ok()
}

/// Starts a candidacy. `stop` gives the lease back, so that another replica leads at its next look: end your writes first.
pub fn campaign(
    client: Client,
    options: LeaseOptions,
    clock: Clock,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Leadership {
    let (sender, state) = watch::channel(State::Unknown);
    let campaign = Campaign {
        api: Api::namespaced(client, &options.namespace),
        candidate: Candidate::new(
            options.identity.clone(),
            options.address.clone(),
            options.timing,
        ),
        options,
        clock,
        base: ObjectMeta::default(),
        state: sender,
        failing: false,
    };
    let task = tokio::spawn(campaign.run(stop));
    Leadership { state, task }
}

struct Campaign {
    api: Api<Lease>,
    options: LeaseOptions,
    clock: Clock,
    candidate: Candidate,
    /// Metadata of the lease as it was last seen: what others wrote there stays.
    base: ObjectMeta,
    state: watch::Sender<State>,
    /// The last request failed; said once, not every two seconds.
    failing: bool,
}

impl Campaign {
    async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        loop {
            if let Some(lost) = self.said_lost() {
                return self.end(lost);
            }
            let now = self.clock.uptime();
            match self.candidate.step(now, self.clock.now()) {
                Action::Wait(until) => tokio::select! {
                    biased;
                    () = &mut stop => break,
                    () = self.clock.sleep(until.saturating_sub(now)) => {}
                },
                Action::Read => tokio::select! {
                    biased;
                    () = &mut stop => break,
                    answer = self.read() => self.candidate.heard(now, self.clock.uptime(), answer),
                },
                // Not given up on `stop`: a write that happens after the lease was given back would take it again.
                Action::Write(record) => {
                    let answer = self.write(&record).await;
                    self.candidate.heard(now, self.clock.uptime(), answer);
                }
                Action::End(lost) => return self.end(lost),
            }
            self.publish();
        }
        self.release().await;
    }

    /// Says what this replica is, where that changed.
    fn publish(&self) {
        if let Some(until) = self.candidate.valid_until() {
            let timing = self.options.timing;
            self.state.send_if_modified(|state| {
                if let State::Leading(term) = state {
                    term.renewed(until);
                    return false;
                }
                tracing::info!("{} leads", self.options.identity);
                *state = State::Leading(Term::new(self.clock.clone(), until, timing));
                true
            });
            return;
        }
        let leader = self.candidate.leader();
        self.state.send_if_modified(|state| {
            let said = match state {
                State::Unknown => None,
                State::Following { identity, address } => {
                    Some((identity.as_str(), address.as_str()))
                }
                // What comes next is the end.
                State::Leading(_) | State::Lost(_) => return false,
            };
            if said == leader {
                return false;
            }
            *state = match leader {
                Some((identity, address)) => {
                    tracing::info!("{identity} leads, at {address}");
                    State::Following {
                        identity: identity.to_owned(),
                        address: address.to_owned(),
                    }
                }
                None => State::Unknown,
            };
            true
        });
    }

    /// What somebody was told who asked the term in the instant before a renewal.
    fn said_lost(&self) -> Option<Lost> {
        match &*self.state.borrow() {
            State::Leading(term) => term.end.lost.get().cloned(),
            _ => None,
        }
    }

    fn end(&self, lost: Lost) {
        self.state.send_modify(|state| {
            if let State::Leading(term) = state {
                term.lost(lost.clone());
            }
            *state = State::Lost(lost);
        });
    }

    /// Gives the lease back. Without an answer it runs out by itself.
    async fn release(&mut self) {
        if self.candidate.valid_until().is_none() {
            return;
        }
        self.end(Lost::Released);
        // With a look before or between, where a write had no answer.
        for _ in 0..3 {
            let now = self.clock.uptime();
            let answer = match self.candidate.release(self.clock.now()) {
                Some(record) => match self.write(&record).await {
                    Answer::Written(_) => return,
                    other => other,
                },
                None => self.read().await,
            };
            self.candidate.heard(now, self.clock.uptime(), answer);
        }
    }

    async fn read(&mut self) -> Answer {
        let read = self.api.get_opt(&self.options.name);
        match within(&self.clock, self.time_left(), read).await {
            Some(Ok(lease)) => {
                self.failing = false;
                let record = lease.map(|lease| self.seen(lease));
                if record.is_none() {
                    self.base = ObjectMeta::default();
                }
                Answer::Read(record)
            }
            failed => self.failed("read", failed.and_then(Result::err)),
        }
    }

    async fn write(&mut self, record: &Record) -> Answer {
        let lease = self.lease(record);
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let left = self.time_left();
        let written = if record.version.is_some() {
            let replace = self.api.replace(&self.options.name, &parameters, &lease);
            within(&self.clock, left, replace).await
        } else {
            let create = self.api.create(&parameters, &lease);
            within(&self.clock, left, create).await
        };
        match written {
            Some(Ok(lease)) => {
                self.failing = false;
                Answer::Written(self.seen(lease))
            }
            // Somebody was faster, or deleted it.
            Some(Err(kube::Error::Api(status)))
                if status.is_conflict()
                    || status.is_already_exists()
                    || (status.is_not_found() && record.version.is_some()) =>
            {
                Answer::Conflict
            }
            failed => self.failed("write", failed.and_then(Result::err)),
        }
    }

    /// How long a request may take now: a term must not end while the task waits.
    fn time_left(&self) -> Duration {
        let request = self.options.timing.request();
        let left = self
            .candidate
            .valid_until()
            .map(|until| until.saturating_sub(self.clock.uptime()));
        left.map_or(request, |left| left.min(request))
    }

    fn failed(&mut self, what: &str, error: Option<kube::Error>) -> Answer {
        if !self.failing {
            let LeaseOptions {
                namespace, name, ..
            } = &self.options;
            let problem = error.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
            tracing::warn!(
                "cannot {what} the lease {namespace}/{name}: {problem}; trying again until it works"
            );
        }
        self.failing = true;
        Answer::Failed
    }

    fn seen(&mut self, lease: Lease) -> Record {
        let spec = lease.spec.unwrap_or_default();
        let annotations = lease.metadata.annotations.as_ref();
        let address = annotations.and_then(|annotations| annotations.get(ADDRESS_ANNOTATION));
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        let record = Record {
            holder: spec.holder_identity.unwrap_or_default(),
            address: address.cloned().unwrap_or_default(),
            duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
            acquired: spec.acquire_time.map(|time| time.0),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or_default(),
            version: lease.metadata.resource_version.clone(),
        };
        self.base = ObjectMeta {
            managed_fields: None,
            ..lease.metadata
        };
        record
    }

    fn lease(&self, record: &Record) -> Lease {
        let mut metadata = ObjectMeta {
            name: Some(self.options.name.clone()),
            namespace: Some(self.options.namespace.clone()),
            ..self.base.clone()
        };
        // The precondition.
        metadata.resource_version.clone_from(&record.version);
        if record.version.is_none() {
            let label = (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
            metadata.labels = Some(BTreeMap::from([label]));
        }
        metadata
            .annotations
            .get_or_insert_default()
            .insert(ADDRESS_ANNOTATION.to_owned(), record.address.clone());
        let seconds = record.duration.as_secs() + u64::from(record.duration.subsec_nanos() > 0);
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(record.holder.clone()),
                lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
                acquire_time: record.acquired.map(MicroTime),
                renew_time: record.renewed.map(MicroTime),
                lease_transitions: Some(record.transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// The outcome, unless it takes longer than that on this clock.
async fn within<T>(clock: &Clock, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = clock.sleep(limit) => None,
        done = work => Some(done),
    }
}
