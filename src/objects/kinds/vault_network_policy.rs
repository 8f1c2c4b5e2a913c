//! `VaultNetworkPolicy`: checked against its schema, then validated. One with violations still closes its vault.

use serde::Deserialize;
use serde_json::Value;

use crate::api::{VaultApi, VaultNetworkPolicy};
use crate::index::{InvalidPolicy, ObservedPolicy};
use crate::limits::Limits;
use crate::objects::{Custom, Decode};
use crate::policy::{ObjectName, VaultId, Violation, validate_policy};

impl Decode for ObservedPolicy {
    type Stored = VaultNetworkPolicy;
    type Source = Custom;
    // A policy that is ignored because of a typing error would protect nothing.
    const NAME_IS_RESERVED: bool = true;
    const MISLEADING: &'static [(&'static str, &'static str)] = &[(
        "spec.clientAddress.source",
        "spec.clientAddress.trustedProxies",
    )];

    fn decode(stored: &VaultNetworkPolicy, limits: &Limits) -> Result<Self, Vec<Violation>> {
        validate_policy(stored, limits).map(|policy| Self::Valid(Box::new(policy)))
    }

    /// Returns the vault that the policy is for, if `spec.targetRef` can be read.
    fn fallback(name: &ObjectName, document: &Value) -> Option<Self> {
        let target = document.pointer("/spec/targetRef")?;
        let service = target
            .get("name")?
            .as_str()
            .filter(|name| !name.is_empty())?;
        let port = target
            .get("port")?
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())?;
        Some(Self::Invalid(InvalidPolicy {
            name: name.name.clone(),
            vault: VaultId {
                namespace: name.namespace.clone(),
                service: service.to_owned(),
            },
            port,
            api: document
                .pointer("/spec/vault/api")
                .and_then(|api| VaultApi::deserialize(api).ok())
                .unwrap_or_default(),
        }))
    }
}
