//! Validation of `spec.clientAddress`: the source of the client's address, and the trusted proxies.

use super::selector;
use crate::address::proxy_prefix;
use crate::api::{self, ClientAddress, PodSelector, TrustedProxy};
use crate::policy::validated::{ClientAddressSettings, ProxyEntry, ProxySource};
use crate::policy::violation::{Findings, ViolationReason, quoted};

const LIST: &str = "spec.clientAddress.trustedProxies";

/// Checks `spec.clientAddress`.
pub(super) fn check(wire: &ClientAddress, findings: &mut Findings) -> ClientAddressSettings {
    let proxies = trusted_proxies(&wire.trusted_proxies, findings);
    match wire.source {
        api::ClientAddressSource::Direct => {
            if !wire.trusted_proxies.is_empty() {
                findings.add(
                    LIST,
                    ViolationReason::Invalid,
                    "is not used when the source is Direct; set source: XForwardedFor, or remove the list",
                );
            }
            ClientAddressSettings::Direct
        }
        api::ClientAddressSource::ProxyProtocol => {
            findings.add(
                "spec.clientAddress.source",
                ViolationReason::NotSupportedYet,
                "ProxyProtocol is not supported yet; write Direct or XForwardedFor",
            );
            ClientAddressSettings::Direct
        }
        api::ClientAddressSource::XForwardedFor => {
            if wire.trusted_proxies.is_empty() {
                findings.add(
                    LIST,
                    ViolationReason::Required,
                    "is empty, but XForwardedFor is trusted only from listed proxies; list the proxies' addresses or \
                     pods",
                );
            }
            ClientAddressSettings::XForwardedFor(proxies)
        }
    }
}

fn trusted_proxies(wire: &[TrustedProxy], findings: &mut Findings) -> Vec<ProxyEntry> {
    let mut entries: Vec<ProxyEntry> = Vec::new();
    for (index, entry) in wire.iter().enumerate() {
        let field = format!("{LIST}[{index}]");
        let (source, shown) = match entry {
            TrustedProxy::Range(text) => match proxy_prefix(text) {
                Ok(range) => (ProxySource::Range(range), format!("{} is", quoted(text))),
                Err(faults) => {
                    findings.add_faults(&field, text, faults);
                    continue;
                }
            },
            TrustedProxy::Pods(entry) => {
                let group = selector::pod_group(&format!("{field}.pods"), &entry.pods, findings);
                // It selects nothing, which was reported; its group is the same as that of an empty selector.
                if entry.pods == PodSelector::default() {
                    continue;
                }
                (ProxySource::Pods(group), "selects pods that are".to_owned())
            }
        };
        if entries.iter().any(|known| known.source == source) {
            let message = format!("{shown} already in the list; remove one of the two");
            findings.add(field, ViolationReason::Duplicate, message);
        } else {
            entries.push(ProxyEntry { field, source });
        }
    }
    entries
}
