//! Answers to denied callers, in the vault's own error shape, so that its clients print them.

use envoy_types::pb::envoy::config::accesslog::v3::{
    AccessLogFilter, AndFilter, ExtensionFilter, access_log_filter,
    access_log_filter::FilterSpecifier, extension_filter,
};
use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use envoy_types::pb::google::protobuf::UInt32Value;

use super::wire::{Fields, Json, JsonFormat, LocalReplyConfig, ResponseMapper, any};
use super::{client, grants, http, metadata};
use crate::policy::{
    ClientAddressSource, Firewall, Listener, ManagementAccess, Reason, VaultApi, Verdict,
};
use crate::vault_api::path::MAX_TARGET;

/// Response code details of bad requests that Envoy refuses before any filter: a target that is no path, and a path
/// that it cannot normalise.
const REFUSED_EARLY: [&str; 2] = ["absolute_path_rejected", "path_normalization_failed"];

/// Text for a request that has more than one meaning, or that is too long.
fn ambiguous(api: VaultApi) -> String {
    let namespace = match api {
        VaultApi::OpenBao => ", and name a namespace either by header or in the path",
        VaultApi::AzureKeyVault => "",
    };
    format!(
        "the proxy and the vault could read this request differently, its path and query are longer than {MAX_TARGET} \
         bytes, it is a probe with a body, or it has several X-Vaultwall-Token. Send a plain, short path and query, \
         probes without a body, one X-Vaultwall-Token with one token{namespace}"
    )
}

/// Bodies of the answers that Envoy generates itself.
pub(super) fn local_replies(firewall: &Firewall, listener: Listener) -> LocalReplyConfig {
    let denials = Reason::ALL
        .iter()
        .filter(|reason| reason.verdict() == Verdict::Deny);
    let mut mappers: Vec<ResponseMapper> = denials
        .flat_map(|reason| {
            let denial = denial(firewall, listener, *reason);
            let behind_proxies = (*reason == Reason::ForbiddenByFirewall
                && firewall.client_address != ClientAddressSource::Direct)
                .then(|| behind_proxies(firewall, &denial));
            behind_proxies.into_iter().flatten().chain([denial])
        })
        .collect();
    mappers.push(refused_early(firewall));
    mappers.push(ResponseMapper {
        filter: Some(when(
            "response.code_details.startsWith('rbac_access_denied')",
        )),
        status_code: None,
        body_format_override: Some(body(
            firewall.api,
            &Error::denied(
                Reason::ForbiddenByFirewall,
                format!(
                    "Vaultwall has no configuration for {} yet and denies everything until it has (decision \
                     %STREAM_ID%)",
                    firewall.vault
                ),
            ),
        )),
        headers_to_add: vec![receipt(firewall, listener, Reason::ForbiddenByFirewall)],
    });
    LocalReplyConfig {
        mappers,
        body_format: Some(body(
            firewall.api,
            &Error {
                code: "NotForwarded",
                inner: "%RESPONSE_CODE_DETAILS%",
                text: format!(
                    "Vaultwall could not pass the request on to {}: %LOCAL_REPLY_BODY% \
                     (%RESPONSE_CODE_DETAILS%, decision %STREAM_ID%)",
                    firewall.vault
                ),
            },
        )),
    }
}

/// The denials of clients behind trusted proxies: of one that is unknown, because the header could not be read, and of
/// one whose address is in the header.
fn behind_proxies(firewall: &Firewall, denial: &ResponseMapper) -> [ResponseMapper; 2] {
    let unknown = format!(
        "no virtual-network rule has your address {}, which is a trusted proxy, and the client behind it is unknown, \
         so no IP rule applies: {}. Ask the owner of the proxy to write addresses into X-Forwarded-For",
        client::PEER,
        client::metadata(client::WARNING)
    );
    let place = format!(" ({})", client::metadata(client::FROM));
    let known = outside(firewall, &place);
    let has = |key| metadata::has(client::METADATA, key, metadata::present(), false);
    [(client::WARNING, unknown), (client::FROM, known)].map(|(key, why)| ResponseMapper {
        filter: Some(AccessLogFilter {
            filter_specifier: Some(FilterSpecifier::AndFilter(AndFilter {
                filters: denial.filter.iter().cloned().chain([has(key)]).collect(),
            })),
        }),
        body_format_override: Some(denied(firewall, Reason::ForbiddenByFirewall, &why)),
        ..denial.clone()
    })
}

