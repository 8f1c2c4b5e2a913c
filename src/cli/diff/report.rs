//! The answer of `vaultwall diff`, as JSON and as text. The keys of the JSON are a stable contract.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use super::callers::{Callers, access_text, short, together};
use super::clients::{Compared, CutOff, Recent};
use super::objects::{Change, ChangedObject};
use crate::objects::LocatedViolation;
use crate::policy::VaultId;
use crate::policy::difference::{Access, Difference, Effect, Line, Setting};

/// Most groups and fields in a part of the text; JSON has all.
const SHOWN_GROUPS: usize = 20;

/// The whole answer.
#[derive(Serialize, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) author: Author,
    pub(super) objects: Vec<ChangedObject>,
    pub(super) vaults: Vec<VaultReport>,
    /// The records of `--clients`; `null` without them.
    pub(super) clients: Option<Clients>,
    /// Violations of the objects after the change.
    pub(super) violations: Vec<LocatedViolation>,
    /// Whether invalid objects before the change make it unknown which rules are in force.
    pub(super) unknown: bool,
}

/// The author of the change.
#[derive(Serialize, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Author {
    /// Whether an address or a pod of the author was given.
    pub(super) checked: bool,
    pub(super) locked_out: Vec<LockedOut>,
    #[serde(skip)]
    pub(super) addresses: Vec<(String, IpAddr)>,
}

/// Access that the author would lose.
#[derive(Serialize, Debug, PartialEq)]
pub(super) struct LockedOut {
    pub(super) who: String,
    pub(super) vault: String,
    pub(super) by: String,
    pub(super) access: Vec<Access>,
}

/// The records of `--clients`.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Clients {
    /// First and last moment of which records count.
    from: String,
    to: String,
    /// Lines that are no record.
    unreadable: u64,
}

impl Clients {
    pub(super) fn of(recent: &Recent) -> Self {
        let text = |moment: Option<jiff::Timestamp>| {
            moment.map(|moment| moment.to_string()).unwrap_or_default()
        };
        Self {
            from: text(recent.window.map(|(from, _)| from)),
            to: text(recent.window.map(|(_, to)| to)),
            unreadable: recent.unreadable,
        }
    }
}

/// Change of a vault's firewall as a whole.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirewallChange {
    /// It stays, with other rules.
    Changed,
    /// It is new.
    Added,
    /// No policy is left.
    Removed,
}

/// One vault.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct VaultReport {
    pub(super) vault: String,
    pub(super) firewall: FirewallChange,
    pub(super) settings: Vec<Setting>,
    loses: Vec<Callers>,
    gains: Vec<Callers>,
    /// Recent clients that would be cut off, those with most requests first; `null` without `--clients`.
    cut_off: Option<Vec<CutOff>>,
    /// Requests of recent clients that were compared, and that could not be.
    compared_requests: Option<u64>,
    unclear_requests: Option<u64>,
    #[serde(skip)]
    pub(super) refused: Vec<LocatedViolation>,
    #[serde(skip)]
    difference: Option<Difference>,
}

impl VaultReport {
    pub(super) fn new(vault: &VaultId, before: bool, after: bool) -> Self {
        Self {
            vault: vault.to_string(),
            firewall: match (before, after) {
                (false, _) => FirewallChange::Added,
                (true, false) => FirewallChange::Removed,
                (true, true) => FirewallChange::Changed,
            },
            settings: Vec::new(),
            loses: Vec::new(),
            gains: Vec::new(),
            cut_off: None,
            compared_requests: None,
            unclear_requests: None,
            refused: Vec::new(),
            difference: None,
        }
    }

    pub(super) fn set_difference(&mut self, difference: Difference) {
        let callers = |effect| {
            let lines = difference.of(effect);
            lines.map(|line| Callers::of(line, &difference)).collect()
        };
        self.loses = callers(Effect::Loses);
        self.gains = callers(Effect::Gains);
        self.difference = Some(difference);
    }

    pub(super) fn set_clients(&mut self, compared: Compared) {
        self.cut_off = Some(compared.cut_off);
        self.compared_requests = Some(compared.requests);
        self.unclear_requests = Some(compared.unclear);
    }

