//! One candidate for the lease, as a state machine without I/O: told what the API server answered and when, it says
//! what to do next.
//!
//! Why there are never two valid terms: a term ends [`Timing::renew_deadline`] after the last successful renewal was
//! *sent*. Another candidate takes the lease only after it *saw* the same record for the whole [`Timing::duration`],
//! which is longer and began later. Both spans are measured on the machine's own clock; times of machines are never
//! compared. What is between the two spans is the margin for clocks that run at different speeds and for writes that
//! were under way when the term ended.

use std::time::Duration;

use jiff::{Timestamp, Unit};

use super::Lost;
use crate::clock::Uptime;

/// The lengths of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others leave an unchanged lease alone.
    pub(crate) duration: Duration,
}

impl Default for Timing {
    /// 15 s, 10 s, 2 s: as Kubernetes' own components.
    fn default() -> Self {
        Self::of_duration(Duration::from_secs(15))
    }
}

impl Timing {
    /// The timing of a lease of this duration, at least a second; the other lengths are shares of it, so that they fit
    /// each other whatever it is.
    pub fn of_duration(duration: Duration) -> Self {
        Self {
            duration: duration.max(Duration::from_secs(1)),
        }
    }

    /// How long others leave an unchanged lease alone.
    pub fn duration(self) -> Duration {
        self.duration
    }

    /// How long a term lasts after its last successful renewal was sent: two thirds of the duration.
    pub fn renew_deadline(self) -> Duration {
        self.duration * 2 / 3
    }

    /// Time between two renewals, and between two looks of a follower: 2/15 of the duration. With 15 s that is 1,800
    /// writes an hour, all of them to the lease.
    pub fn retry(self) -> Duration {
        self.duration * 2 / 15
    }

    /// How long a request may take: half the deadline, so that a term survives one that gets no answer. A write that was
    /// started in a valid term and is given up after this time cannot meet one of the next leader's.
    pub fn request(self) -> Duration {
        self.renew_deadline() / 2
    }

    /// Pause after a conflict: long enough not to make a storm of them.
    fn conflict(self) -> Duration {
        self.retry() / 10
    }
}

/// What a lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty: nobody, it was released.
    pub holder: String,
    /// Where other replicas reach the holder.
    pub address: String,
    /// How long its holder wants an unchanged record to be left alone.
    pub duration: Duration,
    /// When the holder got it, by the holder's clock. For people.
    pub acquired: Option<Timestamp>,
    /// When it was last renewed, by the holder's clock. For people, and makes each renewal a change.
    pub renewed: Option<Timestamp>,
    /// How often the holder changed.
    pub transitions: i32,
    /// Its `resourceVersion`; in a [`Action::Write`], the one that must still be there. `None`: there is no lease.
    pub version: Option<String>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the lease.
    Read,
    /// Write it, if it still has the record's version.
    Write(Record),
    /// Nothing before this moment.
    Wait(Uptime),
    /// Nothing any more: the term is over.
    End(Lost),
}

/// What came of a [`Action::Read`] or [`Action::Write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lease, or that there is none.
    Read(Option<Record>),
    /// It was written and is now this.
    Written(Record),
    /// It was not written: it is no longer, or not yet, what was expected.
    Conflict,
    /// No answer, or an error. A write may have happened, or may still.
    Failed,
}

/// A candidate.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Who it is: no other process, not even an earlier one of the same pod, has the same.
    identity: String,
    address: String,
    timing: Timing,
    knowledge: Knowledge,
    seen: Option<Seen>,
    /// When the last successful renewal was sent, while it leads.
    held: Option<Uptime>,
    lost: Option<Lost>,
    next: Uptime,
}

/// What a candidate knows of the lease as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// It has to look before it may write.
    Stale,
    Absent,
    /// It is as it was last seen.
    Present,
}

/// The record that was last seen, also when the lease is gone since.
#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    /// Since when it is the same, or gone, by what this candidate saw.
    since: Uptime,
    /// Somebody deleted it.
    gone: bool,
}

impl Candidate {
    /// A candidate that knows nothing yet.
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

