//! Arguments that several subcommands share, and the parsers of their values.

use std::ops::RangeInclusive;

use crate::limits::Limits;

/// Limits of the installation, as in the operator's chart values; never above the ceilings of the CRD's schema.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct LimitArgs {
    /// Highest number of virtual-network rules in a policy, at most 200.
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT)]
    #[arg(value_parser = number(0..=Limits::VIRTUAL_NETWORK_RULES_CEILING))]
    max_virtual_network_rules: usize,
    /// Highest number of IP rules in a policy, at most 1000.
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT)]
    #[arg(value_parser = number(0..=Limits::IP_RULES_CEILING))]
    max_ip_rules: usize,
    /// Allow rules with `ignoreMissingServiceEndpoint` that select pods in other namespaces, whose owners have not
    /// opted in.
    #[arg(long)]
    allow_ignore_missing_service_endpoint: bool,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        Self {
            virtual_network_rules: args.max_virtual_network_rules,
            ip_rules: args.max_ip_rules,
            ignore_missing_service_endpoint: args.allow_ignore_missing_service_endpoint,
        }
    }
}

/// Parses a number in this range; clap has no ranges for `usize`.
pub(super) fn number(
    range: RangeInclusive<usize>,
) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("write a number from {} to {}", range.start(), range.end()))
    }
}
