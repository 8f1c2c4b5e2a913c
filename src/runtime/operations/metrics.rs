//! Every metric of the operator, in one struct of handles. Cloning and counting are cheap.
//!
//! The program limits the values of every label: names of vaults, policies and namespaces are never labels, because
//! their number has no bound. `docs/operations.md` lists the metrics; a test compares.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::access_log::sink::{Observer, Outcome};
use crate::policy::{Reason, VaultId};

/// Bucket bounds of the time from an event to the proxies' acknowledgement, in seconds: 1 ms to 30 s.
const CHANGE: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Bucket bounds of the computation for one firewall, in seconds: 10 µs to 1 s.
const WORK: [f64; 12] = [
    0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0,
];

/// Handles of all metrics. Clones share the same values.
#[derive(Clone, Debug)]
pub struct Metrics {
    policies: Family<Accepted, Gauge>,
    /// Number of vaults that have a firewall.
    pub firewalls: Gauge,
    /// Number of vaults whose firewall blocks nothing, because of `mode: Audit`.
    pub audit_firewalls: Gauge,
    /// Number of connected proxies: of all replicas on the leader, of this replica on others.
    pub proxies_connected: Gauge,
    /// Number of connected proxies that enforce the newest firewall of their vault.
    pub proxies_programmed: Gauge,
    /// Number of resources that proxies rejected.
    pub xds_rejections: Counter,
    refused_connections: Family<Limit, Counter>,
    access_log_records: Family<AccessLogRecord, Counter>,
    access_log_missing: Gauge,
    denials: Family<Denied, Counter>,
    change: Histogram,
    resolve: Histogram,
    compile: Histogram,
    api_writes: Family<Write, Counter>,
    leader: Gauge,
    watch_restarts: Family<Kind, Counter>,
    certificate_expiry: Family<Certificate, Gauge<f64, AtomicU64>>,
    key_sets: Family<KeySets, Gauge>,
    keys_confirmed: Family<KeySource, Gauge<f64, AtomicU64>>,
    key_fetches: Family<KeyFetch, Counter>,
    /// Expiry of each vault's proxy certificate; only the earliest is shown.
    proxy_certificates: Arc<Mutex<BTreeMap<VaultId, Timestamp>>>,
}

/// Outcome of a write to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteResult {
    /// The object was written.
    Written,
    /// Another client wrote first, or owns a field.
    Conflict,
    /// The API server refused the write: permissions, admission, schema.
    Refused,
    /// There was no answer, or a server error.
    Failed,
}

impl WriteResult {
    /// All results, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Written, Self::Conflict, Self::Refused, Self::Failed];

