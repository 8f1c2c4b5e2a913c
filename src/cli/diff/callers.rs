//! Groups of callers in the answer of `vaultwall diff`. The keys of the JSON are a stable contract.

use std::fmt::Write as _;

use serde::Serialize;

use super::sides::is_stand_in;
use crate::policy::difference::{Access, Difference, Line, Ranges, Who};
use crate::policy::token::TokenIdentity;

/// Most prefixes of a line of text; JSON has all.
const SHOWN: usize = 8;
/// Way of callers that are no clients of a proxy.
const DIRECTLY: &str = "directly";
/// Trusted proxies that are pods of which none is known.
const NO_PROXY: &str = "that are pods (none is known)";

/// Callers whose access changes.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Callers {
    /// Kind of the callers.
    kind: &'static str,
    namespace: Option<String>,
    service_account: Option<String>,
    /// Selector of pods of which none is known.
    selector: Option<String>,
    /// Prefixes with exactly the callers' addresses; empty where the kind says it all.
    addresses: Vec<String>,
    /// Prefixes of the trusted proxies through which they come; empty: directly.
    through: Vec<String>,
    /// Identity that their token proves; `null`: with any token, or none.
    token: Option<Token>,
    /// Identities for whose tokens this is not so.
    except_tokens: Vec<Token>,
    /// Rule that allows them, before or after; without one, the reason.
    pub(super) by: String,
    pub(super) access: Vec<Access>,
}

#[derive(Serialize, Debug)]
struct Token {
    issuer: String,
    subject: String,
    audience: String,
}

impl From<&TokenIdentity> for Token {
    fn from(identity: &TokenIdentity) -> Self {
        Self {
            issuer: identity.issuer.clone(),
            subject: identity.subject.clone(),
            audience: identity.audience.clone(),
        }
    }
}

impl Callers {
    pub(super) fn of(line: &Line, difference: &Difference) -> Self {
        let prefixes = || {
            line.ranges
                .prefixes()
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        let (mut namespace, mut account, mut selector, mut addresses) =
            (None, None, None, Vec::new());
        let kind = match &line.who {
            Who::Pods {
                namespace: of,
                service_account,
            } => {
                (namespace, account) = (Some(of.clone()), Some(service_account.clone()));
                addresses = prefixes();
                "Pods"
            }
            Who::Account(name) => {
                (namespace, account) = (Some(name.namespace.clone()), Some(name.name.clone()));
                "PodsNotKnown"
            }
            Who::Selected(text) => {
                selector = Some(text.to_string());
                "PodsNotKnown"
            }
            Who::Addresses => {
                addresses = prefixes();
                "Addresses"
            }
            Who::V6 => "Ipv6",
            Who::Others => "Others",
        };
        Self {
            kind,
            namespace,
            service_account: account,
            selector,
            addresses,
            through: line.through.as_ref().map(through).unwrap_or_default(),
            token: line.proof.as_ref().map(Token::from),
            except_tokens: line.except.iter().map(Token::from).collect(),
            by: line.by.to_string(),
            access: difference.accesses(line),
        }
    }

    /// How they connect.
    fn way(&self) -> String {
        if self.through.is_empty() {
            DIRECTLY.to_owned()
        } else {
            format!("through trusted proxies {}", short(&self.through))
        }
    }

    fn text(&self) -> String {
        let count = self.addresses.len();
        let mut text = match (self.kind, &self.namespace, &self.service_account) {
            ("Pods", Some(namespace), Some(account)) => {
                let pods = if count == 1 { "pod" } else { "pods" };
                format!(
                    "{pods} of {namespace}, service account {account} ({})",
                    short(&self.addresses)
                )
            }
            ("PodsNotKnown", Some(namespace), Some(account)) => {
                format!("pods of {namespace}, service account {account} (none is known)")
            }
            ("PodsNotKnown", ..) => {
                let selector = self.selector.as_deref().unwrap_or_default();
                format!("pods selected by {selector} (none is known)")
            }
            ("Addresses", ..) => short(&self.addresses),
            ("Ipv6", ..) => "IPv6 clients".to_owned(),
            _ => "everybody else".to_owned(),
        };
        if let Some(token) = &self.token {
            let _ = write!(text, ", with a token of {}", token.subject);
        }
        if !self.except_tokens.is_empty() {
            let subjects: Vec<&str> = self
                .except_tokens
                .iter()
                .map(|token| token.subject.as_str())
                .collect();
            let _ = write!(text, ", except with a token of {}", subjects.join(" or "));
        }
        text
    }
}

/// Prefixes of trusted proxies; a text in their place if only pods that stand for them are known.
fn through(proxies: &Ranges) -> Vec<String> {
    let known = proxies
        .prefixes()
        .into_iter()
        .filter(|prefix| !is_stand_in(prefix.network()));
    let known: Vec<String> = known.map(|prefix| prefix.to_string()).collect();
    if known.is_empty() {
        vec![NO_PROXY.to_owned()]
    } else {
        known
    }
}

/// Callers for people. Those that come both directly and through proxies are in one line.
pub(super) fn together(callers: &[Callers]) -> Vec<(String, &Callers)> {
    let mut lines: Vec<(String, Vec<String>, &Callers)> = Vec::new();
    for one in callers {
        let (who, way) = (one.text(), one.way());
        let same = lines.iter_mut().find(|(text, _, other)| {
            *text == who && other.by == one.by && other.access == one.access
        });
        match same {
            Some((_, ways, _)) => ways.push(way),
            None => lines.push((who, vec![way], one)),
        }
    }
    let line = |(who, ways, callers): (String, Vec<String>, _)| match ways.as_slice() {
        [way] if way == DIRECTLY => (who, callers),
        ways => (format!("{who}, {}", ways.join(" and ")), callers),
    };
    lines.into_iter().map(line).collect()
}

/// A few of the texts, and the number of the others.
pub(super) fn short(texts: &[String]) -> String {
    let shown: Vec<&str> = texts
        .iter()
        .take(SHOWN)
        .map(|text| text.strip_suffix("/32").unwrap_or(text))
        .collect();
    let rest = texts.len().saturating_sub(SHOWN);
    match rest {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}

/// Requests, for people: `data endpoint: data, session`.
pub(super) fn access_text(access: &[Access]) -> String {
    let mut endpoints: Vec<String> = Vec::new();
    for listener in ["data", "management"] {
        let of_listener = access.iter().filter(|access| access.listener == listener);
        let planes: Vec<String> = of_listener
            .map(|access| {
                let mut text = access.plane.to_owned();
                if !access.operations.is_empty() {
                    let operations: Vec<&str> =
                        access.operations.iter().map(String::as_str).collect();
                    let _ = write!(text, " ({})", operations.join(", "));
                }
                text.push_str(match access.vault_token {
                    Some(true) => " with a token of the vault",
                    Some(false) => " without a token of the vault",
                    None => "",
                });
                text
            })
            .collect();
        if !planes.is_empty() {
            endpoints.push(format!("{listener} endpoint: {}", planes.join(", ")));
        }
    }
    endpoints.join("; ")
}
