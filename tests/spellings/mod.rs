//! A file has one reading: what this program reads from a file is what the API server stores when kubectl creates the
//! objects of the same file, or the file is refused here.
//!
//! Real kubectl and a real API server. All files are created by one kubectl, and the names of a file's objects begin
//! with its own.

mod files;
mod gitops;
mod values;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::ApiServer;
use vaultwall::index::Object;
use vaultwall::limits::Limits;
use vaultwall::objects::{FileContents, load_file, read_from_cluster};

use crate::program::Run;

/// Fate of a spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Both read the same.
    Same,
    /// This program refuses it.
    Refused,
    /// One of the two.
    Either,
}

/// A file; `ID` in it stands for its name.
struct Spelling {
    text: String,
    verdict: Verdict,
}

impl Spelling {
    fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            verdict,
        }
    }

    /// A policy with these lines in its spec.
    fn of_spec(verdict: Verdict, lines: &str) -> Self {
        Self::new(verdict, policy("ID", lines))
    }
}

/// A policy for a vault of its own, with these lines in its spec.
fn policy(name: &str, lines: &str) -> String {
    format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata:\n  name: {name}\n  \
         namespace: spellings\nspec:\n  targetRef:\n    name: {name}\n    port: 8200\n{lines}"
    )
}

/// Objects of our kinds by their names; an error if one of them is refused.
type Read = Result<BTreeMap<String, Object>, String>;

fn objects(contents: FileContents) -> Read {
    if let Some(found) = contents.violations.first() {
        return Err(format!("{}: {}", found.field, found.message));
    }
    let objects = contents.objects.into_iter();
    Ok(objects
        .filter_map(|(key, object)| Some((key.to_string(), object?)))
        .collect())
}

fn ours(file: &Path) -> Read {
    load_file(file, &Limits::default())
        .map_err(|error| error.to_string())
        .and_then(objects)
}

/// Returns the objects that the API server stored, by the name of their file.
fn stored(server: &ApiServer) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for resource in ["trustedservices", "vaultnetworkpolicies", "virtualnetworks"] {
        let list = server
            .get(&format!("/apis/vaultwall.dev/v1alpha1/{resource}"))
            .unwrap();
        for mut object in list["items"].as_array().unwrap().iter().cloned() {
            // Only stored objects have it.
            object["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("creationTimestamp");
            let name = object["metadata"]["name"].as_str().unwrap();
            let file = name.split('-').next().unwrap().to_owned();
            found.entry(file).or_default().push(object);
        }
    }
    found
}

fn theirs(stored: Option<&Vec<Value>>) -> Read {
    let mut all = BTreeMap::new();
    for object in stored.into_iter().flatten() {
        all.extend(objects(read_from_cluster(
            object.clone(),
            &Limits::default(),
        ))?);
    }
    Ok(all)
}

fn server() -> ApiServer {
    let server = ApiServer::start();
    server.install_crds();
    let mut facts = String::new();
    for (name, labels) in [
        (
            "spellings",
            json!({"team": "web", "vaultwall.dev/service-endpoint": "enabled"}),
        ),
        (
            "other",
            json!({"vaultwall.dev/service-endpoint": "enabled"}),
        ),
    ] {
        let metadata = json!({"name": name, "labels": labels});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        writeln!(facts, "---\n{namespace}").unwrap();
    }
    server.apply(&facts);
    server
}

#[test]
fn what_is_read_from_a_file_is_what_the_api_server_stores() {
    let mut spellings = files::spellings();
    spellings.extend(values::spellings());
    let folder = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for (index, spelling) in spellings.iter().enumerate() {
        let name = format!("s{index:04}");
        let ending = if spelling.text.starts_with('{') {
            "json"
        } else {
            "yaml"
        };
        let file = folder.path().join(&name).with_extension(ending);
        fs::write(&file, spelling.text.replace("ID", &name)).unwrap();
        names.push((name, file));
    }
    let server = server();
    // It goes on after an object or file that it refuses.
    let printed = server.kubectl(&["create", "-f", folder.path().to_str().unwrap()], "");
    let refusals = String::from_utf8_lossy(&printed.stderr).into_owned();
    let stored = stored(&server);

    let (mut same, mut refused, mut differences) = (Vec::new(), 0, Vec::new());
    for (spelling, (name, file)) in spellings.iter().zip(&names) {
        let (ours, theirs) = (ours(file), theirs(stored.get(name)));
        let verdict = match (&ours, &theirs) {
            (Err(_), _) => {
                refused += 1;
                Verdict::Refused
            }
            (Ok(one), Ok(other)) if one == other && !one.is_empty() => {
                same.push(file);
                Verdict::Same
            }
            _ => {
                let said: Vec<&str> = refusals
                    .lines()
                    .filter(|line| line.contains(name.as_str()))
                    .collect();
                differences.push(format!(
                    "{:?}\n  here:  {ours:?}\n  there: {theirs:?} {said:?}",
                    spelling.text
                ));
                continue;
            }
        };
        if spelling.verdict != Verdict::Either && spelling.verdict != verdict {
            differences.push(format!(
                "{:?}\n  must be {:?} and is {verdict:?}: {ours:?}",
                spelling.text, spelling.verdict
            ));
        }
    }
    println!(
        "{} spellings: {} agreements, {refused} refusals, {} differences",
        spellings.len(),
        same.len(),
        differences.len()
    );
    assert_eq!(differences.len(), 0, "{}", differences.join("\n"));
    assert!(spellings.len() >= 300 && same.len() >= 100 && refused >= 100);
    // Equal objects are rendered alike; a sample shows that the program agrees.
    let sample: Vec<_> = same.into_iter().step_by(24).collect();
    renders_the_same(&server, &sample, &stored);
}

/// Compares what `render` prints of files, and of the objects that the API server stored of them.
fn renders_the_same(server: &ApiServer, files: &[&PathBuf], stored: &BTreeMap<String, Vec<Value>>) {
    let render = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaultwall"));
        command.args(["render", "--output", "json"]);
        command
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env("HOME", "/nonexistent");
        command
    };
    let vaults = |run: Run| -> BTreeMap<String, Value> {
        let vaults = run.json()["vaults"].as_array().unwrap().clone();
        vaults
            .into_iter()
            .map(|vault| (vault["vault"].to_string(), vault))
            .collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let namespaces = server.kubectl_prints(&["get", "namespaces", "--output=yaml"]);
    let facts = write("facts.yaml", &namespaces);
    let names = files.iter().filter_map(|file| file.file_stem()?.to_str());
    let objects: Vec<&Value> = names.flat_map(|name| &stored[name]).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let stored = write("stored.json", &list.to_string());
    let of_files = vaults(Run::of(render().arg("-f").arg(&facts).args(files)));
    let of_stored = vaults(Run::of(render().arg("-f").args([&facts, &stored])));
    assert!(
        of_files.len() >= files.len() / 2,
        "{} vaults",
        of_files.len()
    );
    for (vault, rendered) in &of_files {
        assert_eq!(Some(rendered), of_stored.get(vault), "{vault}");
    }
}
