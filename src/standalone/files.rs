//! What was last good of every file, kept in step with the index.
//!
//! A file that cannot be read, that holds anything invalid, or that is suddenly empty changes nothing: its objects of
//! before stay in force, and the reason is said once for each content. Of a file that never was good, refused policies
//! are known by name: they open nothing, and keep the default action of their vault at `Deny`, because what they mean
//! is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::index::objects::{FileContents, LoadedObjects, Object, ObjectKey, files_of, load_file};
use crate::index::{Index, ObjectName};
use crate::policy::Limits;

/// The files of `-f` and the index that is made from them.
pub(super) struct Files {
    paths: Vec<PathBuf>,
    limits: Limits,
    /// Every file that was read.
    read: BTreeMap<PathBuf, File>,
    index: Index,
    /// What the index holds.
    applied: BTreeMap<ObjectKey, Object>,
}

#[derive(Default)]
struct File {
    stamp: Stamp,
    good: FileContents,
}

/// Differs when a file's content may.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamp(file: &Path) -> Stamp {
    let of = std::fs::metadata(file).ok()?;
    Some((
        of.dev(),
        of.ino(),
        of.size(),
        of.mtime()
            .wrapping_mul(1_000_000_000)
            .wrapping_add(of.mtime_nsec()),
        of.ctime_nsec(),
    ))
}

impl Files {
    /// Nothing is read yet.
    pub(super) fn new(paths: Vec<PathBuf>, limits: Limits) -> Self {
        Self {
            paths,
            limits,
            read: BTreeMap::new(),
            index: Index::new(limits),
            applied: BTreeMap::new(),
        }
    }

    /// The index.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// The index, to resolve from.
    pub(super) fn index_mut(&mut self) -> &mut Index {
        &mut self.index
    }

    /// Reads again what changed, but not the files that are being written.
    pub(super) fn reload(&mut self, unfinished: &BTreeSet<PathBuf>) {
        let (found, errors) = files_of(&self.paths);
        for error in &errors {
            tracing::error!("{error}; what was in force stays in force");
        }
        let mut changed = false;
        for path in &found {
            let now = stamp(path);
            let known = self.read.get(path);
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            if unfinished.contains(&absolute) || known.is_some_and(|file| file.stamp == now) {
                continue;
            }
            let good = self.load(path);
            let file = self.read.entry(path.clone()).or_default();
            file.stamp = now;
            if let Some(good) = good {
                file.good = good;
                changed = true;
            }
        }
        changed |= self.forget(&found, errors.is_empty());
        if changed {
            self.apply();
        }
    }

    /// What a file holds now, unless that must not replace what it held before.
    fn load(&self, path: &Path) -> Option<FileContents> {
        let was_good = self
            .read
            .get(path)
            .is_some_and(|file| file.good.objects.iter().any(is_valid));
        let stays = if was_good {
            "what it held before stays in force"
        } else {
            "none of it is in force"
        };
        let contents = match load_file(path, &self.limits) {
            Ok(contents) => contents,
            Err(error) => {
                tracing::error!("{error}; {stays}");
                return None;
            }
        };
        for violation in &contents.violations {
            tracing::error!(
                "{}: {} {}: {}: {} ({:?}); {stays}",
                violation.file,
                violation.kind,
                violation.name,
                violation.field,
                violation.message,
                violation.reason
            );
        }
        if !contents.violations.is_empty() {
            return (!was_good).then(|| refused_policies(contents));
        }
        if contents.objects.is_empty() && was_good {
            tracing::error!(
                "{}: it is empty now; {stays}; delete the file to take its rules away",
                path.display()
            );
            return None;
        }
        Some(contents)
    }

    /// Drops what was deleted. A last policy that vanishes stays: an empty folder is more often a mistake (a volume
    /// that is not mounted) than a wish, and there is nothing to put in its place.
    fn forget(&mut self, found: &[PathBuf], listed: bool) -> bool {
        let found: BTreeSet<&PathBuf> = found.iter().collect();
        let gone: Vec<PathBuf> = self
            .read
            .keys()
            .filter(|path| !found.contains(path))
            .cloned()
            .collect();
        if gone.is_empty() || !listed {
            return false;
        }
        let has_policy = |file: &File| {
            let mut objects = file.good.objects.iter();
            objects.any(|(_, object)| matches!(object, Some(Object::Policy(_))))
        };
        let left = self
            .read
            .iter()
            .any(|(path, file)| found.contains(path) && has_policy(file));
        let had = self.read.values().any(has_policy);
        if had && !left {
            tracing::error!(
                "the last policy is gone from the paths of -f; what was in force stays in force. Stop Vaultwall to take \
                 the firewall away"
            );
            return false;
        }
        for path in &gone {
            tracing::info!("{}: deleted", path.display());
            self.read.remove(path);
        }
        true
    }

