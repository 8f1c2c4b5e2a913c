#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines
)]
//! Statuses of small vaults, through validation, index and resolution as they are.

mod life;
mod scene;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::api::{MESSAGE_LENGTH, VaultNetworkPolicy};
use crate::index::ServicePortFact;
use crate::xds::Rejection;
use scene::{PLAIN, Scene, limited, scene};

fn found<'a>(status: &'a VaultNetworkPolicyStatus, kind: &str) -> &'a Condition {
    let mut conditions = status.conditions.iter();
    conditions.find(|found| found.type_ == kind).unwrap()
}

/// `False Invalid`.
fn said(status: &VaultNetworkPolicyStatus, kind: &str) -> String {
    let condition = found(status, kind);
    format!("{} {}", condition.status, condition.reason)
}

fn ip(values: &[&str]) -> Value {
    let rules: Vec<Value> = values.iter().map(|value| json!({"value": value})).collect();
    json!({"ipRules": rules})
}

fn subnet(network: &str, name: &str) -> Value {
    json!({"virtualNetworkRules": [{"subnet": {"virtualNetwork": network, "name": name}}]})
}

fn corp() -> Value {
    json!([
        {"name": "closed", "addressPrefixes": ["10.1.0.0/16"]},
        {"name": "open", "serviceEndpoints": ["Vault"], "addressPrefixes": ["10.2.0.0/16"]},
    ])
}

/// What it is, the scene, one condition, what it says, and words of its message in their order.
type Row = (
    &'static str,
    Scene,
    &'static str,
    &'static str,
    &'static [&'static str],
);

