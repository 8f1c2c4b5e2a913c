//! Recent clients, from records of the access log: those that a change would cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::policy::difference::{KnownPods, Who, has_same_table, proof};
use crate::policy::token::{TokenIdentity, TokenProof};
use crate::policy::{Caller, Firewall, Listener, Reason, Verdict, client_address, decide_class};
use crate::vault_api::{BadRequest, Class, Operations, Plane, Request, Table, classify};

/// A record of the access log: the fields that a decision depends on. Others are ignored.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct Record {
    time: Timestamp,
    vault: String,
    listener: String,
    reason: Option<String>,
    plane: Option<String>,
    operations: Option<String>,
    direct_ip_address: Option<String>,
    caller_ip_address: Option<String>,
    token_identity: Option<String>,
    method: Option<String>,
    request_uri: Option<String>,
    vault_namespace: Option<String>,
}

/// A file whose records cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientsError {
    #[error("--clients {0}: cannot be read: {1}; give a file with records of the access log")]
    Read(PathBuf, std::io::Error),
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
        let failed = |error| ClientsError::Read(path.to_owned(), error);
        let file = BufReader::new(File::open(path).map_err(failed)?);
        let mut records: Vec<Record> = Vec::new();
        let mut unreadable = 0_u64;
        for line in file.split(b'\n') {
            let line = line.map_err(failed)?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(record) => records.push(record),
                // A line of another program, or one that is cut at the end of a copy.
                Err(_) => unreadable += 1,
            }
        }
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
            unreadable,
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
        let is_allowed = |record: &&Record| {
            record.vault == vault && record.reason.as_deref().is_some_and(allows)
        };
        for record in self.records.iter().filter(is_allowed) {
            let Some((before, after)) = record.decide(old, new) else {
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
            let (client, by) = (record.client(pods), before.by());
            let listener = record.listener().name();
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

/// Whether a reason of a record is one of an allowed request.
fn allows(name: &str) -> bool {
    let mut reasons = Reason::ALL.into_iter();
    reasons.any(|reason| reason.name() == name && reason.verdict() == Verdict::Allow)
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

impl Record {
    /// The decisions before and after the change; `None` if the record does not have what they depend on.
    fn decide(&self, old: &Firewall, new: Option<&Firewall>) -> Option<(Decided, Decided)> {
        let before = self.decided(old, &self.class()?)?;
        let after = match new {
            None => Decided(None),
            Some(new) if has_same_table(old, new) => self.decided(new, &self.class()?)?,
            Some(new) => match self.class_by(&new.table())? {
                Ok(class) => self.decided(new, &class)?,
                Err(_) => Decided(Some((Reason::BadRequest, None))),
            },
        };
        Some((before, after))
    }

    fn decided(&self, firewall: &Firewall, class: &Class) -> Option<Decided> {
        let peer = self.peer()?;
        let proxies = firewall.client_address.trusted_proxies();
        let is_proxy = proxies.is_some_and(|proxies| client_address::is_listed(proxies, peer));
        let client = if is_proxy { self.forwarded()? } else { peer };
        let proof = self.proof(firewall)?;
        let caller = Caller {
            peer,
            client,
            // The vault answers a request for data only with a token.
            vault_token: class.plane == Plane::Data,
            proof: &proof,
        };
        Some(Decided(Some(decide_class(
            firewall,
            self.listener(),
            caller,
            class,
        ))))
    }

    /// The token of the request; `None` if its identity cannot be read.
    fn proof(&self, firewall: &Firewall) -> Option<TokenProof> {
        let Some(text) = self.token_identity.as_ref().filter(|text| !text.is_empty()) else {
            return Some(TokenProof::None);
        };
        let mut parts = text.split('\t').map(str::to_owned);
        let mut identity = TokenIdentity {
            issuer: parts.next()?,
            subject: parts.next()?,
            audience: parts.next()?,
            account_uid: None,
        };
        // The record does not have the id of the account; the token was verified, so it is the existing one's.
        let listed = firewall.tokens.iter().flat_map(|tokens| &tokens.identities);
        let same = |other: &&TokenIdentity| other.to_string() == *text;
        identity.account_uid = listed
            .into_iter()
            .find(same)
            .and_then(|found| found.account_uid.clone());
        Some(proof(&identity))
    }

    /// Class of the request by the record.
    fn class(&self) -> Option<Class> {
        let operations = self.operations.as_deref().unwrap_or_default();
        let all = operations.contains('+');
        let names = operations.split(['+', '|']).filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(str::to_owned).collect();
        Some(Class {
            plane: self.plane()?,
            operations: Operations {
                names: names.into(),
                all,
            },
        })
    }

    /// Class of the request by a changed table; `None` if the record's path is cut.
    fn class_by(&self, table: &Table) -> Option<Result<Class, BadRequest>> {
        /// Most bytes of a path in a record.
        const CUT: usize = 1024;
        let target = self
            .request_uri
            .as_deref()
            .filter(|path| path.len() < CUT)?;
        let request = Request {
            method: self.method.as_deref()?,
            target,
            announced: None,
            namespace: self.vault_namespace.as_deref(),
            has_body: false,
            several_tokens: false,
        };
        Some(classify(table, &request).map(|row| row.class.clone()))
    }

    fn peer(&self) -> Option<IpAddr> {
        self.direct_ip_address.as_ref()?.parse().ok()
    }

    fn forwarded(&self) -> Option<IpAddr> {
        self.caller_ip_address.as_ref()?.parse().ok()
    }

    fn plane(&self) -> Option<Plane> {
        let name = self.plane.as_ref()?;
        Plane::ALL.into_iter().find(|plane| plane.name() == name)
    }

    fn listener(&self) -> Listener {
        if self.listener == Listener::Management.name() {
            Listener::Management
        } else {
            Listener::Data
        }
    }

    /// The client, for people.
    fn client(&self, pods: &KnownPods) -> String {
        let peer = self.peer();
        let pod = match peer {
            Some(IpAddr::V4(address)) => pods.get(&address),
            _ => None,
        };
        let mut text = match (peer, self.forwarded(), pod) {
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
        if let Some(identity) = self.token_identity.as_ref().filter(|text| !text.is_empty()) {
            let subject = identity.split('\t').nth(1).unwrap_or_default();
            let _ = write!(text, " with a token of {subject}");
        }
        text
    }
}
