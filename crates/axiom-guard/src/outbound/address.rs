//! Who can reach an address: the IANA registries of special-purpose addresses (RFC 6890), and what carries one address inside another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    Everybody,
    /// This machine alone.
    Loopback,
    /// A network of one's own: RFC 1918, RFC 6598, RFC 4193.
    Private,
    /// The same wire: RFC 3927, RFC 4291.
    Link,
    /// Where clouds tell machines their credentials.
    Metadata,
    /// No host has it: unspecified, multicast, reserved, for documentation and tests.
    Nobody,
}

/// Addresses of metadata services that are no link-local ones: Amazon's over IPv6, Alibaba's, Oracle's, Azure's.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

impl Reach {
    /// The rest of a sentence that begins with the address.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reach::Everybody => "reachable for everybody",
            Reach::Loopback => "this machine itself",
            Reach::Private => "in a private network",
            Reach::Link => "only on the same wire",
            Reach::Metadata => "a cloud's metadata service",
            Reach::Nobody => "no address of a host",
        }
    }

    pub fn of(address: IpAddr) -> Reach {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Reach {
    if METADATA_V4.contains(&address) {
        return Reach::Metadata;
    }
    match address.octets() {
        [127, ..] => Reach::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Reach::Private,
        [169, 254, ..] => Reach::Link,
        // This network, protocol assignments, documentation, the former 6to4 relay, benchmarks, multicast, reserved, broadcast.
        [0, ..] | [192, 0, 0, _] | [192, 0, 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] => Reach::Nobody,
        [198, 51, 100, _] | [203, 0, 113, _] | [224..=255, ..] => Reach::Nobody,
        _ => Reach::Everybody,
    }
}

fn of_v6(address: Ipv6Addr) -> Reach {
    if address == METADATA_V6 {
        return Reach::Metadata;
    }
    if let Some(inner) = carried(address) {
        return of_v4(inner);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Loopback,
        [0xfc00..=0xfdff, ..] => Reach::Private,
        // The former site-local ones are private as well.
        [0xfec0..=0xfeff, ..] => Reach::Private,
        [0xfe80..=0xfebf, ..] => Reach::Link,
        // Protocol assignments (Teredo and ORCHID among them) and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Nobody,
        // Only 2000::/3 is given to hosts.
        [0x2000..=0x3fff, ..] => Reach::Everybody,
        _ => Reach::Nobody,
    }
}

/// The IPv4 address to which such an IPv6 address leads: mapped and compatible (RFC 4291), translated (RFC 2765), NAT64 (RFC 6052,
/// RFC 8215), 6to4 (RFC 3056).
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        // The unspecified one and the loopback one carry nothing.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(last(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(last(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(last(high, low)),
        [0x64, 0xff9b, 1, _, _, _, high, low] => Some(last(high, low)),
        [0x2002, high, low, ..] => Some(last(high, low)),
        _ => None,
    }
}