fn rows() -> Vec<Row> {
    let bad = || ip(&["10.0.0.1", "203.0.113.0/31"]);
    let inline = json!({"virtualNetworkRules": [{"pods": {"podSelector": {}}}]});
    vec![
        // Accepted
        ("valid", scene(), "Accepted", "True Accepted", &["generation 1 is valid"]),
        (
            "never was valid", limited(127).own(&bad()), "Accepted", "False Invalid",
            &["generation 1 has 2 errors", "no policy of the vault vault/openbao is accepted, so the vault denies every request",
              "\nspec.ipRules[0].value: ", "\nspec.ipRules[1].value: "],
        ),
        (
            "was valid", scene().own(&bad()), "Accepted", "False Invalid",
            &["generation 2 has 2 errors", "the last accepted generation of this policy stays in force"],
        ),
        (
            "never was valid, beside another", limited(127).older(&ip(&["203.0.113.1"])).own(&bad()), "Accepted", "False Invalid",
            &["this policy allows nothing; the other policies of the vault vault/openbao stay in force"],
        ),
        (
            "nor is another any more",
            older_beyond_drop().own(&bad()),
            "Accepted",
            "False Invalid",
            &[
                "this policy allows nothing; no policy of the vault vault/openbao is accepted, and the last accepted \
                 generations of its other policies stay in force",
            ],
        ),
        (
            "beyond a limit", limited(1).older(&ip(&["203.0.113.1"])).own(&ip(&["203.0.113.2"])), "Accepted", "False LimitExceeded",
            &["this policy allows nothing; the other policies", "\nspec.ipRules: the vault vault/openbao may have at most 1 IP rules"],
        ),
        (
            "the subnet grew", beyond_drop(), "Accepted", "False LimitExceeded",
            &["the last accepted generation of this policy stays in force", "\nspec.denial: with `denial: Drop`"],
        ),
        ("not seen", scene().not_indexed(), "Accepted", "Unknown Pending", &["the operator has not evaluated generation 1 yet"]),
        // ResolvedRefs
        ("all there", scene(), "ResolvedRefs", "True ResolvedRefs", &[]),
        (
            "no Service", scene().service(|service| *service = None), "ResolvedRefs", "False TargetNotFound",
            &["1 reference", "\nspec.targetRef.name: there is no Service `openbao` in the namespace `vault`; create it"],
        ),
        (
            "no Service, no resolution", scene().not_indexed().service(|service| *service = None), "ResolvedRefs", "False TargetNotFound",
            &["spec.targetRef.name: the Service does not exist in the policy's namespace; create it"],
        ),
        (
            "an external Service", scene().service(|service| service.as_mut().unwrap().selector.clear()), "ResolvedRefs",
            "False NoSelector", &["spec.targetRef.name: the Service has no selector"],
        ),
        (
            "another port", scene().service(|service| other_port(&mut service.as_mut().unwrap().ports)), "ResolvedRefs",
            "False PortNotFound", &["spec.targetRef.port: the Service has no TCP port 8200 (it has: 443)"],
        ),
        (
            "no network", scene().own(&subnet("corp", "open")), "ResolvedRefs", "False VirtualNetworkNotFound",
            &["\nspec.virtualNetworkRules[0].subnet.virtualNetwork: there is no valid VirtualNetwork `corp`"],
        ),
        (
            "no subnet", scene().corp(&corp()).own(&subnet("corp", "other")), "ResolvedRefs", "False SubnetNotFound",
            &["\nspec.virtualNetworkRules[0].subnet.name: VirtualNetwork `corp` has no subnet `other`"],
        ),
        (
            "not opted in", scene().corp(&corp()).own(&subnet("corp", "closed")), "ResolvedRefs", "False ServiceEndpointMissing",
            &["the owner of subnet `corp/closed` has not enabled the Vault service endpoint"],
        ),
        (
            "no namespace opted in", scene().namespace("vault").own(&inline), "ResolvedRefs", "False NotOptedIn",
            &["no namespace that this rule selects (vault) has opted in"],
        ),
        (
            "several, the gravest is the reason",
            scene().corp(&corp()).own(&json!({"virtualNetworkRules": [
                {"subnet": {"virtualNetwork": "corp", "name": "closed"}}, {"subnet": {"virtualNetwork": "corp", "name": "open"}},
                {"subnet": {"virtualNetwork": "none", "name": "open"}},
            ]})),
            "ResolvedRefs", "False VirtualNetworkNotFound",
            &["2 references cannot be resolved; the other rules stay in force:", "\nspec.virtualNetworkRules[0].subnet: ", "\nspec.virtualNetworkRules[2]."],
        ),
        (
            "of the earlier form", scene().own(&subnet("corp", "open")).own(&bad()), "ResolvedRefs", "False VirtualNetworkNotFound",
            &["1 reference of the last accepted generation cannot be resolved"],
        ),
        ("of no form", limited(127).own(&bad()), "ResolvedRefs", "Unknown Invalid", &["see Accepted"]),
        ("not seen", scene().not_indexed(), "ResolvedRefs", "Unknown Pending", &[]),
        // Programmed
        ("all", scene(), "Programmed", "True Programmed", &["all 2 connected proxies enforce generation 1"]),
        (
            "one", scene().with(|scene| (scene.proxies.connected, scene.proxies.programmed) = (1, 1)), "Programmed", "True Programmed",
            &["the one connected proxy enforces generation 1"],
        ),
        (
            "some", scene().with(|scene| scene.proxies.programmed = 1), "Programmed", "False Pending",
            &["1 of 2 connected proxies enforce generation 1"],
        ),
        (
            "all, but another version", scene().with(|scene| scene.version = Some("v2")), "Programmed", "False Pending",
            &["0 of 2 connected proxies enforce"],
        ),
        ("not compiled", scene().with(|scene| scene.version = None), "Programmed", "False Pending", &["0 of 2"]),
        ("not seen", scene().not_indexed(), "Programmed", "False Pending", &["has not evaluated"]),
        (
            "none there", scene().with(no_proxies), "Programmed", "Unknown NoProxies",
            &["no proxy is connected", "`kubectl -n vault describe deployment openbao-firewall`"],
        ),
        (
            "refused", scene().rejected("Proto constraint validation failed"), "Programmed", "False Rejected",
            &["1 of 2 connected proxies enforce generation 1", "\nExtensionConfig vaultwall.ip-rules: Proto constraint validation failed"],
        ),
        (
            "TLS is being switched on",
            scene().rejected("paths must refer to an existing path in the system: '/etc/envoy/sds-clients.json' does not exist"),
            "Programmed", "False Pending",
            &["1 of 2 connected proxies enforce generation 1; the others were started before TLS was enabled", "and are being replaced"],
        ),
        (
            "TLS is not being switched on", scene().rejected("'/etc/envoy/sds-vault.json' does not exist").with(|scene| scene.stalled = Some("late")),
            "Programmed", "False Pending", &["keep their previous configuration, and their replacements do not become ready"],
        ),
        (
            "an older version was refused", scene().rejected("no").with(|scene| scene.version = Some("v2")), "Programmed", "False Pending", &[],
        ),
        (
            "an object cannot be written", scene().with(|scene| scene.apply_error = Some("deployments.apps is forbidden".into())),
            "Programmed", "False ApplyFailed", &["could not be written; the operator retries", "\ndeployments.apps is forbidden"],
        ),
        (
            "no Service", scene().service(|service| *service = None), "Programmed", "False TargetNotFound", &["\nspec.targetRef.name: "],
        ),
        (
            "an external Service", scene().service(|service| service.as_mut().unwrap().selector.clear()), "Programmed", "False NoSelector", &[],
        ),
        (
            "another port", scene().service(|service| other_port(&mut service.as_mut().unwrap().ports)), "Programmed", "False PortNotFound", &[],
        ),
        (
            "never was valid", limited(127).own(&bad()), "Programmed", "False Invalid",
            &["generation 1 is not accepted (see Accepted), and nothing of this policy is in force"],
        ),
        (
            "beyond a limit", limited(1).older(&ip(&["203.0.113.1"])).own(&ip(&["203.0.113.2"])), "Programmed", "False LimitExceeded",
            &["nothing of this policy is in force"],
        ),
        (
            "was valid", scene().own(&bad()), "Programmed", "False EarlierFormInForce",
            &["generation 2 is not accepted", "all 2 connected proxies enforce the last accepted generation of this policy"],
        ),
        ("the subnet grew", beyond_drop(), "Programmed", "False EarlierFormInForce", &[]),
        (
            "being deleted", scene().with(|scene| scene.terminating = true), "Programmed", "False NamespaceTerminating",
            &["the policy's namespace is being deleted"],
        ),
        // Conflicted
        ("alone", scene(), "Conflicted", "False NoConflicts", &[]),
        (
            "others agree", limited(127).older(&ip(&["203.0.113.1"])).own(&ip(&["203.0.113.2"])), "Conflicted", "False NoConflicts", &[],
        ),
        (
            "others differ", limited(127).older(&ip(&["203.0.113.1"])).own(&json!({"denial": "Drop", "accessLog": {"level": "Denied"}})),
            "Conflicted", "True SettingsDiffer",
            &["overrides 2 settings of this one; the rules of this policy stay in force", "\nspec.denial: is not in force", "the policy `older`",
              "\nspec.accessLog.level: "],
        ),
        ("never was valid", limited(127).own(&bad()), "Conflicted", "Unknown Invalid", &["see Accepted"]),
        (
            "beyond a limit", limited(1).older(&ip(&["203.0.113.1"])).own(&ip(&["203.0.113.2"])), "Conflicted", "Unknown LimitExceeded", &[],
        ),
        ("not seen", scene().not_indexed(), "Conflicted", "Unknown Pending", &[]),
    ]
}

