//! Recent clients, from records of the access log: those that a change would cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::access_log::Record;
use crate::cli::records::{Records, RecordsError};
use crate::policy::difference::{KnownPods, Who, has_same_table};
use crate::policy::token::{TokenIdentity, TokenProof};
use crate::policy::{Caller, Firewall, Reason, Verdict, client_address, decide_class};
use crate::vault_api::{BadRequest, Class, Operations, Plane, Request, Table, classify};

/// A file whose records cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientsError {
    #[error("--clients: {0}")]
    Records(#[from] RecordsError),
    #[error(
        "--clients {0}: has no record of the access log; give the JSON lines that the proxies write"
    )]
    NoRecord(PathBuf),
}

/// The records of the last time.
pub(super) struct Recent {
    records: Vec<Record>,
    /// First and last moment of which records count; `None` without records.
    pub(super) window: Option<(Timestamp, Timestamp)>,
    /// Lines of the file that are no record.
    pub(super) unreadable: u64,
}

/// A group of clients that would be cut off. As JSON it has exactly these keys, which are a stable contract.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct CutOff {
    pub(super) vault: String,
    /// Pods by namespace and service account, or the address.
    pub(super) client: String,
    pub(super) listener: &'static str,
    /// Plane of the requests, and their operations.
    pub(super) plane: String,
    pub(super) operations: BTreeSet<String>,
    /// Rule that lets them in before the change; without one, the reason.
    pub(super) by: String,
    /// Reason of the denial after the change.
    pub(super) reason: String,
    pub(super) requests: u64,
    pub(super) last: Timestamp,
}

/// Result of a comparison with one vault's records.
#[derive(Default)]
pub(super) struct Compared {
    pub(super) cut_off: Vec<CutOff>,
    /// Allowed requests of the last time that could be compared.
    pub(super) requests: u64,
    /// Allowed requests that could not be compared.
    pub(super) unclear: u64,
}

impl Recent {
    /// Reads the records of the time `since` before the newest record, so that a copied file gives the same answer on
    /// any day.
    pub(super) fn read(path: &Path, since: Duration) -> Result<Self, ClientsError> {
        let mut log = Records::open(path)?;
        let mut records = Vec::new();
        while let Some(record) = log.next()? {
            records.push(record);
        }
        records.extend(log.rest());
        log.check()?;
        if records.is_empty() {
            return Err(ClientsError::NoRecord(path.to_owned()));
        }
        // A proxy whose clock is ahead would hide the clients of all others.
        let now = Timestamp::now();
        let times = records.iter().map(|record| record.time);
        let newest = times.filter(|time| *time <= now).max().unwrap_or(now);
        let since = SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX);
        let first = newest.checked_sub(since).unwrap_or(Timestamp::MIN);
        records.retain(|record| record.time >= first);
        Ok(Self {
            records,
            window: Some((first, newest)),
            unreadable: log.skipped,
        })
    }

    /// Compares the requests of a vault. `new` is `None` if the vault loses its firewall, and with it the address of
    /// the firewall's own Service.
    pub(super) fn compare(
        &self,
        vault: &str,
        old: &Firewall,
        new: Option<&Firewall>,
        pods: &KnownPods,
    ) -> Compared {
        let mut compared = Compared::default();
        let mut groups: BTreeMap<(String, &'static str, String, String, String), CutOff> =
            BTreeMap::new();
        let is_allowed = |record: &&Record| record.vault == vault && record.is_allowed();
        for record in self.records.iter().filter(is_allowed) {
            let Some((before, after)) = decide(record, old, new) else {
                compared.unclear += 1;
                continue;
            };
            match (before.verdict(), after.verdict()) {
                (_, Verdict::Allow) => {
                    compared.requests += 1;
                    continue;
                }
                // It was allowed by facts that are not known here, such as those of a pod that has ended.
                (Verdict::Deny, Verdict::Deny) => {
                    compared.unclear += 1;
                    continue;
                }
                (Verdict::Allow, Verdict::Deny) => compared.requests += 1,
            }
            let (client, by) = (client_of(record, pods), before.by());
            let listener = record.endpoint().name();
            let plane = record.plane.as_deref().unwrap_or_default();
            let key = (
                client.clone(),
                listener,
                plane.to_owned(),
                by.clone(),
                after.by(),
            );
            let group = groups.entry(key).or_insert_with(|| CutOff {
                vault: vault.to_owned(),
                client,
                listener,
                plane: plane.to_owned(),
                operations: BTreeSet::new(),
                by,
                reason: after.by(),
                requests: 0,
                last: record.time,
            });
            group.requests += 1;
            group.last = group.last.max(record.time);
            let operations = record.operations.as_ref().filter(|text| !text.is_empty());
            group.operations.extend(operations.cloned());
        }
        compared.cut_off = groups.into_values().collect();
        compared
            .cut_off
            .sort_by_key(|group| std::cmp::Reverse(group.requests));
        compared
    }
}

