//! Conversations. Each script lists all messages of both sides, and must be reproduced exactly.
//!
//! | line | meaning |
//! |---|---|
//! | `publish CDS a@1, ECDS f@2` | the node's snapshot: resource `a` of CDS with content 1, … |
//! | `client LDS` | a first request without names: the old form of the wildcard |
//! | `client ECDS +f -g known f@1` | subscribes to `f`, unsubscribes from `g`, kept `f` from an earlier connection |
//! | `client ECDS ack 3`, `client ECDS nack 3 message` | its answer to response 3 |
//! | `server 3 ECDS f@2 -g` | response 3: `f` with content 2, `g` removed |
//! | `report ECDS f@2 …` | an event about the client |
//! | `progress …` | the resources that are not in force yet, and the refused ones |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod sending;
mod subscribing;

use envoy_types::pb::google::rpc;

use super::*;
use crate::xds::Outcome;
use crate::xds::resource::Resource;
use crate::xds::testing::{cluster, endpoint, filter, listener, route};

const NAMES: [(&str, ResourceType); 5] = [
    ("CDS", ResourceType::Cluster),
    ("EDS", ResourceType::Endpoint),
    ("LDS", ResourceType::Listener),
    ("RDS", ResourceType::RouteConfiguration),
    ("ECDS", ResourceType::ExtensionConfig),
];

fn short(kind: ResourceType) -> &'static str {
    NAMES.iter().find(|(_, known)| *known == kind).unwrap().0
}

fn resource(words: &str) -> Resource {
    let (kind, content) = words.split_once(' ').unwrap();
    let (name, version) = content.split_once('@').unwrap();
    let make = match kind {
        "CDS" => cluster,
        "EDS" => endpoint,
        "LDS" => listener,
        "RDS" => route,
        "ECDS" => filter,
        _ => panic!("unknown type {kind}"),
    };
    make(name, version.parse().unwrap())
}

fn request(words: &str) -> DeltaDiscoveryRequest {
    let (kind, mut rest) = words.split_once(' ').unwrap_or((words, ""));
    let type_url = NAMES
        .iter()
        .find(|(name, _)| *name == kind)
        .map_or(kind, |(_, kind)| kind.type_url());
    let mut request = DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        ..Default::default()
    };
    if let Some(refusal) = rest.strip_prefix("nack ") {
        let (nonce, message) = refusal.split_once(' ').unwrap();
        request.response_nonce = nonce.to_owned();
        request.error_detail = Some(rpc::Status {
            code: 13,
            message: message.to_owned(),
            details: Vec::new(),
        });
        return request;
    }
    if let Some(nonce) = rest.strip_prefix("ack ") {
        request.response_nonce = nonce.split(' ').next().unwrap().to_owned();
        rest = &nonce[request.response_nonce.len()..];
    }
    for word in rest.split_whitespace().filter(|word| *word != "known") {
        if let Some(name) = word.strip_prefix('+') {
            request.resource_names_subscribe.push(name.to_owned());
        } else if let Some(name) = word.strip_prefix('-') {
            request.resource_names_unsubscribe.push(name.to_owned());
        } else {
            let (name, version) = word.split_once('@').unwrap();
            request
                .initial_resource_versions
                .insert(name.to_owned(), version.to_owned());
        }
    }
    request
}

fn lines(output: Output) -> Vec<String> {
    let versioned = |name: &str, version: Option<String>| match version {
        Some(version) => format!("{name}@{version}"),
        None => format!("-{name}"),
    };
    let reports = output.events.into_iter().map(|event| match event {
        Event::Answered {
            kind,
            name,
            version,
            outcome,
        } => {
            let outcome = match outcome {
                Outcome::Acknowledged => "acknowledged".to_owned(),
                Outcome::Rejected { message } => format!("rejected: {message}"),
            };
            format!(
                "report {} {} {outcome}",
                short(kind),
                versioned(&name, version)
            )
        }
        Event::Missing { kind, name } => format!("report {} {name} is missing", short(kind)),
        Event::UnservedType { type_url } => format!("report {type_url} is not served"),
    });
    let responses = output.responses.into_iter().map(|response| {
        let kind = ResourceType::from_type_url(&response.type_url).unwrap();
        let mut line = format!("server {} {}", response.nonce, short(kind));
        for resource in response.resources {
            assert_eq!(resource.resource.unwrap().type_url, response.type_url);
            line.extend([" ", &resource.name, "@", &resource.version]);
        }
        for name in response.removed_resources {
            line.extend([" -", &name]);
        }
        line
    });
    reports.chain(responses).collect()
}

fn progress(session: &Session) -> String {
    let progress = session.progress();
    if progress
        .version
        .as_deref()
        .is_some_and(|version| progress.is_programmed(version))
    {
        return "progress: programmed".to_owned();
    }
    let pending = progress
        .pending
        .iter()
        .map(|(kind, name)| format!(" pending {} {name}", short(*kind)));
    let refused = progress
        .rejections
        .iter()
        .map(|r| format!(" refused {} {}: {}", short(r.kind), r.name, r.message));
    format!(
        "progress:{}",
        pending.chain(refused).collect::<Vec<_>>().join(",")
    )
}

#[track_caller]
fn conversation(script: &str) {
    let script: Vec<&str> = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let mut session = Session::new();
    let mut actual = Vec::new();
    for line in &script {
        let (sender, words) = line.split_once(' ').unwrap_or((line, ""));
        let output = match sender {
            "publish" => {
                let resources = words
                    .split(", ")
                    .filter(|words| !words.is_empty())
                    .map(resource)
                    .collect();
                session.on_snapshot(Arc::new(Snapshot::new(resources)))
            }
            "client" => session.on_request(&request(words)).unwrap(),
            "progress:" => {
                actual.push(progress(&session));
                continue;
            }
            _ => continue,
        };
        actual.push((*line).to_owned());
        actual.extend(lines(output));
    }
    assert_eq!(
        script.join("\n"),
        actual.join("\n"),
        "\nleft: the script, right: the actual messages"
    );
}
