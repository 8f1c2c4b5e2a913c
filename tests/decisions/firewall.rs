//! The firewall of the tables, and its variants.

use std::sync::Arc;

use vaultwall::policy::{
    AddressRules, DefaultAction, Engine, EngineNamespace, EngineType, Firewall, Grants, Holders,
    Identity, ManagementAccess, Mode, ObjectName, ServiceGrant, TokenCreation, ValidatedScenario,
    ValidatedTrustedService, VaultApi, VaultId,
};

/// Allowed sources by rule. `10.20.5.0/24` is part of `10.20.0.0/16`, `198.51.100.9/32` of `198.51.100.0/24`.
const VIRTUAL_NETWORKS: &[(&str, &str)] = &[
    ("10.1.0.5/32", "web/virtualNetworkRules/build"),
    ("10.1.0.6/32", "web/virtualNetworkRules/1"),
    ("10.20.0.0/16", "web/virtualNetworkRules/dc"),
    ("10.20.5.0/24", "guests/virtualNetworkRules/lab"),
];
const IP_RULES: &[(&str, &str)] = &[
    ("203.0.113.7/32", "web/ipRules/hq"),
    ("198.51.100.0/24", "web/ipRules/office"),
    ("198.51.100.9/32", "guests/ipRules/198.51.100.9"),
];
/// Mount path, type, vault namespace.
const ENGINES: &[(&str, EngineType, EngineNamespace)] = &[
    ("secret", EngineType::KvV2, EngineNamespace::Root),
    ("kv1", EngineType::KvV1, EngineNamespace::Root),
    ("cubbyhole", EngineType::Cubbyhole, EngineNamespace::Root),
    ("transit", EngineType::Transit, EngineNamespace::Root),
    ("pki", EngineType::Pki, EngineNamespace::Root),
    ("db", EngineType::Database, EngineNamespace::Root),
    ("totp", EngineType::Other, EngineNamespace::Root),
    ("every", EngineType::KvV2, EngineNamespace::EveryListed),
];
const NAMESPACES: &[&str] = &["ns1", "ns1/child"];

/// Returns the firewall of a name in a table:
///
/// | name | firewall |
/// |---|---|
/// | `deny` | the rules above, `defaultAction: Deny`, management unrestricted |
/// | `allow` | the same with `defaultAction: Allow` |
/// | `rules` | as `deny`, with `management.access: NetworkRules` |
/// | `allow+rules` | as `allow`, with `management.access: NetworkRules` |
/// | `audit`, `audit+rules` | as `deny` and `rules`, with `mode: Audit` |
/// | `closed` | as `deny`, with `management.access: Disabled` |
/// | `trusted` | as `deny`, with the identities below |
/// | `trusted+allow`, `trusted+audit`, `trusted+audit+rules`, `trusted+rules`, `trusted+closed` | the same identities in these firewalls |
/// | `azure`, `azure+allow` | as `deny` and `allow`, for the API of Azure Key Vault |
/// | `none` | a vault without a policy |
pub fn firewall(name: &str) -> Firewall {
    let vault = VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    };
    let mut firewall = Firewall::deny_all(vault, 8200);
    if name == "none" {
        return firewall;
    }
    let (trusted, name) = match name.strip_prefix("trusted") {
        Some(rest) => (true, rest.strip_prefix('+').unwrap_or("deny")),
        None => (false, name),
    };
    let (action, management) = match name {
        "deny" | "audit" | "azure" => (DefaultAction::Deny, ManagementAccess::Unrestricted),
        "allow" | "azure+allow" => (DefaultAction::Allow, ManagementAccess::Unrestricted),
        "rules" | "audit+rules" => (DefaultAction::Deny, ManagementAccess::NetworkRules),
        "allow+rules" => (DefaultAction::Allow, ManagementAccess::NetworkRules),
        "closed" => (DefaultAction::Deny, ManagementAccess::Disabled),
        _ => panic!("no firewall is called {name}"),
    };
    firewall.policies = vec!["web".into(), "guests".into()];
    firewall.default_action = action;
    if name.starts_with("audit") {
        firewall.mode = Mode::Audit;
    }
    firewall.management = management;
    firewall.virtual_networks = rules(VIRTUAL_NETWORKS);
    firewall.ip_rules = rules(IP_RULES);
    if name.starts_with("azure") {
        firewall.api = VaultApi::AzureKeyVault;
        firewall.token_creation = TokenCreation::default();
        return firewall;
    }
    firewall.namespaces = NAMESPACES.iter().map(ToString::to_string).collect();
    firewall.auth_mounts = vec!["eu/k8s".into(), "eu/c1/oidc".into()];
    firewall.engines = ENGINES
        .iter()
        .map(|(path, engine_type, namespace)| Engine {
            path: (*path).to_owned(),
            engine_type: *engine_type,
            namespace: namespace.clone(),
        })
        .chain([Engine {
            path: "only".into(),
            engine_type: EngineType::KvV2,
            namespace: EngineNamespace::Named("ns1".into()),
        }])
        .collect();
    if trusted {
        firewall.grants = grants();
    }
    firewall
}

