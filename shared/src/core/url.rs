//! The parts of a URL as they are written, and which of its hosts is the machine itself.

use std::net::IpAddr;

/// The names that URLs of a program on this machine have.
const THIS_MACHINE: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// Reports whether `host`, in lower case, names this machine.
pub fn is_this_machine(host: &str) -> bool {
    THIS_MACHINE.contains(&host)
}

/// Reports whether `host` names this machine by its address, as RFC 8252 §7.3 advises: a resolver
/// may map `localhost` to another host.
pub fn is_loopback_address(host: &str) -> bool {
    is_this_machine(host) && host != "localhost"
}

/// Reports whether a browser that opens `host`, in lower case, connects to its own machine, by
/// whichever name or address. Systems connect to it for the unspecified address too.
pub fn leads_to_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// Reports whether `text` is an `https` URL, or an `http` URL of this machine, without user
/// information and fragment.
pub fn is_https_or_local(text: &str) -> bool {
    let uri: Option<::http::Uri> = text.parse().ok();
    !text.contains(['#', '@'])
        && uri.is_some_and(|uri| match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => true,
            (Some("http"), Some(host)) => is_this_machine(host),
            _ => false,
        })
}

/// Splits a URL into its origin, and the path and query, which can be empty.
pub fn split_origin(url: &str) -> (&str, &str) {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find(['/', '?', '#']).map(|at| authority + at);
    url.split_at(end.unwrap_or(url.len()))
}

/// Splits an authority, or an origin, into the host and the port, which may be anything.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') && !port.starts_with('/') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Returns a port, if it is written as everyone writes it.
pub fn port(text: &str) -> Option<u16> {
    text.parse::<u16>().ok().filter(|port| *port != 0 && port.to_string() == text)
}

/// Reports whether `text` is the name of a host in the Internet, in lower case.
pub fn is_host_name(text: &str) -> bool {
    text.contains('.') && is_name(text)
}

/// Reports whether `text` is the name of a host in any network, in lower case, and not an address
/// in any of the forms that browsers read.
pub fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    // The last label of an address begins with a digit, in every way to write one.
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_named = last.starts_with(|letter: char| letter.is_ascii_lowercase());
    text.len() <= 253 && is_named && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_where_its_authority_ends() {
        for (url, origin, rest) in [
            ("https://a.example/b/c?d=/e", "https://a.example", "/b/c?d=/e"),
            ("https://a.example:8443", "https://a.example:8443", ""),
            ("https://a.example?b=/c", "https://a.example", "?b=/c"),
            ("https://a.example#b/c", "https://a.example", "#b/c"),
            ("http://[::1]:9000/", "http://[::1]:9000", "/"),
            ("/b/c", "", "/b/c"),
            ("", "", ""),
        ] {
            assert_eq!(split_origin(url), (origin, rest), "{url}");
        }
        for (authority, host, port) in [
            ("a.example", "a.example", None),
            ("a.example:8443", "a.example", Some("8443")),
            ("a.example:", "a.example", Some("")),
            ("[::1]", "[::1]", None),
            ("[::1]:9000", "[::1]", Some("9000")),
            ("https://a.example", "https://a.example", None),
            ("http://[::1]:9000", "http://[::1]", Some("9000")),
        ] {
            assert_eq!(split_port(authority), (host, port), "{authority}");
        }
    }

    #[test]
    fn this_machine_has_three_names_and_is_reached_at_more() {
        for (host, is_name, is_address, is_reached) in [
            ("127.0.0.1", true, true, true),
            ("[::1]", true, true, true),
            ("localhost", true, false, true),
            ("app.localhost", false, false, true),
            ("127.1.2.3", false, false, true),
            ("0.0.0.0", false, false, true),
            ("[::]", false, false, true),
            ("localhost.example", false, false, false),
            ("127.0.0.1.example", false, false, false),
            ("192.0.2.1", false, false, false),
            ("[2001:db8::1]", false, false, false),
            ("", false, false, false),
        ] {
            let found =
                (is_this_machine(host), is_loopback_address(host), leads_to_this_machine(host));
            assert_eq!(found, (is_name, is_address, is_reached), "{host}");
        }
    }
}
