//! `vaultwall crds`: prints the objects that a cluster needs before the first policy.

use super::arguments::number;
use super::outcome::{Answer, Outcome};
use super::output::{Format, Output};
use crate::api;
use crate::limits::Limits;

/// Print the custom resource definitions and the admission policies, for `kubectl apply --server-side -f -`.
#[derive(clap::Args, Debug)]
pub(super) struct Crds {
    /// Highest number of virtual-network rules in a policy, at most 200.
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT)]
    #[arg(value_parser = number(1..=Limits::VIRTUAL_NETWORK_RULES_CEILING))]
    max_virtual_network_rules: usize,
    /// Highest number of IP rules in a policy, at most 1000.
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT)]
    #[arg(value_parser = number(1..=Limits::IP_RULES_CEILING))]
    max_ip_rules: usize,
    /// Print the admission policies of the label of service accounts, too, for `controller --service-account-label`.
    #[arg(long)]
    service_account_label: bool,
}

impl Crds {
    pub(super) fn run(self, output: &mut Output) -> Outcome {
        let limits = Limits {
            virtual_network_rules: self.max_virtual_network_rules,
            ip_rules: self.max_ip_rules,
            ..Limits::default()
        };
        let mut objects = Vec::new();
        for definition in api::custom_resource_definitions() {
            objects.push(serde_json::to_value(definition)?);
        }
        for policy in api::admission_policies(&limits) {
            objects.push(serde_json::to_value(&policy)?);
            objects.push(serde_json::to_value(api::binding_of(&policy))?);
        }
        if self.service_account_label {
            let guard = api::service_account_label_guard();
            objects.push(serde_json::to_value(&guard)?);
            objects.push(serde_json::to_value(api::binding_of(&guard))?);
            objects.extend(api::service_account_label_setter());
        }
        match output.format {
            Format::Json => {
                output.json(
                    &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}),
                )?;
            }
            Format::Text => output.yaml(&objects)?,
        }
        Ok(Answer::Yes)
    }
}
