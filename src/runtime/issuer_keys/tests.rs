//! Fetches from a real https server that behaves well and badly.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use testkit::key_server::Behaviour;
use testkit::{Issuer, KeyServer};

use super::{Authorities, IssuerKeyFetcher, KeyOptions, KeySetState, KeyStates};
use crate::clock::{Clock, ClockControl};
use crate::policy::key_set;
use crate::runtime::operations::Metrics;

/// A server, and the fetches from it on a clock that stands still.
struct Scene {
    server: KeyServer,
    fetcher: IssuerKeyFetcher,
    control: ClockControl,
}

impl Scene {
    fn start(behaviour: Behaviour) -> Self {
        let server = KeyServer::start(behaviour);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(server.authority.as_bytes()).unwrap();
        let options = KeyOptions {
            timeout: Duration::from_secs(1),
            ..KeyOptions::new(Authorities::new(Some(file.path())).unwrap())
        };
        let (clock, control) = Clock::settable(Timestamp::UNIX_EPOCH);
        let metrics = Arc::new(Metrics::new().0);
        let fetcher = IssuerKeyFetcher::start(&options, None, &clock, &metrics);
        fetcher.set_urls(BTreeSet::from([server.url()]));
        Self {
            server,
            fetcher,
            control,
        }
    }

    /// Waits until the state of the server's keys is as wanted.
    async fn until(&mut self, wanted: impl Fn(&KeySetState) -> bool) -> KeySetState {
        let url = self.server.url();
        let found = async {
            loop {
                let keys: Arc<KeyStates> = self.fetcher.states();
                match keys.urls.get(&url) {
                    Some(state) if wanted(state) => return state.clone(),
                    _ => self.fetcher.changed().await,
                }
            }
        };
        tokio::time::timeout(testkit::wait::TIMEOUT, found)
            .await
            .unwrap()
    }

    /// Advances the time until the next request arrives.
    async fn next_fetch(&self) {
        let before = self.server.requests();
        testkit::wait::becomes_true("the next request", || {
            self.control.advance(Duration::from_mins(1));
            self.server.requests() > before
        })
        .await;
    }
}

fn has_failed(state: &KeySetState) -> bool {
    state.error.is_some()
}

fn has_keys(state: &KeySetState) -> bool {
    state.jwks.is_some() && state.error.is_none()
}

fn issuer(id: &str) -> Issuer {
    Issuer::new("https://issuer.example", id)
}

#[tokio::test]
async fn keys_are_fetched_and_replaced() {
    let (first, second) = (issuer("first"), issuer("second"));
    let mut scene = Scene::start(Behaviour::Document(first.jwks()));
    let state = scene.until(has_keys).await;
    let jwks = key_set::to_jwks(&key_set::read(first.jwks().as_bytes()).unwrap().keys);
    assert_eq!(state.jwks, Some(Arc::clone(&jwks)));
    assert_eq!(state.checksum, Some(key_set::checksum(&jwks)));
    scene.server.set(Behaviour::Document(second.jwks()));
    scene.next_fetch().await;
    let state = scene
        .until(|state| state.jwks != Some(Arc::clone(&jwks)))
        .await;
    let jwks = state.jwks.unwrap();
    assert!(jwks.contains("second") && !jwks.contains("first"), "{jwks}");
}

#[tokio::test]
async fn a_url_that_nobody_needs_is_not_fetched_any_more() {
    let mut scene = Scene::start(Behaviour::Document(issuer("a").jwks()));
    scene.until(has_keys).await;
    scene.fetcher.set_urls(BTreeSet::new());
    scene.fetcher.changed().await;
    assert_eq!(scene.fetcher.states().urls, BTreeMap::new());
}

/// Most clusters use no tokens: then an API server that answers late delays no start.
#[tokio::test]
async fn a_start_waits_for_the_clusters_keys_only_if_they_are_needed() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let options = KeyOptions::new(Authorities::new(None).unwrap());
    let metrics = Arc::new(Metrics::new().0);
    let clock = Clock::system();
    let mut fetcher = IssuerKeyFetcher::start(&options, Some(client), &clock, &metrics);
    let hour = Duration::from_hours(1);
    fetcher.wait_for_first(hour, false).await;
    assert!(fetcher.wait_for_first(hour, true).now_or_never().is_none());
}