    /// Hands the index what differs from what it holds.
    fn apply(&mut self) {
        let loaded = LoadedObjects::of(self.read.values().map(|file| file.good.clone()));
        for violation in &loaded.violations {
            tracing::error!(
                "{}: {}; what was in force stays in force",
                violation.file,
                violation.message
            );
        }
        if !loaded.violations.is_empty() {
            return;
        }
        let objects = self.read.values().flat_map(|file| file.good.objects.iter());
        let wanted: BTreeMap<ObjectKey, Object> = objects
            .filter_map(|(key, object)| Some((key.clone(), object.clone()?)))
            .collect();
        let gone: Vec<ObjectKey> = self
            .applied
            .keys()
            .filter(|key| !wanted.contains_key(key))
            .cloned()
            .collect();
        for key in gone {
            if let Some(object) = self.applied.remove(&key) {
                delete(&mut self.index, &key, &object);
            }
        }
        for (key, object) in wanted {
            if self.applied.get(&key) != Some(&object) {
                apply(&mut self.index, object.clone());
                self.applied.insert(key, object);
            }
        }
    }
}

fn is_valid((_, object): &(ObjectKey, Option<Object>)) -> bool {
    !matches!(object, None | Some(Object::RefusedPolicy(_)))
}

/// What is left of a file with violations: that there are policies, and of which vault.
fn refused_policies(mut contents: FileContents) -> FileContents {
    contents
        .objects
        .retain(|(_, object)| matches!(object, Some(Object::RefusedPolicy(_))));
    contents.violations.clear();
    contents
}

fn apply(index: &mut Index, object: Object) {
    match object {
        Object::Policy(policy) => index.apply_policy(policy),
        Object::RefusedPolicy(policy) => {
            index.apply_invalid_policy(&policy.name, policy.vault, policy.port);
        }
        Object::VirtualNetwork(network) => index.apply_virtual_network(network),
        Object::Namespace(fact) => index.apply_namespace(fact),
        Object::Pod(fact) => index.apply_pod(fact),
        Object::ServiceAccount(fact) => index.apply_service_account(fact),
        Object::Service(fact) => index.apply_service(fact),
    }
}

fn delete(index: &mut Index, key: &ObjectKey, object: &Object) {
    let name = ObjectName {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    };
    match object {
        Object::Policy(_) | Object::RefusedPolicy(_) => index.delete_policy(&name),
        Object::VirtualNetwork(_) => index.delete_virtual_network(&key.name),
        Object::Namespace(_) => index.delete_namespace(&key.name),
        Object::Pod(_) => index.delete_pod(&name),
        Object::ServiceAccount(_) => index.delete_service_account(&name),
        Object::Service(_) => index.delete_service(&name),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::{DefaultAction, Firewall, VaultId};

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
spec: {targetRef: {name: openbao, port: 8200}, mode: Audit}
";

    /// The firewall after each step; a step writes files (none: deletes them).
    fn walk(steps: &[&[(&str, Option<&str>)]]) -> Vec<Option<Firewall>> {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::new(vec![folder.path().to_owned()], Limits::default());
        let vault = VaultId {
            namespace: "vault".into(),
            service: "openbao".into(),
        };
        let step = |changes: &&[(&str, Option<&str>)]| {
            for (name, text) in *changes {
                let path = folder.path().join(name);
                match text {
                    Some(text) => std::fs::write(path, text).unwrap(),
                    None => std::fs::remove_file(path).unwrap(),
                }
            }
            files.reload(&BTreeSet::new());
            let resolved = files.index_mut().resolve(&vault)?;
            Some(resolved.resolution.firewall)
        };
        steps.iter().map(step).collect()
    }

    fn default_actions(steps: &[&[(&str, Option<&str>)]]) -> Vec<Option<DefaultAction>> {
        let firewalls = walk(steps).into_iter();
        firewalls
            .map(|firewall| Some(firewall?.default_action))
            .collect()
    }

    #[test]
    fn a_policy_that_never_was_valid_keeps_the_vault_closed() {
        use DefaultAction::{Allow, Deny};
        // b.yaml is refused from the start, then gone; it may have meant `Deny`.
        let steps: &[&[_]] = &[
            &[("a.yaml", Some(ALLOW)), ("b.yaml", Some(REFUSED))],
            &[("b.yaml", None)],
            &[("b.yaml", Some(REFUSED))],
        ];
        assert_eq!(
            default_actions(steps),
            [Some(Deny), Some(Allow), Some(Deny)]
        );
    }

    #[test]
    fn a_file_that_was_good_changes_nothing_when_it_is_refused() {
        let both = format!("{ALLOW}---\n{REFUSED}");
        let steps: &[&[_]] = &[
            &[("a.yaml", Some(ALLOW))],
            &[("a.yaml", Some(&both))],
            &[("a.yaml", Some(ALLOW))],
        ];
        assert_eq!(
            default_actions(steps),
            [Some(DefaultAction::Allow); 3].to_vec()
        );
    }

    #[test]
    fn only_refused_policies_deny_everything_and_name_their_vault() {
        let firewalls = walk(&[&[("b.yaml", Some(REFUSED))]]);
        let firewall = firewalls.first().unwrap().as_ref().unwrap();
        assert_eq!(firewall.policies, Vec::<String>::new());
        assert_eq!(firewall.default_action, DefaultAction::Deny);
    }

    #[test]
    fn the_last_valid_policy_stays_beside_a_refused_one() {
        let steps: &[&[_]] = &[
            &[("a.yaml", Some(ALLOW)), ("b.yaml", Some(REFUSED))],
            &[("a.yaml", None)],
        ];
        for firewall in walk(steps) {
            assert_eq!(firewall.unwrap().policies, ["a"]);
        }
    }
}
