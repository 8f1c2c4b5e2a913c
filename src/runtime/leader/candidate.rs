//! One candidate for the lease, as a state machine without I/O: its input is each answer of the API server with the
//! time of the answer, its output the next action.
//!
//! Why there are never two valid terms: a term ends [`Timing::renew_deadline`] after the last successful renewal was
//! *sent*. Another candidate takes the lease only after it *saw* the same record for the whole [`Timing::duration`],
//! which is longer and began later. Both spans are measured on the machine's own clock; times of machines are never
//! compared. What is between the two spans is the margin for clocks that run at different speeds and for writes that
//! were under way when the term ended.

use std::time::Duration;

use jiff::{Timestamp, Unit};

use crate::clock::Uptime;

/// Durations of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time for which other candidates do not touch an unchanged lease.
    duration: Duration,
}

impl Default for Timing {
    /// 15 s, 10 s and 2 s: the defaults of Kubernetes' own components.
    fn default() -> Self {
        Self::of_duration(Duration::from_secs(15))
    }
}

impl Timing {
    /// Timing of a lease with this duration, at least one second. The other durations are fractions of it, so they are
    /// consistent with each other for every duration.
    pub fn of_duration(duration: Duration) -> Self {
        Self {
            duration: duration.max(Duration::from_secs(1)),
        }
    }

    /// Time for which other candidates do not touch an unchanged lease.
    pub fn duration(self) -> Duration {
        self.duration
    }

    /// Length of a term after its last successful renewal was sent: two thirds of the duration.
    pub fn renew_deadline(self) -> Duration {
        self.duration * 2 / 3
    }

    /// Time between two renewals, and between two reads of a follower: 2/15 of the duration. With 15 s that is 1,800
    /// writes an hour, all of them to the lease.
    pub fn retry(self) -> Duration {
        self.duration * 2 / 15
    }

    /// Timeout of a request: half the renewal deadline, so that a term survives one request without an answer. A write
    /// that starts in a valid term and is cancelled after this time cannot overlap with a write of the next leader.
    pub fn request(self) -> Duration {
        self.renew_deadline() / 2
    }

    /// Pause after a conflict, long enough to prevent a series of conflicts.
    fn conflict(self) -> Duration {
        self.retry() / 10
    }
}

/// Reason for the end of a term.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The lease could not be renewed in time.
    #[error(
        "the lease could not be renewed for {} s: the API server did not answer or refused; this replica stops writing",
        .0.as_secs_f32()
    )]
    Expired(Duration),
    /// The lease has another holder.
    #[error("this replica lost the lease, whose holder is now {}; it stops writing", holder(.0))]
    Taken(String),
    /// This replica stops and has released the lease.
    #[error("this replica stops and has released the lease")]
    Released,
}

fn holder(name: &str) -> &str {
    if name.is_empty() { "no replica" } else { name }
}

/// Content of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Identity of the holder; empty after a release.
    pub holder: String,
    /// Address of the holder for other replicas, `host:port`.
    pub address: String,
    /// Time for which other candidates must not touch an unchanged record, as the holder wrote it.
    pub duration: Duration,
    /// Time at which the holder acquired the lease, by the holder's clock; informative.
    pub acquired: Option<Timestamp>,
    /// Time of the last renewal, by the holder's clock; informative, and it makes each renewal a change.
    pub renewed: Option<Timestamp>,
    /// Number of changes of the holder.
    pub transitions: i32,
    /// The lease's `resourceVersion`; in an [`Action::Write`], the precondition of the write. `None`: there is no
    /// lease.
    pub version: Option<String>,
}

/// Next action of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads the lease.
    Read,
    /// Writes the lease if it still has the record's version.
    Write(Record),
    /// Waits until this moment.
    Wait(Uptime),
    /// Ends the candidacy: the term is over.
    End(Lost),
}

/// Outcome of an [`Action::Read`] or [`Action::Write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lease was read; `None`: it does not exist.
    Read(Option<Record>),
    /// The lease was written and has this content.
    Written(Record),
    /// The lease was not written: its version is not the expected one.
    Conflict,
    /// No answer, or an error. A write may have taken effect, or may still do so.
    Failed,
}