/// With `Drop`, more blocks than can be written: the one policy is not accepted any more, and what was open stays open.
fn beyond_drop() -> Scene {
    let before = limited(127).corp(&blocks(10)).own(&dropping());
    before.corp(&blocks(crate::limits::MAX_DROP_BLOCKS + 1))
}

/// The same of an older policy.
fn older_beyond_drop() -> Scene {
    let before = limited(127).corp(&blocks(10)).older(&dropping());
    before.corp(&blocks(crate::limits::MAX_DROP_BLOCKS + 1))
}

fn dropping() -> Value {
    let mut spec = subnet("corp", "dc");
    spec["denial"] = "Drop".into();
    spec
}

/// A subnet of so many single addresses, no two of which are neighbours.
fn blocks(count: usize) -> Value {
    let address = |number| std::net::Ipv4Addr::from(0x0A00_0000 + 2 * number);
    let prefixes: Vec<String> = (0..u32::try_from(count).unwrap())
        .map(|number| format!("{}/32", address(number)))
        .collect();
    json!([{"name": "dc", "serviceEndpoints": ["Vault"], "addressPrefixes": prefixes}])
}

fn other_port(ports: &mut [ServicePortFact]) {
    ports[0].port = 443;
}

fn no_proxies(scene: &mut Scene) {
    (scene.proxies.connected, scene.proxies.programmed) = (0, 0);
}