    /// What to do now. `wall` is only written down for people.
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

    /// Takes in what came of the last action, which was sent at `sent` and answered now.
    pub fn heard(&mut self, sent: Uptime, now: Uptime, answer: Answer) {
        match answer {
            Answer::Read(found) => self.read(now, found),
            Answer::Written(record) => {
                // A term that ran out does not come back, however the answer was delayed.
                if self.expired(now) {
                    return;
                }
                // One that was deleted may have been made, held and deleted again meanwhile: who makes it anew leads
                // when that holder's term must be over. Nobody waits at the first start of all.
                let unseen_holder = self.held.is_none()
                    && self.knowledge == Knowledge::Absent
                    && self.seen.is_some();
                self.saw(now, record);
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
                self.saw(now, record);
            }
        } else if let Some(seen) = self.seen.as_mut().filter(|seen| !seen.gone) {
            // It may have been renewed, or taken by another, after this candidate saw it last.
            seen.gone = true;
            seen.since = now;
        }
        self.next = now;
        if !self.may_write(now) {
            let again = now.saturating_add(self.timing.retry());
            self.next = self.free_at().map_or(again, |free| free.min(again));
            // It is not gone: who follows it still does.
            if self.knowledge == Knowledge::Present {
                self.knowledge = Knowledge::Stale;
            }
        }
    }

    fn saw(&mut self, now: Uptime, record: Record) {
        self.seen = Some(Seen {
            record,
            since: now,
            gone: false,
        });
    }

    fn retry_at(&mut self, moment: Uptime) {
        self.knowledge = Knowledge::Stale;
        self.next = moment;
    }

    /// Whether the lease, as it was last seen, is this candidate's or free.
    fn may_write(&self, now: Uptime) -> bool {
        self.held.is_some() || self.free_at().is_none_or(|free| free <= now)
    }

    /// From when on the lease may be taken; `None`: at once. One that somebody deleted is left alone for as long as one
    /// that is held: its last holder cannot know yet. So is one that names this candidate without a term: a write that
    /// had no answer may have happened long after it was decided, between a deletion and its holder's next renewal.
    fn free_at(&self) -> Option<Uptime> {
        let Seen {
            record,
            since,
            gone,
        } = self.seen.as_ref()?;
        if !gone && record.holder.is_empty() {
            return None;
        }
        Some(since.saturating_add(record.duration.max(self.timing.duration)))
    }

    /// The record that takes or renews the lease.
    fn renewal(&self, wall: Timestamp) -> Record {
        let seen = self.seen.as_ref().map(|seen| &seen.record);
        let mine = seen.filter(|seen| seen.holder == self.identity);
        let now = self.stamp(wall);
        Record {
            holder: self.identity.clone(),
            address: self.address.clone(),
            duration: self.timing.duration,
            acquired: mine.and_then(|mine| mine.acquired).or(Some(now)),
            renewed: Some(now),
            transitions: seen.map_or(0, |seen| {
                seen.transitions.saturating_add(i32::from(mine.is_none()))
            }),
            version: self.version(),
        }
    }

    /// The record that gives the lease back, so that the next leader need not wait; `None`: it is not held, or has to be
    /// read first.
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

    /// The time in the lease's precision, later than the last one: a write that changes nothing would not be seen.
    fn stamp(&self, wall: Timestamp) -> Timestamp {
        let wall = wall.round(Unit::Microsecond).unwrap_or(wall);
        let last = self.seen.as_ref().and_then(|seen| seen.record.renewed);
        last.and_then(|last| last.checked_add(jiff::SignedDuration::from_micros(1)).ok())
            .map_or(wall, |next| wall.max(next))
    }

    /// Until when its term is valid, while it leads.
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

    /// Who else holds the lease, as far as is known, and where to reach it.
    pub fn leader(&self) -> Option<(&str, &str)> {
        let record = &self.seen.as_ref()?.record;
        let other = !record.holder.is_empty()
            && record.holder != self.identity
            && self.knowledge != Knowledge::Absent;
        other.then_some((record.holder.as_str(), record.address.as_str()))
    }
}
