//! Validation of vault namespaces and of the mount paths of engines. After it, the path of a request has only one
//! meaning.
//!
//! The vault resolves the namespace of a path before its mount. If a mount path could also be a namespace, the firewall
//! could classify a request as another one than the vault executes, so such policies are refused.

use crate::api;
use crate::policy::violation::{Findings, ViolationReason, quoted};
use crate::vault_api::{Engine, EngineNamespace};

/// First segments of paths that are reserved for the vault.
const RESERVED_MOUNTS: [&str; 3] = ["sys", "auth", "identity"];
/// First segments of paths below the mount of an auth method. A mount path must not continue with one of them: an
/// approle at `auth/a` has secret IDs at `auth/a/role/users/secret-id`, which for a mount `a/role` would be a user.
const AUTH_PATHS: [&str; 12] = [
    "cel", "certs", "config", "create", "crls", "groups", "login", "oidc", "role", "roles", "tidy",
    "users",
];
/// Names that the vault does not accept for namespaces.
const RESERVED_NAMESPACES: [&str; 6] = ["root", "sys", "audit", "auth", "cubbyhole", "identity"];

/// Checks namespaces, engines and auth mounts, and returns the valid ones.
pub(super) fn check(
    vault: &api::VaultDescription,
    findings: &mut Findings,
) -> (Vec<String>, Vec<Engine>, Vec<String>) {
    let namespaces = namespaces(&vault.namespaces, findings);
    let engines = engines(&vault.engines, &namespaces, findings);
    let auth_mounts = auth_mounts(&vault.auth_mounts, findings);
    (namespaces, engines, auth_mounts)
}

/// Mount paths of auth methods. The vault mounts none below another one, so the firewall refuses that, too: a request
/// to `a/b/role/x` must not mean the role of one method and something else of another.
fn auth_mounts(wire: &[String], findings: &mut Findings) -> Vec<String> {
    let mut accepted: Vec<String> = Vec::new();
    for (index, text) in wire.iter().enumerate() {
        let first = text.split('/').next().unwrap_or_default();
        let overlapping = accepted.iter().find(|other| nested(text, other));
        let continued = text
            .split('/')
            .skip(1)
            .find(|word| AUTH_PATHS.contains(word));
        let (reason, why) = if let Err(why) = segments(text) {
            let why = format!(
                "{why}; write the mount path of an auth method without auth/, such as cluster1/k8s"
            );
            (ViolationReason::Invalid, why)
        } else if first == "token" {
            let why = "is below the token method, which has no mounts below it; remove it";
            (ViolationReason::Invalid, why.into())
        } else if let Some(word) = continued {
            let why = format!(
                "continues with {word}, which is also a path below the mount of any auth method, so that a request \
                 could mean either; remount the method under another path"
            );
            (ViolationReason::Ambiguous, why)
        } else if !text.contains('/') {
            let why = "has one segment and needs no entry; remove it";
            (ViolationReason::Invalid, why.into())
        } else if let Some(other) = overlapping {
            let why = format!("overlaps {}; remove one of the two", quoted(other));
            (ViolationReason::Duplicate, why)
        } else {
            accepted.push(text.clone());
            continue;
        };
        findings.add(
            format!("spec.vault.authMounts[{index}]"),
            reason,
            format!("{} {why}", quoted(text)),
        );
    }
    accepted
}

fn namespaces(wire: &[String], findings: &mut Findings) -> Vec<String> {
    let mut accepted: Vec<String> = Vec::new();
    for (index, text) in wire.iter().enumerate() {
        let field = format!("spec.vault.namespaces[{index}]");
        if let Err(why) = segments(text) {
            findings.add(
                field,
                ViolationReason::Invalid,
                format!(
                    "{} {why}; write a vault namespace such as team-a or team-a/dev",
                    quoted(text)
                ),
            );
        } else if let Some(reserved) = text
            .split('/')
            .find(|segment| RESERVED_NAMESPACES.contains(segment))
        {
            findings.add(
                field,
                ViolationReason::Invalid,
                format!(
                    "{}: the name {reserved} is reserved for the vault; the root namespace needs no entry",
                    quoted(text)
                ),
            );
        } else if accepted.contains(text) {
            findings.add(
                field,
                ViolationReason::Duplicate,
                format!(
                    "{} is already in the list; remove one of the two",
                    quoted(text)
                ),
            );
        } else {
            accepted.push(text.clone());
        }
    }
    accepted
}

