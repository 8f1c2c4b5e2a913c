//! How an Envoy is started, wherever it runs. The bootstrap comes before these, with `-c`.

/// Arguments of every Envoy.
pub const ARGUMENTS: [&str; 11] = [
    // Envoy's restart protocol hands the listening sockets to whoever asks, on a socket without permissions.
    "--disable-hot-restart",
    // A connection stays with the listener that accepted it, and with its trusted proxies, until it is closed. Those in
    // use are asked to close before.
    "--drain-strategy",
    "immediate",
    "--drain-time-s",
    "5",
    "--log-level",
    "warning",
    "--component-log-level",
    "main:error,misc:error",
    "--file-flush-interval-msec",
    "100",
];