    /// Returns the outcome for an answer of the API server.
    pub fn of<T>(answer: &Result<T, kube::Error>) -> Self {
        match answer {
            Ok(_) => Self::Written,
            Err(kube::Error::Api(status)) if status.is_conflict() => Self::Conflict,
            Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}

impl EncodeLabelValue for WriteResult {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder,
    ) -> Result<(), std::fmt::Error> {
        let word = match self {
            Self::Written => "written",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Failed => "failed",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Accepted {
    accepted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    kind: &'static str,
    result: WriteResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccessLogRecord {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Denied {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Certificate {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeySource {
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeySets {
    source: &'static str,
    usable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyFetch {
    source: &'static str,
    succeeded: bool,
}

impl Metrics {
    /// Creates the metrics of a process, and the registry that exposes them.
    pub fn new() -> (Self, Registry) {
        let metrics = Self {
            policies: Family::default(),
            firewalls: Gauge::default(),
            audit_firewalls: Gauge::default(),
            proxies_connected: Gauge::default(),
            proxies_programmed: Gauge::default(),
            xds_rejections: Counter::default(),
            refused_connections: Family::default(),
            access_log_records: Family::default(),
            access_log_missing: Gauge::default(),
            denials: Family::default(),
            change: Histogram::new(CHANGE),
            resolve: Histogram::new(WORK),
            compile: Histogram::new(WORK),
            api_writes: Family::default(),
            leader: Gauge::default(),
            watch_restarts: Family::default(),
            certificate_expiry: Family::default(),
            key_sets: Family::default(),
            keys_confirmed: Family::default(),
            key_fetches: Family::default(),
            proxy_certificates: Arc::default(),
        };
        metrics.set_policies(0, 0);
        let registry = metrics.registry();
        (metrics, registry)
    }

    fn registry(&self) -> Registry {
        let mut all = Registry::with_prefix("vaultwall");
        all.register(
            "policies",
            "VaultNetworkPolicies, by whether they are accepted",
            self.policies.clone(),
        );
        all.register(
            "firewalls",
            "Vaults that have a firewall",
            self.firewalls.clone(),
        );
        all.register(
            "audit_firewalls",
            "Vaults whose firewall blocks nothing, because of mode: Audit",
            self.audit_firewalls.clone(),
        );
        all.register(
            "proxies_connected",
            "Proxies that are connected to a replica",
            self.proxies_connected.clone(),
        );
        all.register(
            "proxies_programmed",
            "Connected proxies that have the newest firewall of their vault in force",
            self.proxies_programmed.clone(),
        );
        all.register(
            "xds_rejections",
            "Resources that proxies refused",
            self.xds_rejections.clone(),
        );
        all.register(
            "refused_connections",
            "Connections of proxies and replicas that were refused because of a limit",
            self.refused_connections.clone(),
        );
        self.register_denials(&mut all);
        all.register_with_unit(
            "change_duration",
            "Time from an event to its acknowledgement by every connected proxy that it concerns",
            Unit::Seconds,
            self.change.clone(),
        );
        all.register_with_unit(
            "resolve",
            "Time to resolve one vault's firewall",
            Unit::Seconds,
            self.resolve.clone(),
        );
        all.register_with_unit(
            "compile",
            "Time to compile one vault's firewall for Envoy",
            Unit::Seconds,
            self.compile.clone(),
        );
        all.register(
            "api_writes",
            "Writes to the API server but those to the lease, by kind of object and result",
            self.api_writes.clone(),
        );
        all.register(
            "leader",
            "1 while this replica leads, 0 otherwise",
            self.leader.clone(),
        );
        all.register(
            "watch_restarts",
            "Interruptions of watches, by kind of object; each is resumed automatically",
            self.watch_restarts.clone(),
        );
        all.register_with_unit(
            "certificate_expiry_timestamp",
            "Unix time at which the certificate expires: authority is the CA's, proxy the earliest of the proxies'",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        all.register(
            "issuer_key_sets",
            "Key sets of token issuers, by their source and by whether they have usable keys",
            self.key_sets.clone(),
        );
        all.register_with_unit(
            "issuer_keys_confirmed_timestamp",
            "Unix time at which the oldest keys of token issuers that are in use were last confirmed by a fetch",
            Unit::Seconds,
            self.keys_confirmed.clone(),
        );
        all.register(
            "issuer_key_fetches",
            "Fetches of keys of token issuers, by their source and by whether they succeeded",
            self.key_fetches.clone(),
        );
        all.register(
            "build",
            "Version of the running program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        all
    }

    fn register_denials(&self, all: &mut Registry) {
        all.register(
            "denials",
            "Denials that proxies sent, by their reason",
            self.denials.clone(),
        );
        all.register(
            "access_log_records",
            "Records of denials that proxies sent, by what became of them",
            self.access_log_records.clone(),
        );
        all.register(
            "access_log_missing_records",
            "Numbered records of denials that did not arrive at this replica, while later ones did",
            self.access_log_missing.clone(),
        );
    }

    /// Sets the number of policies, by whether they are accepted.
    pub fn set_policies(&self, accepted: usize, refused: usize) {
        for (accepted, count) in [(true, accepted), (false, refused)] {
            self.policies
                .get_or_create(&Accepted { accepted })
                .set(number(count));
        }
    }

    /// Records that every affected proxy acknowledged a change that was seen at `seen`.
    pub fn change_acknowledged(&self, seen: Instant) {
        self.change.observe(seen.elapsed().as_secs_f64());
    }

    /// Records the time that it took to resolve a firewall.
    pub fn resolved(&self, took: Duration) {
        self.resolve.observe(took.as_secs_f64());
    }

    /// Records the time that it took to compile a firewall.
    pub fn compiled(&self, took: Duration) {
        self.compile.observe(took.as_secs_f64());
    }

    /// Counts a write of an object of this kind.
    pub fn wrote(&self, kind: &'static str, result: WriteResult) {
        self.api_writes.get_or_create(&Write { kind, result }).inc();
    }

    /// Counts a connection that was refused because of this limit.
    pub fn connection_refused(&self, limit: &'static str) {
        self.refused_connections
            .get_or_create(&Limit { limit })
            .inc();
    }

    /// Sets whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Counts an interruption of the watch of this kind.
    pub fn watch_restarted(&self, kind: &'static str) {
        self.watch_restarts.get_or_create(&Kind { kind }).inc();
    }

    /// Sets the expiry of the operator's certificate authority.
    pub fn set_authority_expiry(&self, moment: Timestamp) {
        self.set_expiry("authority", moment);
    }

    /// Sets the expiry of the certificate of a vault's proxies.
    pub fn set_proxy_certificate_expiry(&self, vault: &VaultId, moment: Timestamp) {
        self.change_proxy_certificates(|known| {
            known.insert(vault.clone(), moment);
        });
    }

    /// Removes the expiry of a vault that has no proxies any more.
    pub fn remove_proxy_certificate(&self, vault: &VaultId) {
        self.change_proxy_certificates(|known| {
            known.remove(vault);
        });
    }

    fn change_proxy_certificates(&self, change: impl FnOnce(&mut BTreeMap<VaultId, Timestamp>)) {
        // The map is consistent after every statement, so a poisoned lock can be used.
        let known = self.proxy_certificates.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        // Updates the gauge under the lock, so that it never shows an earlier change.
        if let Some(first) = known.values().min() {
            self.set_expiry("proxy", *first);
        } else {
            let certificate = "proxy";
            self.certificate_expiry.remove(&Certificate { certificate });
        }
    }

    /// Counts a fetch of keys of token issuers.
    pub fn keys_fetched(&self, source: &'static str, succeeded: bool) {
        let fetch = KeyFetch { source, succeeded };
        self.key_fetches.get_or_create(&fetch).inc();
    }

    /// Sets the number of key sets of a source with and without usable keys, and the time at which the oldest of the
    /// keys were last confirmed.
    pub fn set_key_sets(
        &self,
        source: &'static str,
        usable: usize,
        unusable: usize,
        confirmed: Option<Timestamp>,
    ) {
        for (usable, count) in [(true, usable), (false, unusable)] {
            let sets = KeySets { source, usable };
            self.key_sets.get_or_create(&sets).set(number(count));
        }
        let source = KeySource { source };
        match confirmed {
            Some(moment) => {
                let gauge = self.keys_confirmed.get_or_create(&source);
                gauge.set(moment.as_duration().as_secs_f64());
            }
            None => {
                self.keys_confirmed.remove(&source);
            }
        }
    }

    /// Counts a denial. `none` stands for a request that was not decided, `other` for the reason of another version.
    pub fn denied(&self, reason: Option<&str>) {
        let name = |reason| Reason::from_name(reason).map_or("other", Reason::name);
        let reason = reason.map_or("none", name);
        self.denials.get_or_create(&Denied { reason }).inc();
    }

    fn set_expiry(&self, certificate: &'static str, moment: Timestamp) {
        let gauge = self
            .certificate_expiry
            .get_or_create(&Certificate { certificate });
        gauge.set(moment.as_duration().as_secs_f64());
    }
}

impl Observer for Metrics {
    fn record(&self, outcome: Outcome) {
        let outcome = outcome.name();
        self.access_log_records
            .get_or_create(&AccessLogRecord { outcome })
            .inc();
    }

    fn missing(&self, records: u64) {
        self.access_log_missing
            .set(i64::try_from(records).unwrap_or(i64::MAX));
    }
}

/// Converts a count to the integer type of gauges and statuses; a count beyond its range becomes the maximum.
pub fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
