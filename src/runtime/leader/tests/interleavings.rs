//! Candidates with a model of the API server, in random order and with random faults: there are never two valid terms,
//! and there is a leader soon after the faults end.
//!
//! Each candidate has its own clock, with another offset and another speed. Requests are slow, are lost, or take effect
//! after their sender cancelled them; processes pause or crash; the API server is unavailable; the lease is deleted.

use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{seconds, wall};
use crate::clock::Uptime;
use crate::runtime::leader::candidate::{Action, Answer, Candidate, Record, Timing};

/// Milliseconds of true time, which candidates cannot read.
type Moment = u64;

/// Faults of a run.
#[derive(Clone, Copy, Debug)]
struct Faults {
    /// Whether processes crash and restart as new ones.
    crashes: bool,
    /// Whether the lease is deleted.
    deletions: bool,
}

/// Model of the API server: it stores the lease.
#[derive(Default)]
struct Server {
    lease: Option<Record>,
    version: u64,
}

impl Server {
    fn answer(&mut self, action: &Action) -> Answer {
        match action {
            Action::Write(record) => {
                let version = self.lease.as_ref().and_then(|lease| lease.version.clone());
                if record.version != version {
                    return Answer::Conflict;
                }
                self.version += 1;
                let written = Record {
                    version: Some(self.version.to_string()),
                    ..record.clone()
                };
                self.lease = Some(written.clone());
                Answer::Written(written)
            }
            _ => Answer::Read(self.lease.clone()),
        }
    }
}

/// A request in flight.
struct Flight {
    action: Action,
    /// Time of sending, by the sender's clock.
    sent: Uptime,
    gives_up: Uptime,
    /// Time at which it reaches the server, if it does, and time at which the answer returns.
    arrives: Option<Moment>,
    returns: Moment,
    answer: Option<Answer>,
}

struct Process {
    candidate: Candidate,
    /// Clock of the process: its initial value, and its speed in percent.
    offset: Uptime,
    speed: u32,
    flight: Option<Flight>,
    /// End of a pause of the process.
    paused_until: Moment,
    /// End of a network partition of the process.
    cut_off_until: Moment,
    started: u32,
    has_seen_it: bool,
}

impl Process {
    fn new(random: &mut ChaCha8Rng, number: u32) -> Self {
        Self {
            candidate: candidate(number, 0),
            offset: Duration::from_millis(random.random_range(0..1_000_000)),
            // 117 and 85 are a little less than the margin of 15 to 10 apart.
            speed: [85, 100, 117][random.random_range(0..3)],
            flight: None,
            paused_until: 0,
            cut_off_until: 0,
            started: 0,
            has_seen_it: false,
        }
    }

    fn now(&self, moment: Moment) -> Uptime {
        self.offset + Duration::from_millis(moment) * self.speed / 100
    }

    fn leads(&self, moment: Moment) -> bool {
        let until = self.candidate.valid_until();
        until.is_some_and(|until| self.now(moment) < until)
    }

    fn start_again(&mut self, number: u32) {
        self.started += 1;
        self.candidate = candidate(number, self.started);
        self.flight = None;
        self.has_seen_it = false;
    }
}

fn candidate(number: u32, started: u32) -> Candidate {
    let name = format!("replica-{number}_{started}");
    Candidate::new(name.clone(), name, Timing::default())
}

struct Run {
    seed: u64,
    random: ChaCha8Rng,
    faults: Faults,
    calm: bool,
    moment: Moment,
    server: Server,
    unavailable_until: Moment,
    processes: Vec<Process>,
    /// Writes whose senders cancelled or crashed, and the times at which they take effect nevertheless.
    orphans: Vec<(Moment, Action)>,
    terms: u32,
}

