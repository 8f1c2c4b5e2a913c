//! Every path of the vault has its place, which `docs/reference/vault-paths.md` shows. No path is critical only because
//! it was overlooked.
//!
//! | file | paths |
//! |---|---|
//! | `openbao.txt` | those that `OpenBao` describes; `live.rs` compares it with a real one |
//! | `by-hand.txt` | further ones of `OpenBao`, which its description does not have |
//! | `hashicorp.txt` | those of `HashiCorp` Vault, from its documentation; not tested |
//! | `azure.txt` | those of Azure Key Vault, from its reference |
//! | `critical-by-default.txt` | requests of all these that no row of the profile matches, each with a reason |

pub mod list;
pub mod place;

use list::{differences, lines};
use place::{azure_table, paths, placed, table};

/// The lists of paths.
pub const LISTS: [&str; 3] = ["openbao.txt", "by-hand.txt", "hashicorp.txt"];
/// Methods that no description of the vault mentions.
const OTHERS: [&str; 2] = ["HEAD", "OPTIONS"];
/// Paths whose parameter cannot contain a slash: with one, it is another path, which the vault refuses.
const ONE_SEGMENT: [&str; 1] = ["/sys/namespaces/{path}"];
/// Parameters that can have several segments.
const SEVERAL_SEGMENTS: [&str; 3] = ["{path}", "{prefix}", "{url_lease_id}"];

#[test]
fn paths_without_a_row_are_reviewed() {
    let table = table();
    let mut unlisted = Vec::new();
    for listed in LISTS.iter().flat_map(|list| paths(list)) {
        let methods = listed.methods.iter().map(String::as_str).chain(OTHERS);
        let critical: Vec<&str> = methods
            .filter(|method| &*placed(&table, method, &listed.target("x")).name == "unlisted-sys")
            .collect();
        if !critical.is_empty() {
            unlisted.push(format!("{} {}", listed.path, critical.join(" ")));
        }
    }
    let reviewed: Vec<String> = lines("critical-by-default.txt")
        .iter()
        .map(|line| {
            let (request, reason) = line.split_once(" | ").unwrap();
            assert!(reason.len() > 10, "{line}: a reason is missing");
            request.to_owned()
        })
        .collect();
    let [new, gone] = differences(&unlisted, &reviewed);
    assert!(
        new.is_empty() && gone.is_empty(),
        "critical by default, but not reviewed: {new:#?}\nreviewed, but no longer critical by default: {gone:#?}\n\
         give a path a row in src/vault_api/openbao.yaml, or a line in tests/vault_paths/critical-by-default.txt"
    );
}

/// A path with further segments is not less protected than one with a single segment.
#[test]
fn names_with_slashes_have_the_same_place() {
    let table = table();
    let mut compared = 0;
    for listed in LISTS.iter().flat_map(|list| paths(list)) {
        let several = SEVERAL_SEGMENTS
            .iter()
            .any(|name| listed.path.contains(name));
        if !several || ONE_SEGMENT.iter().any(|path| listed.path.starts_with(path)) {
            continue;
        }
        for method in listed.methods.iter().map(String::as_str).chain(OTHERS) {
            let class = |value| &placed(&table, method, &listed.target(value)).class;
            assert_eq!(class("x"), class("x/y"), "{method} {}", listed.path);
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared} requests only");
}

/// A path that the vault answers without a token is open to every client of an endpoint that serves it.
#[test]
fn paths_without_a_token_are_not_management() {
    let table = table();
    let mut control = Vec::new();
    for listed in LISTS.iter().flat_map(|list| paths(list)) {
        for method in listed.methods.iter().filter(|_| !listed.token) {
            let row = placed(&table, method, &listed.target("x"));
            if row.class.plane.name() == "control" {
                control.push(format!("{method} {}", listed.path));
            }
        }
    }
    // The description contains only what the token may see; without a token, nothing but logins.
    assert_eq!(
        control,
        [
            "GET /sys/internal/specs/openapi",
            "POST /sys/internal/specs/openapi"
        ]
    );
}

/// A list has one operation in all its forms, and PUT is POST.
#[test]
fn forms_of_one_request_have_one_place() {
    let table = table();
    let (mut lists, mut writes) = (0, 0);
    for listed in LISTS.iter().flat_map(|list| paths(list)) {
        let target = listed.target("x");
        let class = |method: &str, query: &str| {
            placed(&table, method, &format!("{target}{query}"))
                .class
                .clone()
        };
        let has = |method: &str| listed.methods.iter().any(|known| known == method);
        for (method, flag) in [("LIST", "list"), ("SCAN", "scan")] {
            for value in ["true", "1", "t", "TRUE"] {
                let query = format!("?{flag}={value}");
                assert_eq!(class("GET", &query), class(method, ""), "{target}{query}");
            }
        }
        if has("LIST") && has("SCAN") {
            assert_eq!(class("LIST", ""), class("SCAN", ""), "{target}");
            lists += 1;
        }
        assert_eq!(class("PUT", ""), class("POST", ""), "{target}");
        writes += usize::from(has("POST"));
    }
    assert!(lists > 2 && writes > 300, "{lists} lists, {writes} writes");
}

/// An identity that may read secrets may do nothing else: every listed request with the operation `secrets/get`.
#[test]
fn secrets_get_is_reading_a_secret() {
    let table = table();
    let azure = azure_table();
    let mut reading = Vec::new();
    for listed in LISTS.iter().flat_map(|list| paths(list)) {
        for method in listed.methods.iter().map(String::as_str).chain(OTHERS) {
            let operations = &placed(&table, method, &listed.target("x")).class.operations;
            if operations.names.iter().any(|name| name == "secrets/get") {
                reading.push(format!("{method} {} {operations}", listed.path));
            }
        }
    }
    for listed in paths("azure.txt") {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let operations = &placed(&azure, method, &listed.filled("x")).class.operations;
            if operations.names.iter().any(|name| name == "secrets/get") {
                reading.push(format!("{method} {} {operations}", listed.path));
            }
        }
    }
    assert_eq!(
        reading,
        [
            "GET /cubbyhole/{path} secrets/get",
            "GET /kv1/{path} secrets/get",
            "GET /secret/data/{path} secrets/get",
            "GET /secret/metadata/{path} secrets/get",
            "GET /secret/subkeys/{path} secrets/get",
            "GET /cubbyhole/response secrets/get",
            "GET /secrets/{secret-name} secrets/get",
            "GET /secrets/{secret-name}/{secret-version} secrets/get",
            // Secrets named `restore`, and versions named `backup`.
            "GET /secrets/{secret-name}/backup secrets/get",
            "GET /secrets/restore secrets/get",
            "GET /deletedsecrets/{secret-name} secrets/get",
        ]
    );
}