#[test]
fn every_reason_and_its_words() {
    for (what, mut scene, kind, expected, words) in rows() {
        let status = scene.wanted();
        assert_eq!(said(&status, kind), expected, "{kind}: {what}");
        let message = &found(&status, kind).message;
        let mut rest = message.as_str();
        for word in words {
            rest = rest
                .split_once(word)
                .unwrap_or_else(|| panic!("{kind}: {what}: {word:?} in {message}"))
                .1;
        }
    }
}

/// The table of meanings is what the code says: nothing else is ever said, and all of it is shown by a row above.
#[test]
fn meanings_are_what_is_said() {
    let known: BTreeSet<String> = MEANINGS
        .iter()
        .map(|(kind, verdict, reason)| {
            format!("{} {} {}", kind.name(), verdict.name(), reason.name())
        })
        .collect();
    assert_eq!(known.len(), MEANINGS.len());
    let mut shown = BTreeSet::new();
    for (what, mut scene, kind, expected, _) in rows() {
        for condition in scene.wanted().conditions {
            let words = format!(
                "{} {} {}",
                condition.type_, condition.status, condition.reason
            );
            assert!(known.contains(&words), "{what}: {words}");
            assert!(!condition.message.is_empty(), "{what}: {words}");
        }
        shown.insert(format!("{kind} {expected}"));
    }
    assert_eq!(shown, known);
}

#[test]
fn counts_and_addresses() {
    let mut scene = limited(127)
        .corp(&corp())
        .older(&ip(&["203.0.113.1"]))
        .own(&json!({"ipRules": [{"value": "203.0.113.7"}, {"value": "198.51.100.0/24"}], "virtualNetworkRules": [
            {"subnet": {"virtualNetwork": "corp", "name": "open"}}, {"subnet": {"virtualNetwork": "corp", "name": "closed"}},
        ]}));
    let status = scene.wanted();
    let shown = json!(VaultNetworkPolicyStatus {
        conditions: Vec::new(),
        ..status
    });
    assert_eq!(
        shown,
        json!({
            "observedGeneration": 1, "conditions": [],
            "endpoint": "openbao-firewall.vault.svc:8200", "managementEndpoint": "openbao-firewall.vault.svc:8300",
            "proxies": "2/2", "virtualNetworkRules": 2, "ipRules": 2, "addresses": 4,
        })
    );
}