    /// Whether a rule lets somebody in no more.
    fn loses(&self) -> bool {
        self.firewall == FirewallChange::Removed || !self.loses.is_empty()
    }

    fn text(&self, text: &mut String) {
        let Self {
            vault,
            loses,
            gains,
            ..
        } = self;
        let _ = writeln!(text, "vault {vault}");
        let service = vault.split_once('/').map_or("", |(_, service)| service);
        match self.firewall {
            FirewallChange::Changed => {}
            FirewallChange::Added => {
                text.push_str(
                    "  GETS A FIREWALL: the vault's own Service is closed to all but the proxies, so its clients have \
                     to use the firewall's Service; critical operations are closed to all but operators\n",
                );
            }
            FirewallChange::Removed => {
                let _ = writeln!(
                    text,
                    "  LOSES ITS FIREWALL: no policy is left. The vault is open to everybody who can reach it, \
                     and the clients of Service {service}-firewall are cut off"
                );
            }
        }
        let settings = match self.firewall {
            FirewallChange::Changed => self.settings.as_slice(),
            FirewallChange::Added | FirewallChange::Removed => &[],
        };
        for Setting {
            setting,
            removed,
            added,
        } in settings
        {
            let values = removed.iter().map(|value| format!("-{value}"));
            let values: Vec<String> = values
                .chain(added.iter().map(|value| format!("+{value}")))
                .collect();
            let _ = writeln!(text, "  setting {setting}: {}", short(&values));
        }
        for (word, verb, callers) in [
            ("loses", "groups that lose access", loses),
            ("gains", "groups that gain access", gains),
        ] {
            let lines = together(callers);
            for (who, callers) in lines.iter().take(SHOWN_GROUPS) {
                let (by, access) = (&callers.by, access_text(&callers.access));
                let _ = writeln!(text, "  {word}: {who}\n         by {by}, {access}");
            }
            more(text, "  ", lines.len(), verb);
        }
        if loses.is_empty() && gains.is_empty() && self.firewall == FirewallChange::Changed {
            text.push_str("  nobody loses or gains access\n");
        }
        self.clients_text(text);
    }

    fn clients_text(&self, text: &mut String) {
        let (Some(cut_off), Some(requests)) = (&self.cut_off, self.compared_requests) else {
            return;
        };
        for client in cut_off {
            let operations: Vec<&str> = client.operations.iter().map(String::as_str).collect();
            let _ = writeln!(
                text,
                "  CUT OFF: {}, {} requests, last at {}\n         by {}, {} endpoint: {} {}",
                client.client,
                client.requests,
                client.last,
                client.by,
                client.listener,
                client.plane,
                operations.join(", ")
            );
        }
        if cut_off.is_empty() {
            let _ = writeln!(text, "  none of {requests} recent requests would be denied");
        }
        if let Some(unclear) = self.unclear_requests.filter(|count| *count > 0) {
            let _ = writeln!(text, "  {unclear} recent requests could not be compared");
        }
    }
}

impl Report {
    pub(super) fn add(&mut self, found: Option<VaultReport>) {
        if let Some(mut found) = found {
            self.violations.append(&mut found.refused);
            self.vaults.push(found);
        }
    }

    /// Finds the access that the author loses.
    pub(super) fn check_author(&mut self) {
        self.author.checked = !self.author.addresses.is_empty();
        for vault in &self.vaults {
            let Some(difference) = &vault.difference else {
                let all = self.author.addresses.iter().map(|(who, _)| LockedOut {
                    who: who.clone(),
                    vault: vault.vault.clone(),
                    by: "the firewall's own Service".to_owned(),
                    access: Vec::new(),
                });
                self.author.locked_out.extend(all);
                continue;
            };
            for (who, address) in &self.author.addresses {
                let is_author = |line: &&Line| match address {
                    IpAddr::V4(address) => line.ranges.contains(*address) && line.proof.is_none(),
                    IpAddr::V6(_) => false,
                };
                for line in difference.of(Effect::Loses).filter(is_author) {
                    let locked_out = LockedOut {
                        who: who.clone(),
                        vault: vault.vault.clone(),
                        by: line.by.to_string(),
                        access: difference.accesses(line),
                    };
                    if !self.author.locked_out.contains(&locked_out) {
                        self.author.locked_out.push(locked_out);
                    }
                }
            }
        }
    }

