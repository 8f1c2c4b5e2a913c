//! Permissions of the operator in the cluster: the table of those that it needs, and the check at start that it has
//! them.
//!
//! Without the check, a missing permission would show later, as a watch that stays empty or a generated object that is
//! never created.

mod table;

use std::fmt;

use futures::stream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::api::{GROUP, INSTALL_DEFINITIONS, VERSION, custom_resource_definitions};
use crate::runtime::request::{RequestError, answer};

pub use table::{LABEL_PERMISSIONS, PERMISSIONS, Permission, Scope};

/// Most access reviews in flight at a time.
const CONCURRENT_REVIEWS: usize = 16;

/// A verb on a resource that the operator is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingVerb {
    /// Verb that is not allowed, for example `watch`.
    pub verb: &'static str,
    /// Permission that contains the verb.
    pub permission: Permission,
    /// Namespace in which it is missing; `None`: all namespaces.
    pub namespace: Option<String>,
    /// The authorizer's reason, if it gives one.
    pub reason: Option<String>,
}

impl fmt::Display for MissingVerb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Permission {
            group,
            resource,
            why,
            ..
        } = self.permission;
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

/// Reason why the operator cannot work in this cluster.
#[derive(Debug, thiserror::Error)]
pub enum PermissionsError {
    /// CRDs are not installed, or permissions are missing.
    #[error("{}", remedies(.kinds, .verbs))]
    Missing {
        /// Custom resources that the API server does not serve in this program's version.
        kinds: Vec<String>,
        /// Verbs that the operator is not allowed.
        verbs: Vec<MissingVerb>,
    },
    /// The API server did not answer the check.
    #[error(
        "the API server did not answer which permissions the operator has: {0}; check that it runs, and that no \
         proxy or firewall on the way delays its answers"
    )]
    Unanswered(String),
}

impl From<RequestError> for PermissionsError {
    fn from(error: RequestError) -> Self {
        Self::Unanswered(error.to_string())
    }
}

/// Lists what is missing, with the remedy.
fn remedies(kinds: &[String], verbs: &[MissingVerb]) -> String {
    let mut lines = Vec::new();
    if !kinds.is_empty() {
        lines.push(format!(
            "the API server does not serve {}; {INSTALL_DEFINITIONS}",
            kinds.join(", ")
        ));
    }
    if !verbs.is_empty() {
        lines.push(
            "the operator does not have all permissions; bind a ClusterRole to it that allows (docs/operations.md \
             has the table):"
                .to_owned(),
        );
        lines.extend(verbs.iter().map(|missing| format!("  {missing}")));
    }
    lines.join("\n")
}

/// Checks that the CRDs are installed and that the operator has every permission, with `account_labels` those for the
/// label of service accounts, too. `namespace` is the operator's own.
pub async fn check(
    client: &Client,
    namespace: &str,
    account_labels: bool,
) -> Result<(), PermissionsError> {
    let labels = LABEL_PERMISSIONS.into_iter().filter(|_| account_labels);
    let needed = PERMISSIONS.into_iter().chain(labels);
    let (kinds, verbs) = futures::join!(
        missing_kinds(client),
        missing_verbs(client, namespace, needed)
    );
    // Reports both together, so that an administrator can correct them in one step.
    let (kinds, verbs) = (kinds?, verbs?);
    if kinds.is_empty() && verbs.is_empty() {
        Ok(())
    } else {
        Err(PermissionsError::Missing { kinds, verbs })
    }
}

/// Returns the custom resources that the API server does not serve in this program's version.
async fn missing_kinds(client: &Client) -> Result<Vec<String>, PermissionsError> {
    let version = format!("{GROUP}/{VERSION}");
    let served = match answer(client.list_api_group_resources(&version)).await {
        Ok(list) => list.resources,
        // For an unknown group the API server answers in plain text, without a reason.
        Err(error) if error.code() == Some(404) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let definitions = custom_resource_definitions().into_iter();
    Ok(definitions
        .map(|definition| definition.spec.names.plural)
        .filter(|plural| served.iter().all(|resource| resource.name != *plural))
        .map(|plural| format!("{plural}.{GROUP} in version {VERSION}"))
        .collect())
}

/// Returns every verb that is not allowed, in the table's order.
async fn missing_verbs(
    client: &Client,
    namespace: &str,
    needed: impl Iterator<Item = Permission>,
) -> Result<Vec<MissingVerb>, PermissionsError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let needed =
        needed.flat_map(|permission| permission.verbs.iter().map(move |verb| (permission, *verb)));
    let answers: Vec<Option<MissingVerb>> = stream::iter(needed)
        .map(|(permission, verb)| {
            let namespace = match permission.scope {
                Scope::Cluster => None,
                Scope::OwnNamespace => Some(namespace.to_owned()),
            };
            check_verb(&reviews, permission, verb, namespace)
        })
        .buffered(CONCURRENT_REVIEWS)
        .try_collect()
        .await?;
    Ok(answers.into_iter().flatten().collect())
}

/// Asks for one verb; `None`: it is allowed.
async fn check_verb(
    reviews: &Api<SelfSubjectAccessReview>,
    permission: Permission,
    verb: &'static str,
    namespace: Option<String>,
) -> Result<Option<MissingVerb>, PermissionsError> {
    let parameters = PostParams::default();
    let review = review(permission, verb, namespace.as_deref());
    let review = answer(reviews.create(&parameters, &review)).await?;
    let status = review.status.unwrap_or_default();
    if status.allowed {
        return Ok(None);
    }
    Ok(Some(MissingVerb {
        verb,
        permission,
        namespace,
        reason: status.reason.filter(|reason| !reason.is_empty()),
    }))
}

