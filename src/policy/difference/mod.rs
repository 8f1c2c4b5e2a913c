//! The difference between two firewalls of one vault: who loses access, who gains access, and which settings change.
//! [`decide_class`] decides about a caller of each group; nothing here decides on its own.
//!
//! `None` as the old firewall is a vault without one, which its clients reach directly: everybody is let in. Only the
//! data, session and control planes of the data endpoint are then compared.

mod callers;
mod requests;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::decide::{Caller, Listener, decide_class};
use super::model::Firewall;
use super::reason::Verdict;
use super::token::{TokenIdentity, TokenProof};
use crate::vault_api::{Class, Plane};
use callers::{Group, groups, identities};
pub use callers::{KnownPods, Ranges, Who, caller};
pub use requests::{Sample, has_same_table};
pub use settings::{Setting, settings};

/// Text in place of a rule where there was no firewall.
pub const NO_FIREWALL: &str = "no firewall";

/// Direction of a change.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Allowed before, denied after.
    Loses,
    /// Denied before, allowed after.
    Gains,
}

/// Callers for whose requests the verdict changes. No caller's request is in two lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Direction of the change.
    pub effect: Effect,
    /// Rule that allows the requests, before or after the change; without one, the reason.
    pub by: Arc<str>,
    /// The callers.
    pub who: Who,
    /// Trusted proxies through which they come; `None`: directly.
    pub through: Option<Ranges>,
    /// Identity that their token proves; `None`: whatever their token proves, except `except`.
    pub proof: Option<TokenIdentity>,
    /// Identities for whose tokens this is not so.
    pub except: BTreeSet<TokenIdentity>,
    /// The requests, by their place in [`Difference::samples`].
    pub requests: BTreeSet<usize>,
    /// Addresses of the callers; empty for [`Who::V6`].
    pub ranges: Ranges,
}

impl Line {
    /// Whether the line is about a caller.
    pub fn has(
        &self,
        peer: IpAddr,
        forwarded: Option<IpAddr>,
        proof: Option<&TokenIdentity>,
    ) -> bool {
        let in_ranges = |ranges: &Ranges, address: IpAddr| match address {
            IpAddr::V4(address) => ranges.contains(address),
            IpAddr::V6(_) => false,
        };
        let is_caller = match (&self.through, forwarded) {
            (None, None) => in_ranges(&self.ranges, peer),
            (Some(proxies), Some(client)) => {
                let is_client = match client {
                    IpAddr::V6(_) => self.who == Who::V6,
                    IpAddr::V4(_) => in_ranges(&self.ranges, client),
                };
                in_ranges(proxies, peer) && is_client
            }
            _ => false,
        };
        let is_proven = match &self.proof {
            Some(identity) => proof == Some(identity),
            None => proof.is_none_or(|proof| !self.except.contains(proof)),
        };
        is_caller && is_proven
    }
}

/// Requests of a line, for people and programs.
#[derive(Serialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// `data` or `management`.
    pub listener: &'static str,
    /// Plane of the requests.
    pub plane: &'static str,
    /// Operations; empty: all requests of the plane.
    pub operations: BTreeSet<String>,
    /// `true`: only requests with a token of the vault; `false`: only those without one; `None`: both.
    pub vault_token: Option<bool>,
}

/// The difference between two firewalls.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Requests that stand for all.
    pub samples: Vec<Sample>,
    /// Callers whose access changes, sorted: those who lose access first.
    pub lines: Vec<Line>,
}

/// Returns the difference between two firewalls. `pods` are shown by their namespaces and service accounts.
pub fn difference(old: Option<&Firewall>, new: &Firewall, pods: &KnownPods) -> Difference {
    let firewalls: Vec<&Firewall> = old.into_iter().chain([new]).collect();
    let samples = requests::samples(old, new);
    let identities = identities(&firewalls);
    let mut lines: BTreeMap<Line, Ranges> = BTreeMap::new();
    let compare = |group: &Group, proof: &TokenProof| changes(old, new, &samples, group, proof);
    for group in groups(&firewalls, pods) {
        let without = compare(&group, &TokenProof::None);
        let mut except = BTreeSet::new();
        for identity in &identities {
            let with = compare(&group, &TokenProof::Verified(identity.claims()));
            if with != without {
                except.insert(identity.clone());
                add(&mut lines, &group, with, Some(identity), &BTreeSet::new());
            }
        }
        add(&mut lines, &group, without, None, &except);
    }
    let lines = lines.into_iter().map(|(line, ranges)| Line {
        ranges: ranges.joined(),
        ..line
    });
    Difference {
        samples,
        lines: without_stand_ins(lines.collect()),
    }
}

