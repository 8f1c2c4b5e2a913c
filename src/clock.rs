//! A clock that tests can set.
//!
//! It is used for the expiry of certificates and of the lease, and for periodic work. Durations are measured with
//! [`std::time::Instant`] instead.
//!
//! [`Clock::now`] is the wall-clock time, which can be set back. [`Clock::uptime`] never goes back, so it decides
//! whether a lease has expired.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// A point in time, as the duration since this machine started. It never goes back, includes the time in which the
/// machine is suspended, and has no meaning on another machine.
pub type Uptime = Duration;

/// Source of the time, and of timers.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Set(Arc<watch::Sender<Timestamp>>),
}

/// Sets the time of a [`Clock::settable`].
#[derive(Clone, Debug)]
pub struct ClockControl(Arc<watch::Sender<Timestamp>>);

impl Clock {
    /// Returns the clock of the system.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that stands still at `start`, and the control that advances it.
    pub fn settable(start: Timestamp) -> (Self, ClockControl) {
        let time = Arc::new(watch::Sender::new(start));
        (Self(Source::Set(Arc::clone(&time))), ClockControl(time))
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Set(time) => *time.borrow(),
        }
    }

    /// Returns the time since this machine started (`CLOCK_BOOTTIME`), or since the epoch for a settable clock.
    pub fn uptime(&self) -> Uptime {
        match &self.0 {
            Source::System => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                Duration::new(
                    u64::try_from(time.tv_sec).unwrap_or_default(),
                    u32::try_from(time.tv_nsec).unwrap_or_default(),
                )
            }
            Source::Set(time) => {
                Duration::try_from(time.borrow().as_duration()).unwrap_or_default()
            }
        }
    }

    /// Waits until `duration` has passed on this clock.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System => tokio::time::sleep(duration).await,
            Source::Set(time) => {
                let mut time = time.subscribe();
                let end = after(*time.borrow(), duration);
                // It cannot fail: this clock has the sender.
                let _ = time.wait_for(|now| *now >= end).await;
            }
        }
    }
}

impl ClockControl {
    /// Advances the time.
    pub fn advance(&self, duration: Duration) {
        self.0.send_modify(|now| *now = after(*now, duration));
    }
}

/// Returns the point in time after `duration`, at most [`Timestamp::MAX`].
pub fn after(moment: Timestamp, duration: Duration) -> Timestamp {
    moment
        .saturating_add(
            jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX),
        )
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_on_a_settable_clock_ends_when_the_time_is_advanced() {
        let (clock, control) = Clock::settable(Timestamp::UNIX_EPOCH);
        let hour = Duration::from_hours(1);
        let sleeping = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(hour).await }
        });
        tokio::task::yield_now().await;
        assert!(!sleeping.is_finished());
        control.advance(hour);
        sleeping.await.unwrap();
        assert_eq!(clock.now(), after(Timestamp::UNIX_EPOCH, hour));
    }
}
