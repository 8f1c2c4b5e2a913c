//! A value that is not what it should be: one clear line, and nothing is rendered.

use crate::charts::helm::{DEFINITIONS, OPERATOR, chart, helm, objects};

/// Returns Helm's message about a chart with this value.
fn refusal(name: &str, value: &str) -> Vec<String> {
    let folder = chart(name);
    let output = helm(&[
        "template",
        name,
        folder.to_str().unwrap(),
        "--set-json",
        value,
    ]);
    assert!(!output.status.success(), "{value}: accepted");
    assert!(output.stdout.is_empty(), "{value}: something is rendered");
    let said = String::from_utf8(output.stderr).unwrap();
    let lines = said.lines().filter(|line| line.starts_with("- at "));
    lines.map(str::to_owned).collect()
}

#[test]
fn bad_values_are_refused() {
    for (value, expected) in [
        ("replicas=0", "'/replicas': minimum: got 0, want 1"),
        ("replicas=11", "'/replicas': maximum: got 11, want 10"),
        ("replicas=1.5", "'/replicas': got number, want integer"),
        (r#"replicas="2""#, "'/replicas': got string, want integer"),
        (
            "replica=2",
            "'': additional properties 'replica' not allowed",
        ),
        (
            "limits={\"ipRules\": 1001}",
            "'/limits/ipRules': maximum: got 1,001, want 1,000",
        ),
        (
            "limits={\"virtualNetworkRules\": 201}",
            "'/limits/virtualNetworkRules': maximum: got 201, want 200",
        ),
        (
            "limits={\"ipRules\": 0}",
            "'/limits/ipRules': minimum: got 0, want 1",
        ),
        (
            "limits={\"ipRule\": 1}",
            "'/limits': additional properties 'ipRule' not allowed",
        ),
        (
            "image={\"repository\": \"Vaultwall\"}",
            "'/image/repository': 'Vaultwall' does not match pattern",
        ),
        (
            "image={\"digest\": \"sha256:1\"}",
            "'/image/digest': 'sha256:1' does not match pattern",
        ),
        (
            "image={\"pullPolicy\": \"Sometimes\"}",
            "'/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
        ),
        (
            "proxy={\"image\": \"\"}",
            "'/proxy/image': '' does not match pattern",
        ),
        (
            "proxy={\"digest\": \"1.40.0\"}",
            "'/proxy/digest': '1.40.0' does not match pattern",
        ),
        ("logLevel=\"\"", "'/logLevel': '' does not match pattern"),
        ("logLevel=\"all\"", "'/logLevel': 'all' does not match"),
        (
            "networkPolicy={\"monitoring\": [{}]}",
            "'/networkPolicy/monitoring/0': minProperties: got 0, want 1",
        ),
        (
            "networkPolicy={\"monitoring\": {}}",
            "'/networkPolicy/monitoring': got object, want array",
        ),
        // No rule would leave the operator without the API server; a rule without peers would be everywhere.
        (
            "networkPolicy={\"egress\": []}",
            "'/networkPolicy/egress': minItems: got 0, want 1",
        ),
        (
            "networkPolicy={\"egress\": [{\"to\": []}]}",
            "'/networkPolicy/egress/0/to': minItems: got 0, want 1",
        ),
        (
            "serviceAccount={\"create\": false}",
            "'/serviceAccount/name': minLength: got 0, want 1",
        ),
        (
            "resources={\"limits\": {\"memory\": \"512MB\"}}",
            "'/resources/limits/memory': '512MB' does not match pattern",
        ),
        (
            "tolerations=[{\"keys\": \"a\"}]",
            "'/tolerations/0': additional properties 'keys' not allowed",
        ),
        (
            "commonLabels={\"team\": 1}",
            "'/commonLabels/team': got number, want string",
        ),
        (
            "commonLabels={\"team\": \"a b\"}",
            "'/commonLabels/team': 'a b' does not match pattern",
        ),
        (
            "serviceMonitor={\"interval\": \"30\"}",
            "'/serviceMonitor/interval': '30' does not match pattern",
        ),
        (
            "fullnameOverride=\"A\"",
            "'/fullnameOverride': 'A' does not match pattern",
        ),
    ] {
        let said = refusal(OPERATOR, value);
        assert_eq!(said.len(), 1, "{value}: {said:?}");
        assert!(said[0].contains(expected), "{value}: {}", said[0]);
    }
    let said = refusal(DEFINITIONS, "keep=false");
    assert_eq!(said, ["- at '': additional properties 'keep' not allowed"]);
}

#[test]
fn good_values_are_accepted() {
    for value in [
        "global={\"anything\": 1}",
        "resources={\"requests\": {\"cpu\": 1, \"memory\": \"0.5Gi\"}}",
        "networkPolicy={\"monitoring\": [{\"namespaceSelector\": {}}]}",
        "serviceAccount={\"create\": false, \"name\": \"operators\"}",
        "fullnameOverride=\"v\"",
        "limits={\"virtualNetworkRules\": 200, \"ipRules\": 1000}",
    ] {
        assert!(
            !objects(OPERATOR, &["--set-json", value]).is_empty(),
            "{value}"
        );
    }
    assert_eq!(objects(DEFINITIONS, &["--set-json", "global={}"]).len(), 3);
}

/// Each switch takes its objects away, and no others.
#[test]
fn optional_values_can_be_left_out() {
    let all = objects(OPERATOR, &[]);
    let without = |value: &str| {
        let rest = objects(OPERATOR, &["--set", value]);
        let mut gone: Vec<String> = all
            .iter()
            .filter(|object| {
                let is_same = |other: &&serde_json::Value| {
                    other["kind"] == object["kind"]
                        && other["metadata"]["name"] == object["metadata"]["name"]
                };
                !rest.iter().any(|other| is_same(&other))
            })
            .map(|object| object["kind"].as_str().unwrap().to_owned())
            .collect();
        gone.sort();
        gone.dedup();
        assert!(rest.len() < all.len(), "{value}");
        gone.join(" ")
    };
    for (value, gone) in [
        ("networkPolicy.enabled=false", "NetworkPolicy"),
        ("podDisruptionBudget.enabled=false", "PodDisruptionBudget"),
        ("userRoles.create=false", "ClusterRole"),
        ("flowSchema.create=false", "FlowSchema"),
        (
            "rbac.create=false",
            "ClusterRole ClusterRoleBinding Role RoleBinding",
        ),
        (
            "admissionPolicies.create=false",
            "ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding",
        ),
        (
            "serviceAccount.create=false,serviceAccount.name=other",
            "ServiceAccount",
        ),
    ] {
        assert_eq!(without(value), gone, "{value}");
    }
}
