//! The objects for cert-manager in `docs/openbao.md` keep to its own definitions, and make the Secrets of the page.

use std::fs;

use serde_json::Value;

use testkit::ApiServer;
use testkit::tools::{repository, tool};

/// The block of the page for `cert-manager.yaml`.
fn example() -> String {
    let page = fs::read_to_string(repository().join("docs/openbao.md")).unwrap();
    let (_, block) = page.split_once("```yaml file=cert-manager.yaml\n").unwrap();
    block.split_once("\n```").unwrap().0.to_owned()
}

#[test]
fn cert_manager_accepts_the_example_and_makes_the_secrets_of_the_page() {
    let server = ApiServer::start();
    server.apply(&fs::read_to_string(tool("cert-manager.yaml")).unwrap());
    server.kubectl_prints(&[
        "wait",
        "--for=condition=Established",
        "crd/issuers.cert-manager.io",
        "crd/certificates.cert-manager.io",
        "--timeout=60s",
    ]);
    server.kubectl_prints(&["create", "namespace", "vault"]);
    let example = example();
    let apply = ["apply", "--validate=strict", "--filename=-"];
    let accepted = server.kubectl(&apply, &example);
    assert!(accepted.status.success(), "{accepted:?}");
    let misspelled = server.kubectl(&apply, &example.replace("dnsNames:", "dnsName:"));
    assert!(!misspelled.status.success(), "{misspelled:?}");

    let names = |certificate: &str| -> Value {
        let path = "/apis/cert-manager.io/v1/namespaces/vault/certificates/";
        let object = server.get(&format!("{path}{certificate}")).unwrap();
        serde_json::json!([object["spec"]["secretName"], object["spec"]["dnsNames"]])
    };
    assert_eq!(
        names("openbao"),
        serde_json::json!(["openbao-tls", ["openbao.vault.svc"]])
    );
    assert_eq!(
        names("openbao-firewall"),
        serde_json::json!(["openbao-firewall-tls", ["openbao-firewall.vault.svc"]])
    );
}
