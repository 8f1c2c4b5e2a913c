//! Waiting for conditions. Only a test that fails waits until the timeout.

use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
pub const TIMEOUT: Duration = Duration::from_mins(3);
/// Pause between two checks of a condition.
pub const PAUSE: Duration = Duration::from_millis(5);

/// Calls `poll` until it returns a value, and returns that.
///
/// # Panics
///
/// After [`TIMEOUT`], with `what` did not happen.
pub fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    wait_for_ok(what, || poll().ok_or(""))
}

/// Calls `poll` until it succeeds, and returns the value.
///
/// # Panics
///
/// After [`TIMEOUT`], with `what` did not happen and the last error.
pub fn wait_for_ok<T, E: std::fmt::Display>(
    what: &str,
    mut poll: impl FnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + TIMEOUT;
    loop {
        match poll() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < end, "{what}: did not happen {error}"),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until a condition holds.
///
/// # Panics
///
/// After [`TIMEOUT`], with `what` did not happen.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// Waits until a condition holds, in a task.
///
/// # Panics
///
/// After [`TIMEOUT`], with `what` did not happen.
pub async fn becomes_true(what: &str, mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    in_time(what, held).await;
}

/// Awaits a future.
///
/// # Panics
///
/// After [`TIMEOUT`], with `what` did not happen.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: did not happen"))
}
