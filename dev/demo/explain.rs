//! Runs `vaultwall explain` for a request of the table.

use std::fmt;

use serde::Deserialize;

use crate::fallible::Fallible;
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
        // The last address was added by the trusted proxy itself; earlier ones are the client's claims.
        let client = forwarded.rsplit(',').next().unwrap_or(forwarded);
        command.args(["--client-ip", client]);
    }
    if let Some(namespace) = case.namespace {
        command.args(["--vault-namespace", namespace]);
    }
    let output = command.output().await?;
    let answer: Explained = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!(
            "vaultwall explain: {error}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let code = i32::from(answer.verdict != "Allow");
    if output.status.code() != Some(code) {
        return Err(format!(
            "vaultwall explain prints {answer} and ends with {}",
            output.status
        )
        .into());
    }
    Ok(answer)
}
