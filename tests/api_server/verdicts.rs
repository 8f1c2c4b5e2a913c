//! Good objects are taken, bad ones refused at the field with what to do about it.

use serde_json::{Value, json};

use crate::api_server::dry_run::check;
use crate::api_server::server;
use crate::crd_tables::{self, Row, policy};

/// Checks that the server takes or refuses each row as `tests/crd_rules` expects of the rules without a server.
async fn check_all(rows: Vec<Row>) {
    let client = server("vault").client().await;
    for row in rows {
        check(&client, &row.label, &row.object, &row.field, row.expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_ip_rules() {
    check_all(crd_tables::ip_rules()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_of_subnets() {
    check_all(crd_tables::subnet_prefixes()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_proxies() {
    check_all(crd_tables::trusted_proxies()).await;
}

/// An entry of the trusted proxies has no type in the schema: each wrong form is refused, by the schema or by the
/// admission policy, and none is stored in another form.
#[tokio::test(flavor = "multi_thread")]
async fn forms_of_trusted_proxies() {
    let pods = json!({"namespaceSelector": {}});
    let item = "spec.clientAddress.trustedProxies[0]";
    let no_form = "has an entry that is neither a text nor an object";
    let no_value = "matchLabels has a key without a value (null)";
    let null_label = json!({"matchLabels": {"team": null}});
    let rows = [
        (json!({"pods": pods}), "", ""),
        (json!(7), "", no_form),
        (json!(1.5), "", no_form),
        (json!(true), "", no_form),
        (json!(null), "", no_form),
        (json!([]), "", no_form),
        (json!(["10.0.0.1"]), "", no_form),
        (json!("x".repeat(44)), item, "Too long"),
        (json!({}), &format!("{item}.pods"), "Required value"),
        (
            json!({"pod": pods}),
            &format!("{item}.pods"),
            "Required value",
        ),
        (
            json!({"pods": null}),
            &format!("{item}.pods"),
            "Required value",
        ),
        (
            json!({"pods": "10.0.0.1"}),
            &format!("{item}.pods"),
            "must be of type object",
        ),
        (
            json!({"pods": [pods]}),
            &format!("{item}.pods"),
            "must be of type object",
        ),
        (
            json!({"pods": pods, "value": "10.0.0.1"}),
            "",
            "has an entry with an unknown field",
        ),
        (
            json!({"pods": {"podSelector": null}}),
            "",
            "has pods that select nothing",
        ),
        (json!({"pods": {"podSelector": null_label}}), "", no_value),
        (
            json!({"pods": {"namespaceSelector": null_label}}),
            "",
            no_value,
        ),
        (
            json!({"pods": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "in"}]}}}),
            &format!("{item}.pods.podSelector.matchExpressions[0].operator"),
            "Unsupported value: \"in\"",
        ),
    ];
    let client = server("vault").client().await;
    for (entry, field, expected) in rows {
        let proxies = json!({"source": "XForwardedFor", "trustedProxies": [entry]});
        let object = policy(&json!({"clientAddress": proxies}));
        check(&client, &entry.to_string(), &object, field, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shapes() {
    check_all(crd_tables::virtual_network_rules()).await;
    check_all(crd_tables::policies()).await;
    check_all(crd_tables::virtual_networks()).await;
    check_all(crd_tables::identities()).await;
}

/// Refusals by the schema alone, in the server's own words.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_other_fields() {
    let target = |name: &str, port: i64| json!({"targetRef": {"name": name, "port": port}});
    let rows = [
        (target("openbao", 1), "", ""),
        (target("openbao", 65535), "", ""),
        (
            target("openbao", 0),
            "spec.targetRef.port",
            "should be greater than or equal to 1",
        ),
        (
            target("openbao", 65536),
            "spec.targetRef.port",
            "should be less than or equal to 65535",
        ),
        (
            json!({"targetRef": {"port": 8200}}),
            "spec.targetRef.name",
            "Required value",
        ),
        (
            json!({"targetRef": {"kind": "Pod", "name": "openbao", "port": 8200}}),
            "spec.targetRef.kind",
            r#"Unsupported value: "Pod": supported values: "Service""#,
        ),
        (
            json!({"defaultAction": "deny"}),
            "spec.defaultAction",
            r#"Unsupported value: "deny": supported values: "Deny", "Allow""#,
        ),
        (
            json!({"mode": "Off"}),
            "spec.mode",
            r#"supported values: "Enforced", "Audit""#,
        ),
        (
            json!({"bypass": "AzureServices"}),
            "spec.bypass",
            r#"supported values: "None", "TrustedServices""#,
        ),
        (
            json!({"denial": "Ignore"}),
            "spec.denial",
            r#"supported values: "Reject", "Drop""#,
        ),
        (
            json!({"clientAddress": {"source": "Forwarded"}}),
            "spec.clientAddress.source",
            r#"supported values: "Direct", "ProxyProtocol", "XForwardedFor""#,
        ),
        (
            json!({"management": {"access": "Open"}}),
            "spec.management.access",
            r#"supported values: "Unrestricted", "NetworkRules", "Disabled""#,
        ),
        (
            json!({"accessLog": {"level": "None"}}),
            "spec.accessLog.level",
            r#"supported values: "All", "Denied""#,
        ),
        (
            json!({"vault": {"api": "Conjur"}}),
            "spec.vault.api",
            r#"supported values: "OpenBao", "AzureKeyVault""#,
        ),
        (
            json!({"vault": {"engines": [{"path": "secret", "type": "KvV3"}]}}),
            "spec.vault.engines[0].type",
            r#"Unsupported value: "KvV3": supported values: "KvV1", "KvV2""#,
        ),
        (
            json!({"ipRules": {"value": "203.0.113.7"}}),
            "spec.ipRules",
            "must be of type array",
        ),
    ];
    let client = server("vault").client().await;
    for (spec, field, expected) in rows {
        check(&client, &spec.to_string(), &policy(&spec), field, expected).await;
    }
}

/// Null is no value of a map: without the rule, the API server would store `matchLabels: {team: null}` as `{}`, which
/// selects every pod. Everywhere else it is the same as no field.
#[tokio::test(flavor = "multi_thread")]
async fn null() {
    let labels = |labels: Value| json!({"matchLabels": labels});
    let rule = |pods: Value| json!({"virtualNetworkRules": [{"pods": pods}]});
    let pods = "spec.virtualNetworkRules[0].pods";
    let no_value = "has a key without a value (null)";
    let rows = [
        (
            rule(json!({"podSelector": labels(json!({"team": null}))})),
            format!("{pods}.podSelector.matchLabels"),
            no_value,
        ),
        (
            rule(json!({"podSelector": labels(json!({"a": "b", "team": null}))})),
            format!("{pods}.podSelector.matchLabels"),
            no_value,
        ),
        (
            rule(json!({"namespaceSelector": labels(json!({"team": null}))})),
            format!("{pods}.namespaceSelector.matchLabels"),
            no_value,
        ),
        (
            json!({"proxy": {"service": {"annotations": {"a": null}}}}),
            "spec.proxy.service.annotations".into(),
            no_value,
        ),
        (
            json!({"proxy": {"resources": {"limits": {"cpu": null}}}}),
            "spec.proxy.resources.limits".into(),
            no_value,
        ),
        (
            json!({"ipRules": [null]}),
            "spec.ipRules[0]".into(),
            "must be of type object: \"null\"",
        ),
        (
            json!({"targetRef": null}),
            "spec.targetRef".into(),
            "Required value",
        ),
        (
            rule(json!({"podSelector": null})),
            pods.into(),
            "selects nothing",
        ),
        (
            rule(json!({"podSelector": labels(json!({"team": ""}))})),
            String::new(),
            "",
        ),
        (
            rule(json!({"podSelector": labels(Value::Null), "namespaceSelector": null})),
            String::new(),
            "",
        ),
        (
            json!({"proxy": null, "ipRules": null, "mode": null, "vault": {"location": null}}),
            String::new(),
            "",
        ),
        (
            json!({"proxy": {"resources": {"limits": {"cpu": 2}, "requests": {"cpu": "1"}}}}),
            String::new(),
            "",
        ),
    ];
    let client = server("vault").client().await;
    for (spec, field, expected) in rows {
        check(&client, &spec.to_string(), &policy(&spec), &field, expected).await;
    }
    let field = "spec.subnets[0].pods.namespaceSelector.matchLabels";
    let subnet =
        json!({"name": "a", "pods": {"namespaceSelector": {"matchLabels": {"team": null}}}});
    check(
        &client,
        "network",
        &crd_tables::network(&subnet),
        field,
        no_value,
    )
    .await;
}

/// A user who applies a bad object sees every error at once, each with its field and the remedy.
#[test]
fn every_fault_is_shown_at_once() {
    let server = server("faults");
    let refused = |spec: Value| {
        let mut object = policy(&spec);
        object["metadata"]["namespace"] = json!("faults");
        let output = server.kubectl(&["apply", "-f", "-"], &object.to_string());
        assert!(!output.status.success(), "{spec} was taken");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(json!({
        "virtualNetworkRules": [{}],
        "ipRules": [
            {"value": "203.0.113.7"},
            {"value": "10.1.2.3"},
            {"value": "203.0.113.7/32"},
            {"value": "203.0.113.0/33"},
        ],
    }));
    for expected in [
        "The VaultNetworkPolicy \"openbao\" is invalid",
        "* spec.virtualNetworkRules[0]: Invalid value",
        "has neither subnet nor pods",
        "* spec.ipRules[1].value: Invalid value",
        "10.0.0.0/8 (private, RFC 1918), which is not public; use a subnet rule",
        "* spec.ipRules[2].value: Invalid value",
        "write single addresses",
        "* spec.ipRules[3].value: Invalid value",
        "prefix length that is not a plain number from 1 to 32",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
    assert!(!said.contains("spec.ipRules[0]"), "{said}");

    let said = refused(json!({"iprules": [], "ipRules": [{"adress": "203.0.113.7"}]}));
    for expected in [
        r#"unknown field "spec.iprules""#,
        r#"unknown field "spec.ipRules[0].adress""#,
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
}
