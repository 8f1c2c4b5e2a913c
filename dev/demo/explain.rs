//! Asks `vaultwall explain` about a request of the table.

use std::fmt;

use serde::Deserialize;

use crate::Fallible;
use crate::requests::Case;
use crate::stage::Stage;

/// Fields of its output that the demo compares.
#[derive(Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    pub verdict: String,
    pub reason: String,
    pub rule: Option<String>,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verdict, self.reason)?;
        self.rule.iter().try_for_each(|rule| write!(f, " {rule}"))
    }
}

pub async fn explain(stage: &Stage, case: &Case) -> Fallible<Explained> {
    let mut command = stage.explain();
    command
        .args(["-o", "json", "--vault", "vault/openbao"])
        .args(["--listener", case.endpoint.name()])
        .args(["--method", case.method])
        .args(["--path", &format!("/v1/{}", case.path)]);
    match case.caller.pod {
        Some(pod) => command.args(["--pod", pod]),
        None => command.args(["--source-ip", &case.caller.address.to_string()]),
    };
    if let Some(forwarded) = case.caller.forwarded_for {
        // The address that the trusted proxy itself added; what stands before it is its client's claim.
        let client = forwarded.rsplit(',').next().unwrap_or(forwarded);
        command.args(["--client-ip", client]);
    }
    if let Some(namespace) = case.namespace {
        command.args(["--namespace", namespace]);
    }
    let said = command.output().await?;
    let answer: Explained = serde_json::from_slice(&said.stdout).map_err(|error| {
        format!(
            "vaultwall explain: {error}\n{}{}",
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr)
        )
    })?;
    let code = i32::from(answer.verdict != "Allow");
    if said.status.code() != Some(code) {
        return Err(format!(
            "vaultwall explain says {answer} and ends with {}",
            said.status
        )
        .into());
    }
    Ok(answer)
}