/// State of one candidate.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Identity, different for every process: an earlier process of the same pod had another one.
    identity: String,
    address: String,
    timing: Timing,
    knowledge: Knowledge,
    seen: Option<Seen>,
    /// Time at which the last successful renewal was sent, while the candidate leads.
    held: Option<Uptime>,
    lost: Option<Lost>,
    next: Uptime,
}

/// Reliability of the last reading of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// The lease must be read before the next write.
    Stale,
    /// The lease does not exist.
    Absent,
    /// The lease is as it was last seen.
    Present,
}

/// The last seen record; it is kept when the lease is deleted.
#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    /// Time since which this candidate has seen the record unchanged, or deleted.
    since: Uptime,
    /// Whether the lease was deleted afterwards.
    deleted: bool,
}

impl Candidate {
    /// Returns a candidate that has not read the lease yet.
    pub fn new(identity: String, address: String, timing: Timing) -> Self {
        Self {
            identity,
            address,
            timing,
            knowledge: Knowledge::Stale,
            seen: None,
            held: None,
            lost: None,
            next: Uptime::ZERO,
        }
    }

    /// Returns the next action. `wall` is the time that a write records in the lease.
    pub fn step(&self, now: Uptime, wall: Timestamp) -> Action {
        if let Some(lost) = &self.lost {
            return Action::End(lost.clone());
        }
        if self.expired(now) {
            return Action::End(Lost::Expired(self.timing.renew_deadline()));
        }
        if now < self.next {
            return Action::Wait(self.next.min(self.valid_until().unwrap_or(self.next)));
        }
        match self.knowledge {
            Knowledge::Absent | Knowledge::Present if self.may_write(now) => {
                Action::Write(self.renewal(wall))
            }
            _ => Action::Read,
        }
    }

    /// Handles the outcome of the last action, which was sent at `sent` and answered at `now`.
    pub fn handle_answer(&mut self, sent: Uptime, now: Uptime, answer: Answer) {
        match answer {
            Answer::Read(found) => self.read(now, found),
            Answer::Written(record) => {
                // An expired term stays expired, even if the answer was only delayed.
                if self.expired(now) {
                    return;
                }
                // Another process may have created, held and deleted a deleted lease in the meantime. The new holder
                // leads only when such a term must have ended. The very first start does not wait.
                let unseen_holder = self.held.is_none()
                    && self.knowledge == Knowledge::Absent
                    && self.seen.is_some();
                self.record_seen(now, record);
                let late = sent.saturating_add(self.timing.renew_deadline()) <= now;
                if unseen_holder || late {
                    self.retry_at(now.saturating_add(self.timing.retry()));
                    return;
                }
                self.knowledge = Knowledge::Present;
                self.held = Some(sent);
                self.next = sent.saturating_add(self.timing.retry());
            }
            Answer::Conflict => self.retry_at(now.saturating_add(self.timing.conflict())),
            Answer::Failed => self.retry_at(now.saturating_add(self.timing.retry())),
        }
    }

    fn read(&mut self, now: Uptime, found: Option<Record>) {
        self.knowledge = Knowledge::Absent;
        if let Some(record) = found {
            self.knowledge = Knowledge::Present;
            if self.held.is_some() && record.holder != self.identity {
                self.lost = Some(Lost::Taken(record.holder.clone()));
            }
            if self.seen.as_ref().is_none_or(|seen| seen.record != record) {
                self.record_seen(now, record);
            }
        } else if let Some(seen) = self.seen.as_mut().filter(|seen| !seen.deleted) {
            // After this candidate last saw the lease, it may have been renewed, or another candidate may have taken
            // it.
            seen.deleted = true;
            seen.since = now;
        }
        self.next = now;
        if !self.may_write(now) {
            let again = now.saturating_add(self.timing.retry());
            self.next = self.free_at().map_or(again, |free| free.min(again));
            // The lease exists, so a follower continues to follow.
            if self.knowledge == Knowledge::Present {
                self.knowledge = Knowledge::Stale;
            }
        }
    }

