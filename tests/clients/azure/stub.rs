//! A stub of Azure Key Vault, because there is no server that a test can start. It has the challenge, the paths and the
//! shapes of the API's public reference, and every answer names itself one of a stub. It stores nothing: each object
//! exists, and each list has two pages.

use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};
use testkit::client::TOKEN;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Name of the vault for its clients, which connect to the firewall instead.
const VAULT: &str = "https://main.vault.test";
/// Version of every object.
const VERSION: &str = "0123456789abcdef0123456789abcdef";
/// `horse` in base64.
const HORSE: &str = "aG9yc2U";
/// The lists of a vault; `versions` is below an object.
const LISTS: [&str; 8] = [
    "secrets",
    "keys",
    "certificates",
    "issuers",
    "versions",
    "deletedsecrets",
    "deletedkeys",
    "deletedcertificates",
];

/// Requests that arrived through the firewall: method and path, and whether they had the token.
type Arrived = Arc<Mutex<Vec<(String, bool)>>>;

/// A running stub; it ends with this value.
pub(super) struct Stub {
    arrived: Arrived,
    _runtime: Runtime,
}

impl Stub {
    pub(super) fn start(at: SocketAddrV4) -> Self {
        let runtime = Runtime::new().unwrap();
        let arrived = Arrived::default();
        let record = arrived.clone();
        let listener = runtime.block_on(TcpListener::bind(at)).unwrap();
        let stub = Router::new().fallback(move |request: Request<Body>| {
            let record = record.clone();
            async move { answer(&record, &request) }
        });
        runtime.spawn(async move { axum::serve(listener, stub).await });
        Self {
            arrived,
            _runtime: runtime,
        }
    }

    pub(super) fn arrived(&self) -> Vec<(String, bool)> {
        self.arrived.lock().unwrap().clone()
    }
}

fn answer(record: &Arrived, request: &Request<Body>) -> Response<Body> {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let with_token =
        authorization.is_some_and(|value| value.as_bytes() == format!("Bearer {TOKEN}").as_bytes());
    let path = request.uri().path();
    let line = format!("{} {path}", request.method());
    // `vaultwall serve` itself asks once whether the vault wants TLS.
    if request.headers().contains_key("x-forwarded-for") {
        record.lock().unwrap().push((line, with_token));
    }
    let response = Response::builder()
        .header("server", "stub of Azure Key Vault, for tests")
        .header("content-type", "application/json; charset=utf-8");
    let (status, body, response) = if path.eq_ignore_ascii_case("/healthstatus") {
        (StatusCode::OK, json!({}), response)
    } else if !with_token {
        let challenge =
            "Bearer authorization=\"https://login.test/tenant\", resource=\"https://vault.test\"";
        let error =
            json!({"error": {"code": "Unauthorized", "message": "the stub wants a bearer token"}});
        let response = response.header(header::WWW_AUTHENTICATE, challenge);
        (StatusCode::UNAUTHORIZED, error, response)
    } else {
        let status = match (request.method().as_str(), path.rsplit('/').next()) {
            ("DELETE", _) if path.starts_with("/deleted") => StatusCode::NO_CONTENT,
            ("POST", Some("create")) if path.starts_with("/certificates") => StatusCode::ACCEPTED,
            ("POST", Some("merge")) => StatusCode::CREATED,
            _ => StatusCode::OK,
        };
        let body = body(path, request.uri().query().unwrap_or_default());
        (status, body, response)
    };
    let body = match status {
        StatusCode::NO_CONTENT => Body::empty(),
        _ => Body::from(body.to_string()),
    };
    response.status(status).body(body).unwrap()
}

/// The body of an answer: a list, a truth, or an object with the fields of all kinds.
fn body(path: &str, query: &str) -> Value {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let last = *segments.last().unwrap();
    if LISTS.contains(&last) {
        let kind = segments[0].trim_start_matches("deleted");
        let page = if query.contains("skiptoken") {
            "two"
        } else {
            "one"
        };
        let next =
            format!("{VAULT}{path}?api-version=7.6&$skiptoken=eyJwYWdlIjoyfQ%3D%3D&maxresults=1");
        return json!({
            "value": [object(kind, page)],
            "nextLink": (page == "one").then_some(next),
        });
    }
    if last == "verify" {
        return json!({"value": true});
    }
    let mut object = object(
        segments[0].trim_start_matches("deleted"),
        segments.get(1).unwrap_or(&"random"),
    );
    // A client of a new certificate asks until the authority has signed it.
    object["status"] = if last == "create" {
        "inProgress"
    } else {
        "completed"
    }
    .into();
    object
}

fn object(kind: &str, name: &str) -> Value {
    let id = format!("{VAULT}/{kind}/{name}/{VERSION}");
    let (created, level) = (1_493_938_410, "Recoverable");
    let attributes =
        json!({"enabled": true, "created": created, "updated": created, "recoveryLevel": level});
    json!({
        "stub": "This is a stub of Azure Key Vault.",
        "id": id,
        "kid": id,
        "value": HORSE,
        "attributes": attributes,
        "recoveryId": format!("{VAULT}/deleted{kind}/{name}"),
        "deletedDate": 1_493_938_433,
        "scheduledPurgeDate": 1_501_714_433,
        "key": {
            "kid": id,
            "kty": "oct-HSM",
            "key_ops": ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"],
        },
        "lifetimeActions": [],
        "cer": HORSE,
        "target": format!("{VAULT}/{kind}/{name}"),
        "issuer": {"name": "Self"},
        "provider": "Test",
        "contacts": [{"email": "owner@example.com"}],
        "policy": {"id": format!("{VAULT}/{kind}/{name}/policy"), "issuer": {"name": "Self"}},
    })
}
