//! Figures next to their targets.

use std::time::Duration;

/// Targets, in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// Infinite: no target.
    pub p50: f64,
    /// Infinite: no target.
    pub p99: f64,
}

/// A line of the table.
pub(crate) struct Row<'a> {
    pub change: &'a str,
    pub policies: usize,
    pub pods: usize,
    /// Other writes a second, as many as there were.
    pub others: f64,
    /// In milliseconds.
    pub times: &'a [f64],
    pub target: Option<Target>,
}

/// Prints the heading of the table; `title` says which time is measured.
pub(crate) fn heading(title: &str) {
    println!(
        "{title}, in ms\n\n\
         {:<20}{:>9}{:>7}{:>10}{:>8}{:>8}{:>8}{:>8}{:>9}  target",
        "change", "policies", "pods", "others/s", "p50", "p90", "p99", "most", "samples"
    );
}

pub(crate) fn row(row: &Row) {
    let at = |percent| percentile(row.times, percent);
    println!(
        "{:<20}{:>9}{:>7}{:>10.1}{:>8.1}{:>8.1}{:>8.1}{:>8.1}{:>9}  {}",
        row.change,
        row.policies,
        row.pods,
        row.others,
        at(50),
        at(90),
        at(99),
        at(100),
        row.times.len(),
        row.target.map_or_else(
            || "-".to_owned(),
            |target| against_target(target, at(50), at(99))
        )
    );
}

fn against_target(target: Target, p50: f64, p99: f64) -> String {
    let limits = [("p50", target.p50), ("p99", target.p99)];
    let limits = limits.iter().filter(|(_, limit)| limit.is_finite());
    let text: Vec<String> = limits
        .map(|(name, limit)| format!("{name} <= {limit}"))
        .collect();
    let met = p50 <= target.p50 && p99 <= target.p99;
    text.join(", ") + if met { ": met" } else { ": missed" }
}

/// CPU of the operator for one change; the target, in milliseconds, is for 1,000 policies.
pub(crate) fn cpu(change: &str, policies: usize, time: Duration, target: f64) {
    println!(
        "{change:<20}{policies:>9}  CPU of the operator for one: {:.2} ms (target at 1000 policies: {target})",
        time.as_secs_f64() * 1e3
    );
}

/// The value that so many percent of the times do not exceed.
pub(crate) fn percentile(times: &[f64], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
