//! Limits of a whole proxy process: client connections, and memory. Near a limit, Envoy closes idle connections earlier
//! before it refuses anything new. It resets the requests that hold most memory with HTTP/2 only.
//!
//! Envoy 1.40 accepts the number of connections as a trigger, like the memory. It has no limit for each client address.
//! [Decision 20](../../../docs/decisions/0020-budgets.md) has the reason of each value.

use envoy_types::pb::envoy::config::overload::v3::scale_timers_overload_action_config::{
    ScaleTimer, TimerType, scale_timer::OverloadAdjust,
};
use envoy_types::pb::envoy::config::overload::v3::trigger::TriggerOneof;
use envoy_types::pb::envoy::config::overload::v3::{
    BufferFactoryConfig, OverloadAction, OverloadManager, ResourceMonitor,
    ScaleTimersOverloadActionConfig, ScaledTrigger, ThresholdTrigger, Trigger,
    resource_monitor::ConfigType,
};
use envoy_types::pb::envoy::extensions::resource_monitors::downstream_connections::v3::DownstreamConnectionsConfig;
use envoy_types::pb::envoy::extensions::resource_monitors::fixed_heap::v3::FixedHeapConfig;
use envoy_types::pb::google::protobuf::Duration;
use prost::{Message, Name};

use super::budget::client_limits;
use super::callers::Callers;
use super::wire::{any, seconds};
use crate::policy::Listener;

/// Largest number of client connections of both endpoints together.
const CONNECTIONS: u32 = client_limits(Listener::Data, Callers::Listed).connections
    + client_limits(Listener::Data, Callers::Unlisted).connections
    + client_limits(Listener::Management, Callers::Listed).connections
    + client_limits(Listener::Management, Callers::Unlisted).connections;
/// Memory of a proxy without a memory limit, in bytes.
const DEFAULT_MEMORY: u64 = 512 << 20;
/// Part of the memory that Envoy's heap may use, in percent. The rest is for code, stacks and the kernel's buffers.
const HEAP_PERCENT: u64 = 80;
/// Requests whose buffers hold less than 2 to this power bytes are never reset.
const SMALLEST_RESET: u32 = 17;

const HEAP: &str = "envoy.resource_monitors.fixed_heap";
const CLIENTS: &str = "envoy.resource_monitors.global_downstream_max_connections";

/// Overload manager of a proxy with this memory limit, in bytes; `None` if it has none.
pub(super) fn overload_manager(memory: Option<u64>) -> OverloadManager {
    let heap = FixedHeapConfig {
        max_heap_size_bytes: memory.unwrap_or(DEFAULT_MEMORY) / 100 * HEAP_PERCENT,
        ..FixedHeapConfig::default()
    };
    let clients = DownstreamConnectionsConfig {
        max_active_downstream_connections: CONNECTIONS.into(),
    };
    OverloadManager {
        refresh_interval: Some(Duration {
            seconds: 0,
            nanos: 250_000_000,
        }),
        resource_monitors: vec![monitor(HEAP, &heap), monitor(CLIENTS, &clients)],
        actions: vec![
            OverloadAction {
                typed_config: Some(any(&shorter_timeouts())),
                ..on(
                    "reduce_timeouts",
                    [scaled(HEAP, 0.5, 0.8), scaled(CLIENTS, 0.5, 0.9)],
                )
            },
            on("shrink_heap", [at(HEAP, 0.8)]),
            on("reset_high_memory_stream", [scaled(HEAP, 0.8, 0.95)]),
            on("disable_http_keepalive", [at(HEAP, 0.9)]),
            on("stop_accepting_connections", [at(HEAP, 0.95)]),
            on("stop_accepting_requests", [at(HEAP, 0.98)]),
        ],
        buffer_factory_config: Some(BufferFactoryConfig {
            minimum_account_to_track_power_of_two: SMALLEST_RESET,
        }),
        ..OverloadManager::default()
    }
}

/// Timeouts of idle connections under pressure. The timeout of a request in progress is not shortened: the vault may be
/// slow, and its client may be one that the rules allow.
fn shorter_timeouts() -> ScaleTimersOverloadActionConfig {
    let timers = [
        TimerType::HttpDownstreamConnectionIdle,
        TimerType::HttpDownstreamStreamFlush,
        TimerType::TransportSocketConnect,
    ];
    ScaleTimersOverloadActionConfig {
        timer_scale_factors: timers
            .map(|timer| ScaleTimer {
                timer: timer.into(),
                overload_adjust: Some(OverloadAdjust::MinTimeout(seconds(1))),
            })
            .into(),
    }
}

fn monitor<M: Message + Name>(name: &str, configuration: &M) -> ResourceMonitor {
    ResourceMonitor {
        name: name.into(),
        config_type: Some(ConfigType::TypedConfig(any(configuration))),
    }
}

fn on<const N: usize>(action: &str, triggers: [Trigger; N]) -> OverloadAction {
    OverloadAction {
        name: format!("envoy.overload_actions.{action}"),
        triggers: triggers.into(),
        ..OverloadAction::default()
    }
}

/// Triggers at this part of a resource, from 0 to 1.
fn at(resource: &str, value: f64) -> Trigger {
    Trigger {
        name: resource.into(),
        trigger_oneof: Some(TriggerOneof::Threshold(ThresholdTrigger { value })),
    }
}

/// Triggers gradually between two parts of a resource.
fn scaled(resource: &str, from: f64, to: f64) -> Trigger {
    Trigger {
        name: resource.into(),
        trigger_oneof: Some(TriggerOneof::Scaled(ScaledTrigger {
            scaling_threshold: from,
            saturation_threshold: to,
        })),
    }
}
