//! Tables of addresses: one verdict a line, many values in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use FaultReason::{
    AllAddresses, HostBitsSet, Invalid, Malformed, NotPrivate, NotPublic, OnlyIpv4, PrefixTooLong, PrivateAddress,
};

type Read = fn(&str) -> Result<Ipv4Net, Vec<AddressFault>>;

fn reasons(read: Read, value: &str) -> Vec<FaultReason> {
    read(value).map_or_else(|faults| faults.iter().map(|fault| fault.reason).collect(), |_| Vec::new())
}

/// Each line: values apart by blanks, and all reasons that each of them is refused for (none: accepted).
fn check(read: Read, table: &[(&str, &[FaultReason])]) {
    for (values, expected) in table {
        for value in values.split_whitespace() {
            assert_eq!(reasons(read, value), *expected, "{value}");
        }
    }
}

#[test]
fn notation_is_read_in_one_way_or_not_at_all() {
    let table: &[(&str, &[FaultReason])] = &[
        // IPv6, also IPv4-mapped, IPv4-compatible, scoped, bracketed
        (":: ::1 ::/0 2001:db8::1 2001:db8::/32 fe80::1 fe80::1%eth0 fe80::1%25eth0 fe80::1%eth0/64", &[OnlyIpv4]),
        ("::ffff:203.0.113.7 ::ffff:cb00:7107 ::203.0.113.7 64:ff9b::203.0.113.7 ::ffff:203.0.113.0/120", &[OnlyIpv4]),
        ("[2001:db8::1] [::1] 2002:cb00:7107:: ABCD:EF01:2345:6789:ABCD:EF01:2345:6789", &[OnlyIpv4]),
        // octal, leading zeros
        ("0203.0.113.7 203.00.113.7 203.0.0113.7 203.0.113.07", &[Malformed]),
        ("203.0.113.007 00.0.0.0 010.0.0.1 0300.0.2.1", &[Malformed]),
        ("203.0.113.0/024 203.0.113.0/00 198.51.100.0/08", &[Malformed]),
        // hexadecimal
        ("0xcb.0.113.7 203.0.113.0x7 0xcb007107 0XCB.0.0x71.7 cb.0.71.7 203.0.113.0/0x18", &[Malformed]),
        // short forms and numbers
        ("203 203.0 203.0.113 127.1 127.0.1 3405803783 0 1 203.0.113/24 10/8 192.168/16", &[Malformed]),
        // too much, too little
        ("203.0.113.7.1 203.0.113.256 203.0.113.999 256.0.0.1 203.0.113.70000000000000000000", &[Malformed]),
        ("203..113.7 .203.0.113.7 203.0.113.7. . ... 203.0.113.", &[Malformed]),
        // prefix lengths
        ("203.0.113.0/33 203.0.113.0/64 203.0.113.0/128", &[Malformed]),
        ("203.0.113.0/256 203.0.113.0/99999999999999999999", &[Malformed]),
        ("203.0.113.0/ / /24 203.0.113.0//24", &[Malformed]),
        ("203.0.113.0/24/24 203.0.113.0/-1 203.0.113.0/+24 203.0.113.0/a", &[Malformed]),
        ("203.0.113.0/255.255.255.0 203.0.113.0/0.0.0.255 203.0.113.0/24.", &[Malformed]),
        // not addresses
        ("localhost example.org *.example.org 203.0.113.*", &[Malformed]),
        ("203.0.113.1-203.0.113.9 203.0.113.1,203.0.113.2 * any", &[Malformed]),
        ("203.0.113.7:8200 203.0.113.7:80/24 http://203.0.113.7 203.0.113.7%eth0", &[Malformed]),
        ("-1.0.0.1 +203.0.113.7 1e3", &[Malformed]),
        ("２03.0.113.7 203.0.113.７ 203。0。113。7 ١.١.١.١", &[Malformed]),
        ("203.0.113.7\u{0} 203.0.113.7\u{200b} \u{feff}203.0.113.7", &[Malformed]),
        ("null ~ true 203_0.113.7 \"203.0.113.7\" '203.0.113.7'", &[Malformed]),
    ];
    for read in [public_prefix as Read, subnet_prefix, proxy_prefix] {
        check(read, table);
        for spaced in [
            "",
            " ",
            " 203.0.113.7",
            "203.0.113.7 ",
            "203.0. 113.7",
            "203.0.113.0 /24",
            "203.0.113.0/ 24",
            "203.0.113.7\n",
            "\t203.0.113.7",
            "203.0.113.7\r",
            "203.0.113.7\u{a0}",
        ] {
            assert_eq!(reasons(read, spaced), [Malformed], "{spaced:?}");
        }
    }
}

