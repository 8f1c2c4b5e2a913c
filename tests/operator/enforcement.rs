//! Objects that are applied with kubectl change the responses of a real Envoy.

use crate::operator::sandbox::{OTHER_POD, OUTSIDER, POD, Sandbox};
use testkit::client::Verdict::{Allowed, Denied, Refused};

/// Lets one app of the namespace `shop` in.
pub(crate) fn policy(name: &str, app: &str) -> String {
    format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: {name}, namespace: \
            vault}}\nspec:\n  \
         targetRef: {{name: openbao, port: 8200}}\n  vault: {{engines: [{{path: secret, type: KvV2}}]}}\n  \
         virtualNetworkRules:\n  \
         - pods:\n      namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: shop}}}}\n      \
         podSelector: {{matchLabels: {{app: {app}}}}}\n"
    )
}

#[test]
fn objects_that_kubectl_applies_are_enforced() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied), (OUTSIDER, Denied)]);
    sandbox.condition("web", "Accepted", "True", "Accepted");
    sandbox.condition("web", "ResolvedRefs", "True", "ResolvedRefs");
    sandbox.condition("web", "Programmed", "True", "Programmed");

    // Several policies on one Service add up.
    sandbox.server.apply(&policy("batch", "batch"));
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);
    sandbox.condition("batch", "Programmed", "True", "Programmed");
    sandbox.kubectl(&["delete", "vnp", "-n", "vault", "web"]);
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);

    // The namespace's owner takes the service endpoint away, and gives it back.
    sandbox.kubectl(&["label", "ns", "shop", "vaultwall.dev/service-endpoint-"]);
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Denied)]);
    sandbox.kubectl(&[
        "label",
        "ns",
        "shop",
        "vaultwall.dev/service-endpoint=enabled",
    ]);
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Allowed)]);

    // A pod gets another label, another address, and ends.
    sandbox.kubectl(&[
        "label",
        "pod",
        "-n",
        "shop",
        "web",
        "app=batch",
        "--overwrite",
    ]);
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);
    sandbox.server.set_running("shop", "web", OUTSIDER);
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Allowed)]);
    sandbox.kubectl(&[
        "delete",
        "pod",
        "-n",
        "shop",
        "web",
        "--force",
        "--grace-period=0",
    ]);
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);

    // Without the operator, everything goes on; without both, a new proxy refuses everything.
    operator.kill();
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);
    drop(proxy);
    let _cold = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(OTHER_POD, Refused), (OUTSIDER, Refused)]);
    let _operator = sandbox.operator();
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);
}
