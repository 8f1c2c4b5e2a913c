//! The health check for Argo CD in `docs/gitops.md`, run by the Lua interpreter that Argo CD uses.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::docs::page::root;
use testkit::tools::tool;

/// The health check of the page.
fn check() -> String {
    let page = fs::read_to_string(root().join("docs/gitops.md")).unwrap();
    let (_, block) = page.split_once("```yaml file=argocd-cm.yaml\n").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    let object: Value = serde_saphyr::from_str(block).unwrap();
    let customizations = object["data"]["resource.customizations"].as_str().unwrap();
    let customizations: Value = serde_saphyr::from_str(customizations).unwrap();
    let check = &customizations["vaultwall.dev/*"]["health.lua"];
    check.as_str().unwrap().to_owned()
}

/// A value in Lua's notation, which has JSON's strings.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(lua).collect();
            format!("{{{}}}", items.join(", "))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("[{key:?}] = {}", lua(value));
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Status and message that the check returns for an object.
fn health(check: &str, object: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("health.lua");
    let text = format!(
        "obj = {}\nlocal health = (function()\n{check}\nend)()\nprint(health.status .. \": \" .. health.message)\n",
        lua(object)
    );
    fs::write(&script, text).unwrap();
    let output = Command::new(tool("glua")).arg(&script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_health_of_a_policy_is_that_of_its_condition_ready() {
    let check = check();
    let policy = |status: Value| json!({"metadata": {"generation": 3}, "status": status});
    let conditions = |status: &str, reason: &str, generation: u64| {
        policy(json!({"conditions": [
            {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "a", "observedGeneration": 3},
            {"type": "Ready", "status": status, "reason": reason, "message": "m", "observedGeneration": generation},
        ]}))
    };
    let waiting = "Progressing: waiting for the operator";
    for (object, wanted) in [
        (json!({"metadata": {"generation": 1}}), waiting),
        (policy(json!({})), waiting),
        (policy(json!({"conditions": []})), waiting),
        (conditions("True", "Ready", 3), "Healthy: m"),
        (conditions("True", "Ready", 2), waiting),
        (conditions("False", "NotOptedIn", 3), "Degraded: m"),
        (conditions("False", "NotOptedIn", 2), waiting),
        (conditions("False", "NoEndpoints", 3), "Progressing: m"),
        (conditions("Unknown", "NoProxies", 3), "Progressing: m"),
    ] {
        assert_eq!(health(&check, &object), wanted, "{object}");
    }
}
