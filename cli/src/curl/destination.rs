//! Where curl sends the token: over `https`, or to this machine.

use super::arguments::{Argument, is_one_of};
use crate::failure::Failure;

/// Options with which the token can go elsewhere, or with which curl has another credential.
const REFUSED: [&str; 7] = [
    "--config",
    "--location-trusted",
    "--next",
    "--oauth2-bearer",
    "--proto",
    "--proto-default",
    "--user",
];
/// Options with which a URL of this machine can lead to another one.
const REFUSED_FOR_HTTP: [&str; 5] =
    ["--connect-to", "--no-globoff", "--noproxy", "--resolve", "--variable"];
/// The hosts of this machine.
const THIS_MACHINE: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];

/// Returns the part of curl's configuration that keeps the token from others.
pub(super) fn configuration(arguments: &[Argument]) -> Result<&'static str, Failure> {
    refuse_options(arguments, &REFUSED)?;
    refuse_credentials(arguments)?;
    let plain: Vec<_> = urls(arguments).filter(|url| is_plain(url)).collect();
    if let Some(url) = plain.iter().find(|url| !is_of_this_machine(url)) {
        return Err(Failure::usage(format!(
            "The token is not sent to {url}, because everybody on the way can read it. Use https; \
             http is only for this machine."
        )));
    }
    if plain.is_empty() {
        return Ok("proto = \"=https\"\nproto-default = \"https\"\n");
    }
    refuse_options(arguments, &REFUSED_FOR_HTTP)?;
    // A proxy could read the token, and a pattern could stand for another host.
    Ok("proto = \"=http,https\"\nproto-default = \"https\"\n\
        noproxy = \"127.0.0.1,::1,[::1],localhost\"\ngloboff\n")
}

/// Returns what can be a URL.
pub(super) fn urls(arguments: &[Argument]) -> impl Iterator<Item = &str> {
    arguments.iter().filter_map(|argument| match argument {
        Argument::Option { name, value } if name == "--url" => Some(value.as_str()),
        Argument::Option { .. } => None,
        Argument::Other(text) => Some(text),
    })
}

fn refuse_options(arguments: &[Argument], refused: &[&str]) -> Result<(), Failure> {
    for argument in arguments {
        let Argument::Option { name, value } = argument else { continue };
        let is_expanded = name.starts_with("--expand-");
        let is_list = name == "--url" && value.starts_with('@');
        if is_expanded || is_list || is_one_of(name, refused) {
            return Err(Failure::usage(format!(
                "The token may go elsewhere with {name}, so postern curl refuses it. Leave it out, \
                 or give curl the token yourself: postern exec."
            )));
        }
    }
    Ok(())
}

/// Refuses a second header `Authorization`, which servers do not accept.
fn refuse_credentials(arguments: &[Argument]) -> Result<(), Failure> {
    let is_credential = |argument: &Argument| match argument {
        Argument::Option { name, value } if name == "--header" => {
            let header = value.split([':', ';']).next().unwrap_or_default();
            header.trim().eq_ignore_ascii_case("authorization")
        }
        Argument::Option { .. } | Argument::Other(_) => false,
    };
    if arguments.iter().any(is_credential) {
        return Err(Failure::usage(
            "postern curl sends the header Authorization itself. Remove yours, or run curl without \
             postern.",
        ));
    }
    Ok(())
}

/// Reports whether curl calls a URL over `http`. It accepts any number of slashes.
fn is_plain(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"))
}

/// Reports whether a plain URL has a host of this machine, and nothing that curl could parse
/// otherwise, such as a user.
fn is_of_this_machine(url: &str) -> bool {
    let Some(rest) = url.get(5..).and_then(|rest| rest.strip_prefix("//")) else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    THIS_MACHINE.iter().any(|host| {
        let begins =
            authority.get(..host.len()).is_some_and(|text| text.eq_ignore_ascii_case(host));
        begins && is_port(&authority[host.len()..])
    })
}