/// Each of these answers leaves the last keys in use, until the server recovers.
#[tokio::test]
async fn bad_answers_change_no_keys() {
    let keys = issuer("a").jwks();
    let mut scene = Scene::start(Behaviour::Document(keys.clone()));
    let good = scene.until(has_keys).await;
    let elsewhere = KeyServer::start(Behaviour::Document(issuer("evil").jwks()));
    let html = "<!doctype html><title>Sign in</title>".to_owned();
    for (behaviour, message) in [
        (Behaviour::Hang, "does not answer within 1 s"),
        (
            Behaviour::Redirect(elsewhere.url()),
            "301 Moved Permanently; redirects are not followed",
        ),
        (Behaviour::Endless, "more than 256 KiB"),
        (Behaviour::Document(html), "it is not JSON"),
        (Behaviour::Document("{\"keys\":[]}".into()), "no keys"),
        (
            Behaviour::Document("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}".into()),
            "none of its 1 keys",
        ),
        (Behaviour::Status(404), "404 Not Found"),
        (Behaviour::Status(403), "without credentials"),
    ] {
        scene.server.set(behaviour.clone());
        scene.next_fetch().await;
        let state = scene.until(has_failed).await;
        let error = state.error.unwrap();
        assert!(error.contains(message), "{behaviour:?}: {error}");
        assert_eq!(
            (state.jwks, state.checksum),
            (good.jwks.clone(), good.checksum.clone())
        );
        scene.server.set(Behaviour::Document(keys.clone()));
        scene.next_fetch().await;
        assert_eq!(scene.until(has_keys).await, good, "{behaviour:?}");
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn a_server_without_a_trusted_certificate_is_no_source() {
    let trusted = Scene::start(Behaviour::Document(issuer("a").jwks()));
    let other = KeyServer::start(Behaviour::Document(issuer("b").jwks()));
    let mut scene = Scene {
        server: other,
        ..trusted
    };
    scene.fetcher.set_urls(BTreeSet::from([scene.server.url()]));
    let state = scene.until(has_failed).await;
    assert!(
        state.error.unwrap().contains("certificate"),
        "{:?}",
        state.jwks
    );
    assert_eq!((state.jwks, scene.server.requests()), (None, 0));
}

#[tokio::test]
async fn keys_that_are_not_confirmed_for_too_long_are_removed() {
    let keys = issuer("a").jwks();
    let mut scene = Scene::start(Behaviour::Document(keys.clone()));
    scene.until(has_keys).await;
    scene.server.set(Behaviour::Close);
    scene
        .control
        .advance(KeyOptions::EXPIRE_AFTER.mul_f64(0.99));
    let state = scene.until(has_failed).await;
    assert!(state.jwks.is_some(), "{state:?}");
    scene
        .control
        .advance(KeyOptions::EXPIRE_AFTER.mul_f64(0.01));
    let state = scene.until(|state| state.jwks.is_none()).await;
    assert_eq!(state.checksum, None);
    assert!(state.error.is_some());
    scene.server.set(Behaviour::Document(keys));
    scene.next_fetch().await;
    scene.until(has_keys).await;
}

/// A server that does not answer delays the keys of no other.
#[tokio::test]
async fn servers_are_independent() {
    let mut scene = Scene::start(Behaviour::Hang);
    let other = KeyServer::start(Behaviour::Close);
    let urls = BTreeSet::from([scene.server.url(), other.url()]);
    scene.fetcher.set_urls(urls.clone());
    scene
        .fetcher
        .wait_for_first(testkit::wait::TIMEOUT, false)
        .await;
    let keys = scene.fetcher.states();
    assert!(keys.have_tried(&urls));
    assert!(keys.urls.values().all(has_failed), "{keys:?}");
}

#[test]
fn a_file_without_usable_certificates_is_refused() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let error = Authorities::new(Some(file.path())).unwrap_err().to_string();
    assert!(error.contains("contains no certificate"), "{error}");
    file.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    assert!(Authorities::new(Some(file.path())).is_err());
    assert!(Authorities::new(Some(std::path::Path::new("/missing/ca.pem"))).is_err());
    assert!(Authorities::new(None).is_ok());
}
