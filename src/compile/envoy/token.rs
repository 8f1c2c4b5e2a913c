//! Identity by token: two filters, each an ECDS resource of its own. The first verifies signature and times of a token
//! with the keys of its issuer; the second finds the identity, by the rules of [`crate::policy::token`], and writes it
//! into metadata ([decision 38](../../../docs/decisions/0038-identity-by-token.md)).
//!
//! Both deny nothing, and a request without the header skips them. Metadata has texts that describe themselves, because
//! the resources of a proxy arrive one by one.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source};
use envoy_types::pb::envoy::config::route::v3::{RouteMatch, route_match};
use envoy_types::pb::envoy::extensions::filters::http::composite::v3::Composite;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtHeader, JwtProvider, JwtRequirement, RequirementRule, jwt_provider, jwt_requirement,
    requirement_rule,
};
use envoy_types::pb::google::protobuf::Empty;
use prost::{Message, Name};

use super::client::{METADATA, lua};
use super::composite::only_if;
use super::matching::{header, is, matches};
use super::names::ATTEMPT;
use super::wire::JwtAuthentication;
use crate::limits::MAX_TOKEN_LIFETIME;
use crate::policy::token::{SERVICE_ACCOUNT, TokenProblem, TokenRules};
use crate::vault_api::HEADER_TOKEN;

/// Name of the ECDS resource with the issuers' keys.
pub(super) const KEYS: &str = "vaultwall.token-keys";
/// Name of the ECDS resource that finds the identity.
pub(super) const IDENTITY: &str = "vaultwall.token-identity";
/// Key of the identity that the token proves, in the metadata [`METADATA`]: the text of a
/// [`TokenIdentity`](crate::policy::token::TokenIdentity).
pub(super) const IDENTIFIED: &str = "tokenIdentity";
/// Key of the service account that both pod and token prove, `NAMESPACE/NAME`.
pub(super) const POD: &str = "podAndToken";
/// Key of the check that the token failed.
pub(super) const PROBLEM: &str = "tokenProblem";

/// Difference between the clocks of an issuer and of the proxy that changes nothing, in seconds.
const CLOCK_SKEW: u32 = 60;

/// Verifies signature and times with the keys of each issuer. A request without a token, or with an invalid one, has no
/// identity and is not denied here.
pub(super) fn keys(rules: &TokenRules) -> Composite {
    let providers = rules.issuers.iter().map(|(issuer, jwks)| {
        let provider = JwtProvider {
            issuer: issuer.clone(),
            require_expiration: true,
            clock_skew_seconds: CLOCK_SKEW,
            // Routes remove the header, whether or not it was valid.
            forward: true,
            from_headers: vec![JwtHeader {
                name: HEADER_TOKEN.into(),
                value_prefix: String::new(),
            }],
            payload_in_metadata: "payload".into(),
            failed_status_in_metadata: "failure".into(),
            jwks_source_specifier: Some(jwt_provider::JwksSourceSpecifier::LocalJwks(DataSource {
                specifier: Some(data_source::Specifier::InlineString(jwks.to_string())),
                ..DataSource::default()
            })),
            ..JwtProvider::default()
        };
        (issuer.clone(), provider)
    });
    let providers: BTreeMap<String, JwtProvider> = providers.collect();
    // Without a list of providers, the token's issuer chooses the only one that verifies it.
    let optional = || JwtRequirement {
        requires_type: Some(jwt_requirement::RequiresType::AllowMissingOrFailed(
            Empty::default(),
        )),
    };
    let every_request = RequirementRule {
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())),
            ..RouteMatch::default()
        }),
        requirement_type: Some(requirement_rule::RequirementType::Requires(optional())),
    };
    if_present(&JwtAuthentication {
        rules: vec![every_request],
        providers,
        // No rule uses it.
        requirement_map: BTreeMap::from([(ATTEMPT.to_owned(), optional())]),
    })
}

/// Finds the identity of a verified token.
pub(super) fn identity(rules: &TokenRules) -> Composite {
    let identities = rules.identities.iter();
    let subjects = identities
        .clone()
        .map(|one| format!("{}\t{}", one.issuer, one.subject));
    let identities = identities.map(|one| {
        let account = one.account_uid.as_deref();
        let account = account.map_or_else(|| "true".to_owned(), quoted);
        format!("[{}]={account}", quoted(&one.to_string()))
    });
    let identities: Vec<String> = identities.collect();
    let pods = rules.pods.iter().map(|(address, pod)| {
        let pod = quoted(&format!("{}\t{}", pod.account, pod.uid));
        format!("[\"{address}\"]={pod}")
    });
    let pods: Vec<String> = pods.collect();
    let cluster_issuer = quoted(rules.cluster_issuer.as_deref().unwrap_or_default());
    let code = include_str!("token.lua")
        .replace("\"METADATA\"", &quoted(METADATA))
        .replace("\"IDENTIFIED\"", &quoted(IDENTIFIED))
        .replace("\"POD_ACCOUNT\"", &quoted(POD))
        .replace("\"PROBLEM\"", &quoted(PROBLEM))
        .replace("SERVICE_ACCOUNT", SERVICE_ACCOUNT)
        .replace("NO_SUBJECT", &TokenProblem::Subject.to_string())
        .replace("NO_AUDIENCE", &TokenProblem::Audience.to_string())
        .replace("NO_ACCOUNT", &TokenProblem::Account.to_string())
        .replace("NO_LIFETIME", &TokenProblem::Lifetime.to_string())
        .replace("NO_POD", &TokenProblem::Pod.to_string())
        .replace("NO_ISSUER", &TokenProblem::Issuer.to_string())
        .replace("ATTEMPT", ATTEMPT)
        .replace(
            "MAX_LIFETIME = 0",
            &format!("MAX_LIFETIME = {MAX_TOKEN_LIFETIME}"),
        )
        // The users' texts last, so that nothing in them is replaced.
        .replace(
            "CLUSTER_ISSUER = \"\"",
            &format!("CLUSTER_ISSUER = {cluster_issuer}"),
        )
        .replace("SUBJECTS = {}", &format!("SUBJECTS = {}", set(subjects)))
        .replace(
            "IDENTITIES = {}",
            &format!("IDENTITIES = {{{}}}", identities.join(",")),
        )
        .replace("PODS = {}", &format!("PODS = {{{}}}", pods.join(",")));
    if_present(&lua(code))
}

/// A filter of requests that have the header of tokens; an empty value is one, too.
fn if_present<M: Message + Name>(filter: &M) -> Composite {
    only_if(is(header(HEADER_TOKEN), matches(r"\C*")), filter)
}

/// A table of Lua with these keys.
fn set(texts: impl Iterator<Item = String>) -> String {
    let texts = texts.map(|text| format!("[{}]=true", quoted(&text)));
    format!("{{{}}}", texts.collect::<Vec<_>>().join(","))
}

/// A text of Lua. Only letters, digits and some signs are written as they are, so that no text ends its quotes.
fn quoted(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b':' | b'/' | b'.' | b'-' | b'_' => {
            char::from(byte).to_string()
        }
        byte => format!("\\{byte:03}"),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
