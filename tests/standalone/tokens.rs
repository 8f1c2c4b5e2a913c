//! Federated identities whose keys `vaultwall serve` fetches: rotated, not served any more, and served again; and the
//! causes in the access log that `docs/denied.md` lists.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::client::Verdict;
use testkit::key_server::Behaviour;
use testkit::tools::repository;
use testkit::wait::{wait_for, wait_until};
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
            client.headers.push_str(&header(token));
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

/// Header line of a token.
fn header(value: &str) -> String {
    format!("X-Vaultwall-Token: {value}\r\n")
}

/// `tokenProblem` of a denied request with these header lines.
fn problem(sandbox: &Sandbox, path: &str, lines: &str) -> Value {
    let mut client = sandbox.client(DENIED);
    client.headers.push_str(lines);
    let answer = client.send("GET", path, "").unwrap();
    assert!(answer.body.contains("ForbiddenByFirewall"), "{answer}");
    wait_for(&format!("{path} is in the access log"), || {
        let text = fs::read_to_string(sandbox.at("access.log")).unwrap_or_default();
        let mut records = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let record: Value = records.find(|record: &Value| record["requestUri"] == path)?;
        assert_eq!(
            (&record["tokenIdentity"], &record["serviceAccount"]),
            (&Value::Null, &Value::Null)
        );
        Some(record["tokenProblem"].clone())
    })
}

#[test]
fn the_access_log_has_the_cause_why_a_token_proves_nothing() {
    let (issuer, other) = (
        Issuer::new(ISSUER, "first"),
        Issuer::new("https://other.example", "first"),
    );
    let keys = KeyServer::start(Behaviour::Document(issuer.jwks()));
    let scene = Scene::start(&keys);
    scene.becomes(&token(&issuer), &Verdict::Allowed);
    let problem = |name: &str, lines: &str| {
        let path = format!("/v1/secret/data/{name}");
        problem(&scene.sandbox, &path, lines)
    };
    assert_eq!(problem("none", ""), Value::Null);
    let elsewhere = format!("Authorization: Bearer {}\r\n", token(&issuer));
    assert_eq!(problem("elsewhere", &elsewhere), Value::Null);
    // The page has a word of each.
    let page = fs::read_to_string(repository().join("docs/denied.md")).unwrap();
    let mut rows = page.lines();
    let row = rows
        .find(|row| row.starts_with("| `tokenProblem` |"))
        .unwrap();
    for (name, value, word) in [
        ("other-issuer", token(&other), "issuer"),
        ("bearer", format!("Bearer {}", token(&issuer)), "Base64url"),
        ("opaque", "hvs.abc".to_owned(), "two dots"),
    ] {
        let found = problem(name, &header(&value));
        assert!(
            found.as_str().is_some_and(|text| text.contains(word)),
            "{name}: {found}"
        );
        assert!(
            row.contains(&format!("`{word}`")),
            "{word} is not in: {row}"
        );
    }
}

/// Without a proof by token, no token is read.
#[test]
fn a_policy_that_accepts_no_token_finds_no_problem_in_one() {
    let sandbox = Sandbox::new();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    let bypass = "  bypass: TrustedServices\n";
    sandbox.put("main.yaml", &policy("main", &[], bypass));
    let service = json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "TrustedService", "metadata": {"name": "shop"},
        "spec": {
            "scenarios": [{"name": "read", "operations": ["secrets/get"]}],
            "identities": [{"serviceAccount": {"namespace": "shop", "name": "app"}}],
        },
    });
    sandbox.put("service.yaml", &service.to_string());
    let _serve = Serve::start(&sandbox);
    let lines = header(&token(&Issuer::new(ISSUER, "first")));
    assert_eq!(
        problem(&sandbox, "/v1/secret/data/app", &lines),
        Value::Null
    );
}
