//! An hour in which nothing happens, on a clock that the test sets.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use vaultwall::clock::Clock;
use vaultwall::controller::{self, LocalProxy, Options};
use vaultwall::limits::Limits;
use vaultwall::policy::VaultId;
use vaultwall::runtime::issuer_keys::{Authorities, KeyOptions};
use vaultwall::runtime::leader::Timing;

use crate::operator::enforcement::policy;
use crate::operator::sandbox::{OPERATOR, Sandbox};
use testkit::AuditRecord;
use testkit::wait::wait_for;

const HOUR: Duration = Duration::from_hours(1);

/// The lease's, and all others.
fn writes(sandbox: &Sandbox) -> (usize, Vec<AuditRecord>) {
    let all = sandbox.server.writes(OPERATOR).into_iter();
    let (lease, other): (Vec<_>, Vec<_>) = all.partition(|record| record.resource == "leases");
    (lease.len(), other)
}

#[test]
fn an_idle_hour_writes_nothing_but_the_lease() {
    let sandbox = Sandbox::new();
    let (clock, control) = Clock::settable(Timestamp::now());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // A long lease, because each of its renewals takes real time.
    let timing = Timing::of_duration(Duration::from_mins(10));
    let vault = VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    };
    let local = LocalProxy {
        listen: sandbox.proxies,
        upstream: None,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options {
        client: runtime.block_on(sandbox.server.client_for(OPERATOR, &[])),
        namespace: "vaultwall-system".into(),
        name: "idle".into(),
        xds_listen: (sandbox.operators, 8500).into(),
        xds_address: (sandbox.operators.to_string(), 8500),
        advertise: format!("{}:8500", sandbox.operators),
        operations_listen: (sandbox.operators, 8080).into(),
        proxy_image: "envoy".into(),
        limits: Limits::default(),
        account_labels: false,
        keys: KeyOptions::new(Authorities::new(None).unwrap()),
        local: BTreeMap::from([(vault, local)]),
        lease: timing,
        clock,
    };
    let operator = thread::spawn(move || {
        runtime.block_on(controller::run(options, async {
            let _ = stopped.await;
        }))
    });
    sandbox.server.apply(&policy("web", "web"));
    sandbox.condition("web", "Programmed", "Unknown", "NoProxies");
    // The last things that are written: an event of the condition Accepted, and one of each warning.
    let before = wait_for("its events", || {
        let status = sandbox.policy("web")?["status"].take();
        let before = writes(&sandbox);
        let events = before.1.iter().filter(|record| record.resource == "events");
        let warnings = status["warnings"].as_array().map_or(0, Vec::len);
        (events.count() == 1 + warnings).then_some(before)
    });
    let mut renewed = before.0;
    let begin = Timestamp::now();
    // Time goes on when the lease was renewed at the moment before.
    for _ in 0..HOUR.as_secs() / timing.retry().as_secs() {
        control.advance(timing.retry());
        renewed = wait_for("the lease is renewed", || {
            assert!(!operator.is_finished(), "the operator ended");
            let count = writes(&sandbox).0;
            (count > renewed).then_some(count)
        });
    }
    let after = writes(&sandbox);
    assert_eq!(before.1, after.1, "writes other than those of the lease");
    println!(
        "an idle hour (in {:.0} s): {} writes of the lease, no others",
        (Timestamp::now() - begin)
            .total(jiff::Unit::Second)
            .unwrap(),
        after.0 - before.0
    );
    stop.send(()).unwrap();
    operator.join().unwrap().unwrap();
}
