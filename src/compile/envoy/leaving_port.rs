//! A proxy's port for whoever stops it: asked once, it tells its clients to come back by another connection, and answers
//! when that has been long enough.
//!
//! Envoy ends at once on SIGTERM, and with it every connection that a client keeps open; a request that is on its way there
//! is lost. So before that, each answer closes its connection, new connections are still served, and the next ones find
//! another proxy. Envoy has that as a POST to its admin endpoint, and the kubelet can only GET; hence the few words of Lua.
//! The port is open to nobody but the proxy's own node (`compile::network_policy`).

use std::net::SocketAddrV4;

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteConfiguration, VirtualHost, route,
};
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::lua::v3::Lua;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

use super::listener::serving;
use super::metrics_port::{ADMIN, exactly, get, router};
use super::wire::{any, seconds};

/// The page that is asked.
pub const LEAVE: &str = "/leave";
/// How long a proxy goes on after that, in seconds: by then every node has stopped sending it new connections.
pub const LEAVING_SECONDS: u8 = 15;

const NAME: &str = "leaving";

pub(super) fn listener(at: SocketAddrV4) -> Listener {
    let done = Route {
        r#match: Some(get(LEAVE)),
        action: Some(route::Action::DirectResponse(DirectResponseAction {
            status: 200,
            ..DirectResponseAction::default()
        })),
        ..Route::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: NAME.into(),
        request_headers_timeout: Some(seconds(10)),
        http_filters: vec![
            http_filter("envoy.filters.http.lua", &tell_clients()),
            http_filter("envoy.filters.http.fault", &wait()),
            router(),
        ],
        route_specifier: Some(RouteSpecifier::RouteConfig(RouteConfiguration {
            name: NAME.into(),
            virtual_hosts: vec![VirtualHost {
                name: NAME.into(),
                domains: vec!["*".into()],
                routes: vec![done],
                ..VirtualHost::default()
            }],
            ..RouteConfiguration::default()
        })),
        ..HttpConnectionManager::default()
    };
    Listener {
        ignore_global_conn_limit: true,
        ..serving(NAME, at, &manager)
    }
}

/// `skip_exit`: without it, new connections would be refused a few seconds later, though nodes may still send some.
fn tell_clients() -> Lua {
    let code = format!(
        r#"function envoy_on_request(request)
  if request:headers():get(":path") == "{LEAVE}" and request:headers():get(":method") == "GET" then
    request:httpCall("{ADMIN}", {{
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

/// Envoy's filter for made-up faults is the one that can wait.
fn wait() -> HttpFault {
    HttpFault {
        delay: Some(FaultDelay {
            percentage: Some(FractionalPercent {
                numerator: 100,
                ..FractionalPercent::default()
            }),
            fault_delay_secifier: Some(fault_delay::FaultDelaySecifier::FixedDelay(seconds(
                LEAVING_SECONDS.into(),
            ))),
        }),
        headers: vec![exactly(":path", LEAVE), exactly(":method", "GET")],
        ..HttpFault::default()
    }
}

fn http_filter<M: Message + Name>(name: &str, configuration: &M) -> HttpFilter {
    let configuration: Any = any(configuration);
    HttpFilter {
        name: name.into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(configuration)),
        ..HttpFilter::default()
    }
}
