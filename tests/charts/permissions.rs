//! Permissions of the operator by the roles of the chart: those in its table, and no others that an API server knows.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use vaultwall::runtime::permissions::{PERMISSIONS, Scope};

use crate::charts::helm::{NAMESPACE, OPERATOR, find, objects};
use crate::charts::installed::with_charts;

/// Verb, group, resource with its subresource; namespace, or everywhere.
type Allowed = BTreeSet<(String, String, String, Option<String>)>;

/// Every verb that Kubernetes checks, and ours.
const VERBS: [&str; 19] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "bind",
    "escalate",
    "impersonate",
    "approve",
    "sign",
    "attest",
    "use",
    "proxy",
    "set",
    "label",
    "*",
];
/// Resources that discovery does not list.
const OTHERS: [(&str, &str); 12] = [
    ("", "users"),
    ("", "groups"),
    ("", "userextras"),
    ("authentication.k8s.io", "uids"),
    ("certificates.k8s.io", "signers"),
    ("vaultwall.dev", "generatedobjects"),
    ("vaultwall.dev", "serviceendpoints"),
    ("vaultwall.dev", "subscriptions"),
    ("", "*"),
    ("apps", "*"),
    ("vaultwall.dev", "*"),
    ("*", "*"),
];
const PATHS: [&str; 6] = [
    "/metrics",
    "/logs",
    "/debug/pprof",
    "/configz",
    "/flagz",
    "/*",
];

#[test]
fn the_roles_are_the_table() {
    let rendered = objects(OPERATOR, &[]);
    for (kind, scope) in [
        ("ClusterRole", Scope::Cluster),
        ("Role", Scope::OwnNamespace),
    ] {
        let role = find(&rendered, kind, "vaultwall");
        let wanted: Vec<Value> = PERMISSIONS
            .iter()
            .filter(|permission| permission.scope == scope)
            .map(|permission| {
                json!({
                    "apiGroups": [permission.group], "resources": [permission.resource],
                    "verbs": permission.verbs,
                })
            })
            .collect();
        assert_eq!(role["rules"], json!(wanted), "{kind}");
    }
    // Nothing else is bound to anybody.
    let bindings: Vec<&Value> = rendered
        .iter()
        .filter(|object| object["kind"].as_str().unwrap().ends_with("Binding"))
        .filter(|object| object.get("roleRef").is_some())
        .collect();
    assert_eq!(bindings.len(), 2);
    for binding in bindings {
        assert_eq!(binding["roleRef"]["name"], "vaultwall");
        let account =
            json!([{"kind": "ServiceAccount", "name": "vaultwall", "namespace": NAMESPACE}]);
        assert_eq!(binding["subjects"], account);
    }
}