/// Pods and their service accounts.
const PODS: &[(&str, &str)] = &[
    ("10.9.0.1", "backup/agent"),
    ("10.9.0.2", "external-secrets/external-secrets"),
    ("10.9.0.3", "ops/unsealer"),
    ("10.9.0.4", "ci/deploy"),
    ("10.9.0.5", "rotation/rewrap"),
    ("10.9.0.6", "shared/both"),
];
/// Scenarios with their operations.
type Scenarios = &'static [(&'static str, &'static [&'static str])];
/// Services: name, accounts, and scenarios with their operations.
const SERVICES: &[(&str, &[&str], Scenarios)] = &[
    (
        "backup",
        &["backup/agent", "shared/both"],
        &[
            (
                "keys",
                &["keys/get", "keys/list", "keys/backup", "keys/restore"],
            ),
            ("secrets", &["secrets/get", "secrets/list"]),
        ],
    ),
    (
        "external-secrets",
        &["external-secrets/external-secrets", "shared/both"],
        &[("sync", &["secrets/get"])],
    ),
    (
        "rotation",
        &["rotation/rewrap", "shared/both"],
        &[("wrap", &["keys/wrapKey"]), ("unwrap", &["keys/unwrapKey"])],
    ),
    ("unmapped", &[], &[("sync", &["secrets/get"])]),
];

fn grants() -> Grants {
    let account = |text: &str| -> Arc<ObjectName> { Arc::new(text.parse().unwrap()) };
    let holders = |accounts: &[&str]| -> Holders {
        let accounts = accounts.iter().map(|text| Identity::Pod(account(text)));
        accounts.collect()
    };
    let services = SERVICES.iter().map(|(name, accounts, scenarios)| {
        let scenarios = scenarios
            .iter()
            .map(|(name, operations)| ValidatedScenario {
                name: (*name).to_owned(),
                operations: operations.iter().map(ToString::to_string).collect(),
            });
        ServiceGrant {
            service: Arc::new(ValidatedTrustedService {
                name: (*name).into(),
                scenarios: scenarios.collect(),
                identities: Vec::new(),
            }),
            holders: holders(accounts),
        }
    });
    let pods = PODS
        .iter()
        .map(|(address, text)| (address.parse().unwrap(), account(text)));
    Grants {
        pods: pods.collect(),
        services: Some(services.collect()),
        operators: Some(holders(&["ops/unsealer"])),
        deployers: Some(holders(&["ci/deploy"])),
    }
}

fn rules(list: &[(&str, &str)]) -> AddressRules {
    let mut rules = AddressRules::default();
    for (prefix, rule) in list {
        rules.claim(prefix.parse().unwrap(), &Arc::from(*rule));
    }
    rules
}
