#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::index::ObjectName;
use crate::policy::{DefaultAction, Firewall, VaultId};

/// A folder that is watched and read.
struct Followed {
    folder: TempDir,
    watcher: Watcher,
    files: Files,
}

/// A policy for the vault `vault/openbao`.
fn policy(name: &str) -> String {
    format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: {name}, namespace: vault}}\n\
         spec: {{targetRef: {{name: openbao, port: 8200}}, ipRules: [{{value: 203.0.113.7}}]}}\n---\n"
    )
}

fn pod(name: &str, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: web}}\nspec: {{}}\n\
         status: {{phase: Running, podIP: {address}}}\n---\n"
    )
}

impl Followed {
    fn new(contents: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in contents {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut watcher = Watcher::start().unwrap();
        let mut files = Files::new(vec![folder.path().to_owned()], Limits::default());
        files.load(&mut watcher).unwrap();
        Self {
            folder,
            watcher,
            files,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&mut self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
        self.follow();
    }

    /// Handles all events until now.
    fn follow(&mut self) {
        self.watcher.drain().unwrap();
        let changes = self.watcher.take();
        self.files.update(&mut self.watcher, changes).unwrap();
    }

    /// Handles all events, and deletions as if their delay had passed.
    fn follow_after_a_while(&mut self) {
        self.follow();
        for end in self.files.deleted.values_mut() {
            *end = Instant::now();
        }
        self.follow();
    }

    /// The policies and pods that the index holds, of those that the tests use.
    fn known(&mut self) -> Vec<String> {
        let vault = VaultId {
            namespace: "vault".into(),
            service: "openbao".into(),
        };
        let index = self.files.index_mut();
        let policies = index.resolve(&vault).map_or(Vec::new(), |resolved| {
            let accepted = resolved.resolution.firewall.policies;
            accepted.iter().map(ToString::to_string).collect()
        });
        let pods = ["a", "b", "c", "d"].into_iter().filter_map(|name| {
            let pod = index.pod(&ObjectName {
                namespace: "web".into(),
                name: name.into(),
            })?;
            Some(format!("{name}={}", pod.addresses[0]))
        });
        let pods: Vec<String> = pods.collect();
        policies.into_iter().chain(pods).collect()
    }

    fn firewall(&mut self) -> Firewall {
        let vault = VaultId {
            namespace: "vault".into(),
            service: "openbao".into(),
        };
        let resolved = self.files.index_mut().resolve(&vault).unwrap();
        resolved.resolution.firewall
    }

    fn unknown(&self) -> Vec<String> {
        let names = self.files.unknown().iter();
        names
            .map(|path| path.file_name().unwrap().display().to_string())
            .collect()
    }
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_until_it_is_valid_again() {
    let mut folder = Followed::new(&[("p.yaml", &policy("p")), ("a.yaml", &pod("a", "10.0.0.1"))]);
    assert_eq!(folder.known(), ["p", "a=10.0.0.1"]);
    for bad in [
        "",
        "# nothing\n",
        "{",
        "kind: Pod",
        &pod("a", "10.0.0.x"),
        &[pod("a", "10.0.0.2"), pod("a", "10.0.0.3")].concat(),
        &[
            pod("a", "10.0.0.2"),
            policy("q").replace("203.0.113.7", "10.0.0.1"),
        ]
        .concat(),
    ] {
        folder.write("a.yaml", bad);
        folder.follow_after_a_while();
        assert_eq!(folder.known(), ["p", "a=10.0.0.1"], "{bad}");
    }
    folder.write("a.yaml", &pod("b", "10.0.0.2"));
    assert_eq!(folder.known(), ["p", "b=10.0.0.2"]);
    assert!(folder.unknown().is_empty());
}

#[tokio::test]
async fn a_file_is_read_when_it_is_closed() {
    let mut folder = Followed::new(&[("p.yaml", &policy("p")), ("a.yaml", &pod("a", "10.0.0.1"))]);
    let mut old = File::create(folder.at("a.yaml")).unwrap();
    let mut new = File::create(folder.at("b.yaml")).unwrap();
    old.write_all(pod("a", "10.0.0.2").as_bytes()).unwrap();
    new.write_all(pod("b", "10.0.0.3").as_bytes()).unwrap();
    folder.follow();
    assert_eq!(folder.known(), ["p", "a=10.0.0.1"]);
    // Something else changes; the two are still not touched.
    folder.write("c.yaml", &pod("c", "10.0.0.4"));
    fs::create_dir(folder.at("sub")).unwrap();
    folder.follow();
    assert_eq!(folder.known(), ["p", "a=10.0.0.1", "c=10.0.0.4"]);
    drop((old, new));
    folder.follow();
    assert_eq!(
        folder.known(),
        ["p", "a=10.0.0.2", "b=10.0.0.3", "c=10.0.0.4"]
    );
}

#[tokio::test]
async fn a_deleted_file_loses_its_rules_after_a_delay() {
    let mut folder = Followed::new(&[("p.yaml", &policy("p")), ("a.yaml", &pod("a", "10.0.0.1"))]);
    // As an editor saves: the old file is moved away, the new one takes its name.
    fs::rename(folder.at("a.yaml"), folder.at("a.yaml~")).unwrap();
    folder.follow();
    assert_eq!(folder.known(), ["p", "a=10.0.0.1"]);
    assert!(folder.files.deadline().is_some());
    let mut new = File::create(folder.at("a.yaml")).unwrap();
    folder.follow_after_a_while();
    assert_eq!(folder.known(), ["p", "a=10.0.0.1"]);
    new.write_all(pod("a", "10.0.0.2").as_bytes()).unwrap();
    drop(new);
    folder.follow_after_a_while();
    assert_eq!(folder.known(), ["p", "a=10.0.0.2"]);

    fs::remove_file(folder.at("a.yaml")).unwrap();
    folder.follow_after_a_while();
    assert_eq!(folder.known(), ["p"]);
    assert_eq!(folder.files.deadline(), None);
}

#[tokio::test]
async fn a_renamed_file_keeps_its_objects() {
    let mut folder = Followed::new(&[("p.yaml", &policy("p")), ("a.yaml", &pod("a", "10.0.0.1"))]);
    fs::rename(folder.at("a.yaml"), folder.at("z.yaml")).unwrap();
    folder.follow();
    assert_eq!(folder.known(), ["p", "a=10.0.0.1"]);
    assert_eq!(folder.files.deadline(), None);
    folder.write("z.yaml", &pod("a", "10.0.0.2"));
    assert_eq!(folder.known(), ["p", "a=10.0.0.2"]);
}

#[tokio::test]
async fn the_last_policy_stays_in_force() {
    let mut folder = Followed::new(&[("p.yaml", &policy("p")), ("a.yaml", &pod("a", "10.0.0.1"))]);
    fs::remove_file(folder.at("p.yaml")).unwrap();
    fs::remove_file(folder.at("a.yaml")).unwrap();
    folder.follow_after_a_while();
    assert_eq!(folder.known(), ["p"], "the policy stays, not the pod");
    folder.write("a.yaml", &pod("a", "10.0.0.2"));
    assert_eq!(folder.known(), ["p", "a=10.0.0.2"]);
    folder.write("q.yaml", &policy("q"));
    assert_eq!(folder.known(), ["q", "a=10.0.0.2"], "another policy exists");
    folder.write("q.yaml", &pod("b", "10.0.0.3"));
    assert_eq!(folder.known(), ["q", "a=10.0.0.2"], "edited away");
    folder.write("q.yaml", &[policy("q"), pod("b", "10.0.0.3")].concat());
    assert_eq!(folder.known(), ["q", "a=10.0.0.2", "b=10.0.0.3"]);
}

#[tokio::test]
async fn an_object_in_two_files_changes_nothing() {
    let mut folder = Followed::new(&[("p.yaml", &policy("p")), ("a.yaml", &pod("a", "10.0.0.1"))]);
    folder.write(
        "b.yaml",
        &[pod("a", "10.0.0.2"), pod("b", "10.0.0.3")].concat(),
    );
    assert_eq!(folder.known(), ["p", "a=10.0.0.1"]);
    folder.write("a.yaml", &pod("c", "10.0.0.4"));
    assert_eq!(
        folder.known(),
        ["p", "a=10.0.0.2", "b=10.0.0.3", "c=10.0.0.4"]
    );
    // Two files exchange what they hold, one after the other.
    folder.write(
        "a.yaml",
        &[pod("a", "10.0.0.5"), pod("b", "10.0.0.6")].concat(),
    );
    assert_eq!(
        folder.known(),
        ["p", "a=10.0.0.2", "b=10.0.0.3", "c=10.0.0.4"]
    );
    folder.write("b.yaml", &pod("c", "10.0.0.7"));
    assert_eq!(
        folder.known(),
        ["p", "a=10.0.0.5", "b=10.0.0.6", "c=10.0.0.7"]
    );
}

#[tokio::test]
async fn at_the_start_repeated_objects_are_refused_and_their_files_are_unknown() {
    let both = [
        ("a.yaml", pod("a", "10.0.0.1")),
        ("b.yaml", pod("a", "10.0.0.2")),
    ];
    let mut folder = Followed::new(&[
        ("p.yaml", &policy("p")),
        (both[0].0, &both[0].1),
        (both[1].0, &both[1].1),
        ("c.yaml", "{"),
    ]);
    assert_eq!(folder.known(), ["p"]);
    assert_eq!(folder.unknown(), ["a.yaml", "b.yaml", "c.yaml"]);
    fs::remove_file(folder.at("b.yaml")).unwrap();
    folder.follow_after_a_while();
    assert_eq!(folder.known(), ["p", "a=10.0.0.1"]);
    assert_eq!(folder.unknown(), ["c.yaml"]);
    folder.write("c.yaml", &pod("c", "10.0.0.3"));
    assert!(folder.unknown().is_empty());
    folder.write("c.yaml", "{");
    assert!(
        folder.unknown().is_empty(),
        "what it means is known: what it held"
    );
}

#[tokio::test]
async fn folders_and_links_are_created_and_deleted() {
    let mut folder = Followed::new(&[("p.yaml", &policy("p"))]);
    fs::create_dir_all(folder.at("new/deeper")).unwrap();
    fs::write(folder.at("new/deeper/a.yaml"), pod("a", "10.0.0.1")).unwrap();
    folder.follow();
    assert_eq!(folder.known(), ["p", "a=10.0.0.1"]);
    folder.write("new/deeper/a.yaml", &pod("a", "10.0.0.2"));
    assert_eq!(folder.known(), ["p", "a=10.0.0.2"]);

    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("b"), pod("b", "10.0.0.3")).unwrap();
    symlink(elsewhere.path().join("b"), folder.at("b.yaml")).unwrap();
    folder.follow();
    fs::write(elsewhere.path().join("b"), pod("b", "10.0.0.4")).unwrap();
    folder.follow();
    assert_eq!(folder.known(), ["p", "a=10.0.0.2", "b=10.0.0.4"]);

    fs::remove_file(elsewhere.path().join("b")).unwrap();
    folder.follow_after_a_while();
    assert_eq!(
        folder.known(),
        ["p", "a=10.0.0.2", "b=10.0.0.4"],
        "a link that leads nowhere is no deletion"
    );
    fs::remove_file(folder.at("b.yaml")).unwrap();
    fs::remove_dir_all(folder.at("new")).unwrap();
    folder.follow_after_a_while();
    assert_eq!(folder.known(), ["p"]);
}

#[tokio::test]
async fn a_mounted_config_map_changes_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let put = |version: &str, address: &str| {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("p.yaml"), policy("p")).unwrap();
        fs::write(root.join(version).join("a.yaml"), pod("a", address)).unwrap();
    };
    put("..v1", "10.0.0.1");
    symlink("..v1", root.join("..data")).unwrap();
    for name in ["p.yaml", "a.yaml"] {
        symlink(Path::new("..data").join(name), root.join(name)).unwrap();
    }
    let mut followed = Followed::new(&[]);
    followed.files = Files::new(vec![root.to_owned()], Limits::default());
    followed.files.load(&mut followed.watcher).unwrap();
    assert_eq!(followed.known(), ["p", "a=10.0.0.1"]);
    put("..v2", "10.0.0.2");
    symlink("..v2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    fs::remove_dir_all(root.join("..v1")).unwrap();
    followed.follow_after_a_while();
    assert_eq!(followed.known(), ["p", "a=10.0.0.2"]);
}

#[tokio::test]
async fn the_folder_itself_is_replaced() {
    let outer = tempfile::tempdir().unwrap();
    let at = |name: &str| outer.path().join(name);
    for (folder, address) in [("one", "10.0.0.1"), ("two", "10.0.0.2")] {
        fs::create_dir(at(folder)).unwrap();
        fs::write(
            at(folder).join("p.yaml"),
            [policy("p"), pod("a", address)].concat(),
        )
        .unwrap();
    }
    symlink("one", at("current")).unwrap();
    let mut followed = Followed::new(&[]);
    followed.files = Files::new(vec![at("current")], Limits::default());
    followed.files.load(&mut followed.watcher).unwrap();
    assert_eq!(followed.known(), ["p", "a=10.0.0.1"]);

    symlink("two", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    followed.follow_after_a_while();
    assert_eq!(followed.known(), ["p", "a=10.0.0.2"]);

    fs::remove_file(at("current")).unwrap();
    followed.follow_after_a_while();
    assert_eq!(followed.known(), ["p", "a=10.0.0.2"], "not mounted");

    fs::rename(at("one"), at("current")).unwrap();
    followed.follow_after_a_while();
    assert_eq!(followed.known(), ["p", "a=10.0.0.1"]);
    fs::write(
        at("current/p.yaml"),
        [policy("p"), pod("a", "10.0.0.3")].concat(),
    )
    .unwrap();
    followed.follow();
    assert_eq!(followed.known(), ["p", "a=10.0.0.3"]);
}

#[tokio::test]
async fn one_change_among_many_files_reads_one() {
    let pods: Vec<_> = (0..200)
        .map(|n| (format!("{n}.yaml"), pod(&format!("p{n}"), "10.0.0.9")))
        .collect();
    let named: Vec<_> = pods
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let mut folder = Followed::new(&named);
    for (name, _) in &pods {
        // Pretends that the file changed without an event.
        let stamp = folder.files.read.get_mut(&folder.folder.path().join(name));
        *stamp.unwrap() = None;
    }
    folder.write("p.yaml", &policy("p"));
    let untouched = folder.files.read.values().filter(|stamp| stamp.is_none());
    assert_eq!(untouched.count(), 200);
    assert_eq!(folder.known(), ["p"]);
}

const ALLOW: &str = "\
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: a, namespace: vault}
spec: {targetRef: {name: openbao, port: 8200}, defaultAction: Allow}
";
const REFUSED: &str = "\
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: b, namespace: vault}
spec: {targetRef: {name: openbao, port: 8200}, vault: {location: {region: westindia}}}
";

#[tokio::test]
async fn a_policy_that_was_never_valid_counts_as_deny() {
    // b.yaml is refused from the start, then deleted; its intent may have been `Deny`.
    let mut folder = Followed::new(&[("a.yaml", ALLOW), ("b.yaml", REFUSED)]);
    assert_eq!(folder.firewall().default_action, DefaultAction::Deny);
    fs::remove_file(folder.at("b.yaml")).unwrap();
    folder.follow_after_a_while();
    assert_eq!(folder.firewall().default_action, DefaultAction::Allow);
    folder.write("b.yaml", REFUSED);
    assert_eq!(folder.firewall().default_action, DefaultAction::Deny);
    folder.write("b.yaml", "{");
    assert_eq!(folder.firewall().default_action, DefaultAction::Deny);
    folder.write("b.yaml", &ALLOW.replace("name: a", "name: b"));
    assert_eq!(folder.firewall().default_action, DefaultAction::Allow);
}

#[tokio::test]
async fn a_file_that_was_good_changes_nothing_when_it_is_refused() {
    let mut folder = Followed::new(&[("a.yaml", ALLOW)]);
    folder.write("a.yaml", &[ALLOW, "---\n", REFUSED].concat());
    assert_eq!(folder.firewall().default_action, DefaultAction::Allow);
    folder.write("a.yaml", ALLOW);
    assert_eq!(folder.firewall().default_action, DefaultAction::Allow);
}

#[tokio::test]
async fn only_refused_policies_deny_everything_and_name_their_vault() {
    let mut folder = Followed::new(&[("b.yaml", REFUSED)]);
    let firewall = folder.firewall();
    assert_eq!(firewall.policies, Vec::<String>::new());
    assert_eq!(firewall.default_action, DefaultAction::Deny);
    assert_eq!(folder.unknown(), ["b.yaml"]);
}

#[tokio::test]
async fn the_last_valid_policy_stays_in_force_next_to_a_refused_one() {
    let mut folder = Followed::new(&[("a.yaml", ALLOW), ("b.yaml", REFUSED)]);
    fs::remove_file(folder.at("a.yaml")).unwrap();
    folder.follow_after_a_while();
    assert_eq!(folder.firewall().policies, ["a"]);
}