#[test]
fn an_ip_rule_takes_public_addresses_and_ranges() {
    check(
        public_prefix,
        &[
            ("1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0", &[]),
            ("100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1", &[]),
            ("169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0", &[]),
            ("191.255.255.255 192.0.1.0 192.167.255.255 192.169.0.0", &[]),
            ("198.17.255.255 198.20.0.0 223.255.255.255 20.62.128.0", &[]),
            ("52.0.0.0/8 13.64.0.0/11 40.74.0.0/15 8.0.0.0/7", &[]),
            ("203.0.113.0/30 203.0.113.4/30 203.0.113.0/29 203.0.112.0/20", &[]),
            ("198.51.100.0/24 64.0.0.0/3 32.0.0.0/3 4.0.0.0/6", &[]),
            // documentation ranges, because examples use them
            ("192.0.2.0/24 192.0.2.1 198.51.100.7 203.0.113.7 203.0.113.0 203.0.113.255 192.0.2.128/25", &[]),
            // special, but globally reachable (or not listed as unreachable): AS112, AMT, former 6to4 relays
            ("192.31.196.0/24 192.52.193.0/24 192.175.48.0/24 192.88.99.1", &[]),
                        // prefix lengths
            ("203.0.113.7/32 203.0.113.0/31 203.0.113.7/31 1.1.1.1/32", &[PrefixTooLong]),
            ("203.0.113.1/30 203.0.113.7/24 203.0.113.128/24 203.0.113.1/16 8.8.8.8/16 203.0.113.1/29", &[HostBitsSet]),
            ("0.0.0.0/0 203.0.113.7/0 10.0.0.0/0", &[AllAddresses]),
        ],
    );
}

#[test]
fn an_ip_rule_refuses_what_is_not_public() {
    check(
        public_prefix,
        &[
            // RFC 1918
            ("10.0.0.0 10.1.2.3 10.255.255.255 10.0.0.0/8 10.20.0.0/16 10.255.255.252/30", &[PrivateAddress]),
            ("172.16.0.0 172.31.255.255 172.16.0.0/12 172.20.0.0/16", &[PrivateAddress]),
            ("192.168.0.0 192.168.1.1 192.168.255.255 192.168.0.0/16 192.168.4.0/22", &[PrivateAddress]),
            // ranges that contain a private one
            (
                "8.0.0.0/6 8.0.0.0/5 0.0.0.0/4 172.0.0.0/8 172.0.0.0/11 \
                 160.0.0.0/3 192.160.0.0/11 192.0.0.0/8 128.0.0.0/1",
                &[PrivateAddress],
            ),
            // the rest of the registry, and multicast
            ("0.0.0.0 0.0.0.1 0.255.255.255 0.0.0.0/8 0.0.0.0/7 0.0.0.0/6 0.0.0.0/5", &[NotPublic]),
            ("100.64.0.0 100.127.255.255 100.64.0.0/10 100.100.0.0/16", &[NotPublic]),
            ("100.0.0.0/8 100.64.0.0/11 96.0.0.0/4", &[NotPublic]),
            ("127.0.0.0 127.0.0.1 127.255.255.255 127.0.0.0/8 126.0.0.0/7 127.1.0.0/16", &[NotPublic]),
            ("169.254.0.0 169.254.169.254 169.254.255.255 169.254.0.0/16 169.254.0.0/24 169.0.0.0/8", &[NotPublic]),
            ("192.0.0.0 192.0.0.8 192.0.0.9 192.0.0.10 192.0.0.170", &[NotPublic]),
            ("192.0.0.255 192.0.0.0/24 192.0.0.0/29 192.0.0.0/22", &[NotPublic]),
            ("198.18.0.0 198.19.255.255 198.18.0.0/15 198.18.0.0/16", &[NotPublic]),
            ("198.19.0.0/24 198.16.0.0/14 198.0.0.0/8", &[NotPublic]),
            ("224.0.0.0 224.0.0.1 239.255.255.255 224.0.0.0/4 233.252.0.0/24 232.0.0.0/8 224.0.0.0/3", &[NotPublic]),
            ("240.0.0.0 250.1.2.3 255.255.255.254 255.255.255.255 240.0.0.0/4 255.0.0.0/8", &[NotPublic]),
            // all faults are reported
            ("10.0.0.1/32 10.0.0.0/31 192.168.1.1/31", &[PrefixTooLong, PrivateAddress]),
            ("10.1.2.3/8 172.16.0.1/12 192.168.1.1/24", &[HostBitsSet, PrivateAddress]),
            ("127.0.0.1/32 255.255.255.255/32", &[PrefixTooLong, NotPublic]),
            ("127.0.0.1/8 169.254.1.1/16", &[HostBitsSet, NotPublic]),
        ],
    );
}

