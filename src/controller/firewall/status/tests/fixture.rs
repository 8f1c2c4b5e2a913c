//! A vault with its stored policies and its proxies, evaluated by the real validation, index and resolution.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::*;
use crate::api::{
    SERVICE_ENDPOINT_ENABLED, SERVICE_ENDPOINT_LABEL, VaultApi, VaultNetworkPolicy, VirtualNetwork,
};
use crate::controller::debounce::Urgency;
use crate::index::{
    Index, InvalidPolicy, NamespaceFact, ObservedPod, ObservedPolicy, PodFact, ServiceFact,
    ServicePortFact, TargetPort,
};
use crate::limits::Limits;
use crate::policy::{VaultId, Violation, validate_policy, validate_virtual_network};
use crate::runtime::events::EventNote;
use crate::xds::{self, Rejection, ResourceType};

/// Name of the policy whose status is tested; every policy targets `vault/openbao`.
const OWN: &str = "own";

/// Plain HTTP on both sides.
pub(crate) const PLAIN: Option<PlainHttp> = Some(PlainHttp {
    to_clients: true,
    to_vault: true,
});

pub(crate) struct Fixture {
    limits: Limits,
    index: Index,
    /// Violations of the policy `own`.
    violations: Vec<Violation>,
    rules: Option<RuleCounts>,
    pub(crate) generation: i64,
    service: Option<ServiceFact>,
    pub(crate) terminating: bool,
    pub(crate) apply_error: Option<String>,
    pub(crate) stalled: Option<&'static str>,
    pub(crate) plain_http: Option<PlainHttp>,
    pub(crate) version: Option<&'static str>,
    pub(crate) proxies: xds::Status,
    pub(crate) ready: Option<usize>,
    pub(crate) openings: Vec<String>,
    /// Stored status of `own`.
    pub(crate) stored: Option<VaultNetworkPolicyStatus>,
    pub(crate) now: Timestamp,
}

/// Returns a fixture in which `own` has one IP rule, and both proxies of its vault enforce it.
pub(crate) fn fixture() -> Fixture {
    limited(127).own(&json!({"ipRules": [{"value": "203.0.113.7"}]}))
}

/// Returns a fixture with a Service, proxies and a limit of IP rules, without a policy.
pub(crate) fn limited(ip_rules: usize) -> Fixture {
    let limits = Limits {
        ip_rules,
        ..Limits::default()
    };
    let port = ServicePortFact {
        name: None,
        port: 8200,
        target: TargetPort::Number(8200),
    };
    Fixture {
        limits,
        index: Index::new(limits),
        violations: Vec::new(),
        rules: None,
        generation: 0,
        service: Some(ServiceFact {
            namespace: "vault".into(),
            name: "openbao".into(),
            selector: BTreeMap::from([("app".into(), "openbao".into())]),
            ports: vec![port],
        }),
        terminating: false,
        apply_error: None,
        stalled: None,
        plain_http: Some(PlainHttp::default()),
        version: Some("v1"),
        proxies: xds::Status {
            version: Some("v1".into()),
            connected: 2,
            programmed: 2,
            ..xds::Status::default()
        },
        ready: Some(2),
        openings: Vec::new(),
        stored: None,
        now: "2026-05-01T00:00:00Z".parse().unwrap(),
    }
}

impl Fixture {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Stores the next generation of `own`.
    pub(crate) fn own(self, spec: &Value) -> Self {
        self.with(|fixture| fixture.set_own(spec))
    }

    pub(crate) fn set_own(&mut self, spec: &Value) {
        self.generation += 1;
        self.violations = self.apply(OWN, "2026-02-02T00:00:00Z", spec);
        let count = |field: &str| spec[field].as_array().map_or(0, Vec::len);
        self.rules = Some(RuleCounts {
            virtual_networks: count("virtualNetworkRules"),
            ip: count("ipRules"),
        });
    }

    /// Stores another policy, older than `own`.
    pub(crate) fn older(self, spec: &Value) -> Self {
        self.with(|fixture| fixture.set_older(spec))
    }

    pub(crate) fn set_older(&mut self, spec: &Value) {
        self.apply("older", "2026-01-01T00:00:00Z", spec);
    }

    /// Stores a namespace without the opt-in label.
    pub(crate) fn namespace(self, name: &str) -> Self {
        self.with(|fixture| {
            let labels = BTreeMap::from([("kubernetes.io/metadata.name".into(), name.into())]);
            let name = name.into();
            fixture.index.apply(NamespaceFact {
                name,
                labels,
                terminating: false,
            });
        })
    }

