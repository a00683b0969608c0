//! What pages load: one style, one script, one picture.

use http::HeaderValue;
use postern::{
    Error, Refusal,
    http::{Request, Response},
};

/// How long a browser may keep them, in seconds.
const MAX_AGE_S: u32 = 3600;

const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");

/// `GET /assets/{name}`
pub(crate) fn serve(request: &Request) -> Result<Response, Error> {
    let (media_type, text) = match request.path_parameter("name") {
        Some("portal.css") => (CSS, include_str!("../../assets/portal.css")),
        Some("portal.js") => (JAVASCRIPT, include_str!("../../assets/portal.js")),
        Some("icon.svg") => (SVG, include_str!("../../assets/icon.svg")),
        _ => return Err(Refusal::RouteUnknown.into()),
    };
    Ok(Response::text(media_type, text.to_owned()).cacheable(MAX_AGE_S)?)
}
