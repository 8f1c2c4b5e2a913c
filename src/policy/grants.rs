//! Resolved identities of a firewall, and the grants that they hold: the bypass of trusted services, critical
//! operations, and deployments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::identity::ObjectName;
use super::token::TokenIdentity;
use super::trusted_service::{ValidatedScenario, ValidatedTrustedService};
use crate::vault_api::Operations;

/// Operations of a deployment: the counterpart of the secrets and keys of an ARM template. It writes them and reads
/// none.
pub const DEPLOYMENT: [&str; 5] = [
    "certificates/create",
    "certificates/import",
    "keys/create",
    "keys/import",
    "secrets/set",
];

/// Beginning of the names of services and scenarios in answers and logs.
pub const SERVICE: &str = "TrustedService/";

/// Callers that may do something because of their identity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grants {
    /// Service account of the pod that has an address; only accounts that hold a grant, and only addresses of which
    /// every pod runs under the account.
    pub pods: BTreeMap<Ipv4Addr, Arc<ObjectName>>,
    /// Services that the bypass lets in, sorted by name; `None` without a bypass.
    pub services: Option<Vec<ServiceGrant>>,
    /// Identities that may use critical operations; `None` if the policies list none.
    pub operators: Option<Holders>,
    /// Identities that may write secrets and keys through the management endpoint; `None` if the policies list none.
    pub deployers: Option<Holders>,
}

/// A service that the bypass lets in.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceGrant {
    /// The service and its scenarios.
    pub service: Arc<ValidatedTrustedService>,
    /// Identities of the service.
    pub holders: Holders,
}

/// An identity, and how it is proven.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// A service account, proven by the pod that has the peer's address.
    Pod(Arc<ObjectName>),
    /// A service account or a federated identity, proven by a token.
    Token(TokenIdentity),
    /// A service account, proven by both.
    PodAndToken(ObjectName),
}

/// Identities that hold a grant.
pub type Holders = BTreeSet<Identity>;

/// Relation of a trusted service to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A scenario has the operation. Full name of the scenario, `TrustedService/<name>/<scenario>`.
    Inside(Arc<str>),
    /// No scenario has it. Name of the service, `TrustedService/<name>`.
    Outside(Arc<str>),
}

impl fmt::Display for Identity {
    /// Writes the identity as the filters do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(account) => account.fmt(f),
            Self::Token(identity) => identity.fmt(f),
            Self::PodAndToken(account) => account.fmt(f),
        }
    }
}

impl Identity {
    /// The identity and its proof, for people.
    pub fn described(&self) -> String {
        match self {
            Self::Pod(account) => format!("service account {account} (proven by its pod)"),
            Self::Token(identity) => format!(
                "subject {} of issuer {} (proven by a token)",
                identity.subject, identity.issuer
            ),
            Self::PodAndToken(account) => {
                format!("service account {account} (proven by its pod and a token)")
            }
        }
    }
}

impl Grants {
    /// Service account of the pod that has a peer's address.
    pub fn account_at(&self, peer: IpAddr) -> Option<&Arc<ObjectName>> {
        match peer {
            IpAddr::V4(address) => self.pods.get(&address),
            IpAddr::V6(_) => None,
        }
    }

    /// All holders of a grant.
    pub fn holders(&self) -> impl Iterator<Item = &Identity> {
        let services = self.services().flat_map(|grant| &grant.holders);
        let listed = self.operators.iter().chain(&self.deployers).flatten();
        services.chain(listed)
    }

    /// Services that the bypass lets in.
    pub fn services(&self) -> impl Iterator<Item = &ServiceGrant> + Clone {
        self.services.iter().flatten()
    }

    /// Services of an identity.
    pub fn services_of(&self, identity: &Identity) -> impl Iterator<Item = &ServiceGrant> + Clone {
        let services = self.services();
        services.filter(move |grant| grant.holders.contains(identity))
    }

    /// The kinds of grants, without anybody who holds one.
    #[must_use]
    pub fn shape(&self) -> Self {
        Self {
            pods: BTreeMap::new(),
            services: self.services.as_ref().map(|_| Vec::new()),
            operators: self.operators.as_ref().map(|_| Holders::new()),
            deployers: self.deployers.as_ref().map(|_| Holders::new()),
        }
    }

    /// Whether an identity is a trusted service's, and whether one of its services may do the operations. The first by
    /// name counts.
    pub fn scope(&self, identity: &Identity, operations: &Operations) -> Option<Scope> {
        let mut services = self.services_of(identity);
        let inside = services.clone().find_map(|grant| grant.covers(operations));
        inside.map(Scope::Inside).or_else(|| {
            let service = services.next()?;
            Some(Scope::Outside(service.name()))
        })
    }
}

impl ServiceGrant {
    /// Name of the service in answers and logs.
    pub fn name(&self) -> Arc<str> {
        format!("{SERVICE}{}", self.service.name).into()
    }

    /// Full name of the scenario that has one of the operations. If all of them are needed, and all are in scenarios of
    /// the service, the scenario that has the first.
    fn covers(&self, operations: &Operations) -> Option<Arc<str>> {
        let scenario = |operation: &String| {
            let mut scenarios = self.service.scenarios.iter();
            scenarios.find(|scenario| scenario.operations.contains(operation))
        };
        let mut found = operations.names.iter().map(scenario);
        let first: &ValidatedScenario = if operations.all {
            let all: Option<Vec<_>> = found.collect();
            *all?.first()?
        } else {
            found.find_map(|scenario| scenario)?
        };
        Some(format!("{}/{}", self.name(), first.name).into())
    }
}

/// Whether operations are part of a deployment.
pub fn is_deployment(operations: &Operations) -> bool {
    let is_known = |operation: &String| DEPLOYMENT.contains(&operation.as_str());
    let mut names = operations.names.iter();
    if operations.all {
        !operations.names.is_empty() && names.all(is_known)
    } else {
        names.any(is_known)
    }
}
