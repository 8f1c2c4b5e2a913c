//! Tokens for the test of identities: good ones, unlisted ones, and those that no key verifies.

use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::Issuer;
use testkit::issuer::with_payload;
use vaultwall::policy::token::{
    self, Claims, PodIdentity, TokenIdentity, TokenProof, TokenRules, audience, subject,
};
use vaultwall::policy::{ExistingAccount, ObjectName, VaultId};

const CLUSTER: &str = "https://kubernetes.default.svc";
const PARTNER: &str = "https://partner.example/oidc";
/// Address of the account's pod.
pub const POD: Ipv4Addr = Ipv4Addr::new(127, 0, 60, 1);
/// Address of another pod of the account.
const SIBLING: Ipv4Addr = Ipv4Addr::new(127, 0, 60, 2);
/// Address of a pod of another account.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 60, 3);
/// Address of no pod.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(127, 0, 60, 4);
/// Envoy's names of failed checks.
const SIGNATURE: &str = "Jwt verification fails";
const NO_KEY: &str = "Jwks doesn't have key to match kid or alg from Jwt";

/// The issuers, and rules that list an identity of each.
pub struct Scene {
    /// Issuer of the cluster's service accounts.
    pub cluster: Issuer,
    /// Issuer of a federated identity.
    pub partner: Issuer,
    /// Rules with one identity of the cluster, and with two of the partner.
    pub rules: TokenRules,
    /// Time of the start, in seconds since 1970.
    now: i64,
}

impl Scene {
    /// Makes the issuers' keys.
    pub fn new() -> Self {
        let cluster = Issuer::new(CLUSTER, "cluster-1");
        let partner = Issuer::new(PARTNER, "partner-1");
        let pods = [
            (POD, "sync", "pod-1"),
            (SIBLING, "sync", "pod-2"),
            (STRANGER, "other", "pod-3"),
        ];
        let identity = |issuer: &str, subject: &str, audience: &str| TokenIdentity {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            audience: audience.to_owned(),
            account_uid: None,
        };
        let of_account = |name: &str, uid: Option<&str>| {
            let uid = uid.map(str::to_owned);
            let existing = ExistingAccount { uid };
            token::of_account(&account(name), &existing, CLUSTER, &vault())
        };
        let rules = TokenRules {
            issuers: [&cluster, &partner]
                .map(|issuer| (issuer.url.clone(), issuer.jwks().into()))
                .into(),
            identities: [
                of_account("sync", Some("account-\"1\"")),
                of_account("from-a-file", None),
                identity(PARTNER, "repo:\"team\"/app\\main", "vault"),
                identity(PARTNER, "repo:\"team\"/app\\main", "vault-2"),
            ]
            .into(),
            pods: pods
                .map(|(address, name, uid)| {
                    let uid = uid.to_owned();
                    (
                        address,
                        PodIdentity {
                            account: account(name),
                            uid,
                        },
                    )
                })
                .into(),
            cluster_issuer: Some(CLUSTER.to_owned()),
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        Self {
            cluster,
            partner,
            rules,
            now: i64::try_from(now).unwrap(),
        }
    }

    /// All cases.
    pub fn cases(&self) -> Vec<Case> {
        [good(self), unlisted(self), unverified(self)].concat()
    }

    /// Claims of a good token of the service account, with changes. A change to null removes a claim.
    pub fn account_claims(&self, changes: &Value) -> Value {
        let claims = json!({
            "iss": CLUSTER,
            "sub": subject(&account("sync")),
            "aud": [audience(&vault())],
            "iat": self.now - 60,
            "nbf": self.now - 60,
            "exp": self.now + 3600,
            "kubernetes.io": of_kubernetes(&json!({"pod": {"name": "sync-1", "uid": "pod-1"}})),
        });
        changed(claims, changes)
    }

    /// Claims of a good token of the partner, with changes.
    pub fn partner_claims(&self, changes: &Value) -> Value {
        let claims = json!({
            "iss": PARTNER,
            "sub": "repo:\"team\"/app\\main",
            "aud": "vault",
            "iat": self.now - 60,
            "exp": self.now + 3600,
        });
        changed(claims, changes)
    }
}

/// The vault.
pub fn vault() -> VaultId {
    "vault/openbao".parse().unwrap()
}

/// A service account.
pub fn account(name: &str) -> ObjectName {
    format!("tools/{name}").parse().unwrap()
}

/// The claim of Kubernetes in a token of the service account, with changes.
fn of_kubernetes(changes: &Value) -> Value {
    let account = json!({"name": "sync", "uid": "account-\"1\""});
    let claim = json!({"namespace": "tools", "serviceaccount": account});
    changed(claim, changes)
}

/// Claims with other values. A change to null removes a claim.
pub fn changed(mut claims: Value, changes: &Value) -> Value {
    let object = claims.as_object_mut().unwrap();
    for (claim, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.remove(claim);
        } else {
            object.insert(claim.clone(), value.clone());
        }
    }
    claims
}