fn engines(wire: &[api::Engine], listed: &[String], findings: &mut Findings) -> Vec<Engine> {
    let mut accepted: Vec<(usize, Engine)> = Vec::new();
    for (index, engine) in wire.iter().enumerate() {
        let base = format!("spec.vault.engines[{index}]");
        let namespace = engine_namespace(&base, engine, listed, findings);
        let path = mount_path(&format!("{base}.path"), &engine.path, findings);
        let (Some(namespace), Some(path)) = (namespace, path) else {
            continue;
        };
        let made = Engine {
            path,
            engine_type: engine.engine_type,
            namespace,
        };
        let field = format!("{base}.path");
        if let Some(other) = conflicting_namespace(&made, listed) {
            findings.add(
                &field,
                ViolationReason::Ambiguous,
                format!(
                    "{} and the vault namespace {} share a path, so that a request could mean either; remount the \
                     engine under another path, or remove the namespace from spec.vault.namespaces",
                    quoted(&made.path),
                    quoted(&other)
                ),
            );
        }
        let overlapping = accepted.iter().find(|(_, other)| {
            share_a_namespace(&made.namespace, &other.namespace) && nested(&made.path, &other.path)
        });
        if let Some((other_index, other)) = overlapping {
            let (reason, relation) = if other.path == made.path {
                (ViolationReason::Duplicate, "is the same path as in")
            } else {
                (ViolationReason::Ambiguous, "overlaps the path of")
            };
            findings.add(
                field,
                reason,
                format!(
                    "{} {relation} spec.vault.engines[{other_index}] ({}) in the same vault namespace; remove one of \
                     the two",
                    quoted(&made.path),
                    quoted(&other.path)
                ),
            );
        }
        accepted.push((index, made));
    }
    accepted.into_iter().map(|(_, engine)| engine).collect()
}

fn engine_namespace(
    base: &str,
    engine: &api::Engine,
    listed: &[String],
    findings: &mut Findings,
) -> Option<EngineNamespace> {
    match engine.namespace.as_deref() {
        None => Some(EngineNamespace::Root),
        Some("*") => Some(EngineNamespace::EveryListed),
        Some(name) if listed.iter().any(|listed| listed == name) => {
            Some(EngineNamespace::Named(name.to_owned()))
        }
        Some(name) => {
            findings.add(
                format!("{base}.namespace"),
                ViolationReason::Invalid,
                format!(
                    "{} is not in spec.vault.namespaces; list it there, write \"*\" for all listed ones, or remove the \
                     field for the root namespace",
                    quoted(name)
                ),
            );
            None
        }
    }
}

fn mount_path(field: &str, text: &str, findings: &mut Findings) -> Option<String> {
    let first = text.split('/').next().unwrap_or_default();
    let why = if let Err(why) = segments(text) {
        format!("{} {why}", quoted(text))
    } else if RESERVED_MOUNTS.contains(&first) {
        format!("{}: {first} is reserved for the vault", quoted(text))
    } else {
        return Some(text.to_owned());
    };
    findings.add(
        field,
        ViolationReason::Invalid,
        format!("{why}; write the engine's mount path without /v1/, such as secret or team/kv"),
    );
    None
}

/// Checks that a text consists of segments of `[A-Za-z0-9._~-]`, separated by single slashes.
fn segments(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.starts_with('/') || text.ends_with('/') {
        return Err("begins or ends with a slash");
    }
    for segment in text.split('/') {
        match segment {
            "" => return Err("has an empty segment"),
            "." | ".." => return Err("has a dot segment"),
            _ => {}
        }
        if !segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
        {
            return Err("has a character other than letters, digits, ., _, ~ and -");
        }
    }
    Ok(())
}

/// Whether the paths are equal or one contains the other, by whole segments.
fn nested(one: &str, other: &str) -> bool {
    beneath(one, other) || beneath(other, one)
}

fn beneath(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn share_a_namespace(one: &EngineNamespace, other: &EngineNamespace) -> bool {
    match (one, other) {
        (EngineNamespace::Root, EngineNamespace::Root) => true,
        (EngineNamespace::Root, _) | (_, EngineNamespace::Root) => false,
        (EngineNamespace::EveryListed, _) | (_, EngineNamespace::EveryListed) => true,
        (EngineNamespace::Named(one), EngineNamespace::Named(other)) => one == other,
    }
}

/// Returns the listed namespace that has a path in common with a mount: one of the two paths begins with the other.
///
/// If a client sends the mount's namespace in the header, the path of its request has no namespace. So every mount is
/// compared with all namespaces and, relative to its own namespace, with those below it.
fn conflicting_namespace(engine: &Engine, listed: &[String]) -> Option<String> {
    let beneath_own = |own: &str| {
        listed.iter().find(|namespace| {
            let relative = namespace
                .strip_prefix(own)
                .and_then(|rest| rest.strip_prefix('/'));
            relative.is_some_and(|relative| nested(&engine.path, relative))
        })
    };
    let by_header = listed
        .iter()
        .find(|namespace| nested(&engine.path, namespace));
    by_header
        .or_else(|| match &engine.namespace {
            EngineNamespace::Root => None,
            EngineNamespace::Named(own) => beneath_own(own),
            EngineNamespace::EveryListed => listed.iter().find_map(|own| beneath_own(own)),
        })
        .cloned()
}
