//! Trusted services: who passes the firewall, with which proof, for which operations, and with which token of the
//! vault. Real pods with service accounts, and a vault whose logins the API server reviews.
//!
//! | file | content |
//! |---|---|
//! | `mod` | the table of expected answers, and the callers of each kind of identity |
//! | `stage` | the vault, its policies and roles, the pods and the trusted services |
//! | `asked` | requests, and what the client and the access log say of them |
//! | `management` | operators and deployers |

mod asked;
mod management;
mod stage;

use serde_json::json;

use self::asked::{Asked, Operation, VaultToken};
use self::stage::{Caller, Stage};
use crate::shared;

use Operation::{List, Read};
use Who::{Nobody, Right, Wrong};

/// Identity of a caller, compared with the trusted service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The identity of the service.
    Right,
    /// An identity that is proven as well, but is not the service's.
    Wrong,
    /// No identity is proven.
    Nobody,
}

/// Answer and reason by the caller's identity and the operation. The trusted services have one scenario, which has
/// `secrets/get` (`Read`). The columns are the token of the vault: none, one without a policy, and one whose policy
/// allows both operations. `by the vault`: the firewall allowed the request (`TrustedService`), but not the vault.
#[rustfmt::skip]
const EXPECTED: [(Who, Operation, [&str; 3]); 6] = [
    //              no token                       without a policy            with a policy
    (Right,  Read, ["403 ForbiddenByMissingToken", "403 by the vault",         "200 TrustedService"]),
    (Right,  List, ["403 ForbiddenByScenario",     "403 ForbiddenByScenario",  "403 ForbiddenByScenario"]),
    (Wrong,  Read, ["403 ForbiddenByFirewall",     "403 ForbiddenByFirewall",  "403 ForbiddenByFirewall"]),
    (Wrong,  List, ["403 ForbiddenByFirewall",     "403 ForbiddenByFirewall",  "403 ForbiddenByFirewall"]),
    (Nobody, Read, ["403 ForbiddenByFirewall",     "403 ForbiddenByFirewall",  "403 ForbiddenByFirewall"]),
    (Nobody, List, ["403 ForbiddenByFirewall",     "403 ForbiddenByFirewall",  "403 ForbiddenByFirewall"]),
];

/// `tokenProblem` of a valid token of somebody else.
const OTHER_SUBJECT: &str = "no listed identity has its subject";
/// `tokenProblem` of a token of the service account that comes from a pod of another one.
const OTHER_POD: &str =
    "the request does not come from the pod of the token, or from a pod of its service account";

#[test]
fn an_identity_passes_the_firewall_for_its_scenario_and_with_permission_of_the_vault() {
    let stage = Stage::start("e2e-identities");
    let _operator = shared();

    let mut asked = Asked::default();
    stage.protect("Pod", &management::listed(&stage));
    // A pod of the service account, of another one, and of the one that every pod has by default.
    matrix(
        &stage,
        &mut asked,
        "serviceAccount by Pod",
        [stage.app("agent"), stage.app("other"), stage.app("plain")],
    );
    // The same account name in the vault's subscription and in another one.
    matrix(
        &stage,
        &mut asked,
        "registeredResource",
        [
            stage.app("resource"),
            stage.foreign("resource"),
            stage.app("plain"),
        ],
    );
    // A token proves a federated identity with any proof of the policy.
    let federated = |subject| stage.app("plain").with_identity(&stage.federated(subject));
    matrix(
        &stage,
        &mut asked,
        "federatedCredential",
        [
            federated("deployment"),
            federated("another").with_problem(OTHER_SUBJECT),
            stage.app("plain"),
        ],
    );
    management::ask(&stage, &mut asked);
    ask_in_a_rule(&stage, &mut asked, "Pod");

    stage.protect("Token", &json!({}));
    // The pod alone is no identity.
    matrix(
        &stage,
        &mut asked,
        "serviceAccount by Token",
        [
            stage.app("agent").with_projected(),
            stage
                .app("other")
                .with_projected()
                .with_problem(OTHER_SUBJECT),
            stage.app("agent"),
        ],
    );
    matrix(
        &stage,
        &mut asked,
        "registeredResource by Token",
        [
            stage.app("resource").with_projected(),
            stage
                .foreign("resource")
                .with_projected()
                .with_problem(OTHER_SUBJECT),
            stage.app("resource"),
        ],
    );
    ask_in_a_rule(&stage, &mut asked, "Token");

    stage.protect("PodAndToken", &json!({}));
    // A token that was taken to another pod, and the pod alone.
    matrix(
        &stage,
        &mut asked,
        "serviceAccount by PodAndToken",
        [
            stage.app("agent").with_projected(),
            stage
                .app("other")
                .with_identity(&stage.token_of("agent"))
                .with_problem(OTHER_POD),
            stage.app("agent"),
        ],
    );
    ask_in_a_rule(&stage, &mut asked, "PodAndToken");
    asked.check(&stage);
}

/// Sends the requests of every cell of [`EXPECTED`] for the callers with the right, a wrong and no identity. The caller
/// with the right one logs in through the firewall; the others cannot, and then have the same tokens of the vault.
fn matrix(stage: &Stage, asked: &mut Asked, kind: &str, callers: [Caller<'_>; 3]) {
    let [right, wrong, nobody] = &callers;
    let tokens = ["nothing", "reader"].map(|role| stage.log_in(right, role));
    let tokens = [
        VaultToken::None,
        VaultToken::WithoutPolicy(&tokens[0]),
        VaultToken::WithPolicy(&tokens[1]),
    ];
    for (who, operation, expected) in EXPECTED {
        let caller = match who {
            Right => right,
            Wrong => wrong,
            Nobody => nobody,
        };
        for (token, expected) in tokens.iter().zip(expected) {
            let what = format!("{kind}: {who:?}, {operation:?}, {token}");
            asked.ask(stage, caller, &what, operation, token, expected);
        }
    }
    for (who, caller) in [(Wrong, wrong), (Nobody, nobody)] {
        let what = format!("{kind}: {who:?}, login");
        asked.log_in(stage, caller, &what, "403 ForbiddenByFirewall");
    }
    let what = format!("{kind}: Right, login");
    asked.log_in(stage, right, &what, "200 TrustedService");
}

/// Sends requests of a pod of the trusted service that a network rule lists. It may do what the vault permits, without
/// a proof and outside the scenario. The bypass is only for pods that no rule lists.
fn ask_in_a_rule(stage: &Stage, asked: &mut Asked, proof: &str) {
    let listed = stage.app("listed");
    let token = stage.log_in(&listed, "reader");
    let token = VaultToken::WithPolicy(&token);
    for operation in [Read, List] {
        let what = format!("{proof}: pod in a rule, {operation:?}");
        asked.ask(
            stage,
            &listed,
            &what,
            operation,
            &token,
            "200 VirtualNetworkRule",
        );
    }
}
