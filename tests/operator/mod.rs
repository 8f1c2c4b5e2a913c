//! The operator as it is used: a real API server, the real program, a real Envoy that asks it over mutual TLS, and a
//! real `OpenBao` behind that.

mod account_labels;
mod authority;
mod drift;
mod enforcement;
mod fairness;
mod idle;
mod keeping;
mod late;
mod networks;
mod objects;
mod openings;
mod outages;
mod references;
mod refused;
mod reused;
mod sandbox;
mod selector;
mod shown;
mod starts;
mod tokens;
mod trusted_services;
mod typos;
mod watches;
