//! Keys of the API server, fetched from the real one, verify its tokens.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Map, Value};
use testkit::ApiServer;
use vaultwall::clock::Clock;
use vaultwall::policy::token::{Claims, audience, subject};
use vaultwall::policy::{ClusterKeys, ObjectName, VaultId};
use vaultwall::runtime::issuer_keys::{Authorities, IssuerKeyFetcher, KeyOptions, KeyStates};
use vaultwall::runtime::operations::Metrics;

async fn fetched(client: Client) -> Arc<KeyStates> {
    let options = KeyOptions::new(Authorities::new(None).unwrap());
    let metrics = Arc::new(Metrics::new().0);
    let mut fetcher = IssuerKeyFetcher::start(&options, Some(client), &Clock::system(), &metrics);
    fetcher.changed().await;
    fetcher.states()
}

/// A token of a service account for this audience.
async fn token(client: &Client, account: &ObjectName, audience: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &account.namespace);
    let object = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(account.name.clone()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    accounts
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            expiration_seconds: Some(600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let parameters = PostParams::default();
    let answer = accounts
        .create_token_request(&account.name, &parameters, &request)
        .await;
    answer.unwrap().status.unwrap().token
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The claims of a token whose signature one of the keys verifies. The test's API server has an EC key.
fn verified(token: &str, keys: &ClusterKeys) -> Option<Map<String, Value>> {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let jwks: Value = serde_json::from_str(&keys.jwks).unwrap();
    let is_signed = jwks["keys"].as_array().unwrap().iter().any(|key| {
        let number = |member: &str| decoded(key[member].as_str().unwrap());
        // The uncompressed form of SEC 1.
        let point = [vec![4], number("x"), number("y")].concat();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key.verify(signed.as_bytes(), &decoded(signature)).is_ok()
    });
    let payload = decoded(signed.split_once('.').unwrap().1);
    is_signed.then(|| serde_json::from_slice(&payload).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_servers_keys_verify_its_tokens() {
    let server = ApiServer::shared();
    let client = server.client().await;
    let keys = fetched(client.clone()).await;
    let cluster = keys.cluster.keys().unwrap_or_else(|| panic!("{keys:?}"));
    assert_eq!(cluster.issuer, server.url());
    let vault: VaultId = "vault/openbao".parse().unwrap();
    let account: ObjectName = "default/token-holder".parse().unwrap();
    let token = token(&client, &account, &audience(&vault)).await;
    let claims = Claims::of(&verified(&token, cluster).unwrap());
    assert_eq!(claims.iss, cluster.issuer);
    assert_eq!(claims.sub, subject(&account));
    assert_eq!(claims.aud, [audience(&vault)]);
    assert_eq!(claims.exp.unwrap() - claims.iat.unwrap(), 600);
    let other = testkit::Issuer::new(&cluster.issuer, "other");
    assert_eq!(
        verified(&other.token(&serde_json::json!({})), cluster),
        None
    );
}

/// Every service account may read the keys: Kubernetes binds `system:service-account-issuer-discovery` to them.
#[tokio::test(flavor = "multi_thread")]
async fn service_accounts_may_read_the_keys_and_others_may_not() {
    let server = ApiServer::shared();
    let account = "system:serviceaccount:vaultwall-system:vaultwall";
    let client = server
        .client_for(account, &["system:serviceaccounts"])
        .await;
    let keys = fetched(client).await;
    assert!(keys.cluster.keys().is_some(), "{keys:?}");
    let keys = fetched(server.client_for("somebody", &[]).await).await;
    let error = keys.cluster_error.clone().unwrap();
    assert!(
        error.contains("403") && error.contains("issuer-discovery"),
        "{error}"
    );
}

/// A restarted API server may have other keys, and then another replica may still have the earlier ones.
#[tokio::test(flavor = "multi_thread")]
async fn keys_stay_while_the_api_server_is_away() {
    let server = ApiServer::start();
    let client = server.client().await;
    let options = KeyOptions {
        poll: Duration::from_millis(50),
        ..KeyOptions::new(Authorities::new(None).unwrap())
    };
    let metrics = Arc::new(Metrics::new().0);
    let mut fetcher = IssuerKeyFetcher::start(&options, Some(client), &Clock::system(), &metrics);
    fetcher.changed().await;
    let keys = fetcher.states();
    assert!(
        keys.cluster.keys().is_some() && keys.cluster_error.is_none(),
        "{keys:?}"
    );
    server.stop();
    fetcher.changed().await;
    let away = fetcher.states();
    assert_eq!(away.cluster, keys.cluster);
    assert!(away.cluster_error.is_some());
    server.restart();
    fetcher.changed().await;
    assert_eq!(fetcher.states(), keys);
}
