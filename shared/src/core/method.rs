//! The methods that API Gateway routes.

use http::Method;

/// Every method that a route can have, in alphabetical order.
pub static METHODS: [Method; 7] = [
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
];

/// Returns the name of `method` if it is one that a route can have.
pub fn known(method: &str) -> Option<&'static str> {
    METHODS.iter().map(Method::as_str).find(|known| *known == method)
}
