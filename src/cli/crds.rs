//! `vaultwall crds`: the objects that a cluster needs before the first policy.

use kube::CustomResourceExt;

use super::{Answer, Format, Outcome, Output};
use crate::api::{VaultNetworkPolicy, VirtualNetwork};

/// Print the custom resource definitions, for `kubectl apply --server-side -f -`.
#[derive(clap::Args, Debug)]
pub(super) struct Crds {}

impl Crds {
    #[expect(
        clippy::unused_self,
        reason = "the flags that set the limits come with the admission policy"
    )]
    pub(super) fn run(self, output: &mut Output) -> Outcome {
        let definitions = [VaultNetworkPolicy::crd(), VirtualNetwork::crd()];
        match output.format {
            Format::Json => output.json(
                &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": definitions}),
            )?,
            Format::Text => {
                for definition in &definitions {
                    output.text(&format!("---\n{}", serde_saphyr::to_string(definition)?))?;
                }
            }
        }
        Ok(Answer::Yes)
    }
}
