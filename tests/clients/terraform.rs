//! Terraform's Vault provider 5.11.0 at the management endpoint, from an address that no rule lists: the requests that
//! it sends, as `terraform.txt` has them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::clients::scene::Scene;
use testkit::Client;
use testkit::client::TOKEN;

const RECORDED: &str = include_str!("terraform.txt");
const UNLISTED: Ipv4Addr = Ipv4Addr::new(127, 20, 0, 1);

/// A request of the record, and the status of its answer.
struct Request {
    status: u16,
    method: &'static str,
    path: &'static str,
    body: String,
}

fn recorded() -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    let lines = RECORDED.lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with(' ') {
            requests.last_mut().unwrap().body.push_str(line.trim());
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [status, method, path] = words[..] else {
            panic!("{line}");
        };
        requests.push(Request {
            status: status.parse().unwrap(),
            method,
            path,
            body: String::new(),
        });
    }
    requests
}

#[test]
fn the_requests_of_apply_plan_and_destroy_are_served() {
    let scene = Scene::start_with(&[], "unsafe_allow_api_audit_creation = true\n");
    let mut client = Client::new(UNLISTED, scene.sandbox.management());
    let mut ids: BTreeMap<&str, String> = BTreeMap::new();
    let mut child = String::new();
    let requests = recorded();
    assert!(requests.len() > 60, "{}", requests.len());
    for request in requests {
        let Request { method, path, .. } = request;
        let starts = ["auth/token/lookup-self", "auth/token/create"].contains(&path);
        let token = if starts { TOKEN } else { &child };
        client.headers = format!("X-Vault-Request: true\r\nX-Vault-Token: {token}\r\n");
        let filled = |text: &str| {
            let names = ids.iter();
            names.fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
        };
        let path_sent = format!("/v1/{}", filled(path));
        let answer = client.send(method, &path_sent, &filled(&request.body));
        let answer = answer.unwrap();
        assert_eq!(answer.status, request.status, "{method} {path}: {answer}");
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        match path {
            "auth/token/create" => child = body["auth"]["client_token"].as_str().unwrap().into(),
            "identity/entity" | "identity/group" => {
                let name = if path.ends_with("entity") {
                    "{entity}"
                } else {
                    "{group}"
                };
                ids.insert(name, body["data"]["id"].as_str().unwrap().into());
            }
            _ => {}
        }
    }
    // All of it is gone again, and the secrets stayed out of reach.
    let mounts = scene.owner("GET sys/mounts", "");
    assert!(mounts.get("kv2/").is_none(), "{mounts}");
    let secret = client.send("GET", "/v1/secret/data/app", "").unwrap();
    assert_eq!(secret.status, 403, "{secret}");
}
