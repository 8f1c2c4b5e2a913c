//! Every metric of the operator, in one struct of handles: cloning is cheap, and so is counting.
//!
//! No label has more values than the program itself knows: names of vaults, policies and namespaces are never labels,
//! because their number is not ours. `docs/operations.md` lists the metrics; a test compares.

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

use crate::policy::VaultId;

/// Upper bounds in seconds of what takes milliseconds: from an event to the proxies' acknowledgement, 1 ms to 30 s.
const CHANGE: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Upper bounds in seconds of what takes microseconds: pure work on one firewall, 10 µs to 1 s.
const WORK: [f64; 12] = [
    0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0,
];

/// The handles. Clones count in the same place.
#[derive(Clone, Debug)]
pub struct Metrics {
    policies: Family<Accepted, Gauge>,
    /// Vaults that have a firewall.
    pub firewalls: Gauge,
    /// Proxies that are connected, to any replica that this one knows of.
    pub proxies_connected: Gauge,
    /// Those of them that have the newest firewall of their vault in force.
    pub proxies_programmed: Gauge,
    /// Resources that proxies refused.
    pub xds_rejections: Counter,
    change: Histogram,
    resolve: Histogram,
    compile: Histogram,
    api_writes: Family<Write, Counter>,
    leader: Gauge,
    watch_restarts: Family<Kind, Counter>,
    certificate_expiry: Family<Certificate, Gauge<f64, AtomicU64>>,
    /// The end of each vault's proxies' certificate; only the first of them is shown.
    proxy_certificates: Arc<Mutex<BTreeMap<VaultId, Timestamp>>>,
}

/// What came of a write to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteResult {
    /// It was written.
    Written,
    /// Somebody else wrote first, or owns a field.
    Conflict,
    /// The API server refused it: rights, admission, schema.
    Refused,
    /// There was no answer, or an error on the server's side.
    Failed,
}

impl WriteResult {
    /// Every result.
    pub const ALL: [Self; 4] = [Self::Written, Self::Conflict, Self::Refused, Self::Failed];

    /// What an answer of the API server means.
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
struct Certificate {
    certificate: &'static str,
}

impl Metrics {
    /// The metrics of a process, and the registry that shows them.
    pub fn new() -> (Self, Registry) {
        let metrics = Self {
            policies: Family::default(),
            firewalls: Gauge::default(),
            proxies_connected: Gauge::default(),
            proxies_programmed: Gauge::default(),
            xds_rejections: Counter::default(),
            change: Histogram::new(CHANGE),
            resolve: Histogram::new(WORK),
            compile: Histogram::new(WORK),
            api_writes: Family::default(),
            leader: Gauge::default(),
            watch_restarts: Family::default(),
            certificate_expiry: Family::default(),
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
            "Watches that were interrupted and went on, by kind of object",
            self.watch_restarts.clone(),
        );
        all.register_with_unit(
            "certificate_expiry_timestamp",
            "Unix time at which a certificate runs out; of several, the first",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        all.register(
            "build",
            "The program that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        all
    }

    /// How many policies there are.
    pub fn set_policies(&self, accepted: usize, refused: usize) {
        for (accepted, count) in [(true, accepted), (false, refused)] {
            self.policies
                .get_or_create(&Accepted { accepted })
                .set(number(count));
        }
    }

    /// A change that was seen then is now acknowledged by every proxy that it concerns.
    pub fn change_acknowledged(&self, seen: Instant) {
        self.change.observe(seen.elapsed().as_secs_f64());
    }

    /// A firewall was resolved.
    pub fn resolved(&self, took: Duration) {
        self.resolve.observe(took.as_secs_f64());
    }

    /// A firewall was compiled.
    pub fn compiled(&self, took: Duration) {
        self.compile.observe(took.as_secs_f64());
    }

    /// An object of this kind was written, or not.
    pub fn wrote(&self, kind: &'static str, result: WriteResult) {
        self.api_writes.get_or_create(&Write { kind, result }).inc();
    }

    /// This replica leads, or does not.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// A watch of this kind had to list everything again.
    pub fn watch_restarted(&self, kind: &'static str) {
        self.watch_restarts.get_or_create(&Kind { kind }).inc();
    }

    /// When the operator's own authority runs out.
    pub fn set_authority_expiry(&self, moment: Timestamp) {
        self.set_expiry("authority", moment);
    }

    /// When the certificate of a vault's proxies runs out.
    pub fn set_proxy_certificate_expiry(&self, vault: &VaultId, moment: Timestamp) {
        self.change_proxy_certificates(|known| {
            known.insert(vault.clone(), moment);
        });
    }

    /// A vault has no proxies any more.
    pub fn forget_proxy_certificate(&self, vault: &VaultId) {
        self.change_proxy_certificates(|known| {
            known.remove(vault);
        });
    }

    fn change_proxy_certificates(&self, change: impl FnOnce(&mut BTreeMap<VaultId, Timestamp>)) {
        // Whole at every moment, so a panic elsewhere while it was held does no harm.
        let known = self.proxy_certificates.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        // Still held, so that what is shown is never that of an earlier change.
        if let Some(first) = known.values().min() {
            self.set_expiry("proxy", *first);
        } else {
            let certificate = "proxy";
            self.certificate_expiry.remove(&Certificate { certificate });
        }
    }

    fn set_expiry(&self, certificate: &'static str, moment: Timestamp) {
        let gauge = self
            .certificate_expiry
            .get_or_create(&Certificate { certificate });
        gauge.set(moment.as_duration().as_secs_f64());
    }
}

/// A count as a gauge takes it.
pub fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
