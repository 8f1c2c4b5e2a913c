//! What the pages for newcomers show, done with a real vault: `docs/openbao.md` from its policy on, and the way back, "A vault's
//! firewall" of `docs/install.md`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cluster_fixtures::client::{Answer, Clients};
use crate::cluster_fixtures::vault::{SECRET, Vault, WORD};
use crate::cluster_fixtures::{Namespace, apply, kubectl, object, path, soon};
use crate::shared;

/// The block of a page that holds `text`, without the indentation of a list that it stands in.
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

/// Runs commands of a page as they are.
fn follow(commands: &str, folder: &Path) {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(folder)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{commands}\n{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn an_openbao_is_protected_in_five_minutes_and_given_back_without_an_outage() {
    let _stage = shared();
    let vault = Vault::start("vault");
    let other = Clients::new("e2e-pages", "", &vault);
    other.start("client", "any");
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
    follow(
        &block("docs/openbao.md", "kubectl apply -f openbao.yaml"),
        folder.path(),
    );
    let shop = Clients::within(
        Namespace {
            name: "shop".to_owned(),
        },
        &vault,
    );
    shop.start("client", "any");
    vault.in_force();

    let firewall = vault.url("openbao-firewall", 8200, SECRET);
    let direct = vault.url("openbao", 8200, SECRET);
    let token = &vault.token;
    let allowed = shop.comes_to("client", token, &firewall, Some(200));
    assert!(
        matches!(&allowed, Answer::Answered(_, body) if body.contains(WORD)),
        "{allowed:?}"
    );
    let no_token = shop.ask("client", "", &firewall);
    assert!(
        matches!(&no_token, Answer::Answered(403, body) if body.contains("permission denied")),
        "{no_token:?}"
    );
    let denied = other.ask("client", token, &firewall);
    assert!(
        matches!(&denied, Answer::Answered(403, body) if body.contains("Vaultwall denied")),
        "{denied:?}"
    );
    for clients in [&shop, &other] {
        assert_eq!(clients.ask("client", token, &direct).status(), None);
    }

    // The way back: both ways are open for a while, and the firewall still decides on its own.
    apply(&block("docs/install.md", "openbao-way-around, namespace"));
    shop.comes_to("client", token, &direct, Some(200));
    assert_eq!(other.ask("client", token, &firewall).status(), Some(403));
    let load = shop.load("client", token, &direct);
    follow(
        &block(
            "docs/install.md",
            "kubectl delete vnp --all --namespace vault",
        ),
        folder.path(),
    );
    soon("what was made for the vault is gone", || {
        let left = [
            "deployment",
            "service",
            "networkpolicy",
            "secret",
            "configmap",
            "serviceaccount",
        ];
        let left: Vec<_> = left
            .into_iter()
            .filter(|kind| object(kind, "vault", "openbao-firewall").is_some())
            .chain(object("networkpolicy", "vault", "openbao-vault").map(|_| "the wall"))
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
        counts.said
    );
    // As open as it was before.
    other.comes_to("client", token, &direct, Some(200));
}
