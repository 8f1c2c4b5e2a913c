//! Resolve → compile → publish → confirmed: gives each vault's proxies their snapshot.

pub mod compiler;

pub use compiler::Compiler;
