//! Services of the catalog that are in no registry that the tests can install them from: their requests as they were
//! recorded, through the bypass of a real firewall to a real `OpenBao`. Each is let in for the scenario of its
//! manifest, and each request of another operation is refused.

mod recorded;
mod scene;

use self::recorded::Recorded;
use self::scene::{Caller, Expected, Scene, Scope};
use testkit::ApiServer;

/// Sends all requests of a service, from its own pod and from others.
fn check(service: &str, recorded: &'static str, scope: Scope) {
    let mut requests = Recorded::parse(recorded);
    requests.extend(Recorded::parse(include_str!("outside.txt")));
    let mut scene = Scene::start(ApiServer::shared(), service, scope);
    for caller in Caller::ALL {
        let mut expected = Vec::new();
        for request in &requests {
            let Expected { reason, status } = scene.expected(caller, request);
            let answer = scene.send(caller, request);
            let what = format!("{caller:?}: {request:?}: {answer}");
            let denied = answer.body.contains("Vaultwall denied");
            assert_eq!(
                denied,
                answer.body.contains(&format!("({reason})")),
                "{reason}, {what}"
            );
            match status {
                Some(status) => assert_eq!(answer.status, status, "{what}"),
                None => assert!(!denied, "{what}"),
            }
            let path = request.path.split('?').next().unwrap();
            expected.push((format!("/v1/{path}"), reason.to_owned()));
        }
        expected.sort();
        assert_eq!(scene.logged(expected.len()), expected, "{caller:?}");
    }
    // The manifest says which operations to add.
    for operation in scope.optional {
        let note = scene.manifest.note().unwrap();
        assert!(note.contains(operation), "{operation} is not in: {note}");
    }
}

#[test]
fn vault_secrets_operator_is_let_in_for_its_scenario() {
    check(
        "vault-secrets-operator",
        include_str!("vault-secrets-operator.txt"),
        Scope {
            own: &["secrets/get", "certificates/create"],
            optional: &["keys/encrypt", "keys/decrypt", "certificates/delete"],
        },
    );
}

#[test]
fn secrets_store_csi_provider_is_let_in_for_its_scenario() {
    check(
        "secrets-store-csi-provider",
        include_str!("secrets-store-csi-provider.txt"),
        Scope {
            own: &["secrets/get"],
            optional: &["certificates/create"],
        },
    );
}
