//! A vault with `denial: Drop` and trusted services: which pods get the label of their service account, and when the
//! `NetworkPolicy` of its proxies selects it.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use testkit::client::Verdict::{Allowed, Denied};
use testkit::wait::wait_for_ok;
use vaultwall::policy::account_label_value;

use crate::api_server::account_label::install;
use crate::operator::sandbox::{OPERATOR, Sandbox};

const LABEL: &str = "vaultwall.dev/service-account";
/// Name of a service account that no label can hold.
const LONG: &str = "agent.of.the.department.for.reports.and.statistics.of.the.whole.company";
/// Addresses of the pods.
const AGENT: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 11);
const LONG_POD: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 12);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 13);
const LATER: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 14);

/// A policy that drops the packets of everybody but the service `reports`.
const POLICY: &str = "\
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: main, namespace: vault}
spec:
  targetRef: {name: openbao, port: 8200}
  vault: {engines: [{path: secret, type: KvV2}]}
  denial: Drop
  bypass: TrustedServices
";

impl Sandbox {
    /// Creates a service account, and a running pod of it, maybe with a label that somebody chose.
    fn run(&self, name: &str, account: &str, address: Ipv4Addr, label: Option<&str>) {
        let metadata = json!({"name": account, "namespace": "shop"});
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        self.server.apply(&object.to_string());
        let labels = label.map(|value| json!({LABEL: value}));
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "spec": {
                "serviceAccountName": account,
                "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": "main"}],
            },
        });
        self.server.apply(&pod.to_string());
        self.server.set_running("shop", name, address);
    }

    fn label(&self, pod: &str) -> Value {
        let object = self
            .server
            .get(&format!("/api/v1/namespaces/shop/pods/{pod}"));
        object.unwrap_or_default()["metadata"]["labels"][LABEL].clone()
    }

    fn wait_for_label(&self, pod: &str, value: &str) {
        wait_for_ok(&format!("{pod} with the label {value}"), || {
            let label = self.label(pod);
            if label == value { Ok(()) } else { Err(label) }
        });
    }

    /// Waits until the proxies' `NetworkPolicy` selects pods with these values of the label, and nothing else.
    fn wait_for_selected(&self, expected: &[&str]) {
        let path = "/apis/networking.k8s.io/v1/namespaces/vault/networkpolicies/openbao-firewall";
        wait_for_ok(
            &format!("a NetworkPolicy that selects {expected:?}"),
            || {
                let policy = self.server.get(path).unwrap_or_default();
                let rules = policy.pointer("/spec/ingress").and_then(Value::as_array);
                let rules = rules.ok_or_else(|| policy.to_string())?;
                let mut data = rules.iter().filter(|rule| {
                    let mut ports = rule["ports"].as_array().into_iter().flatten();
                    ports.any(|port| port["port"] == 8200)
                });
                let from = data.next().map(|rule| rule["from"].as_array());
                let from = from.map(|from| from.expect("no rule that admits everybody"));
                let selected = from.into_iter().flatten().map(|peer| {
                    let namespaces = &peer["namespaceSelector"]["matchExpressions"][0]["values"];
                    assert_eq!(*namespaces, json!(["shop"]), "{policy}");
                    peer["podSelector"]["matchLabels"][LABEL]
                        .as_str()
                        .unwrap()
                        .to_owned()
                });
                let selected: Vec<String> = selected.collect();
                if selected == expected {
                    Ok(())
                } else {
                    Err(policy.to_string())
                }
            },
        );
    }

    /// Waits until the policy has a warning that contains this text, or none about the label.
    fn wait_for_warning(&self, expected: Option<&str>) {
        wait_for_ok(&format!("a warning {expected:?}"), || {
            let policy = self.policy("main").unwrap_or_default();
            let warnings = policy.pointer("/status/warnings").and_then(Value::as_array);
            let mut warnings = warnings.into_iter().flatten();
            let found = warnings.find(|warning| warning["reason"] == "AccountLabelMissing");
            let found = found.map(|found| found["message"].as_str().unwrap().to_owned());
            let fits = match (&found, expected) {
                (None, None) => policy.pointer("/status/conditions").is_some(),
                (Some(found), Some(expected)) => found.contains(expected),
                _ => false,
            };
            if fits {
                Ok(())
            } else {
                Err(policy["status"].to_string())
            }
        });
    }

    fn trust(&self, accounts: &[&str]) {
        let identities = accounts.iter();
        let identities =
            identities.map(|name| json!({"serviceAccount": {"namespace": "shop", "name": name}}));
        let service = json!({
            "apiVersion": "vaultwall.dev/v1alpha1",
            "kind": "TrustedService",
            "metadata": {"name": "reports"},
            "spec": {
                "scenarios": [{"name": "read", "operations": ["secrets/get"]}],
                "identities": identities.collect::<Vec<_>>(),
            },
        });
        self.server.apply(&service.to_string());
    }
}

