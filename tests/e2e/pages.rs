//! Follows the pages for new users with a real vault: `docs/openbao.md` from its policy on, and "A vault's firewall" of
//! `docs/install.md`, which removes the firewall.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shared;
use testkit::cluster::client::{Answer, Clients};
use testkit::cluster::vault::{SECRET_PATH, SECRET_VALUE, Vault};
use testkit::cluster::{Namespace, apply, eventually, get_object, kubectl, path};

/// The code block of a page that contains `text`, without the indentation of the list around it.
fn block(page: &str, text: &str) -> String {
    let page = fs::read_to_string(path(page)).unwrap();
    let mut block: Option<String> = None;
    for line in page.lines() {
        let is_fence = line.trim_start().starts_with("```");
        match &mut block {
            None if is_fence => block = Some(String::new()),
            None => {}
            Some(lines) if !is_fence => {
                *lines += line;
                *lines += "\n";
            }
            Some(lines) if lines.contains(text) => {
                let indentation = lines.len() - lines.trim_start().len();
                let lines = lines
                    .lines()
                    .map(|line| line.get(indentation..).unwrap_or_default());
                return lines.collect::<Vec<_>>().join("\n");
            }
            Some(_) => block = None,
        }
    }
    panic!("no block with {text}");
}

/// Runs commands of a page unchanged.
fn run_commands(commands: &str, folder: &Path) {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(folder)
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{commands}\n{}",
        String::from_utf8_lossy(&printed)
    );
}

#[test]
fn an_openbao_is_protected_and_the_firewall_is_removed_without_an_outage() {
    let vault = Vault::start("vault");
    let other = Clients::new("e2e-pages", "", &vault);
    other.start("client", "any");
    let _operator = shared();
    kubectl(&[
        "delete",
        "namespace",
        "shop",
        "--ignore-not-found",
        "--wait",
    ]);

    let folder = tempfile::tempdir().unwrap();
    let policy = block("docs/openbao.md", "kind: VaultNetworkPolicy");
    fs::write(folder.path().join("openbao.yaml"), policy).unwrap();
    run_commands(
        &block("docs/openbao.md", "kubectl apply -f openbao.yaml"),
        folder.path(),
    );
    let shop = Clients::in_namespace(
        Namespace {
            name: "shop".to_owned(),
        },
        &vault,
    );
    shop.start("client", "any");
    vault.wait_until_enforced();

    let firewall = vault.url("openbao-firewall", 8200, SECRET_PATH);
    let direct = vault.url("openbao", 8200, SECRET_PATH);
    let token = &vault.token;
    let allowed = shop.eventually_gets("client", token, &firewall, Some(200));
    assert!(
        matches!(&allowed, Answer::Answered(_, body) if body.contains(SECRET_VALUE)),
        "{allowed:?}"
    );
    let no_token = shop.request("client", "", &firewall);
    assert!(
        matches!(&no_token, Answer::Answered(403, body) if body.contains("permission denied")),
        "{no_token:?}"
    );
    let denied = other.request("client", token, &firewall);
    assert!(
        matches!(&denied, Answer::Answered(403, body) if body.contains("Vaultwall denied")),
        "{denied:?}"
    );
    for clients in [&shop, &other] {
        assert_eq!(clients.request("client", token, &direct).status(), None);
    }

    // Removal: both ways are open for some time, and the firewall still decides.
    apply(&block("docs/install.md", "openbao-way-around, namespace"));
    shop.eventually_gets("client", token, &direct, Some(200));
    assert_eq!(
        other.request("client", token, &firewall).status(),
        Some(403)
    );
    let load = shop.load("client", token, &direct);
    run_commands(
        &block(
            "docs/install.md",
            "kubectl delete vnp --all --namespace vault",
        ),
        folder.path(),
    );
    eventually("the generated objects are deleted", || {
        let left = [
            "apps/v1/deployments",
            "v1/services",
            "networking.k8s.io/v1/networkpolicies",
            "v1/secrets",
            "v1/configmaps",
            "v1/serviceaccounts",
        ];
        let left: Vec<_> = left
            .into_iter()
            .filter(|resource| get_object(resource, "vault", "openbao-firewall").is_some())
            .chain(
                get_object(
                    "networking.k8s.io/v1/networkpolicies",
                    "vault",
                    "openbao-vault",
                )
                .map(|_| "the vault's NetworkPolicy"),
            )
            .collect();
        left.is_empty()
            .then_some(())
            .ok_or_else(|| format!("{left:?}"))
    });
    let counts = load.end();
    assert_eq!(
        counts.answers.get(&200),
        Some(&counts.requests),
        "{}",
        counts.json
    );
    // The vault is as open as before.
    other.eventually_gets("client", token, &direct, Some(200));
}
