//! `make cluster-demo`: installs the charts on a cluster of kind, protects an `OpenBao` with TLS, and shows which pods
//! can reach it, through the firewall and past it. `dev/with-cluster` makes the cluster and removes it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the fixtures are written for tests; a failure ends the demo with the message of kubectl or helm"
)]

use std::io;
use std::process::ExitCode;

use serde_json::json;
use testkit::cluster::client::{Answer, Clients, OPTED_IN};
use testkit::cluster::vault::{SECRET_PATH, Vault};
use testkit::cluster::{kubectl, operator};
use testkit::report::Report;

/// Clients: the pod's namespace, and its description in the table.
const SHOP: (&str, &str) = ("demo-shop", "opted in, and in a rule");
const SIBLING: (&str, &str) = ("demo-sibling", "opted in, and in no rule");
const OUTSIDE: (&str, &str) = ("demo-outside", "in a rule, but not opted in");

/// Expected result of a pod's request.
#[derive(Clone, Copy)]
enum Expected {
    /// This status code, and this text in the body.
    Status(u16, &'static str),
    /// No answer, because its packets are dropped.
    Dropped,
}

impl Expected {
    fn matches(self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Status(status, text), Answer::Answered(found, body)) => {
                status == *found && body.contains(text)
            }
            (Self::Dropped, Answer::Unreachable(error)) => error.contains("no answer in"),
            _ => false,
        }
    }
}

fn main() -> ExitCode {
    let mut report = Report::new();
    match demo(&mut report) {
        Ok(()) if report.failed() == 0 => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cluster-demo: {error}");
            ExitCode::from(2)
        }
    }
}

fn demo(report: &mut Report) -> io::Result<()> {
    report.heading(
        "Charts: the CRDs, and the operator in a namespace with Pod Security `restricted`",
    )?;
    operator::Release::current().install();
    report.quote(&kubectl(&[
        "get",
        "pods",
        "--namespace",
        operator::NAMESPACE,
    ]))?;

    report
        .heading("A vault: OpenBao from its own chart, with TLS, in the namespace `demo-vault`")?;
    let vault = Vault::start("demo-vault");
    let pods = [SHOP, SIBLING, OUTSIDE].map(|(name, description)| {
        let labels = if name == OUTSIDE.0 { "" } else { OPTED_IN };
        let clients = Clients::new(name, labels, &vault);
        clients.start("client", "shop");
        (clients, description)
    });
    let direct = vault.url("openbao", 8200, SECRET_PATH);
    let open = pods[2]
        .0
        .eventually_gets("client", &vault.token, &direct, Some(200));
    report.check(
        Expected::Status(200, "").matches(&open),
        "without a policy every pod of the cluster reads the secret",
    )?;

    report.heading(
        "A policy: its rules select pods of two namespaces, and one of them has opted in",
    )?;
    let rule = |namespace| {
        json!({"pods": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "podSelector": {"matchLabels": {"app": "shop"}},
        }})
    };
    vault.protect(&json!({"virtualNetworkRules": [rule(SHOP.0), rule(OUTSIDE.0)]}));
    report.quote(&kubectl(&["get", "vnp", "--namespace", "demo-vault"]))?;
    report.line("Its status reports the other namespace:")?;
    report.quote(&kubectl(&[
        "get",
        "vnp/openbao",
        "--namespace=demo-vault",
        "--output=jsonpath={.status.conditions[?(@.type=='ResolvedRefs')].message}",
    ]))?;

    report.heading("Requests: every pod has a valid token")?;
    let management = vault.url("openbao-firewall", 8300, "/v1/sys/mounts");
    let urls = [
        (
            "the firewall's Service",
            vault.url("openbao-firewall", 8200, SECRET_PATH),
        ),
        ("the vault's own Service", direct),
        (
            "the vault's pod",
            format!("https://{}:8200{SECRET_PATH}", vault.address_of(0)),
        ),
        ("the list of mounts, on the management endpoint", management),
    ];
    for (clients, description) in &pods {
        report.line(&format!(
            "a pod in {}: {description}",
            clients.namespace.name
        ))?;
        for (index, (place, url)) in urls.iter().enumerate() {
            let expected = match (index, clients.namespace.name == SHOP.0) {
                (0, true) => Expected::Status(200, testkit::cluster::vault::SECRET_VALUE),
                (0, false) => Expected::Status(403, "ForbiddenByFirewall"),
                (3, _) => Expected::Status(200, ""),
                _ => Expected::Dropped,
            };
            let answer = clients.request("client", &vault.token, url);
            let found = match &answer {
                Answer::Answered(200, _) => report.verdict("passes: 200"),
                Answer::Answered(status, _) => report.verdict(&format!("denied: {status}")),
                Answer::Unreachable(_) => report.verdict("dropped: no packet comes back"),
            };
            report.check(expected.matches(&answer), &format!("  {place:<48} {found}"))?;
        }
    }
    let denied = pods[1].0.request("client", &vault.token, &urls[0].1);
    if let Answer::Answered(_, body) = denied {
        report.line("The answer to a denied client:")?;
        report.quote(&body)?;
    }

    stays_protected(report, &pods, &vault.token, &urls[0].1)?;
    report.line("")?;
    report.close()
}

/// Uninstalls the operator; the proxies keep their last configuration.
fn stays_protected(
    report: &mut Report,
    pods: &[(Clients, &str); 3],
    token: &str,
    url: &str,
) -> io::Result<()> {
    report.heading("The operator is uninstalled: the vault stays protected")?;
    operator::uninstall();
    let [first, second, _] = pods;
    let still = [
        (
            first,
            Expected::Status(200, testkit::cluster::vault::SECRET_VALUE),
            "the pod in the rule gets in",
        ),
        (second, Expected::Status(403, ""), "the other pod does not"),
    ];
    for ((clients, _), expected, text) in still {
        let answer = clients.request("client", token, url);
        report.check(expected.matches(&answer), text)?;
    }
    Ok(())
}
