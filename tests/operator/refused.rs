//! A filter that a real Envoy refuses, also after restarts of the operator.
//!
//! Envoy 1.40 acknowledges a filter that it refused before if it receives the same bytes again, and keeps enforcing the
//! earlier one. Such an answer must not make `Programmed` true.

use serde_json::Value;

use crate::operator::enforcement::policy;
use crate::operator::sandbox::{OPERATOR, OTHER_POD, Operator, POD, Sandbox};
use testkit::client::Verdict::{Allowed, Denied};
use testkit::wait::wait_until;

/// Extension of Envoy that the filters of virtual-network rules need, and no other resource.
const EXTENSION: &str = "envoy.matching.http.input/envoy.matching.inputs.direct_source_ip";

/// Statuses of `Programmed` that operators have written for a policy, as `GENERATION STATUS`, in their order.
fn programmed(sandbox: &Sandbox, policy: &str) -> Vec<String> {
    let writes = sandbox.server.writes(OPERATOR).into_iter();
    let statuses = writes.filter(|write| {
        write.resource == "vaultnetworkpolicies/status"
            && write.name == policy
            && write.status == 200
    });
    let conditions = statuses.flat_map(|write| {
        let conditions = write.body["status"]["conditions"].as_array().cloned();
        conditions.unwrap_or_default()
    });
    conditions
        .filter(|condition| condition["type"] == "Programmed")
        .map(|condition| {
            let status = condition["status"].as_str().unwrap();
            format!("{} {status}", condition["observedGeneration"])
        })
        .collect()
}

/// Waits until the proxy has refused a resource of this operator.
fn wait_for_refusal(sandbox: &Sandbox, operator: &Operator) {
    wait_until("a refusal", || {
        assert_never_programmed(sandbox);
        operator
            .log()
            .contains("refused by the proxy; the earlier version stays in force")
    });
}

/// Checks that no operator has ever reported that the refused generation of the policy is in force.
fn assert_never_programmed(sandbox: &Sandbox) {
    let written = programmed(sandbox, "web");
    assert!(
        written.contains(&"1 True".to_owned()) && !written.contains(&"2 True".to_owned()),
        "{written:?}"
    );
}

#[test]
fn a_refused_filter_is_not_programmed_after_restarts_of_the_operator() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    let rule: Value = serde_saphyr::from_str(&policy("web", "web")).unwrap();
    let mut open = rule.clone();
    open["spec"]["virtualNetworkRules"] = Value::Array(Vec::new());
    sandbox.server.apply(&open.to_string());
    let _proxy = sandbox.proxy_without(EXTENSION);
    sandbox.condition("web", "Programmed", "True", "Programmed");
    sandbox.wait_for_verdicts(&[(POD, Denied)]);

    sandbox.server.apply(&rule.to_string());
    let refused = |policy: &str| {
        let message = sandbox.condition(policy, "Programmed", "False", "Rejected");
        let error = "vaultwall.virtual-network-hosts: Didn't find a registered implementation";
        assert!(message.contains(error), "{message}");
        sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Denied)]);
    };
    refused("web");
    wait_for_refusal(&sandbox, &operator);

    // The first operator ends in order, the second one is killed.
    operator.stop();
    let operator = sandbox.operator_at("second", sandbox.operators);
    wait_for_refusal(&sandbox, &operator);
    operator.kill();
    let operator = sandbox.operator_at("third", sandbox.operators);
    wait_for_refusal(&sandbox, &operator);
    // The status of another policy of the vault comes after that of the refusal.
    sandbox.server.apply(&policy("second", "web"));
    refused("second");
    refused("web");
    assert_never_programmed(&sandbox);

    // A corrected edit is in force.
    sandbox.kubectl(&["delete", "vnp", "-n", "vault", "second"]);
    open["spec"]["defaultAction"] = "Allow".into();
    sandbox.server.apply(&open.to_string());
    sandbox.condition("web", "Programmed", "True", "Programmed");
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Allowed)]);
}
