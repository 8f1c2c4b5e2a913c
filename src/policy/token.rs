//! Identity by token: which signed tokens in `X-Vaultwall-Token` prove an identity, and of whom.
//!
//! Envoy verifies signature and times. [`TokenRules::identify`] binds issuer, subject, audience, lifetime and pod;
//! `compile::envoy::token` gives Envoy the same rules
//! ([decision 38](../../docs/decisions/0038-identity-by-token.md)).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

use super::accounts::ExistingAccount;
use super::identity::{ObjectName, VaultId};
use crate::limits::MAX_TOKEN_LIFETIME;

/// Beginning of the subject of a service account's token, before its namespace and name.
pub(crate) const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Audience that a service account's token needs for a vault's firewall.
///
/// Each vault has its own, so that a token that was sent to one firewall is of no use at another's.
pub fn audience(vault: &VaultId) -> String {
    format!("vaultwall:{vault}")
}

/// Subject of a service account's token.
pub fn subject(account: &ObjectName) -> String {
    format!("{SERVICE_ACCOUNT}{}:{}", account.namespace, account.name)
}

/// The identity that the token of an existing service account proves to a vault's firewall.
pub fn of_account(
    account: &ObjectName,
    existing: &ExistingAccount,
    issuer: &str,
    vault: &VaultId,
) -> TokenIdentity {
    TokenIdentity {
        issuer: issuer.to_owned(),
        subject: subject(account),
        audience: audience(vault),
        account_uid: existing.uid.clone(),
    }
}

/// Tokens that prove an identity to one vault's firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRules {
    /// Issuers whose keys are known, with these keys: JSON Web Key Sets that [`super::key_set`] checked.
    pub issuers: BTreeMap<String, Arc<str>>,
    /// Listed identities.
    pub identities: BTreeSet<TokenIdentity>,
    /// Pods of the listed service accounts, by address. Only for `proof: PodAndToken`.
    pub pods: BTreeMap<Ipv4Addr, PodIdentity>,
    /// Issuer of this cluster's service accounts.
    pub cluster_issuer: Option<String>,
}

/// An identity that a token proves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenIdentity {
    /// Issuer of the token (claim `iss`).
    pub issuer: String,
    /// Subject of the token (claim `sub`).
    pub subject: String,
    /// Audience, one of the token's (claim `aud`).
    pub audience: String,
    /// Unique id of the service account, which the token must name. `None`: of a federated identity, or not known.
    pub account_uid: Option<String>,
}

impl fmt::Display for TokenIdentity {
    /// Writes issuer, subject and audience with tabs between them, which no listed identity contains.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}", self.issuer, self.subject, self.audience)
    }
}

impl TokenIdentity {
    /// Reads a text that [`fmt::Display`] wrote. It does not have the id of the account.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('\t').map(str::to_owned);
        Some(Self {
            issuer: parts.next()?,
            subject: parts.next()?,
            audience: parts.next()?,
            account_uid: None,
        })
    }

    /// Claims of a valid token of the identity, which is bound to no pod.
    pub fn claims(&self) -> Claims {
        const LIFETIME: i64 = 3600;
        Claims {
            iss: self.issuer.clone(),
            sub: self.subject.clone(),
            aud: vec![self.audience.clone()],
            iat: Some(0),
            exp: Some(LIFETIME),
            account_uid: self.account_uid.clone(),
            pod_uid: None,
        }
    }
}

/// The pod that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    /// Service account of the pod.
    pub account: ObjectName,
    /// Unique id of the pod, which no later pod has.
    pub uid: String,
}

/// Claims of a token whose signature and times were verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// Subject.
    pub sub: String,
    /// Audiences, in the order of the token.
    pub aud: Vec<String>,
    /// Time of issue, in seconds since 1970.
    pub iat: Option<i64>,
    /// End of validity, in seconds since 1970.
    pub exp: Option<i64>,
    /// Unique id of the service account, in a token of one.
    pub account_uid: Option<String>,
    /// Unique id of the pod, in a token of a service account that is bound to one.
    pub pod_uid: Option<String>,
}

impl Claims {
    /// Reads the claims of a token's payload. A claim of another type than expected proves nothing.
    pub fn of(payload: &Map<String, Value>) -> Self {
        let text = |name: &str| payload.get(name).and_then(Value::as_str).map(str::to_owned);
        let time = |name: &str| payload.get(name).and_then(whole_number);
        let audiences = match payload.get("aud") {
            Some(Value::String(audience)) => vec![audience.clone()],
            Some(Value::Array(list)) => list
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        let kubernetes = payload.get("kubernetes.io");
        let uid_of = |object| kubernetes.and_then(|claim| claim.get(object)?.get("uid"));
        let pod_uid = uid_of("pod").filter(|uid| !uid.is_null());
        Self {
            iss: text("iss").unwrap_or_default(),
            sub: text("sub").unwrap_or_default(),
            aud: audiences,
            iat: time("iat"),
            exp: time("exp"),
            account_uid: uid_of("serviceaccount")
                .and_then(Value::as_str)
                .map(str::to_owned),
            // No pod has an empty one, so one of another type fits no pod.
            pod_uid: pod_uid.map(|uid| uid.as_str().unwrap_or_default().to_owned()),
        }
    }

    /// The service account that the subject names, of the cluster of the issuer.
    pub fn account(&self) -> Option<ObjectName> {
        let account = self.sub.strip_prefix(SERVICE_ACCOUNT)?;
        let (namespace, name) = account.split_once(':')?;
        Some(ObjectName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// A whole number, also in the form `1.5e9`. Other numbers are no times.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is whole and below 2^53"
)]
fn whole_number(value: &Value) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = value.as_f64()?;
    (float.fract() == 0.0 && float.abs() < EXACT).then_some(float as i64)
}

/// The token of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenProof {
    /// It has none.
    #[default]
    None,
    /// Its signature and times were verified with the keys of its issuer.
    Verified(Claims),
    /// It failed this check of its signature or times.
    Invalid(String),
}

