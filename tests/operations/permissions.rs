//! The check of permissions and CRDs at the operator's start.

use std::time::{Duration, Instant};

use kube::Client;
use vaultwall::runtime::permissions::{
    LABEL_PERMISSIONS, PERMISSIONS, PermissionsError, Scope, check,
};

use crate::roles::{allow_operator, rules};
use testkit::ApiServer;
use testkit::wait::TIMEOUT;

const NAMESPACE: &str = "default";

/// Allows a user only the table's verbs on leases.
pub fn allow_lease(server: &ApiServer, user: &str) {
    let name = user.rsplit(':').next().unwrap();
    let rules = rules(Scope::OwnNamespace, |permission, _| {
        permission.resource == "leases"
    });
    assert_eq!(rules.len(), 1);
    server.bind(name, Some(NAMESPACE), user, &rules);
}

/// Waits until the check has the expected result; roles take a moment to come into force.
async fn check_until(client: &Client, expected: impl Fn(&Result<(), String>) -> bool) {
    let end = Instant::now() + TIMEOUT;
    loop {
        let result = check(client, NAMESPACE, false)
            .await
            .map_err(|error| error.to_string());
        if expected(&result) {
            return;
        }
        assert!(Instant::now() < end, "{result:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_permission_and_crd_is_listed() {
    let server = ApiServer::start();
    let user = "system:serviceaccount:default:operator";
    let client = server.client_for(user, &[]).await;

    let (kinds, verbs) = match check(&client, NAMESPACE, true).await {
        Err(PermissionsError::Missing { kinds, verbs }) => (kinds, verbs),
        other => panic!("a user without permissions gets {other:?}"),
    };
    assert_eq!(
        kinds,
        [
            "trustedservices.vaultwall.dev in version v1alpha1",
            "vaultnetworkpolicies.vaultwall.dev in version v1alpha1",
            "virtualnetworks.vaultwall.dev in version v1alpha1"
        ]
    );
    let named: Vec<(&str, &str)> = verbs
        .iter()
        .map(|missing| (missing.permission.resource, missing.verb))
        .collect();
    let all = PERMISSIONS.iter().chain(&LABEL_PERMISSIONS);
    let all: Vec<(&str, &str)> = all
        .flat_map(|permission| {
            permission
                .verbs
                .iter()
                .map(|verb| (permission.resource, *verb))
        })
        .collect();
    assert_eq!(named, all);

    server.install_crds();
    allow_operator(&server, user, NAMESPACE);
    check_until(&client, Result::is_ok).await;

    let but_one = rules(Scope::Cluster, |permission, verb| {
        (permission.resource, verb) != ("pods", "watch")
    });
    server.bind("operator", None, user, &but_one);
    check_until(&client, |result| {
        result.as_ref().is_err_and(|message| {
            message.lines().count() == 2
                && message.ends_with(
                    "\n  watch pods, in all namespaces (addresses, labels and service accounts of clients)",
                )
        })
    })
    .await;

    server.stop();
    let error = check(&client, NAMESPACE, false).await.unwrap_err();
    assert!(matches!(error, PermissionsError::Unanswered(_)), "{error}");
}
