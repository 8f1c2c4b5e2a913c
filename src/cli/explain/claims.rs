//! Claims of a token that is taken as verified, from a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::index::{Index, ServiceAccountFact};
use crate::policy::token::Claims;
use crate::policy::{Accounts as _, ClusterIssuer, ClusterKeys, IssuerKeys, ObjectName};

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

/// Makes the index one in which the keys of every issuer are known, because the claims are taken as verified. The
/// account that they name exists then, and its issuer is the cluster's.
pub(super) fn assume(index: &mut Index, claims: Option<&mut Claims>) {
    let mut issuer = CLUSTER_ISSUER.to_owned();
    if let Some(claims) = claims
        && !index.issuers().contains(&claims.iss)
        && let Some(account) = claims.account()
    {
        if index.existing(&account).is_none() {
            let ObjectName { namespace, name } = account.clone();
            let uid = claims.account_uid.clone();
            index.apply(ServiceAccountFact {
                namespace,
                name,
                uid,
            });
        }
        // Claims without an id are about the account that exists.
        let existing = index.existing(&account);
        let uid = existing.and_then(|existing| existing.uid.clone());
        claims.account_uid = claims.account_uid.take().or(uid);
        issuer.clone_from(&claims.iss);
    }
    let keys: Arc<str> = "{}".into();
    let urls = index.key_urls().into_iter();
    index.set_keys(IssuerKeys {
        urls: urls.map(|url| (url, Arc::clone(&keys))).collect(),
        cluster: ClusterIssuer::Known(ClusterKeys { issuer, jwks: keys }),
        failed: BTreeMap::new(),
    });
}
