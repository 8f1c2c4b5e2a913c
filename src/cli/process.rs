//! The async runtime of the subcommands that run until a signal ends them, and their signals.

use std::io;
use std::task::Poll;

use futures::stream::{Stream, poll_fn};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::outcome::Failure;
use crate::standalone::Control;

/// Returns a runtime with two worker threads.
///
/// # Errors
///
/// If the threads cannot be started.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

/// Completes when the process receives `SIGTERM` or `SIGINT` after this call. Must be called within the runtime.
pub(super) fn stop() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The signals that control standalone mode, as they arrive after this call. Must be called within the runtime.
///
/// None of them may have its default action, which ends this process and leaves Envoy behind: a closed terminal and
/// `systemctl reload` send `SIGHUP`, tools that rotate logs send `SIGUSR1`.
pub(super) fn controls() -> Result<impl Stream<Item = Control> + Unpin + Send + 'static, Failure> {
    let mut signals = Vec::new();
    for (kind, control) in [
        (SignalKind::terminate(), Control::Stop),
        (SignalKind::interrupt(), Control::Stop),
        (SignalKind::quit(), Control::Stop),
        (SignalKind::hangup(), Control::Reload),
        (SignalKind::user_defined2(), Control::Reload),
        (SignalKind::user_defined1(), Control::ReopenAccessLog),
    ] {
        signals.push((listen(kind)?, control));
    }
    Ok(poll_fn(move |context| {
        let arrived = signals
            .iter_mut()
            .find_map(|(signal, control)| signal.poll_recv(context).is_ready().then_some(*control));
        arrived.map_or(Poll::Pending, |control| Poll::Ready(Some(control)))
    }))
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    Ok(signal(kind).map_err(|error| format!("cannot wait for signals: {error}"))?)
}
