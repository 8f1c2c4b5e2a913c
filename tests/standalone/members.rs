//! Pods and namespaces come and go.

use std::fs;
use std::net::Ipv4Addr;

use crate::standalone::objects::{ALLOWED, DENIED, PODS, allowing, namespace, pod, policy};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::Serve;
use testkit::OpenBao;
use testkit::client::Verdict;

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 34, 0, number)
}

fn name(number: u8) -> String {
    format!("pod-{number}.yaml")
}

#[test]
fn pods_come_and_go_and_namespaces_opt_in_and_out() {
    let sandbox = Sandbox::new();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    sandbox.put("main.yaml", &allowing(&[]));
    sandbox.put("pods.yaml", &policy("pods", &[PODS], ""));
    sandbox.put("namespace.yaml", &namespace("web", true));
    let serve = Serve::start(&sandbox);
    let all = |verdict: Verdict| -> Vec<_> {
        let pods = (1..=50).map(|number| (address(number), verdict.clone()));
        let others = [(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)];
        pods.chain(others).collect()
    };
    sandbox.wait_for_verdicts(&all(Verdict::Denied));

    for number in 1..=50 {
        let text = pod(&format!("p{number}"), "shop", address(number));
        fs::write(sandbox.path_of(&name(number)), text).unwrap();
    }
    sandbox.wait_for_verdicts(&all(Verdict::Allowed));

    // Every second one leaves.
    for number in (1..=50).step_by(2) {
        fs::remove_file(sandbox.path_of(&name(number))).unwrap();
    }
    let mut half = all(Verdict::Allowed);
    for (_, verdict) in half.iter_mut().take(50).step_by(2) {
        *verdict = Verdict::Denied;
    }
    sandbox.wait_for_verdicts(&half);

    let said = serve.lines();
    sandbox.put("namespace.yaml", &namespace("web", false));
    sandbox.wait_for_verdicts(&all(Verdict::Denied));
    serve.wait_for_line(said, "web");
    sandbox.put("namespace.yaml", &namespace("web", true));
    sandbox.wait_for_verdicts(&half);

    for number in (2..=50).step_by(2) {
        fs::remove_file(sandbox.path_of(&name(number))).unwrap();
    }
    sandbox.wait_for_verdicts(&all(Verdict::Denied));
    assert!(!serve.log().contains("panicked"));
}
