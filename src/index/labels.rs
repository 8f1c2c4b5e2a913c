//! Labels of pods with their service account: the pods whose label the operator has to set, and whether a
//! `NetworkPolicy` may select the label. An event looks only at the pods that it names.

#[cfg(test)]
use std::collections::{BTreeMap, BTreeSet};

use super::ObjectName;
use super::account_label::{LabelCorrection, LabelIndex};
use super::state::Index;
use crate::api::SERVICE_ACCOUNT_LABEL;
use crate::policy::{AccountLabels, Denial, NoAccountLabels, VaultId, account_label_value};

impl Index {
    /// Whether a `NetworkPolicy` may select pods by their service account.
    pub(super) fn account_labels(&self) -> AccountLabels {
        let LabelIndex { guard, wrong, .. } = &self.labels;
        if *guard == AccountLabels::InForce && !wrong.is_empty() {
            AccountLabels::NotInForce(NoAccountLabels::Uncorrected)
        } else {
            *guard
        }
    }

    /// Sets the state of the guard. The first call, which comes before the first pod, also starts the search for pods
    /// whose label has to be set; in files nobody sets it.
    pub fn keep_labels(&mut self, guard: AccountLabels) {
        self.change_labels(|labels| {
            labels.is_kept = guard != AccountLabels::NotInForce(NoAccountLabels::Off);
            labels.guard = guard;
            if guard == AccountLabels::InForce {
                labels.changed.extend(labels.corrections.keys().cloned());
            }
        });
    }

    /// An index for a firewall without `NetworkPolicies`, which needs no label.
    #[must_use]
    pub fn without_network_policies(mut self) -> Self {
        self.labels.guard = AccountLabels::NotNeeded;
        self
    }

    /// Pods whose label changed since the last call, each with its correction; `None`: the label is as it should be.
    /// Nothing is corrected before the label is guarded: it could be changed again.
    pub fn take_label_corrections(&mut self) -> Vec<(ObjectName, Option<LabelCorrection>)> {
        let labels = &mut self.labels;
        if labels.guard != AccountLabels::InForce {
            return Vec::new();
        }
        let changed = std::mem::take(&mut labels.changed).into_iter();
        changed
            .map(|pod| {
                let correction = labels.corrections.get(&pod).cloned();
                (pod, correction)
            })
            .collect()
    }

    /// Updates the corrections of the pods of an account.
    pub(super) fn update_labels_of(&mut self, account: &ObjectName) {
        if !self.labels.is_kept {
            return;
        }
        let pods = self.pods_of_account(account);
        let pods: Vec<ObjectName> = pods.map(super::PodFact::id).collect();
        for pod in pods {
            self.update_label(&pod);
        }
    }

    /// Updates the correction of a pod.
    pub(super) fn update_label(&mut self, pod: &ObjectName) {
        if !self.labels.is_kept {
            return;
        }
        let correction = self.correction(pod);
        if self.labels.corrections.get(pod) == correction.as_ref() {
            return;
        }
        self.change_labels(|labels| {
            labels.wrong.remove(pod);
            if correction
                .as_ref()
                .is_some_and(|correction| correction.wrong.is_some())
            {
                labels.wrong.insert(pod.clone());
            }
            labels.changed.insert(pod.clone());
            match correction {
                Some(correction) => labels.corrections.insert(pod.clone(), correction),
                None => labels.corrections.remove(pod),
            };
        });
    }

    /// A wrong label is always corrected; a missing one is set if a vault depends on the pod's service account.
    fn correction(&self, pod: &ObjectName) -> Option<LabelCorrection> {
        let Some(pod) = self.pod(pod) else {
            return self.labels.not_counted.get(pod).cloned();
        };
        let account = &pod.service_account;
        let label = pod.labels.get(SERVICE_ACCOUNT_LABEL);
        let is_missing = || {
            let mut vaults = self.accounts.vaults.get(&pod.account());
            label.is_none() && vaults.next().is_some()
        };
        LabelCorrection::of_wrong(pod.uid.as_ref(), account, label).or_else(|| {
            is_missing().then(|| LabelCorrection {
                uid: pod.uid.clone(),
                value: Some(account_label_value(account)),
                wrong: None,
            })
        })
    }

    /// Changes the labels, and reports the vaults whose trusted services depend on them.
    fn change_labels(&mut self, change: impl FnOnce(&mut LabelIndex)) {
        let before = self.account_labels();
        change(&mut self.labels);
        if self.account_labels() == before {
            return;
        }
        let depends = |vault: &&VaultId| {
            let mut policies = self.dependent_policies(vault);
            let drops = policies.any(|policy| policy.denial == Denial::Drop);
            let mut policies = self.dependent_policies(vault);
            drops && policies.any(|policy| policy.bypass.is_some())
        };
        let vaults: Vec<VaultId> = self.vaults.keys().filter(depends).cloned().collect();
        self.changed.extend(vaults);
    }
}

#[cfg(test)]
impl Index {
    /// Checks that every event left the corrections of all pods as a computation without memory makes them.
    pub(super) fn check_labels(&self) {
        let pods = self.accounts.pods.members();
        let pods = pods.chain(self.labels.not_counted.keys());
        let corrections: BTreeMap<ObjectName, LabelCorrection> = pods
            .filter_map(|pod| Some((pod.clone(), self.correction(pod)?)))
            .collect();
        let wrong = corrections
            .iter()
            .filter(|(_, found)| found.wrong.is_some());
        let wrong: BTreeSet<ObjectName> = wrong.map(|(pod, _)| pod.clone()).collect();
        assert_eq!(
            (&corrections, &wrong),
            (&self.labels.corrections, &self.labels.wrong)
        );
    }
}
