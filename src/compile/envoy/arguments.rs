//! Command line of every Envoy, in a cluster and on its own. The bootstrap comes first, with `-c`.

/// Arguments of every Envoy, in the order of the command line.
pub const ARGUMENTS: [&str; 11] = [
    // Envoy's hot restart gives the listening sockets to any process that asks for them, on a socket without
    // permissions.
    "--disable-hot-restart",
    // A connection stays with the listener that accepted it, and with its trusted proxies, until it is closed. Clients
    // of connections in use are asked to close them first.
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
