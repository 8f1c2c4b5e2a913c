//! CPU time and memory of a process, from the kernel.

use std::fs;
use std::time::Duration;

/// Length of the kernel's tick for processes (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// CPU time so far, of all threads.
pub(crate) fn cpu(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // After the name, which may hold anything, comes the third field; the 14th and 15th are user and system time.
    let fields = stat.rsplit_once(')').unwrap().1;
    let ticks: u32 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u32>().unwrap())
        .sum();
    TICK * ticks
}

/// CPU time since it was `before`.
pub(crate) fn cpu_since(process: u32, before: Duration) -> Duration {
    cpu(process).saturating_sub(before)
}

/// Resident memory in 10^6 bytes.
pub(crate) fn resident_megabytes(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kibibytes: u32 = line.trim().trim_end_matches(" kB").parse().unwrap();
    f64::from(kibibytes) * 1024.0 / 1e6
}