/// Explanation for a caller that no rule matches. `place` says where the client's address is from.
fn outside(firewall: &Firewall, place: &str) -> String {
    format!(
        "no virtual-network rule has your address {} and no IP rule has {}{place}, so you count as a caller outside \
         every enabled subnet. Ask the vault's owner for a rule, or a subnet's owner to enable the service endpoint. \
         If your pod has just started, repeat the request in some seconds",
        client::PEER,
        client::address(&firewall.client_address)
    )
}

/// Header of a denial, for programs: the reason, the decision id, the addresses that were seen, and the identity that
/// the caller was taken for. An empty text stands for nothing. It names no rule, and nothing of other callers.
fn receipt(firewall: &Firewall, listener: Listener, reason: Reason) -> HeaderValueOption {
    let state = metadata::state_format;
    let from = match firewall.client_address {
        ClientAddressSource::Direct => "peer".to_owned(),
        ClientAddressSource::XForwardedFor { .. } => client::metadata(client::FROM),
    };
    let account = grants::needs_identities(firewall, listener).then(|| state(grants::POD));
    let service = grants::has_bypass(firewall).then(|| state(grants::SERVICE));
    let parts = [
        ("reason", Some(reason.name().to_owned())),
        ("decision", Some("%STREAM_ID%".to_owned())),
        ("addr", Some(client::address(&firewall.client_address))),
        ("from", Some(from)),
        ("direct", Some(client::PEER.to_owned())),
        ("serviceAccount", account),
        ("trustedService", service),
    ];
    let parts = parts
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={};", value?)));
    http::set_header("x-vaultwall-denial", &parts.collect::<String>())
}

fn denial(firewall: &Firewall, listener: Listener, reason: Reason) -> ResponseMapper {
    let why = match reason {
        Reason::ForbiddenByFirewall => &outside(firewall, ""),
        Reason::ForbiddenByPlane
            if listener == Listener::Management
                && firewall.management == ManagementAccess::Disabled =>
        {
            "the management endpoint is switched off; its owner may set spec.management.access of the policy"
        }
        Reason::ForbiddenByPlane
            if listener == Listener::Management && firewall.api == VaultApi::AzureKeyVault =>
        {
            "the API of Azure Key Vault has data requests only, and the management endpoint serves none. Use the data \
             endpoint"
        }
        Reason::ForbiddenByPlane if listener == Listener::Management => {
            "the management endpoint serves the vault's management, not its data, nor anything that could return \
             data. Use the data endpoint. For a vault namespace, ask the vault's owner to list it in \
             spec.vault.namespaces; for an auth method at a path of several segments, in spec.vault.authMounts"
        }
        Reason::ForbiddenByScenario => &format!(
            "{}, and a trusted service may do the operations of its scenarios only, without a network rule. Ask the \
             vault's owner for a rule, or the platform's admin to add the operation to a scenario",
            taken_for_service()
        ),
        Reason::ForbiddenByMissingToken => &format!(
            "{}, but the request carries no token of the vault. {}",
            taken_for_service(),
            match firewall.api {
                VaultApi::OpenBao => "Log in to the vault, and send its token in X-Vault-Token",
                VaultApi::AzureKeyVault => "Send its token in Authorization, after `Bearer `",
            }
        ),
        Reason::ForbiddenByPlane if listener == Listener::Data && grants::has_bypass(firewall) => {
            "this path is never forwarded, or it is management, which a trusted service may send to the management \
             endpoint only. The vault's peers use their paths directly, and metrics need a listener of the vault that \
             serves nothing else"
        }
        Reason::ForbiddenByPlane => {
            "this path is never forwarded. The vault's peers use it directly, and metrics need a listener of the vault \
             that serves nothing else"
        }
        Reason::ForbiddenCritical => {
            "it could destroy or open the vault, or the firewall does not know the path. Run it in one of the vault's \
             own pods, or ask the vault's owner to list you in spec.management.operators"
        }
        _ => &ambiguous(firewall.api),
    };
    let expression = format!(
        "response.code_details == 'rbac_access_denied_matched_policy[{}]'",
        reason.name()
    );
    let status = if reason == Reason::BadRequest {
        400
    } else {
        403
    };
    ResponseMapper {
        filter: Some(when(&expression)),
        status_code: Some(UInt32Value { value: status }),
        body_format_override: Some(denied(firewall, reason, why)),
        headers_to_add: vec![receipt(firewall, listener, reason)],
    }
}