    /// Whether invalid objects before the change concern a vault that changes.
    pub(super) fn is_unknown(&self, before: &[LocatedViolation]) -> bool {
        before
            .iter()
            .any(|violation| match violation.namespace.as_deref() {
                None | Some("") => true,
                Some(namespace) => self.vaults.iter().any(|vault| {
                    vault
                        .vault
                        .split_once('/')
                        .is_some_and(|(of, _)| of == namespace)
                }),
            })
    }

    /// Whether somebody would be cut off: the author; with `--clients` a recent client, otherwise anybody.
    pub(super) fn is_cut_off(&self, with_clients: bool) -> bool {
        let is_cut_off = |vault: &VaultReport| match &vault.cut_off {
            Some(cut_off) if with_clients => !cut_off.is_empty(),
            // A vault that had no firewall has no records of one.
            _ => vault.loses(),
        };
        !self.author.locked_out.is_empty() || self.vaults.iter().any(is_cut_off)
    }

    /// A vault in which somebody loses access and of which no recent request could be compared.
    pub(super) fn without_records(&self) -> Option<&str> {
        let is_blind = |vault: &&VaultReport| {
            let unclear = vault.unclear_requests.is_some_and(|count| count > 0);
            vault.loses() && (vault.compared_requests == Some(0) || unclear)
        };
        self.vaults
            .iter()
            .find(is_blind)
            .map(|vault| vault.vault.as_str())
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let authors: BTreeSet<&str> = self
            .author
            .locked_out
            .iter()
            .map(|out| out.who.as_str())
            .collect();
        for LockedOut {
            who,
            vault,
            by,
            access,
        } in &self.author.locked_out
        {
            let _ = writeln!(
                text,
                "YOU WOULD LOCK YOURSELF OUT: {who} loses vault {vault}, let in by {by}{}",
                match access_text(access).as_str() {
                    "" => String::new(),
                    access => format!(" ({access})"),
                }
            );
        }
        if !self.author.checked {
            text.push_str("the author of the change was not checked: give --source-ip or --pod\n");
        } else if authors.is_empty() {
            text.push_str("the author of the change loses nothing\n");
        }
        if let Some(Clients {
            from,
            to,
            unreadable,
        }) = &self.clients
        {
            let _ = writeln!(
                text,
                "recent clients: those of the records from {from} to {to}"
            );
            if *unreadable > 0 {
                let _ = writeln!(
                    text,
                    "{unreadable} lines of --clients are no records of the access log"
                );
            }
        }
        for object in &self.objects {
            let sign = match object.change {
                Change::Added => "added",
                Change::Removed => "removed",
                Change::Edited => "edited",
            };
            let slash = if object.namespace.is_empty() { "" } else { "/" };
            let _ = writeln!(
                text,
                "{sign}: {} {}{slash}{}",
                object.kind, object.namespace, object.name
            );
            for field in object.fields.iter().take(SHOWN_GROUPS) {
                let _ = writeln!(text, "  {}: {}", field.path, values(&field.old, &field.new));
            }
            more(&mut text, "  ", object.fields.len(), "fields");
        }
        for vault in &self.vaults {
            vault.text(&mut text);
        }
        if self.vaults.is_empty() && self.violations.is_empty() {
            text.push_str("no firewall changes\n");
        }
        text
    }
}

fn values(old: &Value, new: &Value) -> String {
    match (old, new) {
        (Value::Null, new) => format!("added {new}"),
        (old, Value::Null) => format!("removed {old}"),
        (old, new) => format!("{old} is now {new}"),
    }
}

/// Names the number of lines that the text leaves out.
fn more(text: &mut String, indent: &str, count: usize, of: &str) {
    if let Some(rest) = count.checked_sub(SHOWN_GROUPS).filter(|rest| *rest > 0) {
        let _ = writeln!(text, "{indent}… and {rest} more {of}; -o json has all");
    }
}
