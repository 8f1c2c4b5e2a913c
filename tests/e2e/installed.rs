//! What the charts install.

use crate::cluster_fixtures::{applied, helm, kubectl, object, operator, path, run};
use crate::shared;

/// The account that the operator runs as.
const ACCOUNT: &str = "--as=system:serviceaccount:vaultwall-system:vaultwall";

/// What the operator may do, in all namespaces and in its own, beyond what every authenticated user may.
#[test]
fn the_operator_may_do_what_the_table_says_and_nothing_else() {
    let _stage = shared();
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
    let everybody = listed("--as=system:serviceaccount:default:default", "default");
    for (namespace, own) in [("default", false), (operator::NAMESPACE, true)] {
        let mut found: Vec<String> = listed(ACCOUNT, namespace);
        found.retain(|line| !everybody.contains(line));
        let table = found.join("\n");
        println!("in {namespace}:\n{table}");
        let mut expected = expected(own);
        let mut rights = rights(&found);
        expected.sort();
        rights.sort();
        assert_eq!(rights, expected, "{table}");
    }
}

/// `resource.group verb`, of the lines of `kubectl auth can-i --list`.
fn rights(lines: &[String]) -> Vec<String> {
    let mut rights = Vec::new();
    for line in lines {
        let (resource, rest) = line.split_once(" [").unwrap_or((line, ""));
        let verbs = rest
            .rsplit('[')
            .next()
            .unwrap_or_default()
            .trim_end_matches(']');
        rights.extend(verbs.split(' ').map(|verb| format!("{resource} {verb}")));
    }
    rights.sort();
    rights.dedup();
    rights
}

/// The same, of the operator's own table.
fn expected(own: bool) -> Vec<String> {
    use vaultwall::controller::rights::{RIGHTS, Scope};
    let mut expected = Vec::new();
    for right in RIGHTS {
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
    let _stage = shared();
    let namespace = object("namespace", "", operator::NAMESPACE).unwrap();
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    // It is in force there: what does not hold to it is refused.
    let refused = applied(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: careless, namespace: {}}}\nspec: {{containers: [{{name: a, image: a}}]}}\n",
        operator::NAMESPACE
    ));
    assert!(
        !refused.good && refused.err.contains("violates PodSecurity"),
        "{}",
        refused.err
    );
    // And its pods run.
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
fn a_value_out_of_schema_is_refused_by_its_name_and_changes_nothing() {
    let _stage = shared();
    let before = helm(&["history", "vaultwall", "--namespace", operator::NAMESPACE]);
    for (value, says) in [
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
        let said = run("helm", &arguments);
        assert!(
            !said.good && said.err.contains(says),
            "{value}: {}{}",
            said.out,
            said.err
        );
    }
    let after = helm(&["history", "vaultwall", "--namespace", operator::NAMESPACE]);
    assert_eq!(before, after);
}

/// Admission is the API server's own work: it needs no pod of ours.
#[test]
fn limits_are_refused_by_the_api_server() {
    let _stage = shared();
    let rules: Vec<String> = (0..128)
        .map(|index| format!("{{value: 203.0.113.{index}}}"))
        .collect();
    let refused = applied(&format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: many, namespace: default}}\n\
         spec: {{targetRef: {{name: openbao, port: 8200}}, ipRules: [{}]}}\n",
        rules.join(", ")
    ));
    assert!(
        !refused.good
            && refused
                .err
                .contains("spec.ipRules has 128 rules, and the limit is 127"),
        "{}",
        refused.err
    );
}
