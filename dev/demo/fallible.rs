//! The demo's error type: one sentence for the person who runs it.

use std::error::Error;

pub type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;
