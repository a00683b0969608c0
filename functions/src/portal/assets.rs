//! The style sheet, script and icon of the pages.

use postern::{
    Error, Refusal,
    http::{Request, Response},
};

/// How long browsers can cache them, in seconds.
const MAX_AGE_S: u32 = 3600;

/// `GET /assets/{name}`
pub(crate) fn serve(request: &Request) -> Result<Response, Error> {
    let (media_type, text) = match request.path_parameter("name") {
        Some("portal.css") => ("text/css; charset=utf-8", include_str!("../../assets/portal.css")),
        Some("portal.js") => {
            ("text/javascript; charset=utf-8", include_str!("../../assets/portal.js"))
        }
        Some("icon.svg") => ("image/svg+xml", include_str!("../../assets/icon.svg")),
        _ => return Err(Refusal::RouteUnknown.into()),
    };
    Ok(Response::text(media_type, text.to_owned()).cacheable(MAX_AGE_S))
}
