//! Sends a case's requests to an Envoy with the case's firewall, and counts what was seen.

use std::collections::BTreeMap;
use std::io::Write as _;

use vaultwall::policy::{Firewall, Reason, Verdict};
use vaultwall::vault_api::Plane;

use crate::differential::compare::{self, Observed};
use crate::differential::envoy::Envoy;
use crate::differential::hop::Hop;
use crate::differential::wire::{Sent, exchange};

/// A firewall and the requests sent to it.
pub struct Case {
    /// Title for messages; a seed, so that it can be repeated.
    pub name: String,
    /// The firewall.
    pub firewall: Firewall,
    /// The requests.
    pub requests: Vec<Sent>,
}

/// Counts of decisions.
#[derive(Default)]
pub struct Tally {
    /// Firewalls.
    pub firewalls: usize,
    /// Pairs of a firewall and a request.
    pub pairs: usize,
    /// How often `decide` gave a reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// How often `decide` only recorded a reason to deny.
    pub would_deny: BTreeMap<Reason, usize>,
    /// How often a request was of a plane.
    pub planes: BTreeMap<Plane, usize>,
    /// One text for each pair that differs.
    pub mismatches: Vec<String>,
    /// Requests that `decide` denies and that arrived at the hop.
    pub denied_that_reached_the_hop: usize,
}

impl Tally {
    /// Adds another one's counts.
    pub fn add(&mut self, other: Self) {
        self.firewalls += other.firewalls;
        self.pairs += other.pairs;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        for (reason, count) in other.would_deny {
            *self.would_deny.entry(reason).or_default() += count;
        }
        for (plane, count) in other.planes {
            *self.planes.entry(plane).or_default() += count;
        }
        self.mismatches.extend(other.mismatches);
        self.denied_that_reached_the_hop += other.denied_that_reached_the_hop;
    }

    /// Prints the mismatches and the summary.
    pub fn print(&self, what: &str) {
        for mismatch in self.mismatches.iter().take(40) {
            println!("{mismatch}\n");
        }
        println!("reasons: {:?}", self.reasons);
        println!("only recorded: {:?}", self.would_deny);
        println!("planes: {:?}", self.planes);
        announce(&format!(
            "differential: {} pairs, {} firewalls, {what}: {} mismatches, {} denied that reached the hop",
            self.pairs,
            self.firewalls,
            self.mismatches.len(),
            self.denied_that_reached_the_hop
        ));
    }
}

/// Prints a line also when the test passes: the runner captures what macros print.
pub fn announce(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Runs a case.
pub async fn run(case: &Case) -> Tally {
    run_against(case, &case.firewall).await
}

/// Runs a case with another firewall in Envoy than in `decide`.
pub async fn run_against(case: &Case, enforced: &Firewall) -> Tally {
    let hop = Hop::start().await;
    let envoy = Envoy::start(enforced, hop.address);
    let mut answers = Vec::new();
    for (index, sent) in case.requests.iter().enumerate() {
        let address = envoy.address(sent.listener);
        answers.push(exchange(sent.from, address, &sent.bytes(&mark(index))).await);
    }
    let log = envoy.log().await;
    let arrived = hop.arrived();
    let table = case.firewall.table();
    let mut tally = Tally {
        firewalls: 1,
        ..Tally::default()
    };
    for (index, (sent, answer)) in case.requests.iter().zip(&answers).enumerate() {
        let mark = mark(index);
        let decision = sent.decided(&case.firewall, &table);
        let arrived = arrived.get(&mark).map_or(&[][..], Vec::as_slice);
        let observed = Observed::new(sent, answer, log.get(&mark));
        let mut differences = compare::decisions(sent, &decision, &observed);
        differences.extend(compare::receipts(answer, log.get(&mark)));
        differences.extend(compare::arrivals(sent, &decision, arrived));
        tally.pairs += 1;
        *tally.reasons.entry(decision.reason).or_default() += 1;
        if let Some(reason) = decision.would_deny {
            *tally.would_deny.entry(reason).or_default() += 1;
        }
        if let Some(plane) = decision.plane {
            *tally.planes.entry(plane).or_default() += 1;
        }
        if decision.verdict() == Verdict::Deny && !arrived.is_empty() {
            tally.denied_that_reached_the_hop += 1;
        }
        if !differences.is_empty() {
            tally.mismatches.push(format!(
                "MISMATCH {}, request {index}\n  {}\n  sent      {sent}\n  {}\n  decide    {:?}\n  trace     {:?}\n  \
                    envoy     {observed:?}\n  log       {}",
                case.name,
                describe(&case.firewall),
                differences.join("\n  "),
                (decision.reason, &decision.rule, decision.plane, decision.operations.to_string()),
                decision.trace.iter().map(|step| format!("{}: {}", step.step, step.found)).collect::<Vec<_>>(),
                log.get(&mark).map(ToString::to_string).unwrap_or_default(),
            ));
        }
    }
    tally
}

fn mark(index: usize) -> String {
    format!("pair-{index}")
}

fn describe(firewall: &Firewall) -> String {
    format!(
        "engines {:?}\n  namespaces {:?}, {:?}, management {:?}\n  virtual networks {:?}\n  ip rules {:?}\n  {:?}",
        firewall
            .engines
            .iter()
            .map(|engine| format!(
                "{} {:?} {:?}",
                engine.path, engine.engine_type, engine.namespace
            ))
            .collect::<Vec<_>>(),
        firewall.namespaces,
        (firewall.mode, firewall.default_action),
        firewall.management,
        firewall.virtual_networks.0,
        firewall.ip_rules.0,
        firewall.client_address,
    )
}
