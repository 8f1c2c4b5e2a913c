//! Validation of identities, which trusted services and policies list in the same form.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use url::Url;

use super::names;
use crate::api::{FederatedCredential, Identity};
use crate::policy::identity::ObjectName;
use crate::policy::key_set;
use crate::policy::trusted_service::{FederatedIdentity, KeySource, ServiceIdentity};
use crate::policy::violation::{Findings, ViolationReason, quoted};

/// The account of pods that name none.
const DEFAULT_ACCOUNT: &str = "default";
/// Host of the API server's usual audience; a cluster's domain can follow it.
const API_SERVER: &str = "kubernetes.default.svc";

/// Keys of each issuer in one object, with the field that named them first. An issuer with two sets of keys would have
/// one of the two by chance.
#[derive(Default)]
pub(super) struct Issuers(BTreeMap<String, (String, KeySource)>);

/// Checks a list of identities at `field`.
pub(super) fn identities(
    field: &str,
    wire: &[Identity],
    issuers: &mut Issuers,
    findings: &mut Findings,
) -> Vec<ServiceIdentity> {
    let mut seen: BTreeMap<ServiceIdentity, usize> = BTreeMap::new();
    let mut valid = Vec::new();
    for (index, identity) in wire.iter().enumerate() {
        let place = format!("{field}[{index}]");
        let Some(identity) = one(&place, identity, issuers, findings) else {
            continue;
        };
        if let Some(first) = seen.get(&identity) {
            let message =
                format!("is the same identity as {field}[{first}]; remove one of the two");
            findings.add(place, ViolationReason::Duplicate, message);
        } else {
            seen.insert(identity.clone(), index);
            valid.push(identity);
        }
    }
    valid
}

fn one(
    field: &str,
    wire: &Identity,
    issuers: &mut Issuers,
    findings: &mut Findings,
) -> Option<ServiceIdentity> {
    match (
        &wire.service_account,
        &wire.registered_resource,
        &wire.federated_credential,
    ) {
        (Some(account), None, None) => {
            let field = format!("{field}.serviceAccount");
            namespace(&format!("{field}.namespace"), &account.namespace, findings);
            account_name(&format!("{field}.name"), &account.name, findings);
            Some(ServiceIdentity::ServiceAccount(ObjectName {
                namespace: account.namespace.clone(),
                name: account.name.clone(),
            }))
        }
        (None, Some(resource), None) => {
            let name = &resource.service_account_name;
            let field = format!("{field}.registeredResource.serviceAccountName");
            account_name(&field, name, findings);
            Some(ServiceIdentity::RegisteredResource(name.clone()))
        }
        (None, None, Some(credential)) => {
            let field = format!("{field}.federatedCredential");
            federated(&field, credential, issuers, findings)
                .map(ServiceIdentity::FederatedCredential)
        }
        (None, None, None) => {
            let message = "has none of serviceAccount, registeredResource and federatedCredential; exactly one of \
                           them is needed";
            findings.add(field, ViolationReason::Required, message);
            None
        }
        _ => {
            let message = "has several of serviceAccount, registeredResource and federatedCredential; exactly one of \
                           them is needed, so write an entry for each identity";
            findings.add(field, ViolationReason::Invalid, message);
            None
        }
    }
}

fn namespace(field: &str, text: &str, findings: &mut Findings) {
    if text.contains('*') {
        let message = format!(
            "{} is a wildcard, which would trust namespaces that do not exist yet; write one namespace, or use \
             registeredResource for all namespaces of the vault's subscription",
            quoted(text)
        );
        findings.add(field, ViolationReason::Invalid, message);
    } else {
        names::label(field, text, findings);
    }
}

fn account_name(field: &str, text: &str, findings: &mut Findings) {
    if text.contains('*') {
        let message = format!(
            "{} is a wildcard, which would trust every account that anybody creates; write the name of one service \
             account, and an entry for each",
            quoted(text)
        );
        findings.add(field, ViolationReason::Invalid, message);
    } else if text == DEFAULT_ACCOUNT {
        let message = "\"default\" is the account of every pod that names none; give the service an account of its own";
        findings.add(field, ViolationReason::Invalid, message);
    } else {
        names::subdomain(field, text, findings);
    }
}

