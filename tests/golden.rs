//! Golden files: `tests/golden/<case>/in.yaml`, in the cluster of `tests/golden/cluster.yaml`, must render to exactly
//! the files of `tests/golden/<case>/out`. `UPDATE_GOLDEN=1 cargo test --test pure golden` writes them again; read the
//! difference before you commit it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

use serde_json::{Map, Value};
use vaultwall::compile::ProxyPorts;
use vaultwall::compile::envoy::{ConfigurationJson, configuration};
use vaultwall::compile::kubernetes::network_policy::{firewall_policy, vault_policy};
use vaultwall::compile::kubernetes::proxies::{
    self, BOOTSTRAP_FILE, Identity, ProxyInputs, owner_references,
};
use vaultwall::policy::{Firewall, ProxySettings};

use crate::cases::{Case, firewalls, load, proxy, read};
use crate::compact_json;

/// File name → content.
type Files = BTreeMap<String, String>;

#[test]
fn golden() {
    let update = env::var_os("UPDATE_GOLDEN").is_some_and(|value| value != "0");
    let mut wrong = Vec::new();
    for case in Case::all() {
        let rendered = render(&case);
        let out = case.path("out");
        if update {
            write(&out, &rendered);
        }
        wrong.extend(left_over(&case));
        wrong.extend(differences(&case.name, &stored(&out), &rendered));
    }
    assert!(
        wrong.is_empty(),
        "\n{}\nIf this is intended: UPDATE_GOLDEN=1 cargo test --test pure golden",
        wrong.join("\n")
    );
}

/// A case has what its two tests read, and nothing that no test reads.
fn left_over(case: &Case) -> Option<String> {
    let mut names: Vec<_> = fs::read_dir(&case.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = ["in.yaml", "out", "reach.txt"];
    (names != expected).then(|| format!("{}: has {names:?}, expected {expected:?}", case.name))
}

fn stored(out: &Path) -> Files {
    let Ok(entries) = fs::read_dir(out) else {
        return Files::new();
    };
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                read(&entry.path()),
            )
        })
        .collect()
}

fn write(out: &Path, rendered: &Files) {
    fs::create_dir_all(out).unwrap();
    for name in stored(out)
        .keys()
        .filter(|name| !rendered.contains_key(*name))
    {
        fs::remove_file(out.join(name)).unwrap();
    }
    for (name, content) in rendered {
        fs::write(out.join(name), content).unwrap();
    }
}

/// Everything that is rendered for a case. A new kind of output is one more file here.
fn render(case: &Case) -> Files {
    let mut policies = Vec::new();
    let mut envoy = Map::new();
    let mut fleets = String::new();
    for (firewall, service, settings) in firewalls(load(case)) {
        fleets += &documents(&fleet(&firewall, &settings));
        policies.push(firewall_policy(&firewall).unwrap());
        policies.push(vault_policy(&firewall.vault, &service));
        let resources = configuration(&firewall, &firewall.table(), &proxy(&firewall, &settings));
        let json = ConfigurationJson::of(&resources).unwrap();
        envoy.insert(
            firewall.vault.to_string(),
            serde_json::to_value(json).unwrap(),
        );
    }
    let documents: Vec<_> = policies
        .iter()
        .map(|policy| serde_saphyr::to_string(policy).unwrap())
        .collect();
    Files::from([
        ("fleet.yaml".to_owned(), fleets),
        ("networkpolicies.yaml".to_owned(), documents.join("---\n")),
        (
            "envoy.json".to_owned(),
            compact_json::print(&Value::Object(envoy)),
        ),
    ])
}

/// The proxies' objects; what their `ConfigMap` and Secret hold comes from elsewhere.
fn fleet(firewall: &Firewall, settings: &ProxySettings) -> Vec<Value> {
    let text = |what: &str| format!("(the {what})");
    let owners = firewall.policies.iter();
    let owners = owners.map(|name| (name.clone(), format!("uid-of-{name}")));
    let fleet = proxies::objects(&ProxyInputs {
        vault: &firewall.vault,
        ports: ProxyPorts::of(firewall.port),
        settings,
        image: "envoy:golden",
        files: Files::from([(BOOTSTRAP_FILE.to_owned(), text("bootstrap"))]),
        identity: &Identity {
            certificate: text("certificate"),
            key: text("key"),
            authority: text("authority"),
        },
        owners: &owner_references(owners),
    });
    fleet.to_json().unwrap()
}

/// One YAML document an object.
fn documents(objects: &[Value]) -> String {
    let documents = objects
        .iter()
        .map(|object| serde_saphyr::to_string(object).unwrap());
    documents
        .flat_map(|text| ["---\n".to_owned(), text])
        .collect()
}

/// One entry for each file that is not as it should be.
fn differences(case: &str, stored: &Files, rendered: &Files) -> Vec<String> {
    let names: BTreeSet<_> = stored.keys().chain(rendered.keys()).collect();
    let difference = |name: &String| match (stored.get(name), rendered.get(name)) {
        (Some(stored), Some(rendered)) if stored == rendered => None,
        (Some(stored), Some(rendered)) => {
            Some(format!("- stored, + rendered\n{}", diff(stored, rendered)))
        }
        (Some(_), None) => Some("nothing renders this file any more".to_owned()),
        (None, _) => Some("is missing".to_owned()),
    };
    names
        .into_iter()
        .filter_map(|name| Some(format!("{case}/out/{name}: {}", difference(name)?)))
        .collect()
}

/// Unchanged lines that are shown around a change.
const CONTEXT: usize = 3;

/// Line by line, by the longest common subsequence; far from any change, lines are left out.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    // common[i][j]: length of the longest common subsequence of old[i..] and new[j..].
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    let shown = |index: usize| {
        let near = index.saturating_sub(CONTEXT)..(index + CONTEXT + 1).min(lines.len());
        lines[near].iter().any(|(mark, _)| *mark != ' ')
    };
    let written = lines.iter().enumerate().map(|(index, (mark, line))| {
        match (shown(index), index > 0 && !shown(index - 1)) {
            (true, _) => format!("{mark} {line}\n"),
            (false, false) => "  ...\n".to_owned(),
            (false, true) => String::new(),
        }
    });
    written.collect()
}

#[test]
fn a_diff_shows_what_changed_and_where() {
    let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
    assert_eq!(diff(old, old), "  ...\n");
    let new = "a\nb\nc\nd\nE\nf\ng\nh\ni\nj\n";
    assert_eq!(
        diff(old, new),
        "  ...\n  b\n  c\n  d\n- e\n+ E\n  f\n  g\n  h\n  i\n+ j\n"
    );
    assert_eq!(diff("", "a\n"), "+ a\n");
}

#[test]
fn missing_and_left_over_files_are_named() {
    let files = |names: &[&str]| {
        names
            .iter()
            .map(|name| ((*name).to_owned(), String::new()))
            .collect::<Files>()
    };
    assert!(differences("one", &files(&["a"]), &files(&["a"])).is_empty());
    assert_eq!(
        differences("one", &files(&["a", "b"]), &files(&["a", "c"])),
        [
            "one/out/b: nothing renders this file any more",
            "one/out/c: is missing"
        ]
    );
}
