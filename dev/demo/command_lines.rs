//! Fourth act: output of the vault's own command line and of Vaultwall's.

use tokio::process::Command;

use crate::fallible::Fallible;
use crate::requests::Endpoint;
use crate::stage::{Stage, TOKEN};
use testkit::report::Report;

pub async fn show(stage: &Stage, report: &mut Report) -> Fallible<()> {
    report.heading("4. Command lines, from 127.0.0.1, which no rule admits")?;
    let arguments = ["kv", "get", "-mount=secret", "app"];
    let denied = bao(stage, report, Endpoint::Data, &arguments).await?;
    let parts = ["ForbiddenByFirewall", "address 127.0.0.1", "vault/openbao"];
    report.check(
        denied.code != Some(0) && parts.iter().all(|part| denied.text.contains(part)),
        "the secret is denied, and bao prints the reason",
    )?;
    let arguments = ["secrets", "list"];
    let listed = bao(stage, report, Endpoint::Management, &arguments).await?;
    report.check(
        listed.code == Some(0) && listed.text.contains("secret/"),
        "the management endpoint lists the vault's engines",
    )?;
    let explained = explain(stage, report).await?;
    report.check(
        explained.code == Some(1) && explained.text.contains("What to do"),
        "vaultwall explain prints why staging/shop-1 was denied, and what to do about it",
    )?;
    if let Some(cluster) = &stage.cluster {
        let arguments = ["get", "vaultnetworkpolicies", "-n", "vault"];
        let (_, listed) = cluster.must(&arguments, "")?;
        report.line(&format!("  $ kubectl {}", arguments.join(" ")))?;
        report.quote(&listed)?;
        let endpoint = stage.address(Endpoint::Data).to_string();
        report.check(
            listed.contains("1/1") && listed.contains(&endpoint),
            "kubectl shows that the policy is in force in the one proxy, and its address",
        )?;
    }
    Ok(())
}

struct Printed {
    code: Option<i32>,
    text: String,
}

async fn bao(
    stage: &Stage,
    report: &Report,
    endpoint: Endpoint,
    arguments: &[&str],
) -> Fallible<Printed> {
    let address = format!("http://{}", stage.address(endpoint));
    let line = format!("BAO_ADDR={address} bao {}", arguments.join(" "));
    let mut command = Command::new(&stage.programs.bao);
    command
        .args(arguments)
        .env_clear()
        .env("HOME", &stage.home)
        .env("BAO_ADDR", address)
        .env("BAO_TOKEN", TOKEN);
    run(report, &line, command).await
}

async fn explain(stage: &Stage, report: &Report) -> Fallible<Printed> {
    let arguments =
        "--vault vault/openbao --pod web-staging/shop-1 --method GET --path /v1/secret/data/app";
    let files = if stage.cluster.is_some() {
        ""
    } else {
        " -f examples/quickstart"
    };
    let line = format!("vaultwall explain{files} \\\n      {arguments}");
    let mut command = stage.explain();
    command.args(arguments.split(' '));
    run(report, &line, command).await
}

/// Runs a command and shows its output, like a terminal.
async fn run(report: &Report, line: &str, mut command: Command) -> Fallible<Printed> {
    report.line(&format!("  $ {line}"))?;
    let output = command.kill_on_drop(true).output().await?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let text = text.trim_end().to_owned();
    report.quote(&text)?;
    Ok(Printed {
        code: output.status.code(),
        text,
    })
}
