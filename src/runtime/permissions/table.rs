//! The table of the permissions that the operator needs in the cluster. It is data, so that tests compare the
//! `ClusterRole` of the chart and the documentation with it.

use crate::api::{GENERATED_OBJECTS, GROUP, LABEL_VERB, SERVICE_ACCOUNT_LABELS, SET_VERB};

/// Namespaces in which a permission is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All namespaces, and cluster-scoped objects.
    Cluster,
    /// The operator's own namespace.
    OwnNamespace,
}

/// Verbs on one resource that the operator must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource in the plural, with its subresource if it has one (`vaultnetworkpolicies/status`).
    pub resource: &'static str,
    /// Verbs, in alphabetical order.
    pub verbs: &'static [&'static str],
    /// Namespaces in which the verbs must be allowed.
    pub scope: Scope,
    /// Purpose, as the documentation and the chart show it.
    pub why: &'static str,
}

pub(super) const READ: &[&str] = &["list", "watch"];
pub(super) const KEEP: &[&str] = &["create", "list", "patch", "watch"];

const fn own(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Permission {
    Permission {
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
) -> Permission {
    Permission {
        group,
        resource,
        verbs,
        scope: Scope::Cluster,
        why,
    }
}

/// All permissions that the operator needs. Garbage collection deletes generated objects together with the policies
/// that own them; the operator itself deletes only `NetworkPolicies` of earlier pods.
pub const PERMISSIONS: [Permission; 20] = [
    cluster(GROUP, "trustedservices", READ, "the trusted services"),
    cluster(
        GROUP,
        "trustedservices/status",
        &["update"],
        "conditions, counts and identities in their status",
    ),
    cluster(GROUP, "vaultnetworkpolicies", READ, "the policies"),
    cluster(
        GROUP,
        "vaultnetworkpolicies/status",
        &["update"],
        "conditions, counts and addresses in their status",
    ),
    cluster(
        GROUP,
        "virtualnetworks",
        READ,
        "the subnets that rules name",
    ),
    cluster(
        GROUP,
        "virtualnetworks/status",
        &["update"],
        "conditions and counts in their status",
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
        &["create", "delete", "list", "patch", "watch"],
        "the NetworkPolicies of vaults and proxies",
    ),
    cluster(
        "events.k8s.io",
        "events",
        &["create", "patch"],
        "events of the policies",
    ),
    // Not a kind of the API server: the admission policy checks this permission.
    cluster(
        GROUP,
        GENERATED_OBJECTS,
        &[LABEL_VERB],
        "the labels of generated objects, which no other client may set",
    ),
    own(
        "",
        "secrets",
        &["get"],
        "the authority, to check whether it exists",
    ),
    own(
        "coordination.k8s.io",
        "leases",
        &["create", "get", "update"],
        "the election of a leader",
    ),
];

/// Permissions for the label of service accounts on pods, which only an installation with that label needs.
pub const LABEL_PERMISSIONS: [Permission; 2] = [
    cluster(
        "",
        "pods/status",
        &["patch"],
        "the label of service accounts on pods",
    ),
    // Not a kind of the API server: the admission policy checks this permission.
    cluster(
        GROUP,
        SERVICE_ACCOUNT_LABELS,
        &[SET_VERB],
        "this label for accounts with a name that no label can hold",
    ),
];
