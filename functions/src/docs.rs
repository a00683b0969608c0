//! The OpenAPI document and a page that shows it, in dev mode.
//!
//! They are not routes of the template: without dev mode, nothing distinguishes their paths from
//! those that do not exist.

use askama::Template;
use http::HeaderValue;
use jiff::SignedDuration;
use postern::{
    App, Error, Fault,
    http::{Request, Response, html},
};
use serde_json::{Value, json};

/// The document, which the feature `openapi` makes from the types.
const DOCUMENT: &str = include_str!("../../docs/openapi.json");
/// The methods of these paths.
const METHODS: [&str; 2] = ["GET", "HEAD"];
/// How long browsers can cache the viewer.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(3600);

const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");

/// The page with the viewer.
#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage;

/// What is at a path.
enum Doc {
    Document,
    Page,
    /// A file of the viewer.
    Asset(HeaderValue, &'static str),
}

impl Doc {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/openapi.json" => Self::Document,
            "/docs" => Self::Page,
            "/docs/docs.js" => Self::Asset(JAVASCRIPT, include_str!("../assets/docs.js")),
            "/docs/swagger-ui-bundle.js" => {
                Self::Asset(JAVASCRIPT, include_str!("../assets/swagger-ui/swagger-ui-bundle.js"))
            }
            "/docs/swagger-ui.css" => {
                Self::Asset(CSS, include_str!("../assets/swagger-ui/swagger-ui.css"))
            }
            _ => return None,
        })
    }
}

/// Returns the response to a request for one of these paths, in dev mode; `None` for any other
/// request.
///
/// # Errors
/// [`Fault::Serialization`] if the document or the page cannot be written.
pub(crate) fn serve(app: &App, request: &Request) -> Result<Option<Response>, Error> {
    let config = &app.context.config;
    let Some(doc) = Doc::at(request.path()).filter(|_| config.dev) else { return Ok(None) };
    if !METHODS.contains(&request.method()) {
        let refused = Response::method_not_allowed(request.method(), &METHODS, request.id())?;
        return Ok(Some(refused));
    }
    Ok(Some(match doc {
        Doc::Document => Response::ok(&document_of(&config.deployment.public_url)?)?,
        Doc::Page => html::render_viewer(&DocsPage)?,
        Doc::Asset(media_type, text) => {
            Response::text(media_type, text.to_owned()).cacheable(MAX_AGE)?
        }
    }))
}

/// Returns the document of the deployment at `url`.
fn document_of(url: &str) -> Result<Value, Fault> {
    let mut document: Value =
        serde_json::from_str(DOCUMENT).map_err(|error| Fault::Serialization(error.into()))?;
    document["servers"] = json!([{"url": url}]);
    Ok(document)
}
