//! The chart's alert rules and its dashboard, by Prometheus' own promtool: `tests/alerts` lets each alert fire and
//! clear.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::tool;

use crate::charts::helm::{OPERATOR, chart, rendered};

fn file(name: &str) -> PathBuf {
    chart(OPERATOR).join("files").join(name)
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn alerts() -> Value {
    yaml(&fs::read_to_string(file("alerts.yaml")).unwrap())
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts/alerts.yaml")
}

fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new(tool("promtool"))
        .args(arguments)
        .arg(file)
        .output()
        .unwrap();
    let printed = [&output.stdout[..], &output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&printed)
    );
}

/// The object of a kind that the chart renders.
fn object(kind: &str, value: &str) -> Value {
    let text = rendered(OPERATOR, &["--set", value]);
    let mut objects = text.split("\n---\n").map(yaml);
    objects.find(|object| object["kind"] == kind).unwrap()
}

#[test]
fn every_alert_fires_and_clears() {
    let alerts = alerts();
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    let names = rules.iter().map(|rule| rule["alert"].as_str().unwrap());
    let tests_of_alerts = yaml(&fs::read_to_string(tests()).unwrap());
    let tested = tests_of_alerts["tests"].as_array().unwrap().iter();
    let tested: BTreeSet<&str> = tested.map(|test| test["name"].as_str().unwrap()).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), tested);
    promtool(&["check", "rules", "--lint-fatal"], &file("alerts.yaml"));
    promtool(&["test", "rules"], &tests());
}

#[test]
fn the_chart_installs_the_alerts() {
    let rule = object("PrometheusRule", "prometheusRule.enabled=true");
    assert_eq!(rule["spec"], alerts());
}

#[test]
fn the_dashboard_asks_for_valid_expressions() {
    let map = object("ConfigMap", "dashboard.enabled=true");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let dashboard = map["data"]["vaultwall.json"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let expressions = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(|target| target["expr"].as_str().unwrap())
    });
    // Grafana replaces its variable; a recording rule for each expression is what promtool can check.
    let rules: Vec<Value> = expressions
        .enumerate()
        .map(|(number, expression)| {
            let expression = expression.replace("$__rate_interval", "5m");
            json!({"record": format!("panel:{number}"), "expr": expression})
        })
        .collect();
    assert!(rules.len() >= panels.len());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("panels.yaml");
    let groups = json!({"groups": [{"name": "panels", "rules": rules}]});
    fs::write(&path, groups.to_string()).unwrap();
    promtool(&["check", "rules"], &path);
}
