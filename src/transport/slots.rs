//! Limits of connections: so many of each client, and so many in all. A refusal is counted and logged; the log has at
//! most one line in [`LOG_INTERVAL`]. Does not decide which client a certificate or address stands for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{MAX_CONNECTIONS, MAX_CONNECTIONS_OF_CLIENT};

/// Shortest time between two lines of the log about refused connections.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Limits of open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Most connections with certificates of the same identity.
    pub each: usize,
    /// Most connections in all.
    pub all: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            each: MAX_CONNECTIONS_OF_CLIENT,
            all: MAX_CONNECTIONS,
        }
    }
}

/// Limit for which a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The client has as many connections as one identity may have.
    TooManyOfClient,
    /// There are as many connections as all clients together may have.
    TooMany,
    /// The client's address has as many unfinished TLS handshakes as one address may have.
    TooManyHandshakes,
}

impl Refusal {
    /// Every limit.
    pub const ALL: [Self; 3] = [
        Self::TooManyOfClient,
        Self::TooMany,
        Self::TooManyHandshakes,
    ];

    /// Name of the limit, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooManyOfClient => "client",
            Self::TooMany => "all",
            Self::TooManyHandshakes => "handshakes",
        }
    }

    /// Cause and remedy.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::TooManyOfClient => {
                "too many connections with this client certificate's identity: more proxies of one vault than the \
                 operator serves, or a process that uses the Secret of the proxies"
            }
            Self::TooMany => {
                "too many connections in all: run more replicas of the operator, or remove vaults' proxies"
            }
            Self::TooManyHandshakes => {
                "too many unfinished TLS handshakes from this address: stop the pod that has it, or find out why its \
                 handshakes do not end"
            }
        }
    }
}

/// Handler of refused connections, for metrics.
pub type OnRefused = Arc<dyn Fn(Refusal) + Send + Sync>;

/// Slots that connections of clients `C` take.
pub(super) struct Slots<C> {
    limits: ConnectionLimits,
    taken: Mutex<Taken<C>>,
}

struct Taken<C> {
    each: HashMap<C, usize>,
    all: usize,
}

impl<C: Clone + Eq + Hash> Slots<C> {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        let taken = Taken {
            each: HashMap::new(),
            all: 0,
        };
        Arc::new(Self {
            limits,
            taken: Mutex::new(taken),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken<C>> {
        // Every update leaves consistent numbers, so a poisoned lock is safe to use.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot for a connection of a client.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(super) fn take(self: &Arc<Self>, client: C) -> Result<Slot<C>, Refusal> {
        let mut taken = self.taken();
        let own = taken.each.get(&client).copied().unwrap_or_default();
        if own >= self.limits.each {
            return Err(Refusal::TooManyOfClient);
        }
        if taken.all >= self.limits.all {
            return Err(Refusal::TooMany);
        }
        taken.all += 1;
        taken.each.insert(client.clone(), own + 1);
        drop(taken);
        Ok(Slot {
            slots: Arc::clone(self),
            client,
        })
    }
}

/// Slot of one connection, free again when it is dropped.
pub(super) struct Slot<C: Clone + Eq + Hash> {
    slots: Arc<Slots<C>>,
    client: C,
}

impl<C: Clone + Eq + Hash> Drop for Slot<C> {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.each.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.each.remove(&self.client);
            }
        }
    }
}

/// Log of refused connections with a limited rate, and their metric.
pub(super) struct Refusals {
    on_refused: OnRefused,
    /// Time of the last line, and the number of refusals since.
    logged: Mutex<(Option<Instant>, u64)>,
}

impl Refusals {
    pub(super) fn new(on_refused: OnRefused) -> Self {
        Self {
            on_refused,
            logged: Mutex::default(),
        }
    }

    /// Counts a refusal. Returns the number of refusals since the last line if it is time for the next one.
    fn count(&self, now: Instant) -> Option<u64> {
        let logged = self.logged.lock();
        let mut logged = logged.unwrap_or_else(PoisonError::into_inner);
        logged.1 += 1;
        if logged.0.is_some_and(|last| now < last + LOG_INTERVAL) {
            return None;
        }
        logged.0 = Some(now);
        Some(std::mem::take(&mut logged.1))
    }

    /// Reports a refused connection of a client.
    pub(super) fn report(&self, refusal: Refusal, client: &str) {
        (self.on_refused)(refusal);
        if let Some(refused) = self.count(Instant::now()) {
            tracing::warn!(
                client,
                refused,
                "a connection is refused: {}",
                refusal.message()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_client_and_all_together_are_limited() {
        let slots = Slots::new(ConnectionLimits { each: 2, all: 3 });
        let refusal = |client| slots.take(client).err();
        let first = slots.take("a").unwrap();
        let _second = slots.take("a").unwrap();
        assert_eq!(refusal("a"), Some(Refusal::TooManyOfClient));
        let _other = slots.take("b").unwrap();
        assert_eq!(refusal("c"), Some(Refusal::TooMany));
        drop(first);
        assert_eq!(refusal("a"), None, "its slot is free again");
        assert_eq!(refusal("c"), None, "a refused connection takes no slot");
    }

    #[test]
    fn clients_without_a_connection_are_forgotten() {
        let slots = Slots::new(ConnectionLimits::default());
        drop(slots.take("a").unwrap());
        let taken = slots.taken();
        assert_eq!((taken.each.len(), taken.all), (0, 0));
    }

    #[test]
    fn the_log_has_a_limited_rate_and_the_metric_counts_all() {
        let counted: Arc<Mutex<Vec<Refusal>>> = Arc::default();
        let count = Arc::clone(&counted);
        let refusals = Refusals::new(Arc::new(move |refusal| count.lock().unwrap().push(refusal)));
        refusals.report(Refusal::TooMany, "a");
        refusals.report(Refusal::TooManyOfClient, "a");
        assert_eq!(
            *counted.lock().unwrap(),
            [Refusal::TooMany, Refusal::TooManyOfClient]
        );
        let now = Instant::now();
        assert_eq!(refusals.count(now), None);
        assert_eq!(refusals.count(now + LOG_INTERVAL), Some(3));
        assert_eq!(refusals.count(now + LOG_INTERVAL), None);
    }
}
