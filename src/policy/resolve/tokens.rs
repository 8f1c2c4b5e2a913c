//! Tokens that prove the identities of one vault, and the keys of their issuers.
//!
//! An issuer has one source of keys. If identities name several, none of them is used: it is not known which one is
//! meant, and keys of one service must not verify tokens of another's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, DiagnosticReason};
use super::found::Found;
use super::grants::{federated, referenced_identities, too_many};
use super::inputs::Inputs;
use super::proxies::ListedProxies;
use crate::api::Proof;
use crate::limits::MAX_TRUSTED_PODS;
use crate::policy::grants::{Grants, Identity};
use crate::policy::token::{self, PodIdentity, TokenRules};
use crate::policy::trusted_service::KeySource;
use crate::policy::validated::ValidatedPolicy;

/// Resolves the tokens that prove the identities of `grants`; `None` if no policy accepts a token.
pub(super) fn rules<M>(
    policies: &[&ValidatedPolicy],
    grants: &Grants,
    inputs: &Inputs<'_, M>,
    proxies: &ListedProxies<'_>,
    found: &mut Found,
) -> Option<TokenRules> {
    let mut sources: BTreeMap<&str, BTreeSet<&KeySource>> = BTreeMap::new();
    let mut doubtful = BTreeSet::new();
    let mut accepts_tokens = false;
    for policy in policies {
        let identities = referenced_identities(policy, inputs.trusted_services);
        for credential in federated(identities) {
            let keys = sources.entry(&credential.issuer).or_default();
            keys.insert(&credential.keys);
            let cluster = &inputs.keys.cluster;
            if cluster.name().is_none() && cluster.can_be(&credential.issuer, &credential.subject) {
                doubtful.insert(credential.issuer.as_str());
            }
        }
        let has_identities =
            policy.bypass.is_some() || !policy.operators.is_empty() || !policy.deployers.is_empty();
        accepts_tokens |= has_identities && policy.proof != Proof::Pod;
    }
    if sources.is_empty() && !accepts_tokens {
        return None;
    }
    let cluster = inputs.keys.cluster.keys();
    let mut rules = TokenRules {
        cluster_issuer: inputs.keys.cluster.name().map(str::to_owned),
        ..TokenRules::default()
    };
    let oldest = policies.first().map(|policy| policy.name.as_str());
    let doubtful = doubtful.into_iter();
    found
        .warnings
        .extend(doubtful.filter_map(|issuer| Some(Problem::ClusterUnknown.about(oldest?, issuer))));
    for (issuer, sources) in sources {
        match keys_of(issuer, &sources, inputs) {
            Ok(keys) => {
                rules.issuers.insert(issuer.to_owned(), keys);
            }
            Err(problem) => found
                .warnings
                .extend(oldest.map(|name| problem.about(name, issuer))),
        }
    }
    if accepts_tokens {
        if let Some(keys) = cluster {
            let jwks = Arc::clone(&keys.jwks);
            rules.issuers.insert(keys.issuer.clone(), jwks);
        } else {
            let problem = Problem::Unknown;
            let warning = oldest.map(|name| problem.about(name, "this cluster"));
            found.warnings.extend(warning);
        }
    }
    for identity in grants.holders() {
        match (identity, cluster) {
            (Identity::Token(identity), _) => {
                rules.identities.insert(identity.clone());
            }
            (Identity::PodAndToken(account), Some(keys)) => {
                let existing = inputs.accounts.existing(account).into_iter();
                rules.identities.extend(existing.map(|existing| {
                    token::of_account(account, existing, &keys.issuer, inputs.vault)
                }));
                for pod in inputs.accounts.pods_of(account) {
                    if let Some(uid) = pod.uid
                        && !proxies.contains(pod.address)
                    {
                        let account = account.clone();
                        rules.pods.insert(pod.address, PodIdentity { account, uid });
                    }
                }
            }
            (Identity::Pod(_) | Identity::PodAndToken(_), _) => {}
        }
    }
    if rules.pods.len() > MAX_TRUSTED_PODS {
        rules.pods.clear();
        let warning = policies.first().map(|policy| too_many(policy));
        found.warnings.extend(warning);
    }
    Some(rules)
}

/// Reason why no token of an issuer counts.
#[derive(Clone, Copy)]
enum Problem {
    /// Its keys were never fetched, or not confirmed for too long.
    Unknown,
    /// Identities name several sources of its keys.
    SeveralSources,
    /// It is the issuer of this cluster's own tokens.
    Cluster,
    /// It may be that issuer.
    ClusterUnknown,
}

fn keys_of<M>(
    issuer: &str,
    sources: &BTreeSet<&KeySource>,
    inputs: &Inputs<'_, M>,
) -> Result<Arc<str>, Problem> {
    if inputs.keys.cluster.name() == Some(issuer) {
        return Err(Problem::Cluster);
    }
    match sources.iter().collect::<Vec<_>>()[..] {
        [KeySource::Inline(keys)] => Ok(Arc::clone(keys)),
        [KeySource::Url(url)] => inputs.keys.urls.get(url).cloned().ok_or(Problem::Unknown),
        _ => Err(Problem::SeveralSources),
    }
}

impl Problem {
    fn about(self, policy: &str, issuer: &str) -> Diagnostic {
        let (reason, message) = match self {
            Self::Unknown => (
                DiagnosticReason::KeysUnknown,
                format!(
                    "the public keys of the token issuer {issuer} are not known, or were not confirmed for too long, \
                     so its tokens prove nothing; the status of the trusted service and the operator's log have the \
                     cause. The operator fetches them again"
                ),
            ),
            Self::SeveralSources => (
                DiagnosticReason::KeysDiffer,
                format!(
                    "identities name several sources of the public keys of issuer {issuer}, so its tokens prove \
                     nothing; give all federated credentials of the issuer the same jwks or jwksUri"
                ),
            ),
            Self::Cluster => (
                DiagnosticReason::KeysDiffer,
                format!(
                    "a federated credential names {issuer}, the issuer of this cluster's own service accounts, so it \
                     proves nothing; name the service account in serviceAccount instead"
                ),
            ),
            Self::ClusterUnknown => (
                DiagnosticReason::KeysUnknown,
                format!(
                    "the issuer of this cluster's own service accounts is not known, and could be {issuer}, so a \
                     federated credential for a service account of {issuer} proves nothing; the operator's log has the \
                     cause. The operator fetches it again"
                ),
            ),
        };
        Diagnostic {
            policy: policy.to_owned(),
            reason,
            field: "spec.trustedServices".to_owned(),
            message,
            detail: String::new(),
        }
    }
}
