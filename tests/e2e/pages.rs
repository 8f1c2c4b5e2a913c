//! Follows the pages for new users in a fresh cluster: all commands of `docs/openbao.md` in their order, from the
//! certificates on, and "A vault's firewall" of `docs/install.md`, which removes the firewall.
//!
//! `OPENBAO_CHART=PATH` names `OpenBao`'s official chart, a folder or a package: then it takes the place of the
//! chart's repository, and its image has the content of the project's own. Without it, objects like those of the chart
//! are applied in place of the two lines of Helm; everything else is the page's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::session::{Block, Transcript, block, blocks, paste};
use crate::shared;
use testkit::cluster::client::{Answer, Clients};
use testkit::cluster::vault::{SECRET_PATH, SECRET_VALUE};
use testkit::cluster::{
    Namespace, apply, eventually, get_object, helm, image_name, kubectl, list_objects, path,
    tag_image,
};

const PAGE: &str = "docs/openbao.md";
/// Lines of the page that need the chart's repository.
const REPOSITORY: &str = "helm repo add openbao https://openbao.github.io/openbao-helm\n";
const RELEASE: &str =
    "helm upgrade --install openbao openbao/openbao --namespace vault -f openbao-values.yaml\n";
/// Image that the page runs clients with.
const CURL: &str = "docker.io/curlimages/curl:8.11.0";

#[test]
fn an_openbao_is_protected_and_the_firewall_is_removed_without_an_outage() {
    let _operator = shared();
    for namespace in ["vault", "shop"] {
        kubectl(&["delete", "namespace", namespace, "--ignore-not-found"]);
    }
    kubectl(&["delete", "pod", "ask", "--ignore-not-found", "--now"]);
    let [_vault, shop] = ["vault", "shop"].map(|name| Namespace {
        name: name.to_owned(),
    });
    tag_image(&image_name("shell"), CURL);

    let folder = tempfile::tempdir().unwrap();
    let printed = follow(folder.path());
    let answers = [
        "permission denied",
        "Vaultwall denied this request to vault/openbao (ForbiddenByFirewall)",
        "timed out",
        "job.batch/report condition met",
        "permission denied",
    ];
    let mut rest = printed.output.as_str();
    for answer in answers {
        let place = rest.find(answer);
        let place = place.unwrap_or_else(|| panic!("no {answer:?} in: {}", printed.shown()));
        rest = &rest[place + answer.len()..];
    }

    let token = &printed.root_token();
    write_secret(token);
    let authority = fs::read_to_string(folder.path().join("ca.crt")).unwrap();
    let shop = Clients::in_namespace(shop, &authority);
    shop.start("client", "any");
    let other = Clients::in_namespace(Namespace::new("e2e-pages", ""), &authority);
    other.start("client", "any");
    let firewall = format!("https://openbao-firewall.vault.svc:8200{SECRET_PATH}");
    let direct = format!("https://openbao.vault.svc:8200{SECRET_PATH}");
    let allowed = shop.eventually_gets("client", token, &firewall, Some(200));
    assert!(
        matches!(&allowed, Answer::Answered(_, body) if body.contains(SECRET_VALUE)),
        "{allowed:?}"
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
    let removal = block(
        "docs/install.md",
        "kubectl delete vnp --all --namespace vault",
    );
    paste(&removal, folder.path());
    eventually("the generated objects are deleted", nothing_is_left);
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

/// Runs the page's commands up to the sections for special cases, and prints the time of each.
fn follow(folder: &Path) -> Transcript {
    let page = blocks(PAGE, Some("## Certificates of cert-manager"));
    let nodes = list_objects("v1/nodes", "", "").len();
    for block in &page {
        if let Some(file) = block.file() {
            let text = if file == "openbao-values.yaml" && nodes < 3 {
                for_few_nodes(&block.text)
            } else {
                block.text.clone()
            };
            fs::write(folder.join(file), text).unwrap();
        }
    }
    let chart = std::env::var("OPENBAO_CHART").ok();
    let commands: Vec<String> = page
        .iter()
        .filter(|block| block.words == "sh")
        .map(|block| commands(block, chart.as_deref(), folder))
        .collect();
    let commands = commands.concat();
    assert_eq!(
        commands.matches("openbao-values.yaml").count(),
        chart.iter().count()
    );
    let transcript = paste(&commands, folder);
    let with = chart.map_or("without the chart".to_owned(), |chart| {
        format!("with {chart}")
    });
    let total: Duration = transcript.times.iter().map(|(_, time)| *time).sum();
    println!(
        "{PAGE}, nodes: {nodes}, {with}: {:.1} s",
        total.as_secs_f64()
    );
    for (command, time) in &transcript.times {
        // Calls of functions take no time of their own.
        if *time >= Duration::from_millis(5) {
            println!("{:7.2} s  {command}", time.as_secs_f64());
        }
    }
    transcript
}

/// The chart's values after the edit that the page asks for on fewer than three nodes: removes the first `#` of a line.
fn for_few_nodes(values: &str) -> String {
    let commented = values.lines().find(|line| line.contains("affinity:"));
    let commented = commented.expect("a line with the affinity");
    let edited = values.replace(commented, &commented.replacen('#', "", 1));
    let parsed: serde_json::Value = serde_saphyr::from_str(&edited).unwrap();
    assert_eq!(parsed["server"]["affinity"], "", "{edited}");
    edited
}

/// The commands of a block, with a local chart, or objects like the chart's, in place of the chart's repository.
fn commands(block: &Block, chart: Option<&str>, folder: &Path) -> String {
    let text = &block.text;
    if text.contains("ask()") {
        // One of the requests must fail.
        return format!("set +e\n{text}set -e\n");
    }
    if !text.contains("helm ") {
        return text.clone();
    }
    assert!(
        text.contains(REPOSITORY) && text.contains(RELEASE),
        "{text}"
    );
    let install = match chart {
        Some(chart) => {
            let values = folder.join("openbao-values.yaml").display().to_string();
            let objects = helm(&["template", "openbao", chart, "--values", &values]);
            for image in objects
                .lines()
                .filter_map(|line| line.trim().strip_prefix("image: "))
            {
                tag_image(&image_name("shell"), image.trim_matches('"'));
            }
            RELEASE.replace("openbao/openbao", chart)
        }
        None => {
            let objects = fs::read_to_string(path("crates/testkit/src/cluster/openbao.yaml"));
            let objects = objects
                .unwrap()
                .replace("NAMESPACE", "vault")
                .replace("OPENBAO_IMAGE", &image_name("openbao"))
                .replace("replicas: 1", "replicas: 3");
            fs::write(folder.join("openbao-objects.yaml"), objects).unwrap();
            "kubectl apply -f openbao-objects.yaml\n".to_owned()
        }
    };
    text.replace(REPOSITORY, "").replace(RELEASE, &install)
}

/// Writes the secret that the clients read.
fn write_secret(token: &str) {
    let word = format!("word={SECRET_VALUE}");
    for command in [
        &["login", "-no-print", token][..],
        &["secrets", "enable", "-path=secret", "-version=2", "kv"],
        &["kv", "put", "-mount=secret", "app", &word],
    ] {
        let exec = ["exec", "--namespace", "vault", "openbao-0", "--", "bao"];
        kubectl(&[&exec[..], command].concat());
    }
}

fn nothing_is_left() -> Result<(), String> {
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
}
