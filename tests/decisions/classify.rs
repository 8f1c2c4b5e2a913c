//! Classification of the requests of the vault's API, by tables.

use vaultwall::policy::{Firewall, TokenCreation};
use vaultwall::vault_api::{Request, classify};

use crate::decisions::firewall::firewall;
use crate::decisions::table::{optional, request, rows};

/// Request, namespace header, plane, operations (`+` between them: all are needed; `,`: any one is enough). The plane
/// `400` is a bad request; its last column is a part of the message.
const COLUMNS: usize = 4;

/// All files of `classify/`, with the name of the firewall. The test fails if one is not listed.
const FILES: [(&str, &str); 14] = [
    ("auth-mounts", "deny"),
    ("azure-certificates", "azure"),
    ("azure-keys", "azure"),
    ("azure-secrets-and-others", "azure"),
    ("cors", "deny"),
    ("encodings", "deny"),
    ("flags", "deny"),
    ("kv", "deny"),
    ("management-secrets", "deny"),
    ("methods", "deny"),
    ("namespaces", "deny"),
    ("pki-and-others", "deny"),
    ("planes", "deny"),
    ("transit", "deny"),
];

#[test]
fn requests_are_classified_as_in_the_tables() {
    let tables = ["deny", "azure"].map(|name| (name, firewall(name).table()));
    let mut wrong = Vec::new();
    for (name, row) in FILES.iter().flat_map(|(file, name)| {
        rows(&format!("classify/{file}.txt"), COLUMNS)
            .into_iter()
            .map(move |row| (name, row))
    }) {
        let (_, table) = tables.iter().find(|(known, _)| known == name).unwrap();
        let [sent, namespace, plane, operations] = row.cells.as_slice() else {
            panic!("{}: columns", row.place)
        };
        let (method, target) = request(sent);
        let (method, announced) = match method.split_once('>') {
            Some((method, announced)) => (method.to_owned(), Some(announced)),
            None => (method.clone(), None),
        };
        let request = Request {
            has_body: false,
            several_tokens: false,
            announced,
            method: &method,
            target: &target,
            namespace: optional(namespace).map(|value| value.trim_matches('"')),
        };
        let got = match classify(table, &request) {
            Ok(found) => {
                let class = &found.class;
                let separator = if class.operations.all { "+" } else { "," };
                let names = class.operations.names.join(separator);
                let names = if names.is_empty() { "-".into() } else { names };
                format!("{} {names}", class.plane)
            }
            Err(problem) if problem.to_string().contains(operations.as_str()) => {
                format!("400 {operations}")
            }
            Err(problem) => format!("400 {problem}"),
        };
        let expected = format!("{plane} {operations}");
        if got != expected {
            wrong.push(format!(
                "{}: {sent} [{namespace}]\n  expected {expected}\n  got      {got}",
                row.place
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_is_used() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decisions/classify");
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.trim_end_matches(".txt").to_owned()
        })
        .collect();
    found.sort();
    let mut listed = FILES.map(|(file, _)| file.to_owned()).to_vec();
    listed.sort();
    assert_eq!(found, listed);
}

/// The management listener allows only session, control and infrastructure. No request to an engine may be one of
/// them, for any mount path.
#[test]
fn no_request_to_an_engine_leaves_the_data_plane() {
    let firewall = firewall("deny");
    let table = firewall.table();
    let mounts = ["secret", "kv1", "transit", "pki", "ns1/every", "x"];
    let inner = [
        "sys/mounts",
        "sys/health",
        "sys/init",
        "auth/token/lookup-self",
        "auth/a/login",
        "identity/entity/id",
        "data/sys/mounts",
        "metadata/sys/raw",
    ];
    for method in [
        "GET", "HEAD", "LIST", "SCAN", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HELP",
    ] {
        for mount in mounts {
            for path in inner {
                let target = format!("/v1/{mount}/{path}");
                let request = Request {
                    has_body: false,
                    several_tokens: false,
                    announced: None,
                    method,
                    target: &target,
                    namespace: None,
                };
                let row = classify(&table, &request).unwrap();
                assert_eq!(row.class.plane.name(), "data", "{method} {target}");
            }
        }
    }
}

/// Tokens other than the caller's own are management only if the policy says so.
#[test]
fn tokens_are_created_by_the_setting() {
    let paths = [
        "auth/token/create",
        "auth/token/create-orphan",
        "auth/token/create/ci",
    ];
    for (setting, sessions) in [
        (TokenCreation::Disabled, 0),
        (TokenCreation::ChildTokens, 1),
        (TokenCreation::AllTokens, 3),
    ] {
        let firewall = Firewall {
            token_creation: setting,
            ..firewall("deny")
        };
        let table = firewall.table();
        for (index, path) in paths.iter().enumerate() {
            for (method, namespace) in [("POST", None), ("PUT", Some("ns1"))] {
                let target = format!("/v1/{path}");
                let request = Request {
                    has_body: false,
                    several_tokens: false,
                    announced: None,
                    method,
                    target: &target,
                    namespace,
                };
                let plane = classify(&table, &request).unwrap().class.plane.name();
                let expected = if index < sessions { "session" } else { "data" };
                assert_eq!(plane, expected, "{setting:?} {method} {path}");
            }
        }
    }
}
