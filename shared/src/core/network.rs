//! The network that one caller controls, and the addresses to which we connect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

/// A single IPv4 address, or an IPv6 network of 2^64 addresses (RFC 6177), of which a caller can
/// use any (RFC 8981).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network(String);

impl Network {
    /// Returns the network of `address`.
    pub fn of(address: &str) -> Self {
        Self(match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(IpAddr::V6(address)) => {
                let network = Ipv6Net::new(address, 64).map(|network| network.trunc().to_string());
                network.unwrap_or_else(|_| address.to_string())
            }
            Ok(IpAddr::V4(address)) => address.to_string(),
            Err(_) => address.to_owned(),
        })
    }

    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The addresses to which we connect if a caller names the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destinations {
    /// Those of the Internet.
    Public,
    /// Also those of this machine, for a deployment that is on it.
    PublicAndLoopback,
}

impl Destinations {
    /// Reports whether we connect to `address`. Otherwise a caller could make us send requests to
    /// what only we can reach, such as the metadata service of the cloud.
    pub fn allows(self, address: IpAddr) -> bool {
        let is_public = match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        };
        is_public || (self == Self::PublicAndLoopback && address.is_loopback())
    }
}

/// Reports whether an address is one of the Internet, as the registry of special addresses says
/// (RFC 6890).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        // This network, private, loopback, multicast and reserved.
        (0 | 10 | 127 | 224.., ..) => true,
        (100, 64..=127, _) => true, // shared by the customers of a carrier
        (169, 254, _) => true,      // link-local, with the metadata service
        (172, 16..=31, _) | (192, 168, _) => true,
        (192, 0, 0) => true,                                  // protocols
        (192, 88, 99) => true,                                // relays to IPv6
        (198, 18..=19, _) => true,                            // benchmarks
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => true, // documentation
        _ => false,
    };
    !is_special
}

/// Reports whether an address is one of the Internet: in 2000::/3, which does not contain the forms
/// of IPv4 addresses (mapped, NAT64), unique local or link-local ones.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_special = match (a, b) {
        (0x2001, 0..=0x1ff) => true, // protocols, such as Teredo, which contains IPv4 addresses
        (0x2001, 0xdb8) | (0x3fff, 0..=0xfff) => true, // documentation
        (0x2002, _) => true,         // 6to4, which contains IPv4 addresses
        _ => false,
    };
    a & 0xe000 == 0x2000 && !is_special
}

#[cfg(test)]
mod tests {
    use super::{Destinations, Network};

    #[test]
    fn only_addresses_of_the_internet_are_destinations() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
        ] {
            assert!(Destinations::Public.allows(public.parse().unwrap()), "{public}");
        }
        for refused in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:8.8.8.8",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::808:808",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!Destinations::Public.allows(refused.parse().unwrap()), "{refused}");
        }
    }

    #[test]
    fn this_machine_is_a_destination_only_of_a_deployment_on_it() {
        for (address, is_allowed) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("1.1.1.1", true),
            ("10.0.0.1", false),
            ("169.254.169.254", false),
            ("::ffff:127.0.0.1", false),
        ] {
            let allowed = Destinations::PublicAndLoopback.allows(address.parse().unwrap());
            assert_eq!(allowed, is_allowed, "{address}");
        }
    }

    #[test]
    fn an_ipv6_address_belongs_to_a_network_and_an_ipv4_address_is_one() {
        assert_eq!(Network::of("192.0.2.1").as_str(), "192.0.2.1");
        assert_eq!(Network::of("::ffff:192.0.2.1").as_str(), "192.0.2.1");
        assert_eq!(Network::of("2001:db8:1:2:3:4:5:6").as_str(), "2001:db8:1:2::/64");
        assert_eq!(Network::of("2001:db8:1:2:3:4:5:6"), Network::of("2001:db8:1:2::"));
        assert_ne!(Network::of("2001:db8:1:2::"), Network::of("2001:db8:1:3::"));
        assert_eq!(Network::of("nowhere").as_str(), "nowhere");
    }
}
