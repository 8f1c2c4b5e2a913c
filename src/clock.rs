//! Time, as a clock that tests can set.
//!
//! Expiry of certificates and of the lease, and the moments of periodic work, come from here. How long something took is
//! measured with [`std::time::Instant`] instead.
//!
//! Two readings: [`Clock::now`] is what people and other machines call the time, and may be set back. [`Clock::uptime`]
//! only goes forward, so it alone says whether a lease has run out.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// A moment, as the time since this machine started. It never goes back, goes on while the machine is suspended, and
/// means nothing on another machine.
pub type Uptime = Duration;

/// Tells the time and waits.
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
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until its control are moved.
    pub fn settable(start: Timestamp) -> (Self, ClockControl) {
        let time = Arc::new(watch::Sender::new(start));
        (Self(Source::Set(Arc::clone(&time))), ClockControl(time))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Set(time) => *time.borrow(),
        }
    }

    /// The time since this machine started (`CLOCK_BOOTTIME`); of a settable clock, since the epoch.
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

    /// Waits until that much time has passed on this clock.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System => tokio::time::sleep(duration).await,
            Source::Set(time) => {
                let mut time = time.subscribe();
                let end = after(*time.borrow(), duration);
                // It cannot fail: this clock holds the sender.
                let _ = time.wait_for(|now| *now >= end).await;
            }
        }
    }
}

impl ClockControl {
    /// Moves the time on.
    pub fn advance(&self, duration: Duration) {
        self.0.send_modify(|now| *now = after(*now, duration));
    }
}

/// A moment later, or the end of time.
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
    async fn a_set_clock_waits_for_its_hands() {
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