    /// Stores a namespace with labels; `opted_in`: with the opt-in label as well.
    pub(crate) fn labelled(mut self, name: &str, label: (&str, &str), opted_in: bool) -> Self {
        let mut labels = vec![("kubernetes.io/metadata.name", name), label];
        labels.extend(opted_in.then_some((SERVICE_ENDPOINT_LABEL, SERVICE_ENDPOINT_ENABLED)));
        let labels = labels.into_iter();
        self.index.apply(NamespaceFact {
            name: name.into(),
            labels: labels
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
            terminating: false,
        });
        self
    }

    /// Stores a running pod.
    pub(crate) fn pod(mut self, namespace: &str, name: &str, app: &str, address: &str) -> Self {
        self.index.apply(ObservedPod::Counted(PodFact {
            namespace: namespace.into(),
            name: name.into(),
            uid: None,
            labels: BTreeMap::from([("app".into(), app.into())]),
            service_account: "default".into(),
            addresses: [address.parse().unwrap()].into(),
        }));
        self
    }

    fn apply(&mut self, name: &str, created: &str, spec: &Value) -> Vec<Violation> {
        let mut object = json!({
            "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy", "spec": spec,
            "metadata": {"name": name, "namespace": "vault", "creationTimestamp": created},
        });
        object["spec"]["targetRef"] = json!({"name": "openbao", "port": 8200});
        let object: VaultNetworkPolicy = serde_json::from_value(object).unwrap();
        let violations = match validate_policy(&object, &self.limits) {
            Ok(policy) => {
                self.index.apply(policy);
                Vec::new()
            }
            Err(violations) => {
                self.index.apply(ObservedPolicy::Invalid(InvalidPolicy {
                    name: name.to_owned(),
                    vault: vault(),
                    port: 8200,
                    api: VaultApi::OpenBao,
                }));
                violations
            }
        };
        // The operator does so after every change; the index then stores the accepted generation.
        self.index.resolve(&vault());
        violations
    }

    /// Stores the network `corp`.
    pub(crate) fn corp(self, subnets: &Value) -> Self {
        self.with(|fixture| {
            let object = json!({
                "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VirtualNetwork",
                "metadata": {"name": "corp"}, "spec": {"subnets": subnets},
            });
            let object: VirtualNetwork = serde_json::from_value(object).unwrap();
            let network = validate_virtual_network(&object).unwrap();
            fixture.index.apply(network);
        })
    }

    pub(crate) fn service(self, change: impl FnOnce(&mut Option<ServiceFact>)) -> Self {
        self.with(|fixture| change(&mut fixture.service))
    }

    /// Empties the index, as before it has `own`.
    pub(crate) fn not_indexed(self) -> Self {
        self.with(|fixture| fixture.index = Index::new(fixture.limits))
    }

    pub(crate) fn rejected(self, message: &str) -> Self {
        self.with(|fixture| {
            fixture.proxies.programmed = 1;
            fixture.proxies.rejections.push(Rejection {
                kind: ResourceType::ExtensionConfig,
                name: "vaultwall.ip-rules".into(),
                version: Some("1".into()),
                message: message.into(),
            });
        })
    }

    pub(crate) fn desired(&mut self) -> VaultNetworkPolicyStatus {
        let resolution = self.index.resolve(&vault());
        let policy = PolicySeen {
            name: OWN,
            generation: self.generation,
            status: self.stored.as_ref(),
            violations: &self.violations,
            rules: self.rules,
        };
        let seen = VaultSeen {
            resolution: resolution.as_ref(),
            cold_start: false,
            kept_port: None,
            target: target_of(self.service.as_ref(), 8200).map(drop),
            terminating: self.terminating,
            apply_error: self.apply_error.as_deref(),
            stalled: self.stalled,
            earlier: &[],
            openings: &self.openings,
            plain_http: self.plain_http,
            proxies: &self.proxies,
            ready: self.ready,
            wanted: 2,
            version: self.version,
            endpoint: Some("openbao-firewall.vault.svc:8200".into()),
            management_endpoint: Some("openbao-firewall.vault.svc:8300".into()),
        };
        status_of(&policy, &seen, self.now)
    }

    /// Stores the desired status as the operator does: when it is settled and differs. Returns the events of the write,
    /// or none without a write.
    pub(crate) fn write(&mut self, waits: bool) -> Option<Vec<EventNote>> {
        let desired = self.desired();
        match urgency(self.stored.as_ref(), &desired, false) {
            Urgency::None => return None,
            Urgency::Settling if waits => return None,
            _ => {}
        }
        let notes = events(self.stored.as_ref(), &desired);
        self.stored = Some(desired);
        Some(notes)
    }
}

fn vault() -> VaultId {
    VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    }
}
