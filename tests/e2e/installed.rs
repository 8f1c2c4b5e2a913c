//! The installed charts: permissions, Pod Security, values and limits.

use crate::shared;
use testkit::cluster::{get_object, helm, kubectl, operator, path, run, try_apply};

/// Option of kubectl: acts as the service account of the operator.
const ACCOUNT: &str = "--as=system:serviceaccount:vaultwall-system:vaultwall";

/// Compares the permissions of the operator, in its own namespace and in another, without those of every account.
#[test]
fn the_operator_has_the_permissions_of_the_table_and_no_others() {
    let _operator = shared();
    let listed = |account: &str, namespace: &str| -> Vec<String> {
        let table = kubectl(&[
            "auth",
            "can-i",
            "--list",
            account,
            "--namespace",
            namespace,
            "--no-headers",
        ]);
        let lines = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.collect()
    };
    let every_account = listed("--as=system:serviceaccount:default:default", "default");
    for (namespace, own) in [("default", false), (operator::NAMESPACE, true)] {
        let mut found: Vec<String> = listed(ACCOUNT, namespace);
        found.retain(|line| !every_account.contains(line));
        let table = found.join("\n");
        println!("in {namespace}:\n{table}");
        let mut expected = expected(own);
        let mut permissions = permissions(&found);
        expected.sort();
        permissions.sort();
        assert_eq!(permissions, expected, "{table}");
    }
}

/// Parses lines of `kubectl auth can-i --list` to `resource.group verb`.
fn permissions(lines: &[String]) -> Vec<String> {
    let mut permissions = Vec::new();
    for line in lines {
        let (resource, rest) = line.split_once(" [").unwrap_or((line, ""));
        let verbs = rest
            .rsplit('[')
            .next()
            .unwrap_or_default()
            .trim_end_matches(']');
        permissions.extend(verbs.split(' ').map(|verb| format!("{resource} {verb}")));
    }
    permissions.sort();
    permissions.dedup();
    permissions
}

/// The permissions of the operator's own table, in the same form.
fn expected(own: bool) -> Vec<String> {
    use vaultwall::runtime::permissions::{PERMISSIONS, Scope};
    let mut expected = Vec::new();
    for right in PERMISSIONS {
        if right.scope == Scope::OwnNamespace && !own {
            continue;
        }
        let resource = match right.resource.split_once('/') {
            _ if right.group.is_empty() => right.resource.to_owned(),
            Some((resource, sub)) => format!("{resource}.{}/{sub}", right.group),
            None => format!("{}.{}", right.resource, right.group),
        };
        expected.extend(right.verbs.iter().map(|verb| format!("{resource} {verb}")));
    }
    expected.sort();
    expected.dedup();
    expected
}

#[test]
fn pod_security_restricted_is_enforced_where_the_operator_runs() {
    let _operator = shared();
    let namespace = get_object("v1/namespaces", "", operator::NAMESPACE).unwrap();
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    // It is enforced: a pod that violates it is refused.
    let refused = try_apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: careless, namespace: {}}}\n\
         spec: {{containers: [{{name: a, image: a}}]}}\n",
        operator::NAMESPACE
    ));
    assert!(
        !refused.succeeded && refused.stderr.contains("violates PodSecurity"),
        "{}",
        refused.stderr
    );
    // The operator's pods run.
    let ready = kubectl(&[
        "get",
        "deployment/vaultwall",
        "--namespace",
        operator::NAMESPACE,
        "--output=jsonpath={.status.readyReplicas}",
    ]);
    assert_eq!(ready, "2");
}

#[test]
fn an_invalid_value_is_refused_with_its_name_and_changes_nothing() {
    let _operator = shared();
    let before = helm(&["history", "vaultwall", "--namespace", operator::NAMESPACE]);
    for (value, message) in [
        ("limits.ipRules=1001", "limits/ipRules"),
        ("replicas=0", "replicas"),
        ("replica=2", "replica"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
    ] {
        let chart = path("charts/vaultwall");
        let arguments = [
            "upgrade",
            "vaultwall",
            &chart,
            "--namespace",
            operator::NAMESPACE,
            "--set",
            value,
        ];
        let output = run("helm", &arguments);
        assert!(
            !output.succeeded && output.stderr.contains(message),
            "{value}: {}{}",
            output.stdout,
            output.stderr
        );
    }
    let after = helm(&["history", "vaultwall", "--namespace", operator::NAMESPACE]);
    assert_eq!(before, after);
}

/// The API server enforces the limits itself, without a pod of the operator.
#[test]
fn the_api_server_refuses_a_policy_over_the_limits() {
    let _operator = shared();
    let rules: Vec<String> = (0..128)
        .map(|index| format!("{{value: 203.0.113.{index}}}"))
        .collect();
    let refused = try_apply(&format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: many, namespace: default}}\n\
         spec: {{targetRef: {{name: openbao, port: 8200}}, ipRules: [{}]}}\n",
        rules.join(", ")
    ));
    assert!(
        !refused.succeeded
            && refused
                .stderr
                .contains("spec.ipRules has 128 rules, and the limit is 127"),
        "{}",
        refused.stderr
    );
}