#[test]
fn warnings() {
    use crate::policy::DiagnosticReason;
    for (reason, name) in [
        (DiagnosticReason::AddressContested, ADDRESS_CONTESTED),
        (
            DiagnosticReason::DefaultActionOverruled,
            DEFAULT_ACTION_OVERRULED,
        ),
    ] {
        assert_eq!(format!("{reason:?}"), name);
    }
    let mut scene = limited(127)
        .older(&json!({}))
        .own(&json!({"defaultAction": "Allow"}))
        .with(|scene| scene.plain_http = PLAIN)
        .with(|scene| scene.stalled = Some("pods \"x\" is forbidden"));
    let status = scene.wanted();
    let shown: Vec<_> = status
        .warnings
        .iter()
        .map(|found| format!("{} {}", found.reason, found.field))
        .collect();
    assert_eq!(
        shown,
        [
            "ProxiesNotReplaced spec.proxy",
            "PlainHttp spec.proxy.tls",
            "PlainHttp spec.proxy.upstreamTls",
            "DefaultActionOverruled spec.defaultAction"
        ]
    );
    for (warning, words) in [
        (
            0,
            "`kubectl -n vault describe pods -l vaultwall.dev/vault=openbao`. The Deployment reports: pods \"x\" is forbidden",
        ),
        (0, "the old proxies continue to run"),
        (3, "the policy `older` says `Deny`"),
    ] {
        assert!(
            status.warnings[warning].message.contains(words),
            "{status:?}"
        );
    }
    // With the first policy, there are none of before.
    scene.proxies.connected = 0;
    let first = &scene.wanted().warnings[0];
    assert!(
        first.message.contains("the firewall may serve no client"),
        "{first:?}"
    );
    // What nobody knows any more is as it was found.
    let fields = |status: &VaultNetworkPolicyStatus| -> Vec<String> {
        let plain = status.warnings.iter();
        let plain = plain.filter(|warning| warning.reason == PLAIN_HTTP);
        plain.map(|warning| warning.field.clone()).collect()
    };
    scene.stored = Some(status.clone());
    scene.plain_http = None;
    assert_eq!(fields(&scene.wanted()), fields(&status));
    scene.stored = None;
    assert!(fields(&scene.wanted()).is_empty());
}

#[test]
fn texts_are_bounded_and_say_how_much_is_left_out() {
    let rules: Vec<Value> = (0..1000).map(|_| json!({"value": "10.0.0.1"})).collect();
    let long = "ü".repeat(40_000);
    let scenes = [
        limited(1000).own(&json!({"ipRules": rules})),
        scene().with(|scene| scene.apply_error = Some(long.clone())),
        scene().rejected(&long),
        scene().with(|scene| {
            let kind = crate::xds::ResourceType::Listener;
            let rejection = |number| Rejection {
                kind,
                name: format!("{number}"),
                version: None,
                message: long.clone(),
            };
            scene.proxies.rejections = (0..50).map(rejection).collect();
        }),
    ];
    for mut scene in scenes {
        let status = scene.wanted();
        let longest = status
            .conditions
            .iter()
            .map(|found| found.message.chars().count())
            .max();
        assert!(
            longest.unwrap() > 1000 && longest.unwrap() <= MESSAGE_LENGTH,
            "{longest:?}"
        );
        for event in events(None, &status) {
            assert!(
                event.note.len() <= NOTE_LENGTH && !event.note.contains('\n'),
                "{event:?}"
            );
        }
    }
    let mut many = limited(1000).own(&json!({"ipRules": rules}));
    let message = found(&many.wanted(), "Accepted").message.clone();
    let (listed, more) = message.rsplit_once("\n… and ").unwrap();
    let more: usize = more.strip_suffix(" more").unwrap().parse().unwrap();
    assert!(message.contains("has 1000 errors"), "{message}");
    assert_eq!(listed.lines().count() - 1 + more, 1000);
}

/// The API server would refuse, or silently drop, what the schema does not have.
#[test]
fn the_schema_has_what_is_written() {
    let mut scene = scene().with(|scene| scene.plain_http = PLAIN);
    let status = scene.wanted();
    let text = serde_json::to_value(&status).unwrap();
    assert_eq!(
        serde_json::from_value::<VaultNetworkPolicyStatus>(text.clone()).unwrap(),
        status
    );
    let schema =
        serde_json::to_value(<VaultNetworkPolicy as kube::CustomResourceExt>::crd()).unwrap();
    let fields = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
        ["properties"];
    for field in text.as_object().unwrap().keys() {
        assert!(fields[field].is_object(), "{field}");
    }
    let condition = &fields["conditions"]["items"]["properties"];
    assert_eq!(condition["message"]["maxLength"], json!(MESSAGE_LENGTH));
    assert_eq!(
        fields["conditions"]["x-kubernetes-list-map-keys"],
        json!(["type"])
    );
    assert_eq!(fields["warnings"]["maxItems"], json!(MOST_WARNINGS));
    let warning = &fields["warnings"]["items"]["properties"];
    assert_eq!(warning["message"]["maxLength"], json!(WARNING_LENGTH));
    assert_eq!(warning["field"]["maxLength"], json!(FIELD_LENGTH));
}