fn review(permission: Permission, verb: &str, namespace: Option<&str>) -> SelfSubjectAccessReview {
    let (resource, subresource) = match permission.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource)),
        None => (permission.resource, None),
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(permission.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.map(str::to_owned),
                verb: Some(verb.to_owned()),
                // `None` means all namespaces.
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::table::{KEEP, READ};
    use super::*;
    use crate::api::generated_policy;
    use crate::objects::infos;
    use crate::runtime::apply::GeneratedKind;

    #[test]
    fn the_page_lists_every_permission() {
        let page = include_str!("../../../docs/operations.md");
        let (_, section) = page.split_once("\n## Permissions\n").unwrap_or_default();
        let (section, _) = section.split_once("\n##").unwrap_or_default();
        let listed: Vec<&str> = section
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| API group"))
            .collect();
        let always = PERMISSIONS.into_iter().map(|permission| (permission, ""));
        let labels = LABEL_PERMISSIONS.into_iter();
        let labels = labels.map(|permission| (permission, " (with `serviceAccountLabel.create`)"));
        let permissions = always.chain(labels).map(|(permission, when)| {
            let group = match permission.group {
                "" => "core".to_owned(),
                group => format!("`{group}`"),
            };
            let scope = match permission.scope {
                Scope::Cluster => when,
                Scope::OwnNamespace => " (own namespace)",
            };
            let (resource, verbs, why) = (
                permission.resource,
                permission.verbs.join(", "),
                permission.why,
            );
            format!("| {group} | `{resource}`{scope} | {verbs} | {why} |")
        });
        assert_eq!(listed, permissions.collect::<Vec<_>>());
    }

    fn plural(kind: &str) -> String {
        let name = kind.to_lowercase();
        match name.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{name}s"),
        }
    }

    /// Returns the permission for a resource of this kind in all namespaces.
    fn everywhere(kind: &str) -> Permission {
        let plural = plural(kind);
        let found = PERMISSIONS
            .into_iter()
            .find(|permission| permission.resource == plural && permission.scope == Scope::Cluster);
        found.unwrap_or_else(|| panic!("no permission for {plural}"))
    }

    /// The admission policy guards the labels of every kind that the operator generates.
    #[test]
    fn every_generated_kind_is_guarded_by_admission() {
        let guard = generated_policy().spec.unwrap_or_default();
        let rules = guard.match_constraints.unwrap_or_default().resource_rules;
        let mut guarded: Vec<String> = rules
            .into_iter()
            .flatten()
            .flat_map(|rule| rule.resources.unwrap_or_default())
            .filter(|resource| !resource.contains('/'))
            .collect();
        let mut generated: Vec<String> = GeneratedKind::ALL
            .iter()
            .map(|kind| plural(kind.name()))
            .collect();
        generated.sort();
        guarded.sort();
        assert_eq!(generated, guarded);
    }

    #[test]
    fn every_watched_or_written_kind_has_its_permissions() {
        let watched = infos().map(|info| info.kind.name());
        for kind in watched.chain(GeneratedKind::ALL.iter().copied().map(GeneratedKind::name)) {
            let permission = everywhere(kind);
            assert!(
                READ.iter().all(|verb| permission.verbs.contains(verb)),
                "{kind}"
            );
        }
        for kind in GeneratedKind::ALL.iter().copied().map(GeneratedKind::name) {
            let verbs = everywhere(kind).verbs.iter();
            // Of these kinds the operator deletes NetworkPolicies alone.
            let verbs = verbs.filter(|verb| kind != "NetworkPolicy" || **verb != "delete");
            assert!(verbs.eq(KEEP), "{kind}");
        }
    }

    #[test]
    fn get_is_needed_in_the_own_namespace_only() {
        for permission in PERMISSIONS
            .iter()
            .filter(|permission| permission.verbs.contains(&"get"))
        {
            assert_eq!(permission.scope, Scope::OwnNamespace, "{permission:?}");
        }
    }

    #[test]
    fn missing_kinds_and_verbs_are_listed_with_their_remedy() {
        let error = PermissionsError::Missing {
            kinds: vec!["virtualnetworks.vaultwall.dev in version v1alpha1".into()],
            verbs: vec![
                MissingVerb {
                    verb: "watch",
                    permission: PERMISSIONS[7],
                    namespace: None,
                    reason: None,
                },
                MissingVerb {
                    verb: "update",
                    permission: PERMISSIONS[19],
                    namespace: Some("vaultwall".into()),
                    reason: Some("no".into()),
                },
            ],
        };
        let expected = "the API server does not serve virtualnetworks.vaultwall.dev in version v1alpha1; \
             install the CRDs with their chart: helm upgrade --install vaultwall-crds charts/vaultwall-crds \
             --namespace vaultwall-system --create-namespace; or without Helm: vaultwall crds | kubectl apply \
             --server-side -f -\n\
             the operator does not have all permissions; bind a ClusterRole to it that allows (docs/operations.md \
             has the table):\n  \
             watch pods, in all namespaces (addresses, labels and service accounts of clients)\n  \
             update leases of the API group coordination.k8s.io, in the namespace vaultwall (the election of a \
             leader): no";
        assert_eq!(error.to_string(), expected);
    }
}