#[test]
fn a_subnet_takes_private_shared_and_loopback_prefixes() {
    check(
        subnet_prefix,
        &[
            ("10.0.0.0/8 10.20.0.0/16 10.1.2.3 10.1.2.3/32", &[]),
            ("10.1.2.2/31 172.16.0.0/12 172.31.0.0/16 192.168.0.0/16", &[]),
            ("192.168.1.0/24 100.64.0.0/10 100.100.0.0/16 127.0.0.0/8 127.0.0.1 127.0.0.2/32 10.255.255.255", &[]),
            ("203.0.113.7 203.0.113.0/24 8.8.8.8 9.255.255.255", &[NotPrivate]),
            ("11.0.0.0 172.15.0.0/16 172.32.0.0/16 192.167.0.0/16", &[NotPrivate]),
            ("100.63.0.0/16 100.128.0.0/9 126.0.0.0/8 128.0.0.0/8", &[NotPrivate]),
            ("169.254.0.0/16 192.0.0.0/24 198.18.0.0/15", &[NotPrivate]),
            ("224.0.0.0/4 240.0.0.0/4 0.0.0.0/8 0.0.0.0 255.255.255.255", &[NotPrivate]),
            // larger than the range that it overlaps
            ("10.0.0.0/7 8.0.0.0/6 172.0.0.0/8 172.0.0.0/11", &[NotPrivate]),
            ("192.168.0.0/15 192.0.0.0/8 100.0.0.0/8 126.0.0.0/7", &[NotPrivate]),
            ("10.0.0.1/8 10.20.0.1/16 172.16.0.1/12 192.168.1.1/31 100.64.0.1/10 127.0.0.1/8", &[HostBitsSet]),
            ("10.0.0.1/7 203.0.113.7/24", &[HostBitsSet, NotPrivate]),
            ("0.0.0.0/0 10.0.0.0/0", &[AllAddresses]),
        ],
    );
}

#[test]
fn a_trusted_proxy_is_any_peer_but_never_everybody() {
    check(
        proxy_prefix,
        &[
            ("10.0.0.1 10.0.0.0/8 127.0.0.1 127.0.0.1/32 203.0.113.7 203.0.113.0/24 203.0.113.6/31 100.64.0.0/10", &[]),
            ("169.254.0.0/16 35.191.0.0/16 130.211.0.0/22 192.168.1.1/32 1.0.0.0/8", &[]),
            ("0.0.0.0/0 10.0.0.1/0", &[AllAddresses]),
            // the two halves of everything are no way round it
            ("0.0.0.0/1 128.0.0.0/1 0.0.0.0/2 192.0.0.0/2 0.0.0.0/8", &[Invalid]),
            ("0.0.0.0 224.0.0.1 255.255.255.255 240.0.0.0/4", &[Invalid]),
            ("10.0.0.1/8 203.0.113.7/24 127.0.0.1/31", &[HostBitsSet]),
            ("0.0.0.1/8", &[HostBitsSet, Invalid]),
        ],
    );
}

#[test]
fn a_single_address_is_the_smallest_range() {
    for (value, expected) in [("203.0.113.7", "203.0.113.7/32"), ("198.51.100.0/24", "198.51.100.0/24")] {
        assert_eq!(public_prefix(value).unwrap().to_string(), expected);
    }
    assert_eq!(subnet_prefix("10.1.2.3").unwrap(), subnet_prefix("10.1.2.3/32").unwrap());
}