/// A user who may write policies can open the vault, so no role is part of `edit`; the role of network admins is part
/// of none.
#[test]
fn roles_that_are_aggregated_into_others() {
    let prefix = "rbac.authorization.k8s.io/";
    let parts = |arguments: &[&str]| {
        let mut parts = Vec::new();
        for object in objects(OPERATOR, arguments) {
            let labels = object["metadata"]["labels"].as_object().unwrap();
            for (label, value) in labels.iter().filter(|(label, _)| label.starts_with(prefix)) {
                assert_eq!(value, "true");
                let name = object["metadata"]["name"].as_str().unwrap();
                parts.push(format!("{name}: {}", label.strip_prefix(prefix).unwrap()));
            }
        }
        parts.sort();
        parts
    };
    assert_eq!(
        parts(&[]),
        [
            "vaultwall-policy-admin: aggregate-to-admin",
            "vaultwall-view: aggregate-to-view"
        ]
    );
    assert!(parts(&["--set=userRoles.aggregate=false"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_do_that_and_nothing_else() {
    let client = with_charts().client().await;
    let things = things(&client).await;
    assert!(things.len() > 120, "{}", things.len());
    let resources: BTreeSet<&str> = things
        .iter()
        .map(|(_, resource)| resource.as_str())
        .collect();
    for known in [
        "pods/exec",
        "serviceaccounts/token",
        "vaultnetworkpolicies/status",
    ] {
        assert!(resources.contains(known), "{known}");
    }

    let expected: Allowed = PERMISSIONS
        .iter()
        .flat_map(|permission| {
            let places: &[Option<&str>] = match permission.scope {
                // A permission in all namespaces holds in each.
                Scope::Cluster => &[None, Some(NAMESPACE), Some("default")],
                Scope::OwnNamespace => &[Some(NAMESPACE)],
            };
            places.iter().flat_map(move |place| {
                permission.verbs.iter().map(move |verb| {
                    (
                        (*verb).to_owned(),
                        permission.group.to_owned(),
                        permission.resource.to_owned(),
                        place.map(str::to_owned),
                    )
                })
            })
        })
        .collect();
    // The authorizer sees the roles a moment after they are stored.
    let mut allowed = Allowed::new();
    for _ in 0..20 {
        // Permissions of every service account, so that the rest is from the roles of the chart.
        let anybody = allowed_to(&client, "default", &things).await;
        allowed = allowed_to(&client, "vaultwall", &things).await;
        allowed.retain(|one| !anybody.contains(one));
        if allowed == expected {
            break;
        }
    }
    let more: Vec<_> = allowed.difference(&expected).collect();
    let less: Vec<_> = expected.difference(&allowed).collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "more: {more:?}, less: {less:?}"
    );

    let reviews: Api<SubjectAccessReview> = Api::all(client);
    for path in PATHS {
        for verb in ["get", "post"] {
            let review = SubjectAccessReviewSpec {
                non_resource_attributes: Some(NonResourceAttributes {
                    path: Some(path.to_owned()),
                    verb: Some(verb.to_owned()),
                }),
                ..who("vaultwall")
            };
            assert!(!answer(&reviews, review).await, "{verb} {path}");
        }
    }
}

/// Every resource and subresource that the API server serves, and some that it only checks.
async fn things(client: &Client) -> BTreeSet<(String, String)> {
    let mut things: BTreeSet<(String, String)> = OTHERS
        .iter()
        .map(|(group, resource)| ((*group).to_owned(), (*resource).to_owned()))
        .collect();
    let core = client.list_core_api_resources("v1").await.unwrap();
    things.extend(
        core.resources
            .into_iter()
            .map(|one| (String::new(), one.name)),
    );
    for group in client.list_api_groups().await.unwrap().groups {
        for version in group.versions {
            let list = client
                .list_api_group_resources(&version.group_version)
                .await;
            let resources = list.unwrap().resources.into_iter();
            things.extend(resources.map(|one| (group.name.clone(), one.name)));
        }
    }
    things
}

/// Returns the permissions of a service account of the operator's namespace with these roles.
async fn allowed_to(
    client: &Client,
    account: &str,
    things: &BTreeSet<(String, String)>,
) -> Allowed {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let reviews = &reviews;
    let questions = things.iter().flat_map(|(group, resource)| {
        VERBS.iter().flat_map(move |verb| {
            [None, Some(NAMESPACE), Some("default")]
                .map(|place| (group.as_str(), resource.as_str(), *verb, place))
        })
    });
    let answers = stream::iter(questions).map(async |(group, resource, verb, place)| {
        let (name, subresource) = match resource.split_once('/') {
            Some((name, subresource)) => (name, Some(subresource)),
            None => (resource, None),
        };
        let review = SubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(name.to_owned()),
                subresource: subresource.map(str::to_owned),
                verb: Some(verb.to_owned()),
                namespace: place.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..who(account)
        };
        let allowed = answer(reviews, review).await;
        let question = (
            verb.to_owned(),
            group.to_owned(),
            resource.to_owned(),
            place.map(str::to_owned),
        );
        Ok::<_, std::convert::Infallible>(allowed.then_some(question))
    });
    let allowed: Vec<_> = answers.buffer_unordered(32).try_collect().await.unwrap();
    allowed.into_iter().flatten().collect()
}

fn who(account: &str) -> SubjectAccessReviewSpec {
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{NAMESPACE}"),
        "system:authenticated".to_owned(),
    ];
    SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{NAMESPACE}:{account}")),
        groups: Some(groups.into()),
        ..SubjectAccessReviewSpec::default()
    }
}

async fn answer(reviews: &Api<SubjectAccessReview>, spec: SubjectAccessReviewSpec) -> bool {
    let review = SubjectAccessReview {
        spec,
        ..SubjectAccessReview::default()
    };
    let answer = reviews
        .create(&PostParams::default(), &review)
        .await
        .unwrap();
    answer.status.unwrap().allowed
}