/// A request with one token.
#[derive(Clone)]
pub struct Case {
    /// Name of the case, unique.
    pub name: &'static str,
    /// The token.
    pub token: String,
    /// Address of the sender.
    pub peer: Ipv4Addr,
    /// Result of the verification of the token.
    pub proof: TokenProof,
    /// Whether it must prove an identity alone, and together with the pod.
    pub proves: (bool, bool),
}

fn verified(claims: &Value) -> TokenProof {
    TokenProof::Verified(Claims::of(claims.as_object().unwrap()))
}

fn invalid(check: &str) -> TokenProof {
    TokenProof::Invalid(check.to_owned())
}

/// Tokens that prove an identity.
fn good(scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut account = |name, peer, changes: Value, pod| {
        let claims = scene.account_claims(&changes);
        let token = scene.cluster.token(&claims);
        cases.push(Case {
            name,
            token,
            peer,
            proof: verified(&claims),
            proves: (true, pod),
        });
    };
    let kubernetes = |changes| json!({"kubernetes.io": of_kubernetes(&changes)});
    let unbound = || kubernetes(json!({}));
    account("from its pod", POD, json!({}), true);
    account("from another pod of the account", SIBLING, json!({}), false);
    account("from a pod of another account", STRANGER, json!({}), false);
    account("from no pod", OUTSIDE, json!({}), false);
    account("not bound to a pod, from one", SIBLING, unbound(), true);
    account(
        "not bound to a pod, from another account",
        STRANGER,
        unbound(),
        false,
    );
    account(
        "pod uid is a number",
        POD,
        kubernetes(json!({"pod": {"uid": 1}})),
        false,
    );
    account(
        "account without a known id",
        POD,
        json!({"sub": subject(&self::account("from-a-file")), "kubernetes.io": null}),
        false,
    );
    let several = json!({"aud": ["https://kubernetes.default.svc", "x", audience(&vault())]});
    account("several audiences", POD, several, true);
    account(
        "one day",
        POD,
        json!({"exp": scene.now - 60 + 86_400}),
        true,
    );
    account("just expired", POD, json!({"exp": scene.now - 30}), true);
    account(
        "times as floating-point numbers",
        POD,
        json!({"exp": to_float(scene.now + 60)}),
        true,
    );
    for (name, audiences) in [
        ("federated", json!("vault")),
        (
            "federated, second audience",
            json!(["other", "vault-2", "vault"]),
        ),
    ] {
        let claims = scene.partner_claims(&json!({"aud": audiences}));
        let token = scene.partner.token(&claims);
        let proof = verified(&claims);
        cases.push(Case {
            name,
            token,
            peer: OUTSIDE,
            proof,
            proves: (true, false),
        });
    }
    cases
}

#[expect(clippy::cast_precision_loss, reason = "a time is far below 2^53")]
fn to_float(time: i64) -> f64 {
    time as f64
}