#[test]
fn messages_say_what_to_do() {
    let table: &[(Read, &str, &[&str])] = &[
        (public_prefix, "203.0.113.7/32", &["write the single address 203.0.113.7"]),
        (public_prefix, "203.0.113.7/31", &["single addresses 203.0.113.6 and 203.0.113.7"]),
        (public_prefix, "203.0.113.7/24", &["write 203.0.113.0/24", "203.0.113.7"]),
        (public_prefix, "10.1.2.3", &["lies in 10.0.0.0/8", "RFC 1918", "subnet rule"]),
        (public_prefix, "8.0.0.0/6", &["overlaps 10.0.0.0/8", "subnet rule"]),
        (public_prefix, "192.0.0.0/8", &["overlaps 192.168.0.0/16", "and 1 more"]),
        (public_prefix, "127.0.0.1", &["loopback"]),
        (public_prefix, "169.254.169.254", &["link-local"]),
        (public_prefix, "100.64.0.1", &["CGNAT", "subnet rule"]),
        (public_prefix, "224.0.0.1", &["multicast"]),
        (public_prefix, "::ffff:203.0.113.7", &["only IPv4 is supported"]),
        (public_prefix, "2001:db8::/32", &["only IPv4 is supported"]),
        (public_prefix, "010.0.0.1", &["leading zero", "octal"]),
        (public_prefix, "0xcb.0.113.7", &["hexadecimal"]),
        (public_prefix, "127.1", &["short form"]),
        (public_prefix, "203.0.113.0/33", &["above 32"]),
        (public_prefix, "203.0.113.7%eth0", &["zone id"]),
        (public_prefix, "203.0.113.7:80", &["port"]),
        (public_prefix, " 203.0.113.7", &["white space"]),
        (public_prefix, "203.0.113.0/255.255.255.0", &["netmask"]),
        (public_prefix, "0.0.0.0/0", &["every address", "defaultAction: Allow"]),
        (subnet_prefix, "203.0.113.7", &["spec.ipRules"]),
        (proxy_prefix, "0.0.0.0/0", &["any caller"]),
    ];
    for (read, value, words) in table {
        let faults = read(value).unwrap_err();
        let message = faults.iter().map(|fault| fault.message.as_str()).collect::<Vec<_>>().join("\n");
        for word in *words {
            assert!(message.contains(word), "{value}: {message}");
        }
    }
    let long = "9".repeat(5000);
    assert!(public_prefix(&long).unwrap_err()[0].message.len() < 300);
}

/// Another reading of the registry, bit by bit: every /8 to /24 boundary around the table's ranges agrees with it.
#[test]
fn the_table_and_its_edges_agree() {
    for special in SPECIAL_RANGES {
        let first = u32::from(special.prefix.network());
        let last = u32::from(special.prefix.broadcast());
        for inside in [first, last, first + (last - first) / 2] {
            let found = reasons(public_prefix, &Ipv4Addr::from(inside).to_string());
            assert_eq!(found, [special.reason], "{}", special.prefix);
        }
        for outside in [first.checked_sub(1), last.checked_add(1)].into_iter().flatten() {
            let address = Ipv4Addr::from(outside);
            let listed = SPECIAL_RANGES.iter().any(|other| other.prefix.contains(&address));
            assert_eq!(public_prefix(&address.to_string()).is_err(), listed, "{address}");
        }
        for length in 1..special.prefix.prefix_len() {
            let wider = Ipv4Net::new(special.prefix.network(), length).unwrap().trunc();
            assert!(public_prefix(&wider.to_string()).is_err(), "{wider} contains {}", special.prefix);
        }
    }
}

/// A remedy that is refused in turn sends its reader in circles.
#[test]
fn the_values_that_messages_offer_are_accepted() {
    type Parse = fn(&str) -> Result<Ipv4Net, Vec<AddressFault>>;
    let parsers: [Parse; 3] = [public_prefix, subnet_prefix, proxy_prefix];
    let mut offers = 0;
    for first in [0, 8, 10, 100, 127, 128, 169, 172, 192, 198, 203, 223, 224, 255] {
        for rest in ["0.0.0", "0.0.1", "16.0.9", "64.1.1", "168.1.7", "254.3.3", "x", "1.1", "1.1.1:443", "01.1.1"] {
            for length in ["", "/0", "/1", "/6", "/8", "/16", "/24", "/30", "/31", "/32", "/33"] {
                let value = format!("{first}.{rest}{length}");
                for parse in parsers {
                    for fault in parse(&value).err().into_iter().flatten() {
                        let Some((_, remedy)) = fault.message.split_once("; write ") else { continue };
                        let is_value = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
                        for offered in remedy.split([' ', ',']).filter(is_value) {
                            offers += 1;
                            assert!(parse(offered).is_ok(), "{value}: {}", fault.message);
                        }
                    }
                }
            }
        }
    }
    assert!(offers > 1000, "{offers}");
}
