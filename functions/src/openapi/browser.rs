//! Signing in elsewhere, and the authorization endpoint.

use serde_json::{Value, json};

use super::{access::Access, document::Document, operation::Operation, tokens::form_of};

const TAG: &str = "Sign-in";

/// Adds the routes.
pub(super) fn add(document: &mut Document) {
    for (start, callback, provider) in [
        (
            ("GET /v1/auth/oidc/start", "Sign in at an OpenID provider"),
            ("GET /v1/auth/oidc/callback", "Return from an OpenID provider"),
            "The provider, if several are configured.",
        ),
        (
            ("GET /v1/auth/github", "Sign in at GitHub"),
            ("GET /v1/auth/github/callback", "Return from GitHub"),
            "The [[signin]], if several are configured.",
        ),
    ] {
        document.add(&sign_in_start(start, provider));
        document.add(&sign_in_callback(callback));
    }
    let form = form_of(&[], &["state", "code", "error", "iss"]);
    document.add(
        &Operation::new(
            "POST /v1/auth/oidc/callback",
            TAG,
            "Return from an OpenID provider that posts",
        )
        .query("provider?", &text(), "The provider that was asked.")
        .form(&form, &json!({"state": "…", "code": "…"}))
        .redirect("The same response in a query.")
        .codes(&["not_found"]),
    );
    add_authorization(document);
}

fn text() -> Value {
    json!({"type": "string"})
}

fn sign_in_start((route, summary): (&'static str, &'static str), provider: &str) -> Operation {
    Operation::new(route, TAG, summary)
        .described("With `cli=true`, the code travels to a tool on this machine (RFC 8252).")
        .query("provider?", &text(), provider)
        .query("next?", &text(), "The path of the page to return to.")
        .query("cli?", &json!({"enum": ["true", "false"]}), "Whether a tool signs in.")
        .query("redirect_uri?", &text(), "The loopback address at which the tool listens.")
        .query(
            "code_challenge?",
            &json!({"type": "string", "minLength": 43, "maxLength": 43}),
            "The PKCE challenge of the tool.",
        )
        .query("code_challenge_method?", &json!({"const": "S256"}), "The method of the challenge.")
        .query("client_id?", &text(), "The tool, by default postern-cli.")
        .query("scope?", &text(), "The scopes that the tool requests, space-joined.")
        .query(
            "state?",
            &json!({"type": "string", "maxLength": 500}),
            "What the tool receives again.",
        )
        .redirect("The sign-in page of the provider.")
        .with_header(303, "Set-Cookie", "SetCookie")
        .codes(&["invalid_client", "invalid_scope", "too_many_requests"])
}

fn sign_in_callback((route, summary): (&'static str, &'static str)) -> Operation {
    Operation::new(route, TAG, summary)
        .query("state?", &text(), "The state of the sign-in.")
        .query("code?", &text(), "The code of the provider.")
        .query("error?", &text(), "The error of the provider.")
        .query("iss?", &text(), "The issuer (RFC 9207).")
        .query("provider?", &text(), "The provider that was asked.")
        .redirect("The page to return to, with the session's cookie; for a tool, its redirect URI with a code.")
        .codes(&["access_denied", "forbidden_user", "insufficient_scope"])
}

fn add_authorization(document: &mut Document) {
    let parameters = [
        ("client_id", "The app."),
        ("response_type", "Always `code`."),
        ("code_challenge", "The PKCE challenge."),
        ("code_challenge_method", "Always `S256`."),
        (
            "redirect_uri?",
            "Where the app receives the code. It can be left out if the app has only one.",
        ),
        ("resource?", "The API that the tokens are for (RFC 8707)."),
        ("scope?", "The scopes, space-joined; by default those of the API."),
        ("state?", "What the app receives again."),
        ("dpop_jkt?", "The thumbprint of the key that the code is bound to (RFC 9449 §10)."),
        ("prompt?", "`none`, `login` or `consent`."),
    ];
    let page = Operation::new("GET /v1/auth/authorize", TAG, "Ask a user to allow an app");
    let page = parameters
        .into_iter()
        .fold(page, |page, (name, description)| page.query(name, &text(), description));
    let shown = ["shown_client", "shown_redirect_uri", "shown_scope"];
    let optional: Vec<_> =
        parameters.iter().map(|(name, _)| name.trim_end_matches('?')).chain(shown).collect();
    let form = document.schema("ConsentForm", form_of(&["csrf", "decision"], &optional));
    document.add(
        &page
            .described("The authorization endpoint of RFC 6749 §4.1. Errors that are not about the app itself reach it by the redirect.")
            .access(Access::Page)
            .page("The page that asks the user.")
            .redirect("The app, with `code`, `state` and `iss`, or an error; or the sign-in page."),
    );
    document.add(
        &Operation::new("POST /v1/auth/authorize", TAG, "Allow an app, or deny it")
            .access(Access::Page)
            .form(&form, &json!({"csrf": "…", "decision": "allow"}))
            .page("The page again, because what the user would allow has changed.")
            .redirect("The app, with `code`, `state` and `iss`, or an error; or the page again.")
            .codes(&["conflict"]),
    );
}
