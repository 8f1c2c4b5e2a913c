//! What people and Kubernetes ask a running operator, over plain HTTP: `/healthz`, `/readyz` and `/metrics`.
//!
//! | module | what it is |
//! |---|---|
//! | [`health`] | who has to answer for `/healthz`, and what has to be so for `/readyz` |
//! | [`metrics`] | every metric, as handles that are cheap to use |
//!
//! It shows no object, no name of a vault and no secret, so it needs no authentication; whoever reaches it can read it.

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

/// How long open connections may take to end once the server was told to stop.
const STOPPING: Duration = Duration::from_secs(1);
/// What Prometheus expects of this format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for health and metrics: {source}; choose another address with --operations-listen, or stop what uses it"
)]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Listens; a separate step, so that an address that is taken ends the start.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Answers until `stop` is done. Stop it last, and say by a [`Condition`] before that the replica is stopping.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    registry: Registry,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let (stopping, mut stopped) = watch::channel(false);
    let asked = Asked {
        health,
        registry: Arc::new(registry),
    };
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(asked);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        let _ = stopping.send(true);
    });
    let overdue = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(STOPPING).await;
    };
    tokio::select! {
        // It never fails: errors of single connections stay theirs.
        _ = served => {}
        () = overdue => {}
    }
}

#[derive(Clone, Debug)]
struct Asked {
    health: Health,
    registry: Arc<Registry>,
}

async fn healthz(State(asked): State<Asked>) -> Response {
    answer(&asked.health.unhealthy().await)
}

async fn readyz(State(asked): State<Asked>) -> Response {
    answer(&asked.health.unready())
}

/// One line for each thing that is not as it should be.
fn answer(problems: &[String]) -> Response {
    if problems.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let body = format!("{}\n", problems.join("\n"));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn exposition(State(asked): State<Asked>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &asked.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the metrics cannot be written: {error}\n"),
        )
            .into_response(),
    }
}
