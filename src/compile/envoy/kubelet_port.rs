//! The kubelet's port: probes, and the drain before the kubelet stops the proxy. Only the proxy's own node reaches the
//! port (`compile::kubernetes::network_policy`), so no pod can keep the kubelet from it.
//!
//! Envoy opens the port when it has accepted or rejected its first configuration. `GET /ready` answers 200 while the
//! data port accepts connections; Envoy's own `/ready` would also answer 200 after it rejected its configuration.
//! `GET /live` answers 200 even without listeners, so that the kubelet restarts only an Envoy that hangs.
//!
//! A request to start the drain makes the proxy drain its connections, and is answered when the drain time is over.
//! Envoy ends at once on SIGTERM and closes every connection that a client keeps open; a request in flight is lost.
//! With the drain, each answer closes its connection, new connections are still served, and the clients' next
//! connections reach another proxy. Envoy offers this as a POST to its admin endpoint, but the kubelet can only GET;
//! the Lua filter translates.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::lua::v3::Lua;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::BoolValue;

use super::http;
use super::names::{ADMIN_CLUSTER, DATA_CLUSTER};
use super::wire::{HealthCheckFilter, Percent, seconds};

/// Path of the request that starts the drain.
pub const DRAIN_PATH: &str = "/leave";
/// Drain time in seconds. After it, no node sends the proxy new connections any more.
pub const DRAIN_SECONDS: u8 = 15;

/// Path of the readiness probe.
pub const READY_PATH: &str = "/ready";
/// Path of the startup and liveness probes.
pub const LIVE_PATH: &str = "/live";

/// Name of the listener, its routes and its statistics.
const NAME: &str = "kubelet";

pub(super) fn listener(at: SocketAddrV4) -> Listener {
    let done = http::direct(http::get(DRAIN_PATH), 200);
    let live = http::direct(http::get(LIVE_PATH), 200);
    let manager = HttpConnectionManager {
        stat_prefix: NAME.into(),
        http_filters: vec![
            ready(),
            http::filter("envoy.filters.http.lua", &drain()),
            http::filter("envoy.filters.http.fault", &delay()),
            http::router(&Router::default()),
        ],
        route_specifier: Some(RouteSpecifier::RouteConfig(http::routes(
            NAME,
            vec![live, done],
        ))),
        ..http::small_requests()
    };
    http::exempt(http::listener(NAME, at, vec![http::chain(&manager)]))
}

fn ready() -> HttpFilter {
    let configuration = HealthCheckFilter {
        pass_through_mode: Some(BoolValue { value: false }),
        cluster_min_healthy_percentages: BTreeMap::from([(
            DATA_CLUSTER.to_owned(),
            Percent { value: 100.0 },
        )]),
        headers: vec![
            http::header_is(":path", READY_PATH),
            http::header_is(":method", "GET"),
        ],
    };
    http::filter("envoy.filters.http.health_check", &configuration)
}

/// Starts the drain. `skip_exit`: without it, new connections would be refused a few seconds later, though nodes may
/// still send some.
fn drain() -> Lua {
    let code = format!(
        r#"function envoy_on_request(request)
  if request:headers():get(":path") == "{DRAIN_PATH}" and request:headers():get(":method") == "GET" then
    request:httpCall("{ADMIN_CLUSTER}", {{
      [":method"] = "POST",
      [":path"] = "/drain_listeners?graceful&skip_exit",
      [":authority"] = "{NAME}",
    }}, "", 1000)
  end
end
"#
    );
    Lua {
        default_source_code: Some(DataSource {
            specifier: Some(data_source::Specifier::InlineString(code)),
            ..DataSource::default()
        }),
        ..Lua::default()
    }
}

/// Holds the answer back for the drain time. Fault injection is Envoy's only filter that can delay a request.
fn delay() -> HttpFault {
    HttpFault {
        delay: Some(FaultDelay {
            percentage: Some(FractionalPercent {
                numerator: 100,
                ..FractionalPercent::default()
            }),
            fault_delay_secifier: Some(fault_delay::FaultDelaySecifier::FixedDelay(seconds(
                DRAIN_SECONDS.into(),
            ))),
        }),
        headers: vec![
            http::header_is(":path", DRAIN_PATH),
            http::header_is(":method", "GET"),
        ],
        ..HttpFault::default()
    }
}