fn is_port(text: &str) -> bool {
    let port = text.strip_prefix(':');
    text.is_empty() || port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{super::arguments::parse, *};

    fn configured(arguments: &[&str]) -> Result<&'static str, String> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        configuration(&parse(&arguments)).map_err(|failure| failure.message)
    }

    #[test]
    fn a_token_goes_over_http_only_to_this_machine() {
        for (arguments, protocols) in [
            (&["https://api.example.com/"][..], Some("=https")),
            (&["api.example.com/"], Some("=https")),
            (&["-x", "http://proxy.example", "https://api.example.com/"], Some("=https")),
            (&["--data-urlencode", "http://a.example", "https://api.example.com/"], Some("=https")),
            (&["--user-agent=http://a.example", "https://api.example.com/"], Some("=https")),
            (&["http://127.0.0.1:9000/"], Some("=http,https")),
            (&["http://localhost/"], Some("=http,https")),
            (&["HTTP://LocalHost?a"], Some("=http,https")),
            (&["http://[::1]:80/"], Some("=http,https")),
            (&["http://api.example.com/"], None),
            (&["-s", "HTTP://api.example.com/"], None),
            (&["--url", "http://api.example.com/"], None),
            (&["--url=http://api.example.com/"], None),
            (&["http://127.0.0.1/", "http://api.example.com/"], None),
            (&["http://127.0.0.1/", "http:/api.example.com/"], None),
            (&["http://127.0.0.1/", "http:///api.example.com/"], None),
            (&["http://127.0.0.1.example.com/"], None),
            (&["http://127.0.0.1@api.example.com/"], None),
            (&["http://127.0.0.1\\@api.example.com/"], None),
            (&["http://127.0.0.1:80@api.example.com/"], None),
            (&["http://127.0.0.1:{80,81}/"], None),
            (&["http:\\\\127.0.0.1/"], None),
            (&["http://"], None),
            (&["http:"], None),
        ] {
            let configured = configured(arguments).ok();
            let line = protocols.map(|protocols| format!("proto = \"{protocols}\"\n"));
            let is_same = match (&configured, &line) {
                (Some(configured), Some(line)) => configured.starts_with(line),
                (configured, line) => configured.is_none() && line.is_none(),
            };
            assert!(is_same, "{arguments:?} {configured:?}");
        }
    }

    #[test]
    fn what_leads_the_token_elsewhere_is_refused() {
        for option in [
            &["-K", "file"][..],
            &["--conf", "file"],
            &["-L", "--location-trusted"],
            &["--proto", "=http"],
            &["--proto-def", "http"],
            &["-:"],
            &["-u", "a:b"],
            &["--expand-url", "{{a}}"],
            &["--url", "@file"],
        ] {
            let refused = configured(&[&["https://api.example.com"], option].concat()).unwrap_err();
            assert!(refused.starts_with("The token may go elsewhere with --"), "{refused}");
        }
        for option in [
            &["--resolve", "localhost:80:192.0.2.1"][..],
            &["--connect-to", "::192.0.2.1:80"],
            &["--noproxy", ""],
            &["--no-globoff"],
            &["--variable", "a=b"],
        ] {
            assert!(configured(&[&["https://api.example.com"], option].concat()).is_ok());
            let refused = configured(&[&["http://localhost"], option].concat()).unwrap_err();
            assert!(refused.starts_with("The token may go elsewhere with --"), "{refused}");
        }
    }

    #[test]
    fn there_is_one_credential() {
        for header in ["Authorization: Bearer a", "authorization;", "AUTHORIZATION : a"] {
            let refused = configured(&["-H", header, "https://api.example.com"]).unwrap_err();
            assert!(refused.starts_with("postern curl sends the header"), "{refused}");
        }
        assert!(configured(&["-H", "X-Authorization: a", "https://api.example.com"]).is_ok());
    }
}
