//! `vaultwall trusted check` with a real `OpenBao`: roles and policies that are right, wrong, and unreadable; TLS; a
//! namespace of the vault. `tests/cluster_cli` has the same with objects of a cluster.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testkit::client::TOKEN;
use testkit::{Client, OpenBao, own_address};
use vaultwall::policy::vault_access::glob;

use crate::program::Run;

const KUBERNETES: &str = "auth/team/k8s";
/// Port of the vault with TLS.
const TLS: u16 = 8210;
/// No further arguments.
const NOTHING: &[&str] = &[];

struct Scene {
    home: tempfile::TempDir,
    server: OpenBao,
    vault: Client,
}

impl Scene {
    /// A vault without auth methods, which also listens with TLS.
    fn without_methods() -> Self {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let address = SocketAddrV4::new(own_address(), 8200);
        let made = rcgen::generate_simple_self_signed([address.ip().to_string()]).unwrap();
        let listener = format!(
            "listener \"tcp\" {{\n  address = \"{}:{TLS}\"\n  tls_cert_file = \"{}\"\n  tls_key_file = \"{}\"\n}}\n",
            address.ip(),
            at("vault.crt").display(),
            at("vault.key").display(),
        );
        for (name, text) in [
            ("vault.crt", made.cert.pem()),
            ("vault.key", made.signing_key.serialize_pem()),
            ("vault.hcl", listener),
            ("token", format!("{TOKEN}\n")),
        ] {
            std::fs::write(at(name), text).unwrap();
        }
        let configuration = format!("-config={}", at("vault.hcl").display());
        Self {
            server: OpenBao::start_with(address, home.path(), &[&configuration]),
            vault: Client::new(Ipv4Addr::LOCALHOST, address),
            home,
        }
    }

    /// A vault in which both identities of the file have a role that fits.
    fn start() -> Self {
        let mut scene = Self::without_methods();
        scene.enable();
        scene
    }

