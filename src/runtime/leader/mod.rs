//! Leader election with one Lease (`coordination.k8s.io/v1`): exactly one replica writes.
//!
//! [`candidate`] holds the rules, as a state machine without I/O; this file has the requests, the clock and the task.
//! Every write checks the [`Term`] first. A lost term is never valid again: the process exits and restarts as a new
//! candidate.
//!
//! Deleting the lease by hand is safe if every replica has seen it. A replica that starts within seconds after the
//! deletion treats it as a first start.

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

pub use candidate::{Lost, Timing};

/// Field manager of the Lease, as `managedFields` shows it.
const FIELD_MANAGER: &str = "vaultwall-lease";

/// The lease, and the candidate for it.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Name of the lease, the same for all replicas of one operator.
    pub name: String,
    /// Namespace of the lease: the operator's own.
    pub namespace: String,
    /// Identity of this process. It must be different for every process, even for two of the same pod: see
    /// [`unique_identity`].
    pub identity: String,
    /// Address of this replica for other replicas, `host:port`; the lease publishes it.
    pub address: String,
    /// Durations of the election.
    pub timing: Timing,
}

/// Returns an identity that begins with the name of the pod or machine and is different for every process.
pub fn unique_identity(name: &str) -> String {
    // The system seeds every `RandomState`.
    let random = RandomState::new().build_hasher().finish();
    format!("{name}_{random:016x}")
}

/// Time as the leader, from the acquisition of the lease to its loss. Clones share one state.
#[derive(Clone, Debug)]
pub struct Term {
    clock: Clock,
    end: Arc<End>,
}

#[derive(Debug)]
struct End {
    /// End of the term, in nanoseconds of uptime.
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

    /// Checks that this replica still leads. Call it directly before every write, and run the write in
    /// [`Term::limited`].
    pub fn still_valid(&self) -> Result<(), Lost> {
        if let Some(lost) = self.end.lost.get() {
            return Err(lost.clone());
        }
        if nanoseconds(self.clock.uptime()) < self.end.until.load(Ordering::Acquire) {
            return Ok(());
        }
        // A term that was reported as over stays over.
        let lost = || Lost::Expired(self.end.timing.renew_deadline());
        Err(self.end.lost.get_or_init(lost).clone())
    }

    /// Runs a request with the timeout [`Timing::request`].
    ///
    /// # Errors
    /// The request's error, or that the API server did not answer in time.
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

    fn set_lost(&self, lost: Lost) {
        let _ = self.end.lost.set(lost);
    }
}

fn nanoseconds(moment: Uptime) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX)
}

/// Role of this replica in the election.
#[derive(Clone, Debug)]
pub enum State {
    /// No leader is known.
    Unknown,
    /// Another replica leads.
    Following {
        /// Identity of the leader.
        identity: String,
        /// Address of the leader, `host:port`; empty if the lease has none.
        address: String,
    },
    /// This replica leads, as long as the term is valid.
    Leading(Term),
    /// This replica was the leader and lost the lease. The task has ended, and the process must exit.
    Lost(Lost),
}

/// A running candidacy.
#[derive(Debug)]
pub struct Leadership {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Leadership {
    /// Returns a receiver of this replica's state.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Waits for the end of the candidacy: the lease was released after a stop, or lost.
    pub async fn ended(self) {
        let _ = self.task.await;
    }
}

/// Whether the task that updates this state still runs; for health.
pub fn is_alive(state: &watch::Receiver<State>) -> bool {
    state.has_changed().is_ok()
}

/// Starts a candidacy. `stop` releases the lease, so that another replica can lead at once: end all writes first.
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
    /// Metadata of the lease as it was last seen: labels and annotations of other writers are kept.
    base: ObjectMeta,
    state: watch::Sender<State>,
    /// Whether the last request failed: a series of failures is logged once.
    failing: bool,
}

impl Campaign {
    async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        loop {
            if let Some(lost) = self.reported_loss() {
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
                    answer = self.read() => self.candidate.handle_answer(now, self.clock.uptime(), answer),
                },
                // Not cancelled by `stop`: a write that takes effect after the release would acquire the lease again.
                Action::Write(record) => {
                    let answer = self.write(&record).await;
                    self.candidate
                        .handle_answer(now, self.clock.uptime(), answer);
                }
                Action::End(lost) => return self.end(lost),
            }
            self.publish();
        }
        self.release().await;
    }

    /// Publishes this replica's state if it changed.
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
            let published = match state {
                State::Unknown => None,
                State::Following { identity, address } => {
                    Some((identity.as_str(), address.as_str()))
                }
                // The task ends next.
                State::Leading(_) | State::Lost(_) => return false,
            };
            if published == leader {
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

    /// Returns the loss that [`Term::still_valid`] reported to a caller directly before a renewal.
    fn reported_loss(&self) -> Option<Lost> {
        match &*self.state.borrow() {
            State::Leading(term) => term.end.lost.get().cloned(),
            _ => None,
        }
    }

    fn end(&self, lost: Lost) {
        self.state.send_modify(|state| {
            if let State::Leading(term) = state {
                term.set_lost(lost.clone());
            }
            *state = State::Lost(lost);
        });
    }

    /// Releases the lease. If the API server does not answer, the lease expires.
    async fn release(&mut self) {
        if self.candidate.valid_until().is_none() {
            return;
        }
        self.end(Lost::Released);
        // Reads the lease first, or in between, if a write had no answer.
        for _ in 0..3 {
            let now = self.clock.uptime();
            let answer = match self.candidate.release(self.clock.now()) {
                Some(record) => match self.write(&record).await {
                    Answer::Written(_) => return,
                    other => other,
                },
                None => self.read().await,
            };
            self.candidate
                .handle_answer(now, self.clock.uptime(), answer);
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
            // Another candidate was faster, or the lease was deleted.
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

    /// Timeout of the next request: a term must not end while the task waits.
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
                "cannot {what} the lease {namespace}/{name}: {problem}; retrying until it succeeds"
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
        // The precondition of the write.
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

/// Returns the outcome of the work, or `None` if it takes longer than `limit` on this clock.
async fn within<T>(clock: &Clock, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = clock.sleep(limit) => None,
        done = work => Some(done),
    }
}
