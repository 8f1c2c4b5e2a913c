//! `kubectl apply` removes a label without a value before it sends an object. The empty selector that is left would
//! select everything, so the API server refuses it.

use serde_json::{Value, json};

use crate::api_server::server;
use crate::crd_tables::policy;

#[test]
fn a_selector_that_lost_its_only_label_is_refused() {
    let server = server("empty");
    let pods = |labels: Value| json!({"namespaceSelector": {"matchLabels": labels}});
    for (what, spec) in [
        (
            "a rule",
            |pods: Value| json!({"virtualNetworkRules": [{"pods": pods}]}),
        ),
        (
            "a trusted proxy",
            |pods: Value| json!({"clientAddress": {"source": "XForwardedFor", "trustedProxies": [{"pods": pods}]}}),
        ),
    ] as [(&str, fn(Value) -> Value); 2]
    {
        let apply = |labels: Value| {
            let mut object = policy(&spec(pods(labels)));
            object["metadata"]["namespace"] = json!("empty");
            let output = server.kubectl(&["apply", "-f", "-"], &object.to_string());
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success(), printed)
        };
        assert!(apply(json!({"team": "shop"})).0, "{what}");
        // The second as an update, which kubectl sends as a patch.
        for labels in [json!({"team": null}), json!({})] {
            let (applied, printed) = apply(labels.clone());
            assert!(
                !applied && printed.contains("matchLabels"),
                "{what}, {labels}: {printed}"
            );
        }
        server.kubectl_prints(&["delete", "vnp", "openbao", "--namespace=empty"]);
        let (applied, printed) = apply(json!({"team": null}));
        assert!(
            !applied && printed.contains("matchLabels"),
            "{what}, new: {printed}"
        );
    }
}
