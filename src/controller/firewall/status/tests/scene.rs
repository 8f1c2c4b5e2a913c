//! A vault, its policies as they are stored, and its proxies: through validation, index and resolution as they are.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::*;
use crate::api::{VaultNetworkPolicy, VirtualNetwork};
use crate::index::{Index, NamespaceFact, ServiceFact, ServicePortFact, TargetPort};
use crate::limits::Limits;
use crate::policy::{VaultId, validate_policy, validate_virtual_network};
use crate::xds::{Rejection, ResourceType};

/// The policy that the status is of; all are about `vault/openbao`.
const OWN: &str = "own";

/// On both sides.
pub(crate) const PLAIN: Option<PlainHttp> = Some(PlainHttp {
    to_clients: true,
    to_vault: true,
});

pub(crate) struct Scene {
    limits: Limits,
    index: Index,
    /// Of the policy `own`.
    violations: Vec<Violation>,
    rules: Option<RuleCounts>,
    generation: i64,
    service: Option<ServiceFact>,
    pub(crate) terminating: bool,
    pub(crate) apply_error: Option<String>,
    pub(crate) stalled: Option<&'static str>,
    pub(crate) plain_http: Option<PlainHttp>,
    pub(crate) version: Option<&'static str>,
    pub(crate) proxies: xds::Status,
    /// The status as it is stored.
    pub(crate) stored: Option<VaultNetworkPolicyStatus>,
    pub(crate) now: Timestamp,
}

/// `own` has one IP rule, and both of its vault's proxies have it.
pub(crate) fn scene() -> Scene {
    limited(127).own(&json!({"ipRules": [{"value": "203.0.113.7"}]}))
}

/// Nothing but a Service and proxies, with a limit of IP rules.
pub(crate) fn limited(ip_rules: usize) -> Scene {
    let limits = Limits {
        ip_rules,
        ..Limits::default()
    };
    let port = ServicePortFact {
        name: None,
        port: 8200,
        target: TargetPort::Number(8200),
    };
    Scene {
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
        stored: None,
        now: "2026-05-01T00:00:00Z".parse().unwrap(),
    }
}

impl Scene {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The next generation of `own`.
    pub(crate) fn own(self, spec: &Value) -> Self {
        self.with(|scene| scene.set_own(spec))
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

    /// A policy of somebody else, older than `own`.
    pub(crate) fn older(self, spec: &Value) -> Self {
        self.with(|scene| scene.set_older(spec))
    }

    pub(crate) fn set_older(&mut self, spec: &Value) {
        self.apply("older", "2026-01-01T00:00:00Z", spec);
    }

    /// A namespace without labels of its own.
    pub(crate) fn namespace(self, name: &str) -> Self {
        self.with(|scene| {
            let labels = BTreeMap::from([("kubernetes.io/metadata.name".into(), name.into())]);
            let name = name.into();
            scene.index.apply_namespace(NamespaceFact { name, labels });
        })
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
                self.index.apply_policy(policy);
                Vec::new()
            }
            Err(violations) => {
                self.index.apply_invalid_policy(name, vault(), 8200);
                violations
            }
        };
        // As the operator does after every change; the index then remembers what was accepted.
        self.index.resolve(&vault());
        violations
    }

    /// The network `corp`.
    pub(crate) fn corp(self, subnets: &Value) -> Self {
        self.with(|scene| {
            let object = json!({
                "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VirtualNetwork",
                "metadata": {"name": "corp"}, "spec": {"subnets": subnets},
            });
            let object: VirtualNetwork = serde_json::from_value(object).unwrap();
            let network = validate_virtual_network(&object).unwrap();
            scene.index.apply_virtual_network(network);
        })
    }

    pub(crate) fn service(self, change: impl FnOnce(&mut Option<ServiceFact>)) -> Self {
        self.with(|scene| change(&mut scene.service))
    }

    /// The index as it was before it knew `own`.
    pub(crate) fn not_indexed(self) -> Self {
        self.with(|scene| scene.index = Index::new(scene.limits))
    }

    pub(crate) fn rejected(self, words: &str) -> Self {
        self.with(|scene| {
            scene.proxies.programmed = 1;
            scene.proxies.rejections.push(Rejection {
                kind: ResourceType::ExtensionConfig,
                name: "vaultwall.ip-rules".into(),
                version: Some("1".into()),
                message: words.into(),
            });
        })
    }

    pub(crate) fn wanted(&mut self) -> VaultNetworkPolicyStatus {
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
            target: target_of(self.service.as_ref(), 8200),
            terminating: self.terminating,
            apply_error: self.apply_error.as_deref(),
            stalled: self.stalled,
            plain_http: self.plain_http,
            proxies: &self.proxies,
            version: self.version,
            endpoint: Some("openbao-firewall.vault.svc:8200".into()),
            management_endpoint: Some("openbao-firewall.vault.svc:8300".into()),
        };
        status_of(&policy, &seen, self.now)
    }

    /// Stores the wanted status as the operator does: when it is settled and differs. Returns what it posts, or nothing
    /// when it wrote nothing.
    pub(crate) fn write(&mut self, waits: bool) -> Option<Vec<EventNote>> {
        let wanted = self.wanted();
        match urgency(self.stored.as_ref(), &wanted, false) {
            Urgency::None => return None,
            Urgency::Settling if waits => return None,
            _ => {}
        }
        let posted = events(self.stored.as_ref(), &wanted);
        self.stored = Some(wanted);
        Some(posted)
    }
}

fn vault() -> VaultId {
    VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    }
}