/// Tokens whose claims were verified and prove nothing.
fn unlisted(scene: &Scene) -> Vec<Case> {
    let (now, day) = (scene.now, 86_400);
    let kubernetes = |changes| json!({"kubernetes.io": of_kubernetes(&changes)});
    let of_account = [
        (
            "another audience",
            json!({"aud": ["vaultwall:vault/other"]}),
        ),
        ("audience of the API server", json!({"aud": [CLUSTER]})),
        ("audience of another identity", json!({"aud": ["vault"]})),
        ("no audience", json!({"aud": null})),
        ("empty list of audiences", json!({"aud": []})),
        (
            "another account",
            json!({"sub": subject(&account("other"))}),
        ),
        (
            "subject of another issuer",
            json!({"sub": "repo:\"team\"/app\\main"}),
        ),
        ("no subject", json!({"sub": null})),
        (
            "subject with a tab",
            json!({"sub": format!("{}\t{}", subject(&account("sync")), audience(&vault()))}),
        ),
        (
            "too long-lived",
            json!({"exp": now + 3600, "iat": now + 3600 - day - 1}),
        ),
        ("a century", json!({"exp": now + 36_500 * day})),
        (
            "60 KB of claims",
            json!({"more": "x".repeat(60_000), "sub": "y"}),
        ),
        ("no iat", json!({"iat": null})),
        (
            "without claims of Kubernetes",
            json!({"kubernetes.io": null}),
        ),
        (
            "former account of the name",
            kubernetes(json!({"serviceaccount": {"name": "sync", "uid": "account-0"}})),
        ),
        (
            "no id of the account",
            kubernetes(json!({"serviceaccount": {"name": "sync"}})),
        ),
        (
            "id of the account is true",
            kubernetes(json!({"serviceaccount": {"uid": true}})),
        ),
        (
            "account is a text",
            kubernetes(json!({"serviceaccount": "account-\"1\""})),
        ),
        ("iat after exp", json!({"iat": now + 7200})),
        ("iat with a fraction", json!({"iat": to_float(now) + 0.5})),
    ];
    let of_account = of_account.into_iter().map(|(name, changes)| {
        let claims = scene.account_claims(&changes);
        (name, scene.cluster.token(&claims), claims)
    });
    let of_partner = [
        (
            "account's subject by the partner",
            json!({"sub": subject(&account("sync"))}),
        ),
        (
            "account's claims by the partner",
            changed(scene.account_claims(&json!({})), &json!({"iss": PARTNER})),
        ),
    ];
    let of_partner = of_partner.into_iter().map(|(name, changes)| {
        let claims = scene.partner_claims(&changes);
        (name, scene.partner.token(&claims), claims)
    });
    let case = |(name, token, claims): (_, _, Value)| Case {
        name,
        token,
        peer: POD,
        proof: verified(&claims),
        proves: (false, false),
    };
    of_account.chain(of_partner).map(case).collect()
}

/// Tokens that no key of their issuer verifies, or at another time.
fn unverified(scene: &Scene) -> Vec<Case> {
    let claims = scene.account_claims(&json!({}));
    let cluster = |changes: Value| scene.cluster.token(&scene.account_claims(&changes));
    let rotated = Issuer::new(CLUSTER, "cluster-0").token(&claims);
    let same_id = Issuer::new(CLUSTER, "cluster-1").token(&claims);
    let good = scene.cluster.token(&claims);
    let tampered = with_payload(&good, &scene.account_claims(&json!({"sub": "admin"})));
    let unknown = "it is no readable token of an issuer whose keys are in use";
    let cases = [
        (
            "expired",
            cluster(json!({"exp": scene.now - 120})),
            "Jwt is expired",
        ),
        (
            "not yet valid",
            cluster(json!({"nbf": scene.now + 120})),
            "Jwt not yet valid",
        ),
        ("no exp", cluster(json!({"exp": null})), SIGNATURE),
        ("exp is a text", cluster(json!({"exp": "never"})), unknown),
        ("unsigned", scene.cluster.unsigned_token(&claims), unknown),
        (
            "symmetric",
            scene.cluster.symmetric_token(&claims),
            SIGNATURE,
        ),
        ("tampered", tampered, SIGNATURE),
        ("key rotated", rotated, NO_KEY),
        ("another key of the same id", same_id, SIGNATURE),
        (
            "signed by another issuer",
            scene.partner.token(&claims),
            NO_KEY,
        ),
        (
            "unknown issuer",
            Issuer::new("https://evil.example", "cluster-1").token(&json!({})),
            unknown,
        ),
        ("empty", String::new(), unknown),
        ("no token", "hvs.abc".to_owned(), unknown),
        ("60 KB", format!("{good}{}", "A".repeat(60_000)), SIGNATURE),
        ("60 KB of dots", ".".repeat(60_000), unknown),
    ];
    let case = |(name, token, check)| Case {
        name,
        token,
        peer: POD,
        proof: invalid(check),
        proves: (false, false),
    };
    cases.into_iter().map(case).collect()
}
