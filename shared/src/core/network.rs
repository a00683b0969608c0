//! The network that one caller controls.

use std::net::IpAddr;

use ipnet::Ipv6Net;

/// Returns the network of `address`: a single IPv4 address, or an IPv6 network of 2^64 addresses
/// (RFC 6177), of which a caller can use any (RFC 8981).
pub fn network(address: &str) -> String {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let network = Ipv6Net::new(address, 64).map(|network| network.trunc().to_string());
            network.unwrap_or_else(|_| address.to_string())
        }
        Ok(IpAddr::V4(address)) => address.to_string(),
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn a_caller_of_version_6_is_a_network() {
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::"));
        assert_ne!(network("2001:db8:1:2::"), network("2001:db8:1:3::"));
        assert_eq!(network("nowhere"), "nowhere");
    }
}
