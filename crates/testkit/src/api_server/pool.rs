//! API servers that tests use one after the other. Starting one takes three seconds of processor time; restoring the
//! objects that it had at first takes a few requests.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiServer, audit};
use crate::tokens;
use crate::wait::{PAUSE, TIMEOUT};

/// Prefixes of keys that the server itself writes for as long as it runs.
const WRITTEN_BY_THE_SERVER: [&str; 4] = [
    "/registry/leases/kube-system/",
    "/registry/masterleases/",
    "/registry/peerserverleases/",
    "/registry/ranges/",
];
/// Changes in one transaction of etcd, which takes at most 128.
const CHANGES: usize = 100;
/// Number of times in a row that nothing is left to restore.
const UNCHANGED: usize = 5;

/// Values that etcd has, by key.
type Stored = BTreeMap<ByteString, ByteString>;

/// A key of etcd and its value, in base64.
#[derive(Deserialize)]
struct Pair {
    key: ByteString,
    value: ByteString,
}

/// API servers with the same objects, as many as tests use at the same time. A test may change and delete any object
/// except the definitions of the custom resources, which do not come into force again at once.
pub struct Pool(Mutex<Vec<(ApiServer, Stored)>>);

/// An API server that one test uses. A test that fails keeps it.
pub struct PooledServer {
    pool: &'static Pool,
    server: Option<(ApiServer, Stored)>,
}

impl Pool {
    /// Returns a pool without servers.
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns a server that no other test uses, with the objects that `set_up` made on it and no others.
    pub fn server(&'static self, set_up: impl FnOnce(&ApiServer)) -> PooledServer {
        let idle = self.lock().pop();
        let server = if let Some((mut server, stored)) = idle {
            server.restore(&stored);
            (server, stored)
        } else {
            let server = ApiServer::start();
            set_up(&server);
            let stored = server.stored();
            (server, stored)
        };
        PooledServer {
            pool: self,
            server: Some(server),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(ApiServer, Stored)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for PooledServer {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        &self.server.as_ref().expect("until it is dropped").0
    }
}

impl Drop for PooledServer {
    fn drop(&mut self) {
        // The log of the server of a failed test is printed when that server ends.
        if !std::thread::panicking() {
            tokens::assert_absent_in_logs(self.folder.path());
            self.pool.lock().extend(self.server.take());
        }
    }
}

impl ApiServer {
    /// Returns what is stored, without what the server itself writes.
    fn stored(&self) -> Stored {
        let bytes = |text: &str| ByteString(text.into());
        // All keys with the prefix `/registry/`: `0` follows `/`.
        let all = json!({"key": bytes("/registry/"), "range_end": bytes("/registry0")});
        let mut answer = self.etcd("/v3/kv/range", &all);
        let pairs: Vec<Pair> = serde_json::from_value(answer["kvs"].take()).expect("pairs");
        let own = |key: &ByteString| {
            WRITTEN_BY_THE_SERVER
                .iter()
                .any(|prefix| key.0.starts_with(prefix.as_bytes()))
        };
        pairs
            .into_iter()
            .filter(|pair| !own(&pair.key))
            .map(|pair| (pair.key, pair.value))
            .collect()
    }

    /// Restores what was stored, past the API server, whose watches see the changes as those of another replica.
    ///
    /// # Panics
    ///
    /// If somebody still writes after [`TIMEOUT`].
    fn restore(&mut self, stored: &Stored) {
        let end = Instant::now() + TIMEOUT;
        let mut unchanged = 0;
        // More than once: a request of a client that was killed may still be on its way.
        while unchanged < UNCHANGED {
            let now = self.stored();
            let puts = stored
                .iter()
                .filter(|(key, value)| now.get(key) != Some(value))
                .map(|(key, value)| json!({"requestPut": {"key": key, "value": value}}));
            let deletes = now
                .keys()
                .filter(|key| !stored.contains_key(key))
                .map(|key| json!({"requestDeleteRange": {"key": key}}));
            let changes: Vec<Value> = puts.chain(deletes).collect();
            assert!(Instant::now() < end, "somebody still writes: {changes:?}");
            unchanged = if changes.is_empty() { unchanged + 1 } else { 0 };
            for changes in changes.chunks(CHANGES) {
                self.etcd("/v3/kv/txn", &json!({"success": changes}));
            }
            std::thread::sleep(PAUSE);
        }
        self.earlier_writes = audit::length(&self.audit_log());
    }
}
