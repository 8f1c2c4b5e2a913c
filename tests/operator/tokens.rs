//! Tokens of service accounts prove an identity in a real cluster.

use testkit::Verdict::{self, Allowed, Denied};
use testkit::wait::wait_until;

use crate::operator::sandbox::{OUTSIDER, Sandbox};

const ACCOUNT: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: agent, namespace: shop}
";
/// A trusted service with the service account, and a vault that lets it in by its token and nobody else.
const OBJECTS: &str = "\
---
apiVersion: vaultwall.dev/v1alpha1
kind: TrustedService
metadata: {name: agent}
spec:
  scenarios:
  - {name: read, operations: [secrets/get]}
  identities:
  - serviceAccount: {namespace: shop, name: agent}
---
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: main, namespace: vault}
spec:
  targetRef: {name: openbao, port: 8200}
  vault: {engines: [{path: secret, type: KvV2}]}
  bypass: TrustedServices
  trustedServices: {proof: Token}
";

impl Sandbox {
    /// A token of the service account for the vault's firewall.
    fn token(&self) -> String {
        let audience = "--audience=vaultwall:vault/openbao";
        let token = self.kubectl(&["create", "token", "agent", "--namespace=shop", audience]);
        token.trim().to_owned()
    }

    fn verdict_with(&self, token: &str) -> Verdict {
        let mut client = self.client(OUTSIDER);
        let header = format!("X-Vaultwall-Token: {token}\r\n");
        client.headers.push_str(&header);
        client.verdict()
    }

    fn becomes(&self, token: &str, expected: &Verdict) {
        wait_until(&format!("{expected:?}"), || {
            self.verdict_with(token) == *expected
        });
    }
}

#[test]
fn a_token_of_a_deleted_account_is_none_of_its_successor() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    sandbox.server.apply(&[ACCOUNT, OBJECTS].concat());
    let _proxy = sandbox.proxy();
    let former = sandbox.token();
    sandbox.becomes(&former, &Allowed);

    sandbox.kubectl(&["delete", "serviceaccount", "agent", "--namespace=shop"]);
    sandbox.becomes(&former, &Denied);
    sandbox.server.apply(ACCOUNT);
    let token = sandbox.token();
    sandbox.becomes(&token, &Allowed);
    assert_eq!(sandbox.verdict_with(&former), Denied);
}
