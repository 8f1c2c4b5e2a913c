//! Ranges whose pods some vaults depend on: a pod that gets or loses an address in such a range changes a warning of
//! these vaults.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::policy::{PodMembership, PodsInRange, VaultId};

/// Watched ranges with the vaults that depend on each.
#[derive(Debug, Default)]
pub(super) struct WatchedRanges(BTreeMap<Ipv4Net, BTreeSet<VaultId>>);

/// Pods of a range as a vault last saw them.
pub(super) struct State {
    vault: VaultId,
    range: Ipv4Net,
    pods: PodsInRange,
}

impl WatchedRanges {
    /// Makes `vault` depend on exactly the ranges in `wanted`, in place of `had`.
    pub(super) fn depend(
        &mut self,
        vault: &VaultId,
        had: &BTreeSet<Ipv4Net>,
        wanted: &BTreeSet<Ipv4Net>,
    ) {
        for range in had.difference(wanted) {
            if let Some(vaults) = self.0.get_mut(range) {
                vaults.remove(vault);
                if vaults.is_empty() {
                    self.0.remove(range);
                }
            }
        }
        for range in wanted.difference(had) {
            self.0.entry(*range).or_default().insert(vault.clone());
        }
    }

    /// States of the ranges that contain one of the addresses.
    pub(super) fn states(
        &self,
        addresses: &BTreeSet<Ipv4Addr>,
        membership: &impl PodMembership,
    ) -> Vec<State> {
        let touched = self
            .0
            .iter()
            .filter(|(range, _)| addresses.iter().any(|address| range.contains(address)));
        let vaults =
            touched.flat_map(|(range, vaults)| vaults.iter().map(move |vault| (*range, vault)));
        vaults
            .map(|(range, vault)| State {
                pods: membership.pods_in(range, &vault.namespace),
                vault: vault.clone(),
                range,
            })
            .collect()
    }
}

impl State {
    /// The vault, if its pods are others now.
    pub(super) fn changed(self, membership: &impl PodMembership) -> Option<VaultId> {
        let now = membership.pods_in(self.range, &self.vault.namespace);
        (now != self.pods).then_some(self.vault)
    }
}
