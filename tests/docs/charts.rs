//! Helm commands of the pages fit the charts: values match the schema, charts exist at the named path, and a page that
//! uninstalls removes everything.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Map, Value};

use crate::docs::page::{Kind, Page, root};

/// Whether a text is values: a mapping that is no object of Kubernetes, and for a chart of ours what its schema allows.
pub(crate) fn check_values(text: &str, chart: Option<&str>) -> Result<(), String> {
    let values: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let fields = values.as_object().ok_or("values are a mapping")?;
    if fields.contains_key("apiVersion") {
        return Err("an object of Kubernetes is `yaml` alone".to_owned());
    }
    match chart {
        Some(chart) => refused(chart, &values),
        None => Ok(()),
    }
}

fn refused(chart: &str, values: &Value) -> Result<(), String> {
    let path = root().join("charts").join(chart).join("values.schema.json");
    let schema = fs::read_to_string(&path).map_err(|error| format!("{chart}: {error}"))?;
    let schema = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<String> = validator
        .iter_errors(values)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

/// Shell commands of blocks for people, one a line, with the lines that a command goes on in.
fn commands(page: &Page) -> Vec<(usize, String)> {
    let shown = page.blocks.iter().filter(|block| block.kind == Kind::Shown);
    shown
        .flat_map(|block| {
            let joined = block.text.replace("\\\n", " ").replace("|\n", "| ");
            let lines: Vec<String> = joined.lines().map(str::to_owned).collect();
            lines.into_iter().map(|line| (block.line, line))
        })
        .collect()
}

/// Returns the error in a command, if it is Helm's and names a chart of ours.
fn wrong(command: &str) -> Result<(), String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    if words.first() != Some(&"helm") {
        return Ok(());
    }
    let Some(chart) = words.iter().find_map(|word| word.strip_prefix("charts/")) else {
        return Ok(());
    };
    if !root()
        .join("charts")
        .join(chart)
        .join("Chart.yaml")
        .exists()
    {
        return Err(format!("there is no charts/{chart}"));
    }
    let mut values = Value::Object(Map::new());
    for pair in words.windows(2).filter(|pair| pair[0] == "--set") {
        let (path, value) = pair[1].split_once('=').ok_or("--set has no value")?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        path.split('.')
            .fold(&mut values, |object, key| &mut object[key])
            .clone_from(&value);
    }
    refused(chart, &values)
}

#[test]
fn commands_of_helm_fit_the_charts() {
    let mut problems = Vec::new();
    let mut count = 0;
    for page in Page::all() {
        for (line, command) in commands(&page) {
            count += usize::from(command.contains("charts/"));
            if let Err(problem) = wrong(&command) {
                problems.push(format!("{}:{line}: {problem}", page.path.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 3, "only {count} commands with a chart were found");
}

#[test]
fn commands_that_do_not_fit_are_found() {
    // command | fits
    for (command, fits) in [
        ("helm template vaultwall charts/vaultwall", true),
        ("helm upgrade x charts/vaultwall --set replicas=3", true),
        ("helm upgrade x charts/vaultwall --set replicas=0", false),
        ("helm upgrade x charts/vaultwall --set replica=3", false),
        ("helm upgrade x charts/vaultwall --set image.tag=1", false),
        ("helm upgrade x charts/vaultwal", false),
        ("helm upgrade x charts/vaultwall-crds --set a=1", false),
        ("kubectl get vnp", true),
    ] {
        assert_eq!(wrong(command).is_ok(), fits, "{command}");
    }
    // values | chart | fit
    for (values, chart, fit) in [
        ("replicas: 3", Some("vaultwall"), true),
        ("replica: 3", Some("vaultwall"), false),
        ("replica: 3", None, true),
        ("replica: 3", Some("vaultwal"), false),
        ("[a]", None, false),
        ("apiVersion: v1", None, false),
        ("a: [", None, false),
    ] {
        assert_eq!(check_values(values, chart).is_ok(), fit, "{values}");
    }
}

/// A reader who follows docs/install.md to its end has removed everything that `vaultwall crds` and the charts leave.
#[test]
fn everything_is_uninstalled() {
    let output = Command::new(env!("CARGO_BIN_EXE_vaultwall"))
        .args(["crds", "-o", "json"])
        .output()
        .unwrap();
    let objects: Value = serde_json::from_slice(&output.stdout).unwrap();
    let objects = objects["items"].as_array().unwrap();
    let expected: BTreeSet<String> = objects
        .iter()
        .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(expected.len() > 3, "{expected:?}");
    let pages = Page::all();
    let page = pages
        .iter()
        .find(|page| page.path.ends_with("docs/install.md"))
        .unwrap();
    let mut removed = BTreeSet::new();
    for (_, command) in commands(page) {
        if let Some(names) = command.strip_prefix("kubectl delete crd ") {
            removed.extend(names.split_whitespace().map(str::to_owned));
        }
        if let Some(names) = command.strip_prefix("for name in ") {
            let names = names.trim_end_matches("; do").split_whitespace();
            removed.extend(names.map(|name| format!("{name}.vaultwall.dev")));
        }
    }
    assert_eq!(removed, expected);
}
