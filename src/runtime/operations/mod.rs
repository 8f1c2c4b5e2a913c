//! Endpoints of a running operator for people, Kubernetes and Prometheus, over plain HTTP: `/healthz`, `/readyz` and
//! `/metrics`.
//!
//! | module | content |
//! |---|---|
//! | [`health`] | loops and tasks behind `/healthz`, and conditions of `/readyz` |
//! | [`metrics`] | every metric, as handles that are cheap to use |
//!
//! The answers contain no object, no name of a vault and no secret, so there is no authentication; every client that
//! can connect can read them.

pub mod health;
pub mod metrics;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use health::{Condition, Health, Pulse};
pub use metrics::{Metrics, WriteResult};

/// Grace period of open connections after the server starts to stop.
const GRACE_PERIOD: Duration = Duration::from_secs(1);
/// Content type of the `OpenMetrics` text format, version 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The server could not listen on its address.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for health and metrics: {source}; choose another address with \
     --operations-listen, or stop the program that uses it"
)]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Opens the listener. It is a separate step, so that an address in use ends the start of the operator.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Serves until `stop` completes. Stop it last, after a [`Condition`] reports that the replica is stopping.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    registry: Registry,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let (stopping, mut stopped) = watch::channel(false);
    let state = Served {
        health,
        registry: Arc::new(registry),
    };
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(state);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        let _ = stopping.send(true);
    });
    let overdue = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(GRACE_PERIOD).await;
    };
    tokio::select! {
        // It never fails: an error of one connection ends only that connection.
        _ = served => {}
        () = overdue => {}
    }
}

#[derive(Clone, Debug)]
struct Served {
    health: Health,
    registry: Arc<Registry>,
}

async fn healthz(State(served): State<Served>) -> Response {
    answer(&served.health.unhealthy().await)
}

async fn readyz(State(served): State<Served>) -> Response {
    answer(&served.health.unready())
}

/// Returns 200, or 503 with one line for each problem.
fn answer(problems: &[String]) -> Response {
    if problems.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let body = format!("{}\n", problems.join("\n"));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn exposition(State(served): State<Served>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &served.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot encode the metrics: {error}\n"),
        )
            .into_response(),
    }
}
