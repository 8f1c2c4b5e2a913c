//! What is applied with kubectl changes what a real Envoy answers.

use crate::client::Verdict::{Allowed, Denied, Refused};
use crate::sandbox::{OTHER_POD, OUTSIDER, POD, Sandbox};

/// Lets one app of the namespace `shop` in.
pub(crate) fn policy(name: &str, app: &str) -> String {
    format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: {name}, namespace: vault}}\nspec:\n  \
         targetRef: {{name: openbao, port: 8200}}\n  vault: {{engines: [{{path: secret, type: KvV2}}]}}\n  virtualNetworkRules:\n  \
         - pods:\n      namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: shop}}}}\n      \
         podSelector: {{matchLabels: {{app: {app}}}}}\n"
    )
}

#[test]
fn what_kubectl_applies_is_enforced() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let proxy = sandbox.proxy();
    sandbox.comes_to(&[(POD, Allowed), (OTHER_POD, Denied), (OUTSIDER, Denied)]);
    sandbox.condition("web", "Accepted", "True", "Accepted");
    sandbox.condition("web", "ResolvedRefs", "True", "ResolvedRefs");
    sandbox.condition("web", "Programmed", "True", "Programmed");

    // Several policies on one Service add up.
    sandbox.server.apply(&policy("batch", "batch"));
    sandbox.comes_to(&[(POD, Allowed), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);
    sandbox.condition("batch", "Programmed", "True", "Programmed");
    sandbox.must(&["delete", "vnp", "-n", "vault", "web"]);
    sandbox.comes_to(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);

    // The namespace's owner takes the service endpoint away, and gives it back.
    sandbox.must(&["label", "ns", "shop", "vaultwall.dev/service-endpoint-"]);
    sandbox.comes_to(&[(POD, Denied), (OTHER_POD, Denied)]);
    sandbox.must(&[
        "label",
        "ns",
        "shop",
        "vaultwall.dev/service-endpoint=enabled",
    ]);
    sandbox.comes_to(&[(POD, Denied), (OTHER_POD, Allowed)]);

    // A pod gets another label, another address, and ends.
    sandbox.must(&[
        "label",
        "pod",
        "-n",
        "shop",
        "web",
        "app=batch",
        "--overwrite",
    ]);
    sandbox.comes_to(&[(POD, Allowed), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);
    sandbox.runs("shop", "web", OUTSIDER);
    sandbox.comes_to(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Allowed)]);
    sandbox.must(&[
        "delete",
        "pod",
        "-n",
        "shop",
        "web",
        "--force",
        "--grace-period=0",
    ]);
    sandbox.comes_to(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);

    // Without the operator, everything goes on; without both, a new proxy refuses everything.
    operator.kill();
    sandbox.comes_to(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);
    drop(proxy);
    let _cold = sandbox.proxy();
    sandbox.comes_to(&[(OTHER_POD, Refused), (OUTSIDER, Refused)]);
    let _operator = sandbox.operator();
    sandbox.comes_to(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);
}
