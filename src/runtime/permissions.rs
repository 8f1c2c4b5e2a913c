//! What the operator may do in the cluster: the table of what it needs, and the question at the start whether it has it.
//!
//! Without it, a missing right would show as a watch that stays empty or a child that never comes, one at a time. The
//! table is data, so that the `ClusterRole` that ships and the documentation are checked against it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::api::{GENERATED_OBJECTS, GROUP, LABEL_VERB, VERSION, custom_resource_definitions};

/// Where a right has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace, and for what is in none.
    Cluster,
    /// In the operator's own namespace.
    OwnNamespace,
}

/// Something the operator has to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// API group; empty: the core group.
    pub group: &'static str,
    /// Resource, with its subresource where it is one (`vaultnetworkpolicies/status`).
    pub resource: &'static str,
    /// What is done to it.
    pub verbs: &'static [&'static str],
    /// Where.
    pub scope: Scope,
    /// What for.
    pub why: &'static str,
}

const READ: &[&str] = &["list", "watch"];
const KEEP: &[&str] = &["create", "delete", "list", "patch", "watch"];

const fn own(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Right {
    Right {
        group,
        resource,
        verbs,
        scope: Scope::OwnNamespace,
        why,
    }
}

const fn cluster(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Right {
    Right {
        group,
        resource,
        verbs,
        scope: Scope::Cluster,
        why,
    }
}

/// Everything the operator needs. What it made goes with the policies that own it; it deletes only what was made for a
/// vault that they are aimed at no longer.
pub const RIGHTS: [Right; 17] = [
    cluster(GROUP, "vaultnetworkpolicies", READ, "the policies"),
    cluster(
        GROUP,
        "vaultnetworkpolicies/status",
        &["patch"],
        "conditions, counts and addresses in their status",
    ),
    cluster(
        GROUP,
        "virtualnetworks",
        READ,
        "the subnets that rules name",
    ),
    cluster(
        "",
        "namespaces",
        READ,
        "labels, for selectors and the opt-in",
    ),
    cluster(
        "",
        "pods",
        READ,
        "addresses, labels and service accounts of clients",
    ),
    cluster(
        "",
        "services",
        KEEP,
        "the vaults that policies name; the proxies' Services",
    ),
    cluster(
        "discovery.k8s.io",
        "endpointslices",
        READ,
        "the vaults' pods, where allowed requests go",
    ),
    cluster(
        "",
        "serviceaccounts",
        KEEP,
        "the identities of clients; the proxies' own",
    ),
    cluster("apps", "deployments", KEEP, "the proxies"),
    cluster(
        "policy",
        "poddisruptionbudgets",
        KEEP,
        "the proxies' budgets",
    ),
    cluster("", "configmaps", KEEP, "the proxies' bootstraps"),
    cluster(
        "",
        "secrets",
        KEEP,
        "the authority and the proxies' certificates",
    ),
    cluster(
        "networking.k8s.io",
        "networkpolicies",
        KEEP,
        "the wall around vaults and proxies",
    ),
    cluster(
        "events.k8s.io",
        "events",
        &["create", "patch"],
        "events beside the policies",
    ),
    // No kind: admission asks for it.
    cluster(
        GROUP,
        GENERATED_OBJECTS,
        &[LABEL_VERB],
        "the labels of what it makes, which nobody else may set",
    ),
    own(
        "",
        "secrets",
        &["get"],
        "the authority, whether it is there already",
    ),
    own(
        "coordination.k8s.io",
        "leases",
        &["create", "get", "update"],
        "the election of a leader",
    ),
];

/// Questions that are under way at a time.
const AT_ONCE: usize = 16;
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A verb on a resource that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The verb.
    pub verb: &'static str,
    /// The right that it is part of.
    pub right: Right,
    /// The namespace that it lacks in; `None`: the cluster.
    pub namespace: Option<String>,
    /// What the authorizer says, where it says something.
    pub reason: Option<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Right {
            group,
            resource,
            why,
            ..
        } = self.right;
        write!(formatter, "{} {resource}", self.verb)?;
        if !group.is_empty() {
            write!(formatter, " of the API group {group}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(formatter, ", in the namespace {namespace}")?,
            None => formatter.write_str(", in all namespaces")?,
        }
        write!(formatter, " ({why})")?;
        match &self.reason {
            Some(reason) => write!(formatter, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// Why the operator cannot work in this cluster.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// Kinds or rights are not there.
    #[error("{}", remedies(.lacking, .missing))]
    Lacking {
        /// Kinds of ours that the API server does not know.
        lacking: Vec<String>,
        /// Verbs that the operator is not allowed.
        missing: Vec<Missing>,
    },
    /// The question itself failed.
    #[error(
        "the API server does not say what the operator may do: {0}; check that it runs and that nothing on the way holds up its answers"
    )]
    Unanswered(String),
}

/// What is not there, and who can change that how.
fn remedies(lacking: &[String], missing: &[Missing]) -> String {
    let mut said = Vec::new();
    if !lacking.is_empty() {
        said.push(format!(
            "the API server does not know {}; install the definitions: vaultwall crds | kubectl apply --server-side -f -",
            lacking.join(", ")
        ));
    }
    if !missing.is_empty() {
        said.push(
            "the operator lacks rights; bind a ClusterRole to it that allows (docs/operations.md has the whole table):"
                .to_owned(),
        );
        said.extend(missing.iter().map(|missing| format!("  {missing}")));
    }
    said.join("\n")
}

/// Finds out whether our kinds are installed and every right is there. `namespace` is the operator's own.
pub async fn check(client: &Client, namespace: &str) -> Result<(), RightsError> {
    let (lacking, missing) = futures::join!(lacking(client), missing(client, namespace));
    let (lacking, missing) = (lacking?, missing?);
    // Both at once: who has to mend one thing should know of the other.
    if lacking.is_empty() && missing.is_empty() {
        Ok(())
    } else {
        Err(RightsError::Lacking { lacking, missing })
    }
}

/// Kinds of ours that the API server does not serve in our version.
async fn lacking(client: &Client) -> Result<Vec<String>, RightsError> {
    let version = format!("{GROUP}/{VERSION}");
    let served = match answer(client.list_api_group_resources(&version)).await {
        Ok(list) => list.resources,
        // For a group that it does not know, the API server answers in plain text, without a reason.
        Err(Some(kube::Error::Api(status))) if status.code == 404 => Vec::new(),
        Err(error) => return Err(unanswered(error)),
    };
    let ours = custom_resource_definitions().into_iter();
    Ok(ours
        .map(|definition| definition.spec.names.plural)
        .filter(|plural| served.iter().all(|resource| resource.name != *plural))
        .map(|plural| format!("{plural}.{GROUP} in version {VERSION}"))
        .collect())
}

/// Every verb that is not allowed, in the table's order.
async fn missing(client: &Client, namespace: &str) -> Result<Vec<Missing>, RightsError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let questions = RIGHTS
        .into_iter()
        .flat_map(|right| right.verbs.iter().map(move |verb| (right, *verb)));
    let answers: Vec<Result<Option<Missing>, RightsError>> = stream::iter(questions)
        .map(|(right, verb)| {
            let namespace = match right.scope {
                Scope::Cluster => None,
                Scope::OwnNamespace => Some(namespace.to_owned()),
            };
            ask(&reviews, right, verb, namespace)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let answers: Result<Vec<Option<Missing>>, RightsError> = answers.into_iter().collect();
    Ok(answers?.into_iter().flatten().collect())
}

async fn ask(
    reviews: &Api<SelfSubjectAccessReview>,
    right: Right,
    verb: &'static str,
    namespace: Option<String>,
) -> Result<Option<Missing>, RightsError> {
    let parameters = PostParams::default();
    let review = review(right, verb, namespace.as_deref());
    let review = answer(reviews.create(&parameters, &review))
        .await
        .map_err(unanswered)?;
    let status = review.status.unwrap_or_default();
    if status.allowed {
        return Ok(None);
    }
    Ok(Some(Missing {
        verb,
        right,
        namespace,
        reason: status.reason.filter(|reason| !reason.is_empty()),
    }))
}

fn review(right: Right, verb: &str, namespace: Option<&str>) -> SelfSubjectAccessReview {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource)),
        None => (right.resource, None),
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(right.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.map(str::to_owned),
                verb: Some(verb.to_owned()),
                // None means all of them.
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}

/// The answer; an error of `None` is none in time.
async fn answer<T>(
    asked: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Option<kube::Error>> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(Some),
        Err(_) => Err(None),
    }
}

fn unanswered(error: Option<kube::Error>) -> RightsError {
    RightsError::Unanswered(error.map_or_else(
        || format!("no answer in {} s", PATIENCE.as_secs()),
        |error| error.to_string(),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::*;
    use crate::api::generated_policy;
    use crate::runtime::generated::ChildKind;
    use crate::runtime::watch::Kind;

    #[test]
    fn the_page_lists_every_right() {
        let page = include_str!("../../docs/operations.md");
        let (_, section) = page.split_once("\n## Permissions\n").unwrap_or_default();
        let (section, _) = section.split_once("\n##").unwrap_or_default();
        let listed: Vec<&str> = section
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| API group"))
            .collect();
        let rights = RIGHTS.map(|right| {
            let group = match right.group {
                "" => "core".to_owned(),
                group => format!("`{group}`"),
            };
            let scope = match right.scope {
                Scope::Cluster => "",
                Scope::OwnNamespace => " (own namespace)",
            };
            let (resource, verbs, why) = (right.resource, right.verbs.join(", "), right.why);
            format!("| {group} | `{resource}`{scope} | {verbs} | {why} |")
        });
        assert_eq!(listed, rights);
    }

    fn plural(kind: &str) -> String {
        let name = kind.to_lowercase();
        match name.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{name}s"),
        }
    }

    /// The right to a resource of this kind, everywhere.
    fn everywhere(kind: &str) -> Right {
        let plural = plural(kind);
        let mut rights = RIGHTS.into_iter();
        let found = rights.find(|right| right.resource == plural && right.scope == Scope::Cluster);
        found.unwrap_or_else(|| panic!("no right to {plural}"))
    }

    /// Admission guards the labels of every kind that the operator makes.
    #[test]
    fn whatever_is_made_is_guarded() {
        let guard = generated_policy().spec.unwrap_or_default();
        let rules = guard.match_constraints.unwrap_or_default().resource_rules;
        let mut guarded: Vec<String> = rules
            .into_iter()
            .flatten()
            .flat_map(|rule| rule.resources.unwrap_or_default())
            .filter(|resource| !resource.contains('/'))
            .collect();
        let mut made: Vec<String> = ChildKind::ALL.map(|kind| plural(kind.name())).into();
        made.sort();
        guarded.sort();
        assert_eq!(made, guarded);
    }

    #[test]
    fn whatever_is_watched_or_written_may_be() {
        let watched = Kind::ALL.into_iter().map(Kind::name);
        for kind in watched.chain(ChildKind::ALL.into_iter().map(ChildKind::name)) {
            let right = everywhere(kind);
            assert!(READ.iter().all(|verb| right.verbs.contains(verb)), "{kind}");
        }
        for kind in ChildKind::ALL.into_iter().map(ChildKind::name) {
            assert_eq!(everywhere(kind).verbs, KEEP, "{kind}");
        }
    }

    #[test]
    fn a_secret_is_got_by_name_in_the_own_namespace_alone() {
        for right in RIGHTS.iter().filter(|right| right.verbs.contains(&"get")) {
            assert_eq!(right.scope, Scope::OwnNamespace, "{right:?}");
        }
    }

    #[test]
    fn what_is_missing_is_said_with_its_remedy() {
        let error = RightsError::Lacking {
            lacking: vec!["virtualnetworks.vaultwall.dev in version v1alpha1".into()],
            missing: vec![
                Missing {
                    verb: "watch",
                    right: RIGHTS[4],
                    namespace: None,
                    reason: None,
                },
                Missing {
                    verb: "update",
                    right: RIGHTS[16],
                    namespace: Some("vaultwall".into()),
                    reason: Some("no".into()),
                },
            ],
        };
        let expected = "the API server does not know virtualnetworks.vaultwall.dev in version v1alpha1; \
             install the definitions: vaultwall crds | kubectl apply --server-side -f -\n\
             the operator lacks rights; bind a ClusterRole to it that allows (docs/operations.md has the whole table):\n  \
             watch pods, in all namespaces (addresses, labels and service accounts of clients)\n  \
             update leases of the API group coordination.k8s.io, in the namespace vaultwall (the election of a leader): no";
        assert_eq!(error.to_string(), expected);
    }
}
