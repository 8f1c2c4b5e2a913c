//! Federated identities whose keys `vaultwall serve` fetches: rotated, not served any more, and served again.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use testkit::client::Verdict;
use testkit::key_server::Behaviour;
use testkit::wait::wait_until;
use testkit::{Issuer, KeyServer, OpenBao};

use crate::standalone::objects::{DENIED, policy};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::{IN_FORCE, Serve};

const ISSUER: &str = "https://partner.example";
const SUBJECT: &str = "repo:shop/app";

/// A token that is good for ten minutes.
fn token(issuer: &Issuer) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    issuer.token(&json!({"sub": SUBJECT, "aud": ["vault"], "iat": now, "exp": now + 600}))
}

/// The trusted service, with keys at this URL.
fn service(url: &str) -> String {
    format!(
        "---\napiVersion: vaultwall.dev/v1alpha1\nkind: TrustedService\nmetadata: {{name: shop}}\nspec:\n  scenarios: \
         [{{name: read, operations: [secrets/get]}}]\n  identities:\n  - federatedCredential: {{issuer: \"{ISSUER}\", \
         subject: \"{SUBJECT}\", audiences: [vault], jwksUri: \"{url}\"}}\n"
    )
}

/// A protected vault whose firewall fetches keys every second, and forgets them after three.
struct Scene {
    sandbox: Sandbox,
    _vault: OpenBao,
    serve: Serve,
}

impl Scene {
    fn start(keys: &KeyServer) -> Self {
        let sandbox = Sandbox::new();
        let vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
        let authority = sandbox.at("authority.pem");
        fs::write(&authority, &keys.authority).unwrap();
        sandbox.put(
            "main.yaml",
            &policy("main", &[], "  bypass: TrustedServices\n"),
        );
        sandbox.put("service.yaml", &service(&keys.url()));
        let options = [
            ("--issuer-ca-file", authority.as_os_str()),
            ("--keys-poll-interval", "1s".as_ref()),
            ("--keys-expire-after", "3s".as_ref()),
        ];
        let serve = Serve::run(&mut Serve::command_with(&sandbox, &options));
        serve.wait_for_line(0, IN_FORCE);
        Self {
            sandbox,
            _vault: vault,
            serve,
        }
    }

    /// Waits until a request with this token has the verdict.
    fn becomes(&self, token: &str, expected: &Verdict) {
        wait_until(&format!("{expected:?}"), || {
            let mut client = self.sandbox.client(DENIED);
            let header = format!("X-Vaultwall-Token: {token}\r\n");
            client.headers.push_str(&header);
            client.verdict() == *expected
        });
    }
}

#[test]
fn a_federated_identity_follows_the_keys_of_its_issuer() {
    let (first, second) = (Issuer::new(ISSUER, "first"), Issuer::new(ISSUER, "second"));
    let keys = KeyServer::start(Behaviour::Document(first.jwks()));
    let scene = Scene::start(&keys);
    assert_eq!(scene.sandbox.verdict(DENIED), Verdict::Denied);
    scene.becomes(&token(&first), &Verdict::Allowed);
    scene.becomes(&token(&second), &Verdict::Denied);
    keys.set(Behaviour::Document(second.jwks()));
    scene.becomes(&token(&second), &Verdict::Allowed);
    scene.becomes(&token(&first), &Verdict::Denied);
    let from = scene.serve.lines();
    keys.set(Behaviour::Status(503));
    scene.becomes(&token(&second), &Verdict::Denied);
    scene.serve.wait_for_line_with(
        from,
        &["cannot be fetched", "503", "1 earlier keys stay in use"],
    );
    scene
        .serve
        .wait_for_line(from, "were not confirmed for 3 s");
    keys.set(Behaviour::Document(second.jwks()));
    scene.becomes(&token(&second), &Verdict::Allowed);
}