#[test]
fn pods_are_labelled_before_the_label_lets_anybody_in() {
    let sandbox = Sandbox::with_labels();
    sandbox.run("agent", "agent", AGENT, None);
    sandbox.run("long", LONG, LONG_POD, None);
    // From the time before the guard, with the label of the service.
    sandbox.run("other", "another", OTHER, Some("agent"));
    // The same on a pod without an address yet, and on the mirror of a static pod, which has no account.
    for (name, account, mirror) in [
        ("waiting", Some("another"), None),
        ("mirror", None, Some("1")),
    ] {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "shop",
                "labels": {LABEL: "agent"},
                "annotations": mirror.map(|hash| json!({"kubernetes.io/config.mirror": hash})),
            },
            "spec": {
                "nodeName": mirror.map(|_| "n1"),
                "serviceAccountName": account,
                "automountServiceAccountToken": account.map(|_| false),
                "containers": [{"name": "main", "image": "main"}],
            },
        });
        sandbox.server.apply(&pod.to_string());
    }
    sandbox.trust(&["agent", LONG]);
    sandbox.server.apply(POLICY);
    let _operator = sandbox.operator_with("first", sandbox.operators, &["--service-account-label"]);
    sandbox.wait_for_warning(Some("any pod could have the label"));
    sandbox.wait_for_selected(&[]);
    let _proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(AGENT, Denied), (OTHER, Denied)]);
    assert_eq!(
        [sandbox.label("agent"), sandbox.label("other")],
        [Value::Null, json!("agent")]
    );

    // Without the policy that sets the label, as in a cluster that has no such kind.
    install(&sandbox.server, "Validating");
    sandbox.wait_for_selected(&["agent", &account_label_value(LONG)]);
    sandbox.wait_for_warning(None);
    assert_eq!(
        ["other", "waiting", "mirror"].map(|pod| sandbox.label(pod)),
        [json!("another"), json!("another"), Value::Null]
    );
    sandbox.wait_for_label("agent", "agent");
    sandbox.wait_for_label("long", &account_label_value(LONG));
    assert_eq!(
        sandbox.label("batch"),
        Value::Null,
        "no vault depends on it"
    );
    sandbox.wait_for_verdicts(&[(AGENT, Allowed), (LONG_POD, Allowed), (OTHER, Denied)]);
    // The wrong label was corrected before the NetworkPolicy selected any.
    let log = sandbox.server.writes(OPERATOR);
    let places = |resource: &str, name: &str| {
        let records = log.iter().enumerate().filter(move |(_, record)| {
            let is_stored = record.status < 300 && !record.uri.contains("dryRun");
            is_stored && record.resource == resource && record.name == name
        });
        records.map(|(place, _)| place).collect::<Vec<_>>()
    };
    let corrected = places("pods/status", "other");
    let selected = places("networkpolicies", "openbao-firewall");
    assert!(corrected.first() < selected.last(), "{log:#?}");

    // A pod that starts later.
    sandbox.run("second", "agent", LATER, None);
    sandbox.wait_for_label("second", "agent");
    sandbox.wait_for_verdicts(&[(LATER, Allowed)]);

    // A label that anybody could set lets nobody in.
    let name = "service-account-label.vaultwall.dev";
    sandbox.kubectl(&["delete", "validatingadmissionpolicybinding", name]);
    sandbox.wait_for_selected(&[]);
    sandbox.wait_for_warning(Some("any pod could have the label"));
    sandbox.wait_for_verdicts(&[(AGENT, Denied)]);
}

#[test]
fn without_the_label_drop_lets_no_service_in() {
    let sandbox = Sandbox::with_labels();
    sandbox.run("agent", "agent", AGENT, None);
    sandbox.trust(&["agent"]);
    sandbox.server.apply(POLICY);
    install(&sandbox.server, "Validating");
    let _operator = sandbox.operator();
    sandbox.wait_for_warning(Some("the chart's value serviceAccountLabel.create"));
    sandbox.wait_for_selected(&[]);
    assert_eq!(sandbox.label("agent"), Value::Null);
    let _proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(AGENT, Denied)]);
    // The same service by a policy that drops nothing.
    sandbox
        .server
        .apply(&POLICY.replace("denial: Drop", "denial: Reject"));
    sandbox.wait_for_warning(None);
    sandbox.wait_for_verdicts(&[(AGENT, Allowed)]);
}
