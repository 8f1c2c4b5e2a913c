//! Operators that die, an API server that goes away, a proxy that refuses.

use std::net::TcpListener;
use std::time::Instant;

use crate::operator::enforcement::policy;
use crate::operator::sandbox::{OTHER_POD, OUTSIDER, POD, Sandbox};
use testkit::client::Verdict::{Allowed, Denied};
use testkit::own_address;

#[test]
fn the_leader_dies_and_another_replica_goes_on() {
    let sandbox = Sandbox::new();
    let first = sandbox.operator();
    first.wait_for_log("this replica leads");
    let second = sandbox.operator_at("second", own_address());
    second.wait_for_log("leads");
    sandbox.server.apply(&policy("web", "web"));
    // The proxy connects to the replica that does not lead; the leader receives its report and writes it to the
    // status.
    let proxy = sandbox.proxy_of(&second);
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);
    sandbox.condition("web", "Programmed", "True", "Programmed");
    first.kill();
    let killed = Instant::now();
    // Rules go on without a gap.
    sandbox.server.apply(&policy("web", "batch"));
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);
    let served = killed.elapsed();
    sandbox.condition("web", "Programmed", "True", "Programmed");
    println!(
        "leader killed -> a rule enforced by a proxy of the other replica: {:.1} s; -> its status written: {:.1} s",
        served.as_secs_f32(),
        killed.elapsed().as_secs_f32()
    );
    drop(proxy);
}

#[test]
fn the_api_server_goes_away_and_comes_back() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let _proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);
    sandbox.server.stop();
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied), (OUTSIDER, Denied)]);
    sandbox.server.restart();
    sandbox.server.apply(&policy("web", "batch"));
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)]);
}

#[test]
fn a_refusal_by_a_proxy_is_shown_in_its_own_words() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    // Another process has the port of the proxy.
    let taken = TcpListener::bind((sandbox.proxies, 8200)).unwrap();
    sandbox.server.apply(&policy("web", "web"));
    let proxy = sandbox.proxy();
    let message = sandbox.condition("web", "Programmed", "False", "Rejected");
    assert!(
        message.contains("cannot bind") && message.contains("data"),
        "{message}"
    );
    drop((taken, proxy));
    let _proxy = sandbox.proxy();
    sandbox.condition("web", "Programmed", "True", "Programmed");
}
