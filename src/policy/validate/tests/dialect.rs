//! Settings for another API than that of `OpenBao`.

use serde_json::{Value, json};

use super::{check_policy, policy};

#[test]
fn settings_of_openbao_are_refused_for_another_api() {
    let azure = |settings: Value| {
        let mut vault = json!({"api": "AzureKeyVault"});
        vault.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        vault
    };
    let engines = json!([{"path": "secret", "type": "KvV2"}]);
    check_policy(&[
        ("spec.vault", azure(json!({})), &[]),
        ("spec.vault", azure(json!({"engines": [], "authMounts": [], "namespaces": []})), &[]),
        ("spec.vault", azure(json!({"engines": engines})), &["spec.vault.engines Invalid"]),
        (
            "spec.vault",
            azure(json!({"engines": engines, "authMounts": ["eu/k8s"], "namespaces": ["team-a"]})),
            &["spec.vault.engines Invalid", "spec.vault.authMounts Invalid", "spec.vault.namespaces Invalid"],
        ),
    ]);
    for (setting, refused) in [("ChildTokens", 0), ("Disabled", 1), ("AllTokens", 1)] {
        let policy = policy(&[
            ("spec.vault", azure(json!({}))),
            ("spec.management", json!({"tokenCreation": setting})),
        ]);
        let fields: Vec<String> = policy.err().unwrap_or_default().into_iter().map(|found| found.field).collect();
        assert_eq!(fields, vec!["spec.management.tokenCreation"; refused], "{setting}");
    }
}
