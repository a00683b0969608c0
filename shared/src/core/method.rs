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

/// Returns what to correct in the name of a method that is not in upper case.
pub fn case_problem(method: &str) -> Option<String> {
    let upper = known(&method.to_ascii_uppercase()).filter(|upper| *upper != method)?;
    Some(format!("Methods are case-sensitive: write {upper} in upper case."))
}

/// Returns the name of `method` if it is one that a route can have.
pub fn known(method: &str) -> Option<&'static str> {
    METHODS.iter().map(Method::as_str).find(|known| *known == method)
}
