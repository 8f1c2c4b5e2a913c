//! Operators and deployers on the management endpoint, proven as trusted services are.

use serde_json::{Value, json};

use super::asked::Asked;
use super::stage::Stage;

/// The field `management` of the policy: one operator and one deployer.
pub(super) fn listed(stage: &Stage) -> Value {
    let account = |name| json!([{"serviceAccount": {"namespace": stage.apps(), "name": name}}]);
    json!({"operators": account("agent"), "deployers": account("resource")})
}

/// Sends their requests. The operator may use a critical operation and the deployer may write a secret; each other
/// caller may not, and the deployer reads nothing.
pub(super) fn ask(stage: &Stage, asked: &mut Asked) {
    let url = |path| stage.vault.url("openbao-firewall", 8300, path);
    let (critical, secret) = (
        url("/v1/sys/rotate/root/init"),
        url("/v1/secret/data/deployed"),
    );
    let (agent, other, deployer) = (
        stage.app("agent"),
        stage.app("other"),
        stage.app("resource"),
    );
    let token = stage.log_in(&deployer, "reader");
    let write = [
        "--token",
        &token,
        "--method",
        "POST",
        "--body",
        r#"{"data": {"word": "new"}}"#,
        &secret,
    ];
    let read = ["--token", &token, &secret];
    // The root token permits it in the vault.
    let critical = ["--token", &stage.vault.token, &critical];
    asked.send(
        &agent,
        "operator: critical operation",
        &critical,
        "200 Operator",
    );
    asked.send(
        &other,
        "no operator: critical operation",
        &critical,
        "403 ForbiddenCritical",
    );
    asked.send(
        &deployer,
        "deployer: critical operation",
        &critical,
        "403 ForbiddenCritical",
    );
    asked.send(&deployer, "deployer: write", &write, "200 Deployer");
    asked.send(&deployer, "deployer: read", &read, "403 ForbiddenByPlane");
    asked.send(&other, "no deployer: write", &write, "403 ForbiddenByPlane");
}