/// Check that a token failed. Its text is for the access log; the caller does not receive it.
#[derive(Error, Clone, Debug, PartialEq, Eq)]
pub enum TokenProblem {
    /// Signature or times.
    #[error("{0}")]
    Invalid(String),
    /// It is no token, its payload cannot be read, or the keys of its issuer are not in use. Envoy does not tell these
    /// apart.
    #[error("it is no readable token of an issuer whose keys are in use")]
    Issuer,
    /// The issuer has no listed identity with this subject.
    #[error("no listed identity has its subject")]
    Subject,
    /// The listed identity has none of the token's audiences.
    #[error("no listed identity with its subject has one of its audiences")]
    Audience,
    /// It is not of the service account that has the name now.
    #[error("it is not a token of the service account that has this name now")]
    Account,
    /// Its lifetime is missing or too long.
    #[error(
        "the time from its claim iat to its claim exp is not between 1 and {MAX_TOKEN_LIFETIME} seconds"
    )]
    Lifetime,
    /// The identity is proven, but the request comes from another pod than the token's.
    #[error(
        "the request does not come from the pod of the token, or from a pod of its service account"
    )]
    Pod,
}

/// Result of [`TokenRules::identify`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identified {
    /// The identity that the token proves.
    pub token: Option<TokenIdentity>,
    /// The service account that both the token and the pod behind the direct address prove.
    pub pod_and_token: Option<ObjectName>,
    /// The check that the token failed.
    pub problem: Option<TokenProblem>,
}

impl TokenRules {
    /// Finds the identity that a token proves. `peer` is the direct peer of the connection.
    pub fn identify(&self, peer: IpAddr, proof: &TokenProof) -> Identified {
        let identity = match proof {
            TokenProof::None => return Identified::default(),
            TokenProof::Invalid(check) => Err(TokenProblem::Invalid(check.clone())),
            TokenProof::Verified(claims) => self.identity(claims).map(|found| (found, claims)),
        };
        match identity {
            Err(problem) => Identified {
                problem: Some(problem),
                ..Identified::default()
            },
            Ok((found, claims)) => {
                let account = self.account(peer, claims);
                let other_pod = account.is_none() && !self.pods.is_empty();
                Identified {
                    token: Some(found.clone()),
                    problem: other_pod.then_some(TokenProblem::Pod),
                    pod_and_token: account,
                }
            }
        }
    }

    fn identity(&self, claims: &Claims) -> Result<&TokenIdentity, TokenProblem> {
        if !self.issuers.contains_key(&claims.iss) {
            return Err(TokenProblem::Issuer);
        }
        let of_subject: Vec<&TokenIdentity> = self
            .identities
            .iter()
            .filter(|identity| identity.issuer == claims.iss && identity.subject == claims.sub)
            .collect();
        if of_subject.is_empty() {
            return Err(TokenProblem::Subject);
        }
        let mut audiences = claims.aud.iter();
        let found = audiences.find_map(|audience| {
            let mut identities = of_subject.iter();
            identities.find(|identity| identity.audience == *audience)
        });
        let found = found.ok_or(TokenProblem::Audience)?;
        let uid = found.account_uid.as_ref();
        if uid.is_some_and(|uid| claims.account_uid.as_ref() != Some(uid)) {
            return Err(TokenProblem::Account);
        }
        let lifetime = claims.exp.zip(claims.iat);
        let lifetime = lifetime.and_then(|(exp, iat)| exp.checked_sub(iat));
        if lifetime.is_some_and(|seconds| (1..=MAX_TOKEN_LIFETIME).contains(&seconds)) {
            Ok(found)
        } else {
            Err(TokenProblem::Lifetime)
        }
    }

    /// The service account of a token, if the peer is a pod that runs under it, and the one to which the token is
    /// bound.
    fn account(&self, peer: IpAddr, claims: &Claims) -> Option<ObjectName> {
        let IpAddr::V4(address) = peer else {
            return None;
        };
        let pod = self.pods.get(&address)?;
        let is_account = self.cluster_issuer.as_ref() == Some(&claims.iss)
            && subject(&pod.account) == claims.sub;
        let is_pod = claims.pod_uid.as_ref().is_none_or(|uid| *uid == pod.uid);
        (is_account && is_pod).then(|| pod.account.clone())
    }
}
