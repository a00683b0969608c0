//! The style sheet, script and icon of the pages.

use http::HeaderValue;
use jiff::SignedDuration;
use postern::{
    Error, Refusal,
    http::{Request, Response},
};

/// How long browsers can cache them.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(3600);

const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");

/// `GET /assets/{name}`: returns an asset.
pub(crate) fn serve(request: &Request) -> Result<Response, Error> {
    let (media_type, text) = match request.path_parameter("name") {
        Some("portal.css") => (CSS, include_str!("../../assets/portal.css")),
        Some("portal.js") => (JAVASCRIPT, include_str!("../../assets/portal.js")),
        Some("icon.svg") => (SVG, include_str!("../../assets/icon.svg")),
        _ => return Err(Refusal::RouteUnknown.into()),
    };
    Ok(Response::text(media_type, text.to_owned()).cacheable(MAX_AGE)?)
}
