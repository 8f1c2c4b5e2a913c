//! Names inside Envoy's configuration that more than one part of it refers to.

/// Text in each filter that Envoy could refuse. It has no effect; the xDS server replaces the zeros with another number
/// each time that it sends the filter.
pub const ATTEMPT: &str = "attempt=0000000000000000";
/// The cluster of Envoy's own admin endpoint.
pub(super) const ADMIN_CLUSTER: &str = "vaultwall-admin";
/// Cluster of the proxy's own data listener, used by its health check alone.
pub(super) const DATA_CLUSTER: &str = "vaultwall-data";
/// Filter state that holds a request's plane.
pub(super) const PLANE: &str = "vaultwall.plane";
/// Value of that filter state for a request that can be read in more than one way; also the name of its route.
pub(super) const BAD_REQUEST: &str = "bad-request";
/// The filter that writes the filter state; each route configures it.
pub(super) const SET_FILTER_STATE: &str = "envoy.filters.http.set_filter_state";
/// Filter state that holds a request's operations, as the access log shows them; missing outside the data plane.
pub(super) const OPERATIONS: &str = "vaultwall.operations";
