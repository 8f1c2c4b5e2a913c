//! Golden files: `tests/golden/<case>/in.yaml`, in the cluster of `tests/golden/cluster.yaml`, must render to exactly
//! the files of `tests/golden/<case>/out`. `UPDATE_GOLDEN=1 cargo test --test golden` writes them again; read the
//! difference before you commit it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cases;
mod compact_json;
mod real_envoy;
mod same_bytes;
mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{env, fs, thread};

use cases::{Case, read, root};
use prost::Message;
use serde_json::{Map, Value};
use vaultwall::compile::envoy::{
    AUTHORITY_FILE, CERTIFICATE_FILE, ConfigurationJson, KEY_FILE, Proxy, Tls, configuration,
    static_bootstrap, to_json,
};
use vaultwall::compile::kubernetes::fleet::{
    self, BOOTSTRAP_FILE, FleetInputs, Identity, owner_references,
};
use vaultwall::compile::{ProtectedService, ProxyPorts, network_policies};
use vaultwall::limits::Limits;
use vaultwall::objects::LoadedObjects;
use vaultwall::policy::{Firewall, ProxySettings, VaultId};

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
        "\n{}\nIf this is what you meant: UPDATE_GOLDEN=1 cargo test --test golden",
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
        policies.extend(network_policies(&firewall, &service).unwrap());
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
    let fleet = fleet::objects(&FleetInputs {
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

fn proxy(firewall: &Firewall, settings: &ProxySettings) -> Proxy {
    Proxy::in_cluster(firewall, fleet::tls(&firewall.vault, settings))
}

/// Certificates are read from this folder in place of those that a pod has.
fn here(tls: &mut Tls, folder: &Path) {
    let path = folder.display().to_string();
    tls.configuration.clone_from(&path);
    if let Some(clients) = &mut tls.clients {
        clients.clone_from(&path);
    }
    if let Some(vault) = &mut tls.vault {
        vault.authorities = path;
    }
    for (name, text) in tls.files() {
        fs::write(folder.join(name), text).unwrap();
    }
    let key = rcgen::generate_simple_self_signed(["openbao".to_owned()]).unwrap();
    for (name, pem) in [
        (CERTIFICATE_FILE, key.cert.pem()),
        (KEY_FILE, key.signing_key.serialize_pem()),
        (AUTHORITY_FILE, key.cert.pem()),
    ] {
        fs::write(folder.join(name), pem).unwrap();
    }
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

/// The objects of a case and of the cluster.
fn load(case: &Case) -> LoadedObjects {
    let loaded = LoadedObjects::load(
        &[root().join("cluster.yaml"), case.path("in.yaml")],
        &Limits::default(),
    );
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    assert!(loaded.violations.is_empty(), "{:#?}", loaded.violations);
    loaded
}

/// The vaults of a case, by name.
fn firewalls(loaded: LoadedObjects) -> Vec<(Firewall, ProtectedService, ProxySettings)> {
    let mut index = loaded.into_index(Limits::default());
    let vaults: Vec<_> = index.vaults().cloned().collect();
    let resolve = |vault: VaultId| {
        let resolved = index.resolve(&vault).unwrap().resolution;
        assert!(resolved.refused.is_empty(), "{:#?}", resolved.refused);
        let service = ProtectedService::of(index.service(&vault).unwrap(), resolved.firewall.port);
        (resolved.firewall, service.unwrap(), resolved.proxy)
    };
    vaults.into_iter().map(resolve).collect()
}

/// The same firewalls as in `envoy.json`, complete in one file, as JSON and in binary form.
#[test]
fn envoy_accepts_every_golden_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for case in Case::all() {
        for (index, (firewall, _, settings)) in firewalls(load(&case)).iter().enumerate() {
            let mut proxy = proxy(firewall, settings);
            here(&mut proxy.tls, folder.path());
            let bootstrap = static_bootstrap(firewall, &firewall.table(), &proxy);
            let file = |ending| {
                folder
                    .path()
                    .join(format!("{}-{index}.{ending}", case.name))
            };
            fs::write(file("json"), to_json(&bootstrap).unwrap().to_string()).unwrap();
            fs::write(file("pb"), bootstrap.encode_to_vec()).unwrap();
            files.extend([file("json"), file("pb")]);
        }
    }
    assert_eq!(objections(files), Vec::<String>::new());
}

/// A validation that finds nothing wrong with anything would prove nothing. Envoy says OK to a `.pb` file that it cannot
/// parse at all; that it sees the field at the very end of one shows that it read what stands before.
#[test]
fn envoy_refuses_what_is_wrong() {
    let case = &Case::all()[0];
    let (firewall, _, settings) = &firewalls(load(case))[0];
    let proxy = proxy(firewall, settings);
    let bootstrap = static_bootstrap(firewall, &firewall.table(), &proxy);
    let unknown_field = [0xfa, 0x3f, 0x01, b'a'];
    let folder = tempfile::tempdir().unwrap();
    let (binary, json) = (
        folder.path().join("wrong.pb"),
        folder.path().join("wrong.json"),
    );
    fs::write(
        &binary,
        [bootstrap.encode_to_vec(), unknown_field.into()].concat(),
    )
    .unwrap();
    let text = to_json(&bootstrap).unwrap().to_string();
    fs::write(&json, text.replace("\"listeners\"", "\"listenerz\"")).unwrap();
    let objections = objections(vec![binary, json]);
    assert_eq!(objections.len(), 2, "{objections:?}");
    for objection in objections {
        assert!(objection.contains("unknown fields"), "{objection}");
    }
}

/// What Envoy has against any of the files; two are looked at at a time.
fn objections(files: Vec<PathBuf>) -> Vec<String> {
    let left = Mutex::new(files);
    let found = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = left.lock().unwrap().pop();
            let Some(file) = next else { break };
            let objection = real_envoy::objection(&file);
            found.lock().unwrap().extend(objection);
        }
    };
    thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        for thread in threads {
            thread.join().unwrap();
        }
    });
    found.into_inner().unwrap()
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