/// Checks a federated credential; `None` if its keys cannot be used.
fn federated(
    field: &str,
    wire: &FederatedCredential,
    issuers: &mut Issuers,
    findings: &mut Findings,
) -> Option<FederatedIdentity> {
    let issuer_field = format!("{field}.issuer");
    https_url(&issuer_field, &wire.issuer, false, findings);
    claim(&format!("{field}.subject"), &wire.subject, findings);
    let audiences = audiences(&format!("{field}.audiences"), wire, findings);
    let keys = keys(field, wire, findings)?;
    match issuers.0.get(&wire.issuer) {
        Some((first, known)) if *known != keys => {
            let message = format!(
                "{} has other keys in {first}; write the same jwks or jwksUri in both places, because a token does \
                 not show which of the two is meant",
                quoted(&wire.issuer)
            );
            findings.add(issuer_field, ViolationReason::Ambiguous, message);
        }
        Some(_) => {}
        None => {
            let known = (field.to_owned(), keys.clone());
            issuers.0.insert(wire.issuer.clone(), known);
        }
    }
    Some(FederatedIdentity {
        issuer: wire.issuer.clone(),
        subject: wire.subject.clone(),
        audiences,
        keys,
    })
}

fn audiences(field: &str, wire: &FederatedCredential, findings: &mut Findings) -> BTreeSet<String> {
    if wire.audiences.is_empty() {
        let message = "is empty; list the audience of the tokens for this vault, for example vault";
        findings.add(field, ViolationReason::Required, message);
    }
    let mut audiences = BTreeSet::new();
    for (index, audience) in wire.audiences.iter().enumerate() {
        let field = format!("{field}[{index}]");
        claim(&field, audience, findings);
        if is_audience_of_an_api_server(audience, &wire.issuer) {
            let message = format!(
                "{} is the audience of an API server: everybody to whom a client sends its token could use it there; \
                 let the client request a token with an audience of its own, for example vault",
                quoted(audience)
            );
            findings.add(field, ViolationReason::NotAllowed, message);
        } else if !audiences.insert(audience.clone()) {
            let message = format!(
                "{} is already in the list; remove one of the two",
                quoted(audience)
            );
            findings.add(field, ViolationReason::Duplicate, message);
        }
    }
    audiences
}

/// Whether tokens with this audience are accepted by an API server: unless it is configured otherwise, an API server
/// accepts its own issuer as audience.
fn is_audience_of_an_api_server(audience: &str, issuer: &str) -> bool {
    let audience = audience.trim_end_matches('/');
    let host = audience.strip_prefix("https://").unwrap_or(audience);
    audience == issuer.trim_end_matches('/')
        || host
            .strip_prefix(API_SERVER)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn keys(field: &str, wire: &FederatedCredential, findings: &mut Findings) -> Option<KeySource> {
    match (&wire.jwks, &wire.jwks_uri) {
        (Some(set), None) => match key_set::check(set) {
            Ok(keys) => Some(KeySource::Inline(keys)),
            Err(message) => {
                // The field that the schema reports, too, so that both are one violation.
                let list = if set.keys.is_empty() { ".keys" } else { "" };
                let field = format!("{field}.jwks{list}");
                findings.add(field, ViolationReason::Invalid, message);
                None
            }
        },
        (None, Some(url)) => {
            https_url(&format!("{field}.jwksUri"), url, true, findings);
            Some(KeySource::Url(url.clone()))
        }
        (Some(_), Some(_)) => {
            let message = "has both jwks and jwksUri; exactly one of them is needed";
            findings.add(field, ViolationReason::Invalid, message);
            None
        }
        (None, None) => {
            let message = "has neither jwks nor jwksUri; exactly one of them is needed";
            findings.add(field, ViolationReason::Required, message);
            None
        }
    }
}

/// Checks a text that is compared with a claim of a token: exactly, byte by byte.
fn claim(field: &str, text: &str, findings: &mut Findings) {
    let message = if text.is_empty() {
        "is empty; write the value of the claim".to_owned()
    } else if text.chars().any(char::is_control) || text.trim() != text {
        format!(
            "{} has control characters, or white space at an end; write the value of the claim as it is in the token",
            quoted(text)
        )
    } else if text.contains('*') {
        format!(
            "{} contains *, which is no wildcard here: the claim is compared as a whole; write an entry for each value",
            quoted(text)
        )
    } else {
        return;
    };
    findings.add(field, ViolationReason::Invalid, message);
}

/// Checks an https URL. An issuer has no query; it is compared with a claim, so it is not normalised.
fn https_url(field: &str, text: &str, takes_query: bool, findings: &mut Findings) {
    let is_plain = |url: &Url| {
        url.scheme() == "https"
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && (takes_query || url.query().is_none())
    };
    // The parser removes white space, and takes other spellings of the scheme.
    let is_verbatim = text.starts_with("https://") && text.bytes().all(|b| b.is_ascii_graphic());
    if !is_verbatim || !Url::parse(text).is_ok_and(|url| is_plain(&url)) {
        let query = if takes_query { "" } else { ", query" };
        let message = format!(
            "{} is not a plain https URL; write https://, a host and a path, without user{query}, fragment and spaces",
            quoted(text)
        );
        findings.add(field, ViolationReason::Invalid, message);
    }
}
