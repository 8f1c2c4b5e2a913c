//! Figures next to their targets.

use crate::Series;

/// Microseconds a request, by series and round.
pub(crate) fn table(series: &[&Series], costs: &[Vec<f64>], requests: usize) {
    println!(
        "Envoy's CPU a request, in us: {} rounds of {requests} requests for each configuration, which take turns; \
            then how\n\
         many times that of another in the same round it is: median, and where that median is with 95% confidence\n\n\
         {:<34}{:>8}{:>8}{:>8}{:>9}{:>16}{:>12}  of, target",
        costs[0].len(),
        "configuration",
        "median",
        "p10",
        "p90",
        "times",
        "95%",
        "difference",
    );
    let all = series;
    for (series, of_series) in all.iter().zip(costs) {
        let base = all
            .iter()
            .position(|other| other.name == series.against)
            .unwrap();
        let base = &costs[base];
        let costs = of_series;
        let ratios = costs.iter().zip(base).map(|(cost, base)| cost / base);
        let (costs, ratios) = (sorted(costs.iter().copied()), sorted(ratios));
        let ratio = percentile(&ratios, 50);
        let (from, to) = around_median(&ratios);
        println!(
            "{:<34}{:>8.1}{:>8.1}{:>8.1}{:>9.3}{:>16}{:>+11.1}%  {}, {}",
            series.name,
            percentile(&costs, 50),
            percentile(&costs, 10),
            percentile(&costs, 90),
            ratio,
            format!("{from:.3} - {to:.3}"),
            (ratio - 1.0) * 100.0,
            series.against,
            series.target.map_or_else(
                || "-".to_owned(),
                |target| {
                    let met = if ratio <= target { "met" } else { "missed" };
                    format!("<= {target:.2} times: {met}")
                }
            )
        );
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// By rank, whatever the distribution: of `n` samples, about as many as the root of `n` on either side of the middle.
fn around_median(sorted: &[f64]) -> (f64, f64) {
    let (middle, last) = (sorted.len() / 2, sorted.len() - 1);
    let aside = sorted.len().isqrt().max(1);
    (
        sorted[middle.saturating_sub(aside)],
        sorted[(middle + aside).min(last)],
    )
}
