//! Method and path of a request, for the terminal and for log lines.

use http::{Uri, request::Parts};
use postern::core::method;

/// The longest segment of a path that is shown. No credential that Postern creates is as short.
const LONGEST_SEGMENT: usize = 24;

/// Returns the method and path of a request as they are shown.
pub(crate) fn request_line(parts: &Parts) -> String {
    let method = method::known(parts.method.as_str()).unwrap_or("other");
    format!("{method} {}", shown_path(&parts.uri))
}

/// Returns the path of a request as it is shown: without the query and without long segments, which
/// may contain credentials.
pub(crate) fn shown_path(target: &Uri) -> String {
    let shown = |segment: &str| {
        if segment.len() > LONGEST_SEGMENT {
            "...".into()
        } else {
            segment.escape_debug().to_string()
        }
    };
    target.path().split('/').map(shown).collect::<Vec<_>>().join("/")
}
