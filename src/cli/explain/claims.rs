//! Claims of a token that is taken as verified, from a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::index::{Index, ServiceAccountFact};
use crate::policy::token::{Claims, TokenProof};
use crate::policy::{Accounts as _, ClusterIssuer, ClusterKeys, IssuerKeys};

/// Issuer of this cluster's service accounts, if the claims name none.
const CLUSTER_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Lifetime of a token whose claims have no times, in seconds.
const LIFETIME: i64 = 3600;

/// A file that has no claims.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimsError {
    #[error("--claims {0}: {1}")]
    Read(PathBuf, std::io::Error),
    #[error(
        "--claims {0}: {1}; write a JSON object with the claims of a token, such as {{\"iss\": \"https://…\", \
         \"sub\": \"…\", \"aud\": [\"…\"]}}"
    )]
    Json(PathBuf, serde_json::Error),
    #[error("--claims {0}: the claim `{1}` is missing, or is not a text")]
    Missing(PathBuf, &'static str),
}

/// Reads the claims. A token whose claims have no times has valid ones.
pub(super) fn read(path: &Path) -> Result<Claims, ClaimsError> {
    let text =
        fs::read_to_string(path).map_err(|error| ClaimsError::Read(path.to_owned(), error))?;
    let payload: Map<String, Value> =
        serde_json::from_str(&text).map_err(|error| ClaimsError::Json(path.to_owned(), error))?;
    let mut claims = Claims::of(&payload);
    for (name, text) in [("iss", &claims.iss), ("sub", &claims.sub)] {
        if text.is_empty() {
            return Err(ClaimsError::Missing(path.to_owned(), name));
        }
    }
    if !payload.contains_key("iat") && !payload.contains_key("exp") {
        claims.iat = Some(0);
        claims.exp = Some(LIFETIME);
    }
    Ok(claims)
}

/// Facts of a cluster, as far as they are known.
pub(in crate::cli) struct Known {
    /// Issuer of its service accounts.
    pub(in crate::cli) issuer: Option<String>,
    /// Whether the index has all of its service accounts.
    pub(in crate::cli) accounts: bool,
}

/// Assumptions about the service account that claims are about.
#[derive(Default)]
pub(in crate::cli) struct Assumed {
    /// That its issuer is the cluster's.
    pub(super) issuer: bool,
    /// That it exists.
    pub(super) account: bool,
}

/// The token of the request.
pub(super) struct Token {
    pub(super) proof: TokenProof,
    pub(super) assumed: Assumed,
}

/// Makes the index one in which the keys of every issuer are known, because the claims are taken as verified. What is
/// not known of the cluster is assumed as the claims have it: its issuer, and that the account exists.
pub(in crate::cli) fn assume(
    index: &mut Index,
    claims: Option<&mut Claims>,
    known: Known,
) -> Assumed {
    let mut assumed = Assumed::default();
    let mut issuer = known.issuer;
    if let Some(claims) = claims
        && let Some(account) = claims.account()
    {
        if issuer.is_none() && !index.issuers().contains(&claims.iss) {
            issuer = Some(claims.iss.clone());
            assumed.issuer = true;
        }
        if issuer.as_ref() == Some(&claims.iss) {
            assumed.account = !known.accounts && index.existing(&account).is_none();
            if assumed.account {
                index.apply(ServiceAccountFact {
                    namespace: account.namespace.clone(),
                    name: account.name.clone(),
                    uid: claims.account_uid.clone(),
                });
            }
            // Claims without an id are about the account that exists.
            let existing = index.existing(&account);
            let uid = existing.and_then(|existing| existing.uid.clone());
            claims.account_uid = claims.account_uid.take().or(uid);
        }
    }
    let issuer = issuer.unwrap_or_else(|| CLUSTER_ISSUER.to_owned());
    let keys: Arc<str> = "{}".into();
    let urls = index.key_urls().into_iter();
    index.set_keys(IssuerKeys {
        urls: urls.map(|url| (url, Arc::clone(&keys))).collect(),
        cluster: ClusterIssuer::Known(ClusterKeys { issuer, jwks: keys }),
        failed: BTreeMap::new(),
    });
    assumed
}
