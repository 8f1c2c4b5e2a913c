//! Statuses that reach the API server late, and those that it does not store.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use hyper::{Method, Request};
use jiff::Timestamp;
use kube::client::{Body, ClientBuilder};
use serde_json::Value;
use tokio::sync::watch;
use tower::{Layer, Service};
use vaultwall::clock::Clock;
use vaultwall::controller::{self, LocalProxy, Options};
use vaultwall::limits::Limits;
use vaultwall::policy::VaultId;
use vaultwall::runtime::issuer_keys::{Authorities, KeyOptions};
use vaultwall::runtime::leader::Timing;

use crate::operator::enforcement::policy;
use crate::operator::sandbox::{OPERATOR, Sandbox};
use testkit::wait::{wait_for, wait_until};

/// State of a gate for writes of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The next write waits.
    Closing,
    /// A write waits, and those that follow.
    Closed,
}

/// Gate on the operator's way to the API server.
#[derive(Clone)]
struct Gate(watch::Sender<State>);

impl Gate {
    fn set(&self, state: State) {
        self.0.send_replace(state);
    }

    /// Waits until a write of status waits.
    fn wait_until_closed(&self) {
        wait_until("a write of status", || *self.0.borrow() == State::Closed);
    }

    async fn pass(&self) {
        self.0.send_if_modified(|state| {
            let closes = *state == State::Closing;
            if closes {
                *state = State::Closed;
            }
            closes
        });
        let mut state = self.0.subscribe();
        state
            .wait_for(|state| *state != State::Closed)
            .await
            .unwrap();
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        let gate = self.clone();
        Gated { inner, gate }
    }
}

struct Gated<S> {
    inner: S,
    gate: Gate,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_status =
            request.method() == Method::PUT && request.uri().path().ends_with("/status");
        // Nothing is sent before the first poll.
        let sent = self.inner.call(request);
        let gate = self.gate.clone();
        Box::pin(async move {
            if is_status {
                gate.pass().await;
            }
            sent.await
        })
    }
}

/// HTTP statuses of the operator's writes of status, in their order.
fn answers(sandbox: &Sandbox) -> Vec<u64> {
    let writes = sandbox.server.writes(OPERATOR).into_iter();
    let of_status = writes.filter(|record| record.resource == "vaultnetworkpolicies/status");
    of_status.map(|record| record.status).collect()
}

/// A policy with this number of IP rules.
fn with_addresses(count: usize) -> String {
    let rules: Vec<String> = (0..count)
        .map(|number| format!("{{value: 203.0.113.{number}}}"))
        .collect();
    format!(
        "{}  ipRules: [{}]\n",
        policy("web", "web"),
        rules.join(", ")
    )
}

/// Waits until the status of the policy is that of its generation, with this number of IP rules.
fn wait_for_status(sandbox: &Sandbox, rules: i64) {
    wait_for("the status of the policy", || {
        let policy = sandbox.policy("web")?;
        let status = &policy["status"];
        let is_current = status["observedGeneration"] == policy["metadata"]["generation"];
        (is_current && status["ipRules"] == rules).then_some(())
    });
}

#[test]
fn a_late_status_reaches_neither_a_namesake_nor_a_changed_policy() {
    let sandbox = Sandbox::new();
    let gate = Gate(watch::Sender::new(State::Closing));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let vault = VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    };
    let local = LocalProxy {
        listen: sandbox.proxies,
        upstream: None,
    };
    let client = runtime.block_on(async {
        let config = sandbox.server.config_for(OPERATOR, &[]).await;
        let client = ClientBuilder::try_from(config).unwrap();
        client.with_layer(&gate).build()
    });
    let options = Options {
        client,
        namespace: "vaultwall-system".into(),
        name: "late".into(),
        xds_listen: (sandbox.operators, 8500).into(),
        xds_address: (sandbox.operators.to_string(), 8500),
        advertise: format!("{}:8500", sandbox.operators),
        operations_listen: (sandbox.operators, 8080).into(),
        proxy_image: "envoy".into(),
        limits: Limits::default(),
        account_labels: false,
        keys: KeyOptions::new(Authorities::new(None).unwrap()),
        local: BTreeMap::from([(vault, local)]),
        // A write of status may wait as long as the test needs.
        lease: Timing::of_duration(Duration::from_mins(10)),
        clock: Clock::settable(Timestamp::now()).0,
    };
    let operator = thread::spawn(move || {
        runtime.block_on(controller::run(options, async {
            let _ = stopped.await;
        }))
    });

    sandbox.server.apply(&with_addresses(2));
    gate.wait_until_closed();
    sandbox.kubectl(&["delete", "vnp", "-n", "vault", "web"]);
    sandbox.server.apply(&with_addresses(1));
    gate.set(State::Open);
    wait_until("the late status is refused", || {
        answers(&sandbox).first() == Some(&409)
    });
    wait_for_status(&sandbox, 1);

    gate.set(State::Closing);
    sandbox.server.apply(&with_addresses(3));
    gate.wait_until_closed();
    // The generation and the status stay as they are.
    sandbox.kubectl(&["label", "vnp", "-n", "vault", "web", "team=platform"]);
    let before = answers(&sandbox).len();
    gate.set(State::Open);
    wait_for_status(&sandbox, 3);
    assert_eq!(answers(&sandbox)[before..][..2], [409, 200]);
    stop.send(()).unwrap();
    operator.join().unwrap().unwrap();
}

#[test]
fn crds_older_than_the_operator_are_reported_and_the_other_fields_are_written() {
    let sandbox = Sandbox::with_older_crds();
    let operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    sandbox.condition("web", "Programmed", "Unknown", "NoProxies");
    let status = sandbox.policy("web").unwrap()["status"].take();
    assert_eq!(status["managementEndpoint"], Value::Null);
    assert_eq!(status["virtualNetworkRules"], 1);
    let message = "older than the operator: it does not have status.managementEndpoint";
    operator.wait_for_log(message);
    wait_until("an event", || {
        sandbox
            .kubectl(&["get", "events", "-n", "vault"])
            .contains(message)
    });

    // The same status is not sent again.
    let sent = || {
        let writes = sandbox.server.writes(OPERATOR).into_iter();
        let of_web = writes.filter(|record| record.name == "web" && record.verb == "update");
        of_web.map(|record| record.status).collect::<Vec<_>>()
    };
    let before = sent();
    assert!(before.iter().all(|answer| *answer == 200), "{before:?}");
    sandbox.kubectl(&["label", "vnp", "-n", "vault", "web", "team=platform"]);
    let next = policy("next", "web").replace("openbao", "nowhere");
    sandbox.server.apply(&next);
    sandbox.condition("next", "ResolvedRefs", "False", "TargetNotFound");
    assert_eq!(sent(), before);
    let log = operator.log();
    assert_eq!(log.matches(message).count(), 1, "{log}");
    assert!(!log.contains("cannot write the status"), "{log}");
}
