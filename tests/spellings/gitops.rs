//! An applied object stays as it is applied: a second `kubectl apply` changes nothing, and `kubectl diff` is empty.
//! Tools such as Argo CD compare in the same way, and would otherwise apply the object for ever.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::server;
use crate::files::files;

/// Objects of our kinds in a text of several documents.
fn ours(text: &str) -> String {
    let documents = text.split("\n---").filter(|document| {
        let is_ours = |line: &str| line.trim_end() == "apiVersion: vaultwall.dev/v1alpha1";
        document.lines().any(is_ours)
    });
    documents.collect::<Vec<_>>().join("\n---")
}

/// Complete objects that a page shows and that are not shown as mistakes.
fn shown(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.trim_start().strip_prefix("```yaml") else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let block = lines.by_ref().take_while(|line| line.trim() != "```");
        let block: Vec<&str> = block
            .map(|line| line.get(indent..).unwrap_or_default())
            .collect();
        if !kind.contains("refused") {
            found.push(block.join("\n"));
        }
    }
    found
}

/// Objects of each example: files, and blocks of pages.
fn examples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for path in files(&root.join("examples")) {
        all.push((
            path.display().to_string(),
            fs::read_to_string(&path).unwrap(),
        ));
    }
    for path in files(&root.join("docs"))
        .into_iter()
        .chain([root.join("README.md")])
    {
        if path.extension().is_some_and(|ending| ending == "md") {
            let blocks = shown(&fs::read_to_string(&path).unwrap());
            all.extend(
                blocks
                    .into_iter()
                    .map(|block| (path.display().to_string(), block)),
            );
        }
    }
    let all = all.into_iter().map(|(place, text)| (place, ours(&text)));
    all.filter(|(_, text)| !text.is_empty()).collect()
}

#[test]
fn an_applied_example_stays_unchanged() {
    let server = server();
    let examples = examples();
    let namespaces: BTreeSet<&str> = examples
        .iter()
        .flat_map(|(_, text)| text.split("namespace: ").skip(1))
        .filter_map(|rest| rest.split([',', '}', ' ', '\n']).next())
        .collect();
    for name in namespaces {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        server.apply(&namespace.to_string());
    }
    let mut objects = 0;
    for (place, text) in &examples {
        let run = |arguments: &[&str]| {
            let output = server.kubectl(arguments, text);
            let [printed, errors] =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
            assert!(
                output.status.success(),
                "{place}: {arguments:?}: {printed}{errors}\n{text}"
            );
            printed
        };
        run(&["apply", "-f", "-"]);
        let again = run(&["apply", "-f", "-"]);
        assert!(
            !again.is_empty() && again.lines().all(|line| line.ends_with(" unchanged")),
            "{place}: {again}\n{text}"
        );
        assert_eq!(run(&["diff", "-f", "-"]), "", "{place}");
        objects += again.lines().count();
    }
    println!(
        "{} examples with {objects} objects stay unchanged",
        examples.len()
    );
    assert!(examples.len() >= 8, "{}", examples.len());
}