/// Reason of a decision, and its rule; without a firewall there is no reason.
struct Decided(Option<(Reason, Option<Arc<str>>)>);

impl Decided {
    fn verdict(&self) -> Verdict {
        self.0
            .as_ref()
            .map_or(Verdict::Deny, |(reason, _)| reason.verdict())
    }

    fn by(&self) -> String {
        match &self.0 {
            None => "no proxies".to_owned(),
            Some((_, Some(rule))) => rule.to_string(),
            Some((reason, None)) => reason.name().to_owned(),
        }
    }
}

/// The decisions before and after the change; `None` if the record does not have what they depend on.
fn decide(record: &Record, old: &Firewall, new: Option<&Firewall>) -> Option<(Decided, Decided)> {
    let class = class_of(record)?;
    let before = decided(record, old, &class)?;
    let after = match new {
        None => Decided(None),
        Some(new) if has_same_table(old, new) => decided(record, new, &class)?,
        Some(new) => match class_by(record, &new.table())? {
            Ok(class) => decided(record, new, &class)?,
            Err(_) => Decided(Some((Reason::BadRequest, None))),
        },
    };
    Some((before, after))
}

fn decided(record: &Record, firewall: &Firewall, class: &Class) -> Option<Decided> {
    let peer = record.peer()?;
    let proxies = firewall.client_address.trusted_proxies();
    let is_proxy = proxies.is_some_and(|proxies| client_address::is_listed(proxies, peer));
    let client = if is_proxy { record.client()? } else { peer };
    let proof = proof(record, firewall)?;
    let caller = Caller {
        peer,
        client,
        // The vault answers a request for data only with a token.
        vault_token: class.plane == Plane::Data,
        proof: &proof,
    };
    Some(Decided(Some(decide_class(
        firewall,
        record.endpoint(),
        caller,
        class,
    ))))
}

/// The token of the request; `None` if its identity cannot be read.
fn proof(record: &Record, firewall: &Firewall) -> Option<TokenProof> {
    let Some(text) = token_identity(record) else {
        return Some(TokenProof::None);
    };
    let proven = record.proven_identity()?;
    // The token was verified, so the account is the existing one.
    let listed = firewall.tokens.iter().flat_map(|tokens| &tokens.identities);
    let same = |other: &&TokenIdentity| other.to_string() == text;
    let identity = listed.into_iter().find(same).unwrap_or(&proven);
    Some(TokenProof::Verified(identity.claims()))
}

fn token_identity(record: &Record) -> Option<&str> {
    let text = record.token_identity.as_deref();
    text.filter(|text| !text.is_empty())
}

/// Class of the request by the record.
fn class_of(record: &Record) -> Option<Class> {
    let plane = record.plane.as_ref()?;
    let operations = record.operations.as_deref().unwrap_or_default();
    let names = operations.split(['+', '|']).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    Some(Class {
        plane: Plane::ALL.into_iter().find(|one| one.name() == plane)?,
        operations: Operations {
            names: names.into(),
            all: operations.contains('+'),
        },
    })
}

/// Class of the request by a changed table; `None` if the record's path is cut.
fn class_by(record: &Record, table: &Table) -> Option<Result<Class, BadRequest>> {
    let request = Request {
        method: record.method.as_deref()?,
        target: record.whole_path()?,
        announced: None,
        namespace: record.vault_namespace.as_deref(),
        has_body: false,
        several_tokens: false,
    };
    Some(classify(table, &request).map(|row| row.class.clone()))
}

/// The client, for people.
fn client_of(record: &Record, pods: &KnownPods) -> String {
    let peer = record.peer();
    let pod = match peer {
        Some(IpAddr::V4(address)) => pods.get(&address),
        _ => None,
    };
    let mut text = match (peer, record.client(), pod) {
        (Some(peer), Some(client), _) if client != peer => format!("{client} through {peer}"),
        (
            _,
            _,
            Some(Who::Pods {
                namespace,
                service_account,
            }),
        ) => {
            format!("pods of {namespace}, service account {service_account}")
        }
        (Some(peer), ..) => peer.to_string(),
        _ => "unknown".to_owned(),
    };
    if let Some(identity) = token_identity(record) {
        let subject = identity.split('\t').nth(1).unwrap_or_default();
        let _ = write!(text, " with a token of {subject}");
    }
    text
}