/// Requests by effect and by what allows them.
type Changes = BTreeMap<(Effect, Arc<str>), BTreeSet<usize>>;

fn changes(
    old: Option<&Firewall>,
    new: &Firewall,
    samples: &[Sample],
    group: &Group,
    proof: &TokenProof,
) -> Changes {
    let mut changes = Changes::new();
    for (index, sample) in samples.iter().enumerate() {
        let Sample {
            listener,
            vault_token,
            ..
        } = *sample;
        let before = match old {
            None => Some(Arc::from(NO_FIREWALL)),
            Some(old) => {
                let caller = group.caller(old, vault_token, proof);
                allows(old, listener, caller, sample.old.as_ref())
            }
        };
        let caller = group.caller(new, vault_token, proof);
        let after = allows(new, listener, caller, sample.new.as_ref());
        let change = match (before, after) {
            (Some(by), None) => (Effect::Loses, by),
            (None, Some(by)) => (Effect::Gains, by),
            _ => continue,
        };
        changes.entry(change).or_default().insert(index);
    }
    changes
}

/// Rule or reason that allows a request; `None` if it is denied.
fn allows(
    firewall: &Firewall,
    listener: Listener,
    caller: Caller<'_>,
    class: Option<&Class>,
) -> Option<Arc<str>> {
    let (reason, rule) = decide_class(firewall, listener, caller, class?);
    match reason.verdict() {
        Verdict::Allow => Some(rule.unwrap_or_else(|| reason.name().into())),
        Verdict::Deny => None,
    }
}

fn add(
    lines: &mut BTreeMap<Line, Ranges>,
    group: &Group,
    changes: Changes,
    proof: Option<&TokenIdentity>,
    except: &BTreeSet<TokenIdentity>,
) {
    for ((effect, by), requests) in changes {
        let line = Line {
            effect,
            by,
            who: group.who.clone(),
            through: group.through.clone(),
            proof: proof.cloned(),
            except: except.clone(),
            requests,
            ranges: Ranges::default(),
        };
        lines.entry(line).or_default().extend(&group.ranges);
    }
}

/// Leaves out pods that stand for those of a rule where known pods show the same.
fn without_stand_ins(lines: Vec<Line>) -> Vec<Line> {
    let general = |line: &Line| Line {
        who: Who::Others,
        ranges: Ranges::default(),
        ..line.clone()
    };
    let known = lines
        .iter()
        .filter(|line| matches!(line.who, Who::Pods { .. }));
    let known: BTreeSet<Line> = known.map(general).collect();
    let is_shown = |line: &Line| match line.who {
        Who::Selected(_) | Who::Account(_) => !known.contains(&general(line)),
        _ => true,
    };
    lines.into_iter().filter(is_shown).collect()
}

impl Difference {
    /// Lines of one direction.
    pub fn of(&self, effect: Effect) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.effect == effect)
    }

    /// The requests of a line, in as few words as they need.
    pub fn accesses(&self, line: &Line) -> Vec<Access> {
        /// Endpoint, plane, with a token of the vault → operations.
        type Found<'a> = BTreeMap<(Listener, Plane, bool), BTreeSet<String>>;
        let class = |sample: &Sample| match line.effect {
            Effect::Loses => sample.old.clone(),
            Effect::Gains => sample.new.clone(),
        };
        let (mut all, mut found) = (Found::new(), Found::new());
        for (index, sample) in self.samples.iter().enumerate() {
            let Some(class) = class(sample) else {
                continue;
            };
            let key = (sample.listener, class.plane, sample.vault_token);
            let operations = class.operations.to_string();
            if line.requests.contains(&index) {
                found.entry(key).or_default().insert(operations.clone());
            }
            all.entry(key).or_default().insert(operations);
        }
        let mut accesses = BTreeSet::new();
        for ((listener, plane, vault_token), operations) in &found {
            let is_all = all.get(&(*listener, *plane, *vault_token)) == Some(operations);
            let other = found.get(&(*listener, *plane, !*vault_token));
            let has_two = all.contains_key(&(*listener, *plane, !*vault_token));
            accesses.insert(Access {
                listener: listener.name(),
                plane: plane.name(),
                operations: if is_all {
                    BTreeSet::new()
                } else {
                    operations.clone()
                },
                vault_token: (has_two && other != Some(operations)).then_some(*vault_token),
            });
        }
        accesses.into_iter().collect()
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure fails the test"
)]
mod tests;
