#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::api::{EngineType, VaultApi};
use crate::policy::ValidatedScenario;
use crate::vault_api::{Described, Engine, EngineNamespace, Profile, Table};

fn table() -> Table {
    let engine = |path: &str, engine_type| Engine {
        path: path.to_owned(),
        engine_type,
        namespace: EngineNamespace::Root,
    };
    let engines = [
        engine("secret", EngineType::KvV2),
        engine("transit", EngineType::Transit),
    ];
    let described = Described {
        engines: &engines,
        ..Described::default()
    };
    Table::new(Profile::of(VaultApi::OpenBao), &described)
}

fn account(namespace: &str, name: &str) -> Subject {
    Subject::Account(ObjectName {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

fn mapped(operations: &[&str], subjects: Vec<Subject>) -> Mapped {
    let scenario = ValidatedScenario {
        name: "work".to_owned(),
        operations: operations.iter().map(|name| (*name).to_owned()).collect(),
    };
    Mapped {
        service: Arc::new(ValidatedTrustedService {
            name: "backup".into(),
            scenarios: vec![scenario],
            identities: Vec::new(),
        }),
        subjects,
    }
}

fn role(names: &str, namespaces: &str, audience: Option<&str>) -> Role {
    Role {
        path: "auth/kubernetes/role/app".to_owned(),
        binding: Binding::ServiceAccounts {
            names: vec![names.to_owned()],
            namespaces: vec![namespaces.to_owned()],
            has_selector: false,
            audience: audience.map(str::to_owned),
        },
        policies: vec!["default".to_owned(), "app".to_owned()],
    }
}

/// Reasons of the findings about one service account, whose role has a policy.
fn reasons(operations: &[&str], role: Role, policy: Option<&str>) -> Vec<(&'static str, String)> {
    let policies = policy.map(|text| acl::parse("app", text));
    let vault = VaultAccess {
        roles: vec![role],
        policies: BTreeMap::from([("app".to_owned(), policies)]),
    };
    let mapped = [mapped(operations, vec![account("backup", "agent")])];
    let found = compare(&mapped, &vault, &table(), None);
    found.into_iter().map(|f| (f.reason, f.message)).collect()
}

fn of_policy(operations: &[&str], policy: &str) -> BTreeSet<&'static str> {
    let role = role("agent", "backup", Some("vault"));
    let found = reasons(operations, role, Some(policy));
    found.into_iter().map(|(reason, _)| reason).collect()
}

#[test]
#[rustfmt::skip] // a table
fn policies_are_compared_with_scenarios() {
    for (operations, policy, expected) in [
        (&["secrets/get"][..], r#"path "secret/data/*" { capabilities = ["read"] }"#, &[][..]),
        (&["secrets/get"], r#"path "secret/data/app" { capabilities = ["read"] }"#, &[]),
        (&["secrets/get"], r#"path "secret/data/*" { capabilities = ["read", "update"] }"#, &["PolicyWider"]),
        (&["secrets/get"], r#"path "secret/*" { capabilities = ["read", "delete"] }"#, &["PolicyWider"]),
        (&["secrets/get"], r#"path "secret/data/*" { capabilities = ["read"] }
            path "sys/mounts" { capabilities = ["read"] }"#,
            &["PolicyWider"]),
        (&["secrets/get"], r#"path "secret/data/*" { capabilities = ["deny"] }"#, &["PolicyNarrower"]),
        (&["secrets/get", "secrets/list"], r#"path "secret/data/*" { capabilities = ["read"] }"#, &["PolicyNarrower"]),
        (&["secrets/get"], r#"path "secret/data/*" { capabilities = ["read"] }
            path "kv/*" { capabilities = ["read"] }"#, &["OperationUnknown"]),
        (&["secrets/get"], r#"path "secret/data/*" { capabilities = ["read"] }
            path "auth/token/lookup-self" { capabilities = ["read"] }"#, &[]),
        (&["keys/sign"], r#"path "transit/sign/+" { capabilities = ["update"] }"#, &[]),
        (&["keys/sign"], r#"path "transit/+/orders" { capabilities = ["update"] }"#, &["PolicyWider"]),
        // No listed engine has certificates.
        (&["secrets/get", "certificates/get"], r#"path "secret/data/*" { capabilities = ["read"] }"#, &[]),
        (&["secrets/get"], "path {", &["PolicyNarrower", "PolicyUnreadable"]),
    ] {
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        assert_eq!(of_policy(operations, policy), expected, "{policy}");
    }
}

#[test]
fn a_wider_policy_is_reported_with_its_path_and_capability() {
    let policy = r#"path "secret/data/*" { capabilities = ["read", "delete"] }"#;
    let found = reasons(
        &["secrets/get"],
        role("agent", "backup", Some("vault")),
        Some(policy),
    );
    let (_, message) = found.first().unwrap();
    assert!(
        message.contains("capability delete on path \"secret/data/*\" allows secrets/delete"),
        "{message}"
    );
}

#[test]
#[rustfmt::skip] // a table
fn bindings_of_roles_are_compared() {
    let policy = r#"path "secret/data/*" { capabilities = ["read"] }"#;
    for (names, namespaces, audience, expected) in [
        ("agent", "backup", Some("vault"), &[][..]),
        ("agent", "backup", None, &["NoAudience"]),
        ("a*", "backup", Some("vault"), &["WildcardBinding"]),
        ("**", "*", None, &["NoAudience", "WildcardBinding"]),
        ("other", "backup", Some("vault"), &["NoRole", "NotMapped"]),
        ("agent", "back", Some("vault"), &["NoRole", "NotMapped"]),
    ] {
        let found = reasons(&["secrets/get"], role(names, namespaces, audience), Some(policy));
        let found: Vec<&str> = found.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(found, expected, "{names} {namespaces}");
    }
}

#[test]
fn the_root_policy_is_wider_and_a_missing_one_is_reported() {
    let mut root = role("agent", "backup", Some("vault"));
    root.policies = vec!["root".to_owned()];
    let found = reasons(&["secrets/get"], root, None);
    assert!(
        found.iter().any(|(reason, _)| *reason == "PolicyWider"),
        "{found:?}"
    );
    let found = reasons(
        &["secrets/get"],
        role("agent", "backup", Some("vault")),
        None,
    );
    let found: Vec<&str> = found.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(found, ["PolicyMissing", "PolicyNarrower"]);
}

#[test]
#[rustfmt::skip] // a table
fn federated_identities_need_a_role_of_their_issuer_and_subject() {
    let of = |issuer: Option<&str>, subject: SubjectRule, audiences: &[&str]| Role {
        path: "auth/jwt/role/ci".to_owned(),
        binding: Binding::Claims {
            issuer: issuer.map(str::to_owned),
            subject,
            audiences: audiences.iter().map(|name| (*name).to_owned()).collect(),
        },
        policies: Vec::new(),
    };
    let exact = |subject: &str| SubjectRule::Exact(vec![subject.to_owned()]);
    let issuer = Some("https://tokens.example");
    let ci = Subject::Federated { issuer: "https://tokens.example".to_owned(), subject: "repo:a".to_owned() };
    for (role, expected) in [
        (of(issuer, exact("repo:a"), &["vault"]), &[][..]),
        (of(None, exact("repo:a"), &["vault"]), &[]),
        (of(Some("https://other.example"), exact("repo:a"), &["vault"]), &["NoRole", "NotMapped"]),
        (of(issuer, exact("repo:*"), &["vault"]), &["NoRole", "NotMapped"]),
        (of(issuer, SubjectRule::Globs(vec!["repo:*".to_owned()]), &["vault"]), &["WildcardBinding"]),
        (of(issuer, SubjectRule::Any, &[]), &["NoAudience", "WildcardBinding"]),
    ] {
        let vault = VaultAccess { roles: vec![role.clone()], policies: BTreeMap::new() };
        let found = compare(&[mapped(&["certificates/get"], vec![ci.clone()])], &vault, &table(), None);
        let found: Vec<&str> = found.iter().map(|finding| finding.reason).collect();
        assert_eq!(found, expected, "{role:?}");
    }
}

#[test]
fn a_role_for_browsers_is_noted_and_not_compared() {
    let mut people = role("agent", "backup", Some("vault"));
    people.binding = Binding::Browser;
    let found = reasons(&["secrets/get"], people, None);
    let found: Vec<&str> = found.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(found, ["NoRole", "NotChecked"]);
}
