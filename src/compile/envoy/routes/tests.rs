#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
//! Routes that are joined or left out without changing the class of any request.

use super::*;
use crate::policy::{Engine, EngineNamespace, EngineType, VaultApi};
use crate::vault_api::{Described, Plane, Profile, Request, classify};

fn table() -> Table {
    let engine = |path: &str, engine_type, namespace| Engine {
        path: path.into(),
        engine_type,
        namespace,
    };
    let engines = [
        engine("secret", EngineType::KvV2, EngineNamespace::Root),
        engine("kv", EngineType::KvV1, EngineNamespace::EveryListed),
        engine(
            "transit",
            EngineType::Transit,
            EngineNamespace::Named("team-a".into()),
        ),
    ];
    let described = Described {
        engines: &engines,
        namespaces: &["team-a".into(), "team-b".into()],
        ..Described::default()
    };
    Table::new(Profile::of(VaultApi::OpenBao), &described)
}

/// Paths for rows of every kind, ordered so that neighbours are in different runs of equal rows.
const PATHS: &str = "
    sys/health sys/init sys/unseal sys/rekey/init sys/raw sys/namespaces/a/unseal sys/metrics sys/pprof/heap
    sys/wrapping/unwrap sys/wrapping/wrap sys/workflows/a sys/tools/hash sys/policies/password/a
    sys/policies/password/a/generate sys/mfa/validate sys/leases/renew/a sys/leases/lookup sys/leases/lookup/a
    sys/internal/ui/mounts sys/internal/ui/namespaces sys/mounts sys/mounts/a sys/policies/acl/a sys/leases
    sys/leases/count sys/unheard-of sys
    auth/a/login auth/a/login/b auth/token/lookup-self auth/token/create auth/token/lookup auth/a/config auth/a/role/b
    auth/a/role/b/secret-id auth/a/users/b/password auth/a/oidc/callback identity/entity/a identity/oidc/token/a
    identity/oidc/.well-known/keys cubbyhole/response sys/namespaces/a sys/storage/raft/snapshot
    secret/data/a secret/data/a/ secret/metadata/a secret/metadata secret/metadata/ secret/destroy/a secret
    kv/a kv/a/ kv transit/keys transit/keys/a transit/encrypt/a transit/rewrap/a elsewhere/a";

#[test]
fn joined_rows_classify_requests_like_all_rows() {
    let whole = table();
    let fewer = Table {
        rows: joined(whole.rows.iter(), false),
        ..whole.clone()
    };
    assert!(fewer.rows.len() < whole.rows.len());
    let methods = [
        "GET", "HEAD", "POST", "PATCH", "DELETE", "LIST", "SCAN", "HELP",
    ];
    let mut asked = 0;
    for path in PATHS.split_whitespace() {
        for prefix in ["", "team-a/", "team-b/", "stranger/"] {
            for namespace in [None, Some("root"), Some("team-a"), Some("stranger")] {
                for method in methods {
                    let target = format!("/v1/{prefix}{path}");
                    let request = Request {
                        has_body: false,
                        several_tokens: false,
                        announced: None,
                        method,
                        target: &target,
                        namespace,
                    };
                    let meaning = |table| {
                        classify(table, &request).map(|row| (row.name.clone(), row.class.clone()))
                    };
                    assert_eq!(meaning(&fewer), meaning(&whole), "{request:?}");
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 5_000);
}

#[test]
fn flagged_rows_are_joined_regardless_of_their_verbs() {
    let whole = table();
    let named = |rows: &[Row], name: &str| rows.iter().filter(|row| *row.name == *name).count();
    let unproven = "unproven-namespace";
    assert!(named(&whole.rows, unproven) > 5);
    assert_eq!(named(&joined(whole.rows.iter(), true), unproven), 1);
    // A row that decides between two meanings is never moved.
    let order: Vec<_> = joined(whole.rows.iter(), true)
        .iter()
        .map(|row| row.name.to_string())
        .filter(|name| ["data", "control"].contains(&name.as_str()))
        .collect();
    assert_eq!(
        order,
        [
            "data",    // sys/wrapping
            "data",    // cubbyhole/response
            "control", // sys/policies/password/:name
            "data",    // sys/policies/password/:name/generate
            "control",
        ]
    );
}

#[test]
fn flags_that_change_nothing_are_not_matched() {
    let questions = |start: &str, with_verbs: bool| {
        let mut table = table();
        table.rows.retain(|row| with_verbs || row.verbs.is_empty());
        let group = groups(&table)
            .into_iter()
            .find(|group| group.start == start)
            .unwrap();
        let written = format!("{:?}", group.matcher());
        ["list", "scan"].map(|flag| written.contains(&format!("*{flag}=(?:1|")))
    };
    let no = [false, false];
    let both = [true, true];
    // LIST and SCAN are two things in transit, and one in kv and identity.
    assert_eq!(questions("identity", false), no);
    assert_eq!(questions("identity", true), both);
    assert_eq!(questions("transit", true), both);
    assert_eq!(questions("kv", true), both);
}

#[test]
fn only_probes_have_a_timeout() {
    let without = Plane::ALL.into_iter().filter(|plane| {
        let timeout = forward(*plane).timeout.unwrap();
        timeout.seconds == 0 && timeout.nanos == 0
    });
    let with = Plane::ALL.len() - without.count();
    assert_eq!(with, 1);
    assert!(forward(Plane::Infrastructure).timeout.unwrap().seconds > 0);
}

#[test]
fn methods_are_matched_with_their_announcement() {
    let matches = |methods: &str, header: &str| {
        let pattern = judged_by(methods).replace("\\C", "(?s:.)");
        regex::Regex::new(&format!("^(?:{pattern})$"))
            .unwrap()
            .is_match(header)
    };
    for (methods, header, expected) in [
        ("GET|HEAD", "GET ", true),
        ("GET|HEAD", "GET POST", true),
        ("GET|HEAD", "OPTIONS GET", true),
        ("GET|HEAD", "OPTIONS POST", false),
        ("GET|HEAD", "OPTIONS ", false),
        ("GET|HEAD", "OPTIONS OPTIONS", false),
        ("GET|HEAD", "POST GET", false),
        ("GET|OPTIONS", "OPTIONS ", true),
        ("GET|OPTIONS", "OPTIONS OPTIONS", true),
        ("GET|OPTIONS", "OPTIONS GET", true),
        ("GET|OPTIONS", "OPTIONS GET,GET", false),
        ("OPTIONS", "OPTIONS ", true),
        ("OPTIONS", "GET ", false),
    ] {
        assert_eq!(matches(methods, header), expected, "{methods}: {header:?}");
    }
}
