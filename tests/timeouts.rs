//! No timeout of Envoy ends a request that the vault still works on, within 15 minutes. `tests/clients/slow.rs` waits
//! for such an answer.

use std::fs;

use serde_json::Value;

use crate::cases::Case;

/// Shortest timeout, in seconds, that may end a request which the vault works on.
const BOUND: f64 = 900.0;
/// Timeouts that end nothing while a request waits for its answer: of connections without a request, of the time in
/// which a request has to arrive, of connecting, of an answer that the client does not read.
const HARMLESS: [&str; 6] = [
    "connect_timeout",
    "idle_timeout",
    "request_headers_timeout",
    "request_timeout",
    "stream_flush_timeout",
    "transport_socket_connect_timeout",
];

/// Calls `found` with each timeout: its key, its value, and the object that has it.
fn timeouts<'a>(value: &'a Value, found: &mut impl FnMut(&'a str, &'a str, &'a Value)) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                let is_time = key.ends_with("timeout") || key.ends_with("duration");
                match inner.as_str() {
                    Some(text) if is_time => found(key, text, value),
                    _ => timeouts(inner, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| timeouts(inner, found)),
        _ => {}
    }
}

fn seconds(text: &str) -> f64 {
    text.strip_suffix('s').unwrap().parse().unwrap()
}

#[test]
fn no_timeout_ends_a_request_that_the_vault_works_on() {
    let (mut routes, mut streams) = (0, 0);
    for case in Case::all() {
        let file = case.path("out/envoy.json");
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let resources: Value = serde_json::from_str(&text).unwrap();
        timeouts(&resources, &mut |key, text, within| {
            let place = format!("{}: {key}: {text}", file.display());
            match key {
                "timeout" => {
                    let cluster = within.get("cluster_header").or(within.get("cluster"));
                    let cluster = cluster.and_then(Value::as_str).unwrap_or_default();
                    // Zero is none. Only probes have one: nobody waits minutes for those.
                    let of_probes = cluster.contains("probe");
                    assert!(
                        of_probes || seconds(text) == 0.0 || seconds(text) >= BOUND,
                        "{place}"
                    );
                    routes += 1;
                }
                "stream_idle_timeout" => {
                    assert!(seconds(text) >= BOUND, "{place}");
                    streams += 1;
                }
                other => assert!(HARMLESS.contains(&other), "{place}: decide what it ends"),
            }
        });
    }
    assert!(
        routes > 0 && streams > 0,
        "{routes} routes, {streams} streams"
    );
}