impl Run {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let processes = (0..3).map(|n| Process::new(&mut random, n)).collect();
        Self {
            seed,
            random,
            faults,
            calm: false,
            moment: 0,
            server: Server::default(),
            unavailable_until: 0,
            processes,
            orphans: Vec::new(),
            terms: 0,
        }
    }

    fn step(&mut self) {
        self.moment += self.random.random_range(1..300);
        if !self.calm {
            self.trouble();
        }
        let mut order: Vec<usize> = (0..self.processes.len()).collect();
        order.shuffle(&mut self.random);
        for number in order {
            self.deliver();
            self.turn(number);
            self.check();
        }
    }

    fn trouble(&mut self) {
        if self.random.random_ratio(1, 1000) {
            self.unavailable_until = self.moment + self.random.random_range(0..25_000);
        }
        let number = self.random.random_range(0..self.processes.len());
        let until = self.moment + self.random.random_range(0..25_000);
        if self.random.random_ratio(1, 200) {
            self.processes[number].paused_until = until;
        }
        if self.random.random_ratio(1, 200) {
            self.processes[number].cut_off_until = until;
        }
        if self.faults.crashes && self.random.random_ratio(1, 300) {
            self.orphan(number);
            self.processes[number].start_again(u32::try_from(number).unwrap());
        }
        if self.faults.deletions && self.random.random_ratio(1, 100) && self.may_be_deleted() {
            self.server.lease = None;
        }
    }

    /// Whether the lease may be deleted: a process that has not seen it would treat a deleted one as a first start.
    fn may_be_deleted(&self) -> bool {
        self.processes.iter().all(|process| process.has_seen_it)
    }

    /// Delivers requests in flight to the server.
    fn deliver(&mut self) {
        if self.moment < self.unavailable_until {
            return;
        }
        for process in &mut self.processes {
            let Some(flight) = &mut process.flight else {
                continue;
            };
            if flight.answer.is_none() && flight.arrives.is_some_and(|at| at <= self.moment) {
                flight.answer = Some(self.server.answer(&flight.action));
            }
        }
        let moment = self.moment;
        for (_, action) in self.orphans.extract_if(.., |(at, _)| *at <= moment) {
            self.server.answer(&action);
        }
    }

    fn orphan(&mut self, number: usize) {
        if let Some(flight) = self.processes[number].flight.take()
            && let (Some(arrives), None) = (flight.arrives, flight.answer)
        {
            self.orphans.push((arrives, flight.action));
        }
    }

    /// Runs one process.
    fn turn(&mut self, number: usize) {
        let moment = self.moment;
        let process = &mut self.processes[number];
        if moment < process.paused_until && !self.calm {
            return;
        }
        let now = process.now(moment);
        if let Some(flight) = &mut process.flight {
            if flight.gives_up <= now {
                let sent = flight.sent;
                self.orphan(number);
                let process = &mut self.processes[number];
                process.flight = None;
                process.candidate.handle_answer(sent, now, Answer::Failed);
            } else if flight.returns <= moment
                && let Some(answer) = flight.answer.take()
            {
                let sent = flight.sent;
                let led = process.leads(moment);
                process.flight = None;
                process.has_seen_it |= matches!(answer, Answer::Read(Some(_)) | Answer::Written(_));
                process.candidate.handle_answer(sent, now, answer);
                self.terms += u32::from(!led && process.leads(moment));
            }
            return;
        }
        match process.candidate.step(now, wall(now)) {
            Action::Wait(until) => assert!(until > now),
            Action::End(_) => {
                if self.faults.crashes || self.calm {
                    process.start_again(u32::try_from(number).unwrap());
                }
            }
            action => {
                let limit = Timing::default().request();
                let left = process
                    .candidate
                    .valid_until()
                    .map_or(limit, |until| until.saturating_sub(now).min(limit));
                let slow = !self.calm && self.random.random_ratio(1, 6);
                let most = if slow { 6000 } else { 100 };
                let cut_off = moment < process.cut_off_until;
                let lost = !self.calm && (cut_off || self.random.random_ratio(1, 20));
                let mut arrives = moment + self.random.random_range(0..most);
                // Sometimes long after its sender cancelled it.
                if slow && self.random.random_ratio(1, 4) {
                    arrives += 30_000;
                }
                process.flight = Some(Flight {
                    action,
                    sent: now,
                    gives_up: now + left,
                    arrives: (!lost).then_some(arrives),
                    returns: arrives + self.random.random_range(0..most),
                    answer: None,
                });
            }
        }
    }

    fn leaders(&self) -> usize {
        let leaders = self.processes.iter();
        leaders.filter(|process| process.leads(self.moment)).count()
    }

    fn check(&self) {
        assert!(
            self.leaders() <= 1,
            "seed {}, {:?}: two valid terms after {} ms",
            self.seed,
            self.faults,
            self.moment
        );
    }

    /// Runs for this length of time.
    fn run_for(&mut self, length: Duration) {
        let end = self.moment + u64::try_from(length.as_millis()).unwrap();
        while self.moment < end {
            self.step();
        }
    }
}

#[test]
fn there_are_never_two_leaders_and_there_is_one_after_the_faults_end() {
    let mut terms = 0;
    for (crashes, deletions) in [(true, false), (false, true), (false, false)] {
        for seed in 0..200 {
            let mut run = Run::new(seed, Faults { crashes, deletions });
            run.run_for(seconds(160));
            // No process restarts directly after a deletion.
            run.faults.deletions = false;
            run.run_for(seconds(60));
            run.calm = true;
            // Requests in flight arrive, and the lease of a crashed process expires.
            run.run_for(seconds(80));
            assert_eq!(run.leaders(), 1, "seed {seed}, crashes {crashes}");
            let led = run.terms;
            run.run_for(seconds(60));
            assert_eq!((run.leaders(), run.terms), (1, led), "seed {seed}");
            terms += led;
        }
    }
    // The faults allow leaders, and make them change.
    assert!(terms > 1500, "{terms} terms");
}