    fn record_seen(&mut self, now: Uptime, record: Record) {
        self.seen = Some(Seen {
            record,
            since: now,
            deleted: false,
        });
    }

    fn retry_at(&mut self, moment: Uptime) {
        self.knowledge = Knowledge::Stale;
        self.next = moment;
    }

    /// Whether this candidate holds the lease as it was last seen, or the lease is free.
    fn may_write(&self, now: Uptime) -> bool {
        self.held.is_some() || self.free_at().is_none_or(|free| free <= now)
    }

    /// Time from which the lease may be taken; `None`: at once. A deleted lease is left alone for as long as a held
    /// one, because its last holder may not have noticed yet. The same applies to a lease that names this candidate
    /// without a term: a write without an answer may take effect late, between a deletion and the holder's next
    /// renewal.
    fn free_at(&self) -> Option<Uptime> {
        let Seen {
            record,
            since,
            deleted,
        } = self.seen.as_ref()?;
        if !deleted && record.holder.is_empty() {
            return None;
        }
        Some(since.saturating_add(record.duration.max(self.timing.duration())))
    }

    /// Returns the record that acquires or renews the lease.
    fn renewal(&self, wall: Timestamp) -> Record {
        let seen = self.seen.as_ref().map(|seen| &seen.record);
        let mine = seen.filter(|seen| seen.holder == self.identity);
        let now = self.stamp(wall);
        Record {
            holder: self.identity.clone(),
            address: self.address.clone(),
            duration: self.timing.duration(),
            acquired: mine.and_then(|mine| mine.acquired).or(Some(now)),
            renewed: Some(now),
            transitions: seen.map_or(0, |seen| {
                seen.transitions.saturating_add(i32::from(mine.is_none()))
            }),
            version: self.version(),
        }
    }

    /// Returns the record that releases the lease, so that the next leader does not have to wait; `None`: the lease is
    /// not held, or must be read first.
    pub fn release(&self, wall: Timestamp) -> Option<Record> {
        let seen = self.seen.as_ref().map(|seen| &seen.record)?;
        if self.knowledge != Knowledge::Present || seen.holder != self.identity {
            return None;
        }
        Some(Record {
            holder: String::new(),
            address: String::new(),
            duration: Duration::from_secs(1),
            acquired: seen.acquired,
            renewed: Some(self.stamp(wall)),
            transitions: seen.transitions,
            version: self.version(),
        })
    }

    fn version(&self) -> Option<String> {
        let seen = self
            .seen
            .as_ref()
            .filter(|_| self.knowledge != Knowledge::Absent)?;
        seen.record.version.clone()
    }

    /// Returns the time in the lease's precision, later than the last one: other candidates would not notice a write
    /// that changes nothing.
    fn stamp(&self, wall: Timestamp) -> Timestamp {
        let wall = wall.round(Unit::Microsecond).unwrap_or(wall);
        let last = self.seen.as_ref().and_then(|seen| seen.record.renewed);
        last.and_then(|last| last.checked_add(jiff::SignedDuration::from_micros(1)).ok())
            .map_or(wall, |next| wall.max(next))
    }

    /// End of the current term, while the candidate leads.
    pub fn valid_until(&self) -> Option<Uptime> {
        if self.lost.is_some() {
            return None;
        }
        let sent = self.held?;
        Some(sent.saturating_add(self.timing.renew_deadline()))
    }

    fn expired(&self, now: Uptime) -> bool {
        self.valid_until().is_some_and(|until| until <= now)
    }

    /// Identity and address of the other candidate that holds the lease, if one is known.
    pub fn leader(&self) -> Option<(&str, &str)> {
        let record = &self.seen.as_ref()?.record;
        let other = !record.holder.is_empty()
            && record.holder != self.identity
            && self.knowledge != Knowledge::Absent;
        other.then_some((record.holder.as_str(), record.address.as_str()))
    }
}
