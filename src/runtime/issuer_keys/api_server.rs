//! Keys of the cluster's service accounts, from the API server.
//!
//! The requests have no `Accept` header: the API server answers 406 to one that lists JSON only.

use std::time::Duration;

use hyper::Request;
use hyper::body::Bytes;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;

use super::fetched::{FetchError, Fetched};
use super::https::{causes, within_limits};
use crate::policy::key_set;

/// Path of the discovery document (`OpenID` Connect Discovery 1.0), which names the issuer.
const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Path of the key set.
const KEYS: &str = "/openid/v1/jwks";

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

/// Fetches issuer and keys.
pub(super) async fn fetch(client: &Client, timeout: Duration) -> Result<Fetched, FetchError> {
    let issuer = fetch_issuer(client, timeout).await?;
    let keys = key_set::read(&get(client, KEYS, timeout).await?).map_err(FetchError::Content)?;
    Ok(Fetched {
        issuer: Some(issuer),
        keys,
    })
}

/// Fetches the issuer.
pub(crate) async fn fetch_issuer(client: &Client, timeout: Duration) -> Result<String, FetchError> {
    let discovery = get(client, DISCOVERY, timeout).await?;
    let discovery: Discovery = serde_json::from_slice(&discovery)
        .map_err(|error| FetchError::Content(format!("{DISCOVERY} names no issuer: {error}")))?;
    Ok(discovery.issuer)
}

async fn get(client: &Client, path: &str, timeout: Duration) -> Result<Bytes, FetchError> {
    let unreachable =
        |error: &(dyn std::error::Error + 'static)| FetchError::Unreachable(causes(error));
    let request = Request::get(path).body(Body::empty());
    let request = request.map_err(|error| unreachable(&error))?;
    within_limits(timeout, async {
        let response = client.send(request).await;
        response.map_err(|error| unreachable(&error))
    })
    .await
}
