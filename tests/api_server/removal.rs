//! The deletion of a policy is answered with a warning about the vault that it protected.

use serde_json::json;
use testkit::wait::wait_for_ok;

use crate::api_server::server;
use crate::crd_tables::policy;

#[test]
fn a_deletion_names_what_becomes_unprotected() {
    let server = server("removal");
    let mut object = policy(&json!({"ipRules": [{"value": "203.0.113.7"}]}));
    object["metadata"]["namespace"] = json!("removal");
    // The API server puts a new admission policy in force some time after it was created.
    wait_for_ok("a warning", || {
        server.apply(&object.to_string());
        let output = server.kubectl(&["delete", "vnp", "openbao", "--namespace=removal"], "");
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8_lossy(&output.stderr);
        let warning = "the Service openbao in the namespace removal is unprotected without a VaultNetworkPolicy";
        if printed.contains("Warning: ") && printed.contains(warning) {
            Ok(())
        } else {
            Err(format!("{output:?}"))
        }
    });
}
