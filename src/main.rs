//! Parses the arguments and starts.
fn main() {}
