#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines
)]
//! Statuses of small vaults, evaluated by the real validation, index and resolution.

mod fixture;
mod ready;
mod rows;
mod transitions;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::warnings::{
    ADDRESS_CONTESTED, AUDIT_MODE, DEFAULT_ACTION_OVERRULED, FIELD_LENGTH, MOST_WARNINGS,
    PLAIN_HTTP, TOO_MANY_TRUSTED_PODS, TRUSTED_RANGE_HOLDS_PODS, WARNING_LENGTH,
};
use super::*;
use crate::api::{MESSAGE_LENGTH, VaultNetworkPolicy};
use crate::xds::Rejection;
use fixture::{Fixture, PLAIN, fixture, limited};
use rows::{no_proxies, rows};

fn found<'a>(status: &'a VaultNetworkPolicyStatus, kind: &str) -> &'a Condition {
    let mut conditions = status.conditions.iter();
    conditions.find(|found| found.type_ == kind).unwrap()
}

/// Returns status and reason of a condition, for example `False Invalid`.
fn status_and_reason(status: &VaultNetworkPolicyStatus, kind: &str) -> String {
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

#[test]
fn every_reason_has_its_message() {
    for (what, mut fixture, kind, expected, parts) in rows() {
        let status = fixture.desired();
        assert_eq!(status_and_reason(&status, kind), expected, "{kind}: {what}");
        let message = &found(&status, kind).message;
        let mut rest = message.as_str();
        for part in parts {
            rest = rest
                .split_once(part)
                .unwrap_or_else(|| panic!("{kind}: {what}: {part:?} in {message}"))
                .1;
        }
    }
}

/// The table of meanings is complete: no condition has another meaning, and every meaning has a row above.
#[test]
fn meanings_are_complete() {
    let known: BTreeSet<String> = MEANINGS
        .iter()
        .map(|(kind, verdict, reason)| {
            format!("{} {} {}", kind.name(), verdict.name(), reason.name())
        })
        .collect();
    assert_eq!(known.len(), MEANINGS.len());
    let mut shown = BTreeSet::new();
    for (what, mut fixture, kind, expected, _) in rows() {
        for condition in fixture.desired().conditions {
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
fn the_definition_has_every_condition() {
    let types = ConditionType::ALL.map(ConditionType::name);
    assert_eq!(types, crate::api::POLICY_CONDITIONS);
}

#[test]
fn proxies_are_those_that_are_ready_and_enforce() {
    for (ready, programmed, connected, expected) in [
        (Some(2), 2, 2, "2/2"),
        (Some(1), 2, 2, "1/2"),
        (Some(2), 1, 2, "1/2"),
        (Some(0), 0, 0, "0/2"),
        // While a rolling update starts the new one first.
        (Some(3), 3, 3, "2/2"),
        (None, 1, 1, "1/1"),
    ] {
        let mut fixture = fixture().with(|fixture| {
            fixture.ready = ready;
            fixture.proxies.programmed = programmed;
            fixture.proxies.connected = connected;
        });
        assert_eq!(fixture.desired().proxies.as_deref(), Some(expected));
    }
}

#[test]
fn counts_and_addresses() {
    let mut fixture = limited(127)
        .corp(&corp())
        .older(&ip(&["203.0.113.1"]))
        .own(&json!({"ipRules": [{"value": "203.0.113.7"}, {"value": "198.51.100.0/24"}], "virtualNetworkRules": [
            {"subnet": {"virtualNetwork": "corp", "name": "open"}},
            {"subnet": {"virtualNetwork": "corp", "name": "closed"}},
        ]}));
    let status = fixture.desired();
    let shown = json!(VaultNetworkPolicyStatus {
        conditions: Vec::new(),
        programmed_since: None,
        ..status
    });
    assert_eq!(
        shown,
        json!({
            "observedGeneration": 1, "conditions": [],
            "endpoint": "openbao-firewall.vault.svc:8200", "managementEndpoint": "openbao-firewall.vault.svc:8300",
            "mode": "Enforced", "proxies": "2/2", "virtualNetworkRules": 2, "ipRules": 2, "addresses": 4,
        })
    );
}

#[test]
fn warnings() {
    use crate::policy::DiagnosticReason;
    for (reason, name) in [
        (DiagnosticReason::AddressContested, ADDRESS_CONTESTED),
        (
            DiagnosticReason::TrustedRangeHoldsPods,
            TRUSTED_RANGE_HOLDS_PODS,
        ),
        (DiagnosticReason::TooManyTrustedPods, TOO_MANY_TRUSTED_PODS),
        (
            DiagnosticReason::DefaultActionOverruled,
            DEFAULT_ACTION_OVERRULED,
        ),
        (DiagnosticReason::AuditMode, AUDIT_MODE),
    ] {
        assert_eq!(reason.name(), name);
    }
    let mut fixture = limited(127)
        .older(&json!({}))
        .own(&json!({"defaultAction": "Allow"}))
        .with(|fixture| fixture.plain_http = PLAIN)
        .with(|fixture| fixture.stalled = Some("pods \"x\" is forbidden"))
        .with(|fixture| fixture.openings = vec!["snapshots".to_owned()]);
    let status = fixture.desired();
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
            "DefaultActionOverruled spec.defaultAction",
            "OpenedByNetworkPolicy NetworkPolicy/snapshots",
        ]
    );
    for (warning, words) in [
        (
            4,
            "the NetworkPolicy `snapshots` admits clients to the vault's pods past the firewall",
        ),
        (
            0,
            "`kubectl -n vault describe pods -l vaultwall.dev/vault=openbao`. The \
                 Deployment reports: pods \"x\" is forbidden",
        ),
        (0, "the old proxies continue to run"),
        (3, "the policy `older` has `Deny`"),
    ] {
        assert!(
            status.warnings[warning].message.contains(words),
            "{status:?}"
        );
    }
    // With the first policy there are no old proxies.
    fixture.proxies.connected = 0;
    let first = &fixture.desired().warnings[0];
    assert!(
        first.message.contains("the firewall may serve no client"),
        "{first:?}"
    );
    // If the settings are unknown, the stored warnings are kept.
    let fields = |status: &VaultNetworkPolicyStatus| -> Vec<String> {
        let plain = status.warnings.iter();
        let plain = plain.filter(|warning| warning.reason == PLAIN_HTTP);
        plain.map(|warning| warning.field.clone()).collect()
    };
    fixture.stored = Some(status.clone());
    fixture.plain_http = None;
    assert_eq!(fields(&fixture.desired()), fields(&status));
    fixture.stored = None;
    assert!(fields(&fixture.desired()).is_empty());
}

#[test]
fn texts_are_bounded_and_have_the_number_of_omitted_lines() {
    let rules: Vec<Value> = (0..1000).map(|_| json!({"value": "10.0.0.1"})).collect();
    let long = "ü".repeat(40_000);
    let fixtures = [
        limited(1000).own(&json!({"ipRules": rules})),
        fixture().with(|fixture| fixture.apply_error = Some(long.clone())),
        fixture().rejected(&long),
        fixture().with(|fixture| {
            let kind = crate::xds::ResourceType::Listener;
            let rejection = |number| Rejection {
                kind,
                name: format!("{number}"),
                version: None,
                message: long.clone(),
            };
            fixture.proxies.rejections = (0..50).map(rejection).collect();
        }),
    ];
    for mut fixture in fixtures {
        let status = fixture.desired();
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
    let message = found(&many.desired(), "Accepted").message.clone();
    let (listed, more) = message.rsplit_once("\n… and ").unwrap();
    let more: usize = more.strip_suffix(" more").unwrap().parse().unwrap();
    assert!(message.contains("has 1000 errors"), "{message}");
    assert_eq!(listed.lines().count() - 1 + more, 1000);
}

#[test]
fn the_field_of_a_warning_is_never_too_long() {
    let mut fixture = fixture().with(|fixture| fixture.openings = vec!["n".repeat(253)]);
    let warnings = fixture.desired().warnings;
    let opening = warnings
        .iter()
        .find(|found| found.reason == "OpenedByNetworkPolicy")
        .unwrap();
    assert!(opening.field.chars().count() <= FIELD_LENGTH, "{opening:?}");
    assert!(
        opening.message.chars().count() <= WARNING_LENGTH,
        "{opening:?}"
    );
}

/// The API server would reject, or silently drop, a field that the schema does not have.
#[test]
fn the_schema_has_every_written_field() {
    let mut fixture = fixture().with(|fixture| fixture.plain_http = PLAIN);
    let status = fixture.desired();
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

/// The owner of a policy chooses its selectors, so a status that depends on the objects of other namespaces answers any
/// question about their labels.
#[test]
fn the_status_does_not_depend_on_the_objects_of_other_namespaces() {
    let rules = json!({"virtualNetworkRules": [
        {"pods": {"namespaceSelector": {"matchLabels": {"team": "shop"}}}},
        {"pods": {
            "namespaceSelector": {"matchLabels": {"team": "shop"}},
            "podSelector": {"matchLabels": {"app": "web"}},
        }},
    ], "clientAddress": {"source": "XForwardedFor", "trustedProxies": [
        "10.0.0.0/8",
        {"pods": {
            "namespaceSelector": {"matchLabels": {"team": "shop"}},
            "podSelector": {"matchLabels": {"app": "web"}},
        }},
    ]}});
    let team = ("team", "shop");
    let not_opted_in = || fixture().labelled("hidden", team, false);
    let opted_in = || fixture().labelled("hidden", team, true);
    let web = |fixture: Fixture| fixture.pod("hidden", "one", "web", "10.0.0.1");
    let own_pod = || fixture().pod("vault", "openbao-0", "bao", "10.0.9.9");
    for (what, same) in [
        (
            "with a pod of the policy's own namespace in the trusted range",
            vec![
                own_pod(),
                own_pod().pod("hidden", "one", "web", "10.0.0.1"),
                own_pod().pod("vault", "openbao-1", "bao", "10.0.9.8"),
            ],
        ),
        (
            "without consent",
            vec![
                fixture(),
                fixture().labelled("hidden", ("team", "other"), false),
                not_opted_in(),
                web(not_opted_in()),
            ],
        ),
        (
            "with consent",
            vec![
                opted_in(),
                web(opted_in()),
                web(opted_in()).pod("hidden", "two", "web", "10.0.0.2"),
                web(opted_in()).pod("hidden", "two", "batch", "10.0.0.2"),
                // Two pods claim an address, and the second rule selects only one.
                web(opted_in()).pod("hidden", "two", "batch", "10.0.0.1"),
                web(opted_in()).labelled("second", team, true),
                web(opted_in()).labelled("second", team, false),
            ],
        ),
    ] {
        let mut statuses = same
            .into_iter()
            .map(|fixture| fixture.own(&rules).desired());
        let first = statuses.next().unwrap();
        let warnings = first.warnings.iter().map(|warning| &*warning.reason);
        let warned = warnings.collect::<Vec<_>>() == [TRUSTED_RANGE_HOLDS_PODS];
        assert_eq!(warned, what.contains("own namespace"), "{first:?}");
        for (index, status) in statuses.enumerate() {
            assert_eq!(status, first, "{what}: {index}");
        }
        assert!(!format!("{first:?}").contains("hidden"), "{first:?}");
    }
}