/// Beginning of the message to a trusted service.
fn taken_for_service() -> String {
    format!(
        "no network rule has your address, you count as {}",
        metadata::state_format(grants::SERVICE)
    )
}

/// Answer to a bad request that no filter saw. It has no decision id: that would be the client's own text.
fn refused_early(firewall: &Firewall) -> ResponseMapper {
    let refused = REFUSED_EARLY.map(|details| format!("response.code_details == '{details}'"));
    ResponseMapper {
        filter: Some(when(&refused.join(" || "))),
        status_code: Some(UInt32Value { value: 400 }),
        body_format_override: Some(body(
            firewall.api,
            &Error::denied(
                Reason::BadRequest,
                format!(
                    "Vaultwall denied this request to {} ({}): {}",
                    firewall.vault,
                    Reason::BadRequest.name(),
                    ambiguous(firewall.api)
                ),
            ),
        )),
        headers_to_add: Vec::new(),
    }
}

/// Filter that matches when a CEL expression is true.
pub(super) fn when(expression: &str) -> AccessLogFilter {
    let filter = ExpressionFilter {
        expression: expression.into(),
        ..ExpressionFilter::default()
    };
    AccessLogFilter {
        filter_specifier: Some(access_log_filter::FilterSpecifier::ExtensionFilter(
            ExtensionFilter {
                name: "cel".into(),
                config_type: Some(extension_filter::ConfigType::TypedConfig(any(&filter))),
            },
        )),
    }
}

/// The body of a denial: the vault, the reason, its explanation, and the decision id.
fn denied(firewall: &Firewall, reason: Reason, why: &str) -> JsonFormat {
    let text = format!(
        "Vaultwall denied this request to {} ({}): {why} (decision %STREAM_ID%)",
        firewall.vault,
        reason.name()
    );
    body(firewall.api, &Error::denied(reason, text))
}

/// An error of a request.
struct Error<'a> {
    /// Azure Key Vault's code of such errors.
    code: &'static str,
    /// The cause, for programs.
    inner: &'a str,
    /// The explanation, for people.
    text: String,
}

impl Error<'static> {
    fn denied(reason: Reason, text: String) -> Self {
        Self {
            code: match reason {
                Reason::BadRequest => "BadParameter",
                _ => "Forbidden",
            },
            inner: reason.name(),
            text,
        }
    }
}

/// The body of an error in the shape of the vault's API. Clients of `OpenBao` read `errors`, so other APIs have it.
fn body(api: VaultApi, error: &Error<'_>) -> JsonFormat {
    let text = || Json::text(&*error.text);
    let errors = ("errors", Json::list(vec![text()]));
    let fields = match api {
        VaultApi::OpenBao => Fields::from([errors]),
        VaultApi::AzureKeyVault => {
            let inner = Json::object([("code", Json::text(error.inner))]);
            let error = Json::object([
                ("code", Json::text(error.code)),
                ("message", text()),
                ("innererror", inner),
            ]);
            Fields::from([("error", error), errors])
        }
    };
    JsonFormat {
        json_format: Some(fields),
    }
}
