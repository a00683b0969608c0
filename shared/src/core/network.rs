//! The network that one caller controls.

use std::net::IpAddr;

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

#[cfg(test)]
mod tests {
    use super::Network;

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
