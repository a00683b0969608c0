//! The networks that a credential can be used from.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::core::error::{Error, Refusal};

/// The most networks of one credential.
const MOST: usize = 32;
/// The length of the prefix of the IPv6 addresses that are IPv4 addresses (RFC 4291 §2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// One or more networks, each in its canonical form. An IPv6 address that contains an IPv4 address
/// is that IPv4 address, and so are networks of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct AllowedNetworks(Vec<IpNet>);

impl AllowedNetworks {
    /// Parses networks that a caller sent: CIDR, or single addresses.
    ///
    /// # Errors
    /// [`Refusal::NetworksMalformed`], which says which one is not valid.
    pub fn parse(given: &[String]) -> Result<Self, Error> {
        if given.is_empty() || given.len() > MOST {
            return Err(Refusal::NetworksMalformed.into());
        }
        let mut networks: Vec<IpNet> = Vec::with_capacity(given.len());
        for (at, text) in given.iter().enumerate() {
            let network = network(text).map_err(|problem| {
                let detail = format!("allowed_networks[{at}] {problem}");
                Error::with_detail(Refusal::NetworksMalformed, detail)
            })?;
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        Ok(Self(networks))
    }

    /// Reports whether one of them contains `address`. What is no address is in no network.
    pub fn contain(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else { return false };
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Reports whether they contain every address of `others`.
    pub fn contain_all(&self, others: &Self) -> bool {
        // Two halves contain what neither of them contains.
        let joined = IpNet::aggregate(&self.0);
        others.0.iter().all(|other| joined.iter().any(|network| network.contains(other)))
    }
}

/// Parses one network.
///
/// # Errors
/// What is wrong with it, after its place in the list.
fn network(text: &str) -> Result<IpNet, String> {
    let network = parsed(text).ok_or(
        "is not a network: send an address, or one with the length of its prefix, such as 192.0.2.0/24 or 2001:db8::/32, without a zone.",
    )?;
    if network.addr() == network.network() {
        Ok(network)
    } else {
        let sentence = "has bits beyond its prefix";
        Err(format!("{sentence}: the network is {}.", network.trunc()))
    }
}

/// Parses an address or a network. A number with leading zeros is refused: some programs read it as
/// octal.
fn parsed(text: &str) -> Option<IpNet> {
    let Some((address, prefix)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(|address| address.to_canonical().into());
    };
    let length: u8 = prefix.parse().ok().filter(|length: &u8| length.to_string() == prefix)?;
    IpNet::new(address.parse().ok()?, length).ok().map(canonical)
}

/// Returns a network of IPv6 addresses that are IPv4 addresses as the network of those.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let of_v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_PREFIX));
    let mapped = of_v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    mapped.map_or(network, IpNet::V4)
}

impl TryFrom<Vec<String>> for AllowedNetworks {
    type Error = ipnet::AddrParseError;

    fn try_from(stored: Vec<String>) -> Result<Self, Self::Error> {
        stored.iter().map(|text| text.parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl From<AllowedNetworks> for Vec<String> {
    fn from(networks: AllowedNetworks) -> Self {
        networks.0.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::AllowedNetworks;

    fn parse(given: &[&str]) -> Option<AllowedNetworks> {
        let given: Vec<_> = given.iter().map(|&text| text.to_owned()).collect();
        AllowedNetworks::parse(&given).ok()
    }

    #[test]
    fn networks_have_one_form() {
        for (given, canonical) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:DB8:0:0::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            let networks = parse(&[given, given]).unwrap();
            assert_eq!(Vec::from(networks), [canonical], "{given}");
        }
    }

    #[test]
    fn what_is_not_a_network_is_refused() {
        for text in [
            "",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "192.0.2.0/-1",
            "192.0.2.0/",
            "192.0.2",
            "192.000.2.0/24",
            "0x7f.0.0.1",
            " 192.0.2.0/24",
            "fe80::1%eth0",
            "fe80::%1/64",
            "[2001:db8::1]",
            "2001:db8::1/32",
            "2001:db8::/129",
            "::ffff:192.0.2.1/120",
            "192.0.2.1:80",
            "example.com",
        ] {
            assert!(parse(&[text]).is_none(), "{text}");
        }
        assert!(parse(&[]).is_none());
        let many: Vec<_> = (0..33).map(|at| format!("192.0.2.{at}")).collect();
        assert!(AllowedNetworks::parse(&many).is_err());
        assert!(AllowedNetworks::parse(&many[..32]).is_ok());
    }

    #[test]
    fn an_address_is_in_a_network_up_to_its_edges() {
        let networks = parse(&["192.0.2.128/25", "198.51.100.7", "2001:db8:1::/48"]).unwrap();
        for inside in [
            "192.0.2.128",
            "192.0.2.255",
            "198.51.100.7",
            "2001:db8:1::",
            "2001:db8:1:ffff:ffff:ffff:ffff:ffff",
            "::ffff:192.0.2.200",
        ] {
            assert!(networks.contain(inside), "{inside}");
        }
        for outside in [
            "192.0.2.127",
            "192.0.3.0",
            "198.51.100.6",
            "198.51.100.8",
            "2001:db8:0:ffff:ffff:ffff:ffff:ffff",
            "2001:db8:2::",
            "::ffff:192.0.2.1",
            "2001:db8:1::1%eth0",
            "192.0.2.200, 192.0.2.201",
            "",
        ] {
            assert!(!networks.contain(outside), "{outside}");
        }
    }

    #[test]
    fn every_ipv4_address_is_in_the_network_of_all_and_in_no_ipv6_network() {
        let (v4, v6) = (parse(&["0.0.0.0/0"]).unwrap(), parse(&["::/0"]).unwrap());
        for address in ["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"] {
            assert!(v4.contain(address) && !v6.contain(address), "{address}");
        }
        assert!(v6.contain("2001:db8::1") && !v4.contain("2001:db8::1"));
    }

    #[test]
    fn narrower_networks_are_contained_and_wider_ones_are_not() {
        let halves = parse(&["192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32"]).unwrap();
        for narrower in
            [&["192.0.2.0/24"][..], &["192.0.2.7", "2001:db8:1::/48"], &["::ffff:192.0.2.64/122"]]
        {
            assert!(halves.contain_all(&parse(narrower).unwrap()), "{narrower:?}");
        }
        for wider in [
            &["192.0.2.0/23"][..],
            &["192.0.2.7", "198.51.100.7"],
            &["0.0.0.0/0"],
            &["::/0"],
            &["2001:db9::/32"],
        ] {
            assert!(!halves.contain_all(&parse(wider).unwrap()), "{wider:?}");
        }
    }
}
