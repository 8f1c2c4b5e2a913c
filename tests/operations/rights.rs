//! What the operator is told at its start about rights and definitions that lack.

use std::time::{Duration, Instant};

use kube::Client;
use vaultwall::runtime::permissions::{RIGHTS, RightsError, Scope, check};

use crate::kubernetes::ApiServer;
use crate::kubernetes::roles::rules;

const NAMESPACE: &str = "default";

/// Allows a user what the table says of the lease, and nothing else.
pub fn allow_lease(server: &ApiServer, user: &str) {
    let name = user.rsplit(':').next().unwrap();
    let rules = rules(Scope::OwnNamespace, |right, _| right.resource == "leases");
    assert_eq!(rules.len(), 1);
    server.bind(name, Some(NAMESPACE), user, &rules);
}

/// What the check says, once it is that; roles take a moment to come into force.
async fn says(client: &Client, expected: impl Fn(&Result<(), String>) -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let said = check(client, NAMESPACE)
            .await
            .map_err(|error| error.to_string());
        if expected(&said) {
            return;
        }
        assert!(Instant::now() < end, "{said:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_right_and_definition_is_named() {
    let server = ApiServer::start();
    let user = "system:serviceaccount:default:operator";
    let client = server.client_for(user, &[]).await;

    let (lacking, missing) = match check(&client, NAMESPACE).await {
        Err(RightsError::Lacking { lacking, missing }) => (lacking, missing),
        other => panic!("a user without rights is told {other:?}"),
    };
    assert_eq!(
        lacking,
        [
            "vaultnetworkpolicies.vaultwall.dev in version v1alpha1",
            "virtualnetworks.vaultwall.dev in version v1alpha1"
        ]
    );
    let named: Vec<(&str, &str)> = missing
        .iter()
        .map(|missing| (missing.right.resource, missing.verb))
        .collect();
    let all = RIGHTS.iter();
    let all: Vec<(&str, &str)> = all
        .flat_map(|right| right.verbs.iter().map(|verb| (right.resource, *verb)))
        .collect();
    assert_eq!(named, all);

    server.install_crds();
    server.allow_operator(user, NAMESPACE);
    says(&client, Result::is_ok).await;

    let but_one = rules(Scope::Cluster, |right, verb| {
        (right.resource, verb) != ("pods", "watch")
    });
    server.bind("operator", None, user, &but_one);
    says(&client, |said| {
        said.as_ref().is_err_and(|said| {
            said.lines().count() == 2
                && said.ends_with(
                    "\n  watch pods, in all namespaces (addresses, labels and service accounts of clients)",
                )
        })
    })
    .await;

    server.stop();
    let error = check(&client, NAMESPACE).await.unwrap_err();
    assert!(matches!(error, RightsError::Unanswered(_)), "{error}");
}
