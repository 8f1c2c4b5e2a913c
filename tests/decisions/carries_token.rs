//! Headers with a token of the vault.

use vaultwall::policy::{Caller, VaultApi};

/// `X-Vault-Token`, `Authorization`, and whether they carry a token of `OpenBao` and of Azure Key Vault.
const ROWS: &[(Option<&str>, Option<&str>, bool, bool)] = &[
    (None, None, false, true),
    (Some(""), None, false, true),
    (Some("s.token"), None, true, true),
    (Some("a,b"), None, true, true),
    // The vault reads the first line only.
    (Some(",s.token"), None, false, true),
    (None, Some("Bearer s.token"), true, true),
    (None, Some("Bearer a,Basic b"), true, true),
    (None, Some("bearer s.token"), false, false),
    (None, Some("Bearer"), false, false),
    (None, Some("Basic eDp5"), false, false),
    (None, Some("Basic a,Bearer b"), false, false),
    (None, Some(""), false, true),
    (Some("s.token"), Some("Basic eDp5"), true, false),
];

#[test]
fn a_token_is_one_that_the_vault_reads() {
    for (vault_token, authorization, bao, azure) in ROWS {
        let carries = |api| Caller::carries_token(api, *vault_token, *authorization);
        let found = [VaultApi::OpenBao, VaultApi::AzureKeyVault].map(carries);
        assert_eq!(found, [*bao, *azure], "{vault_token:?} {authorization:?}");
    }
}