    /// Creates the auth methods and the roles.
    fn enable(&mut self) {
        let scene = self;
        scene.write("sys/auth/team/k8s", &json!({"type": "kubernetes"}));
        scene.write("sys/auth/jwt", &json!({"type": "jwt"}));
        scene.policy(r#"path "secret/data/app" { capabilities = ["read"] }"#);
        scene.role("agent", &account("agent", "backup", "vault"));
        let key = rcgen::KeyPair::generate().unwrap().public_key_pem();
        let config =
            json!({"bound_issuer": "https://tokens.example.com", "jwt_validation_pubkeys": [key]});
        scene.write("auth/jwt/config", &config);
        let role = json!({
            "role_type": "jwt", "user_claim": "sub", "bound_subject": "repo:shop/app", "bound_audiences": ["vault"],
            "token_policies": ["app"],
        });
        scene.write("auth/jwt/role/deployment", &role);
    }

    fn write(&mut self, path: &str, body: &Value) {
        let answer = self
            .vault
            .send("POST", &format!("/v1/{path}"), &body.to_string());
        let answer = answer.unwrap();
        assert!(matches!(answer.status, 200 | 204), "{path}: {answer}");
    }

    fn policy(&mut self, text: &str) {
        self.write("sys/policies/acl/app", &json!({"policy": text}));
    }

    fn role(&mut self, name: &str, role: &Value) {
        self.write(&format!("{KUBERNETES}/role/{name}"), role);
    }

    /// Exit code, and reason and object of each finding.
    fn findings(&self) -> (Option<i32>, Vec<(String, String)>) {
        self.findings_with(&[])
    }

    /// The same with further arguments.
    fn findings_with(&self, more: &[&str]) -> (Option<i32>, Vec<(String, String)>) {
        let vault = format!("http://{}", self.server.address());
        let run = check(&vault, &self.home.path().join("token"), more);
        let found = run.json();
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
        let found = found.as_array().unwrap().iter();
        let found = found.map(|finding| (text(finding, "reason"), text(finding, "object")));
        (run.code, found.collect())
    }
}

fn check(address: &str, token: &Path, more: &[impl AsRef<OsStr>]) -> Run {
    let run = Run::of(
        Command::new(testkit::vaultwall())
            .args(["trusted", "check", "-o", "json", "--vault", "vault/openbao"])
            .args([
                "-f",
                "tests/trusted_check/objects.yaml",
                "--vault-addr",
                address,
            ])
            .arg("--token-file")
            .arg(token)
            .args(more)
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    );
    assert!(!format!("{run:?}").contains(TOKEN), "a token was printed");
    run
}

fn account(name: &str, namespace: &str, audience: &str) -> Value {
    json!({
        "bound_service_account_names": name, "bound_service_account_namespaces": namespace, "audience": audience,
        "token_policies": "app",
    })
}

fn of(found: &[(&str, &str)]) -> Vec<(String, String)> {
    let found = found.iter();
    found
        .map(|(reason, object)| ((*reason).to_owned(), (*object).to_owned()))
        .collect()
}

#[test]
fn roles_and_policies_are_compared_with_the_trusted_services() {
    let mut scene = Scene::start();
    assert_eq!(scene.findings(), (Some(0), vec![]));

    scene.policy(r#"path "secret/*" { capabilities = ["read", "delete"] }"#);
    scene.role("agent", &account("a*", "backup", ""));
    scene.role("other", &account("other", "shop", "vault"));
    let role = "auth/team/k8s/role/agent";
    let expected = of(&[
        ("NoAudience", role),
        ("PolicyWider", "policy app"),
        ("WildcardBinding", role),
        ("NotMapped", "auth/team/k8s/role/other"),
    ]);
    let (code, mut found) = scene.findings();
    found.dedup();
    assert_eq!((code, found), (Some(1), expected));

    scene.policy(r#"{"path": {"secret/metadata/*": {"capabilities": ["list"]}}}"#);
    scene.role("agent", &account("another", "backup", "vault"));
    let (code, found) = scene.findings();
    assert_eq!(code, Some(1));
    for expected in of(&[
        ("NoRole", "service account backup/agent"),
        (
            "PolicyNarrower",
            "subject repo:shop/app of https://tokens.example.com",
        ),
        ("NotMapped", role),
    ]) {
        assert!(found.contains(&expected), "{expected:?}: {found:?}");
    }
}

/// Only people can log in with it, so it changes no exit code.
#[test]
fn a_role_for_browsers_is_listed_as_not_compared() {
    let mut scene = Scene::start();
    let role = json!({
        "role_type": "oidc", "user_claim": "sub", "token_policies": ["people"],
        "allowed_redirect_uris": "https://vault.example.com/ui/vault/auth/jwt/oidc/callback",
    });
    scene.write("auth/jwt/role/people", &role);
    let expected = of(&[("NotChecked", "auth/jwt/role/people")]);
    assert_eq!(scene.findings(), (Some(0), expected));
}

#[test]
fn auth_methods_and_policies_of_a_namespace_are_read() {
    let mut scene = Scene::without_methods();
    scene.write("sys/namespaces/team-a", &json!({}));
    scene
        .vault
        .headers
        .push_str("X-Vault-Namespace: team-a\r\n");
    scene.enable();
    let namespace = ["--vault-namespace", "team-a"];
    assert_eq!(scene.findings_with(&namespace), (Some(0), vec![]));
    // The root of the vault has no roles.
    let subjects = [
        "service account backup/agent",
        "subject repo:shop/app of https://tokens.example.com",
    ];
    let expected = of(&subjects.map(|subject| ("NoRole", subject)));
    assert_eq!(scene.findings(), (Some(1), expected));
    // The paths of a policy are below its namespace.
    scene.policy(r#"path "secret/data/*" { capabilities = ["read", "delete"] }"#);
    let (code, mut found) = scene.findings_with(&namespace);
    found.dedup();
    assert_eq!(
        (code, found),
        (Some(1), of(&[("PolicyWider", "policy app")]))
    );
    let (code, _) = scene.findings();
    assert_eq!(code, Some(1));
}

#[test]
fn a_vault_with_tls_is_read_if_its_authority_is_known() {
    let scene = Scene::start();
    let vault = format!("https://{}:{TLS}", scene.server.address().ip());
    let at = |name: &str| scene.home.path().join(name);
    let token = at("token");
    let run = check(
        &vault,
        &token,
        &["--ca-file".as_ref(), at("vault.crt").as_os_str()],
    );
    assert_eq!((run.code, run.json()), (Some(0), json!([])), "{run:?}");
    assert!(!run.stderr.contains("without encryption"), "{run:?}");

    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
    std::fs::write(at("other.crt"), other.cert.pem()).unwrap();
    let other = at("other.crt");
    for more in [&[][..], &["--ca-file".as_ref(), other.as_os_str()]] {
        let run = check(&vault, &token, more);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
        assert!(run.stderr.contains("invalid peer certificate"), "{run:?}");
    }
    let run = check(&vault, &token, &["--ca-file".as_ref(), token.as_os_str()]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    assert!(run.stderr.contains(&token.display().to_string()), "{run:?}");
}

#[test]
fn a_vault_that_cannot_be_read_is_no_answer() {
    let scene = Scene::start();
    let vault = format!("http://{}", scene.server.address());
    let wrong = scene.home.path().join("wrong");
    std::fs::write(&wrong, "wrong").unwrap();
    let run = check(&vault, &wrong, NOTHING);
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("give a token with the capability read"),
        "{}",
        run.stderr
    );

    let token = scene.home.path().join("token");
    // No server has this port.
    let run = check(
        &format!("http://{}:1", scene.server.address().ip()),
        &token,
        NOTHING,
    );
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("cannot be reached"), "{}", run.stderr);
    let run = check(&vault, &scene.home.path().join("missing"), NOTHING);
    assert_eq!(run.code, Some(2));
}

/// The vault compares names before it asks the API server, of which there is none.
#[test]
fn globs_match_as_in_the_vault() {
    let mut scene = Scene::start();
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertificateParams::default()
        .self_signed(&key)
        .unwrap();
    let config = json!({
        "kubernetes_host": "http://127.0.0.1:1", "disable_local_ca_jwt": true, "kubernetes_ca_cert": authority.pem(),
    });
    scene.write(&format!("{KUBERNETES}/config"), &config);
    for pattern in [
        "web", "*", "**", "w*", "*b", "w*b", "w**b", "W*", "w?b", "w.b", "*e*", "a*a", "web*",
    ] {
        scene.role("glob", &account(pattern, "*", ""));
        for name in ["web", "wb", "a", "api", "web2"] {
            let body = json!({"role": "glob", "jwt": token_of("shop", name)}).to_string();
            let login = format!("/v1/{KUBERNETES}/login");
            let answer = scene.vault.send("POST", &login, &body).unwrap();
            let refused = answer.body.contains("service account name not authorized");
            assert!(
                refused || answer.body.contains("permission denied"),
                "{answer}"
            );
            assert_eq!(glob(pattern, name), !refused, "{pattern} {name}: {answer}");
        }
    }
}

/// A token of a service account without a signature, which only the API server would check.
fn token_of(namespace: &str, name: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let payload = json!({
        "iss": "kubernetes/serviceaccount", "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "iat": now - 60, "exp": now + 3600, "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": "1",
    });
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let parts = [
        header.to_string(),
        payload.to_string(),
        "signature".to_owned(),
    ];
    parts
        .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part))
        .join(".")
}
