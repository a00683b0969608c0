//! Which credential a route requires, and how its absence is answered.

use postern::core::permission::Permission;
use serde_json::{Map, Value, json};

/// The ways to present a credential that the providers recognize.
const ANY: [&str; 7] =
    ["bearer", "dpop", "apiKey", "session", "sessionCookie", "serviceToken", "runnerToken"];
/// The errors of authentication by the providers.
const AUTHENTICATION: [&str; 9] = [
    "auth_required",
    "forbidden_origin",
    "forbidden_user",
    "invalid_dpop_proof",
    "invalid_signature",
    "invalid_token",
    "replayed_nonce",
    "session_expired",
    "stale_timestamp",
];

/// Which credential a route requires.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Any credential.
    Any,
    /// A download token.
    DownloadToken,
    /// An agent with its secret, or any credential; either with this scope.
    ClientOr(Permission),
    /// The operator key.
    Operator,
    /// The operator key, or any credential with this scope.
    OperatorOr(Permission),
    /// The operator key, or any credential.
    OperatorOrAny,
    /// The operator key, or nothing if the configuration allows it.
    OperatorOrPublic,
    /// Nothing.
    Public,
    /// Nothing, or a client with its secret.
    PublicOrClient,
    /// A runner's token.
    RunnerToken,
    /// Any credential with this scope.
    Scope(Permission),
    /// A service's key.
    ServiceKey,
    /// The session of a browser. Without one, the browser is sent to the sign-in page.
    Page,
    /// A session to be ended, unless the body has a refresh token.
    SessionOrRefreshToken,
    /// A session, or a token with all of the user's scopes.
    User,
}

impl Access {
    /// Returns the alternatives of `security` (OpenAPI 3.1 §4.8.30). An empty one means that no
    /// credential is needed.
    pub(super) fn security(self) -> Value {
        let any = |scope: Option<Permission>| requirements(&ANY, scope);
        let alternatives = match self {
            Self::Any | Self::User => any(None),
            Self::ClientOr(scope) => {
                [any(Some(scope)), requirements(&["client"], Some(scope))].concat()
            }
            Self::DownloadToken => requirements(&["downloadToken", "bearer"], None),
            Self::Operator => requirements(&["operatorKey"], None),
            Self::OperatorOr(scope) => {
                [requirements(&["operatorKey"], None), any(Some(scope))].concat()
            }
            Self::OperatorOrAny => [requirements(&["operatorKey"], None), any(None)].concat(),
            Self::OperatorOrPublic => {
                [requirements(&["operatorKey"], None), vec![json!({})]].concat()
            }
            Self::Page => requirements(&["sessionCookie"], None),
            Self::Public => Vec::new(),
            Self::PublicOrClient => [requirements(&["client"], None), vec![json!({})]].concat(),
            Self::RunnerToken => requirements(&["runnerToken"], None),
            Self::Scope(scope) => any(Some(scope)),
            Self::ServiceKey => requirements(&["serviceKey"], None),
            Self::SessionOrRefreshToken => {
                [requirements(&["session", "sessionCookie"], None), vec![json!({})]].concat()
            }
        };
        alternatives.into()
    }

    /// Returns the codes of the errors about the credential.
    pub(super) fn codes(self) -> Vec<&'static str> {
        let and = |more: &[&'static str]| [&AUTHENTICATION, more].concat();
        match self {
            Self::Any => and(&[]),
            Self::ClientOr(_) => and(&["insufficient_scope", "invalid_client"]),
            Self::DownloadToken => {
                vec!["auth_required", "forbidden_user", "insufficient_scope", "invalid_token"]
            }
            Self::Operator | Self::OperatorOrPublic => vec!["auth_required", "invalid_token"],
            Self::OperatorOr(_) | Self::OperatorOrAny | Self::Scope(_) | Self::User => {
                and(&["insufficient_scope"])
            }
            Self::Page => vec!["forbidden_origin", "forbidden_user", "insufficient_scope"],
            Self::Public => Vec::new(),
            Self::PublicOrClient => vec!["invalid_client"],
            Self::RunnerToken | Self::ServiceKey => {
                vec!["auth_required", "forbidden_user", "invalid_token"]
            }
            Self::SessionOrRefreshToken => {
                vec!["auth_required", "forbidden_origin", "invalid_signature"]
            }
        }
    }

    /// Returns a sentence about who can call the route, if `security` does not say it.
    pub(super) fn sentence(self) -> Option<String> {
        Some(match self {
            Self::Scope(scope) => format!("Requires the scope `{}`.", scope.as_str()),
            Self::ClientOr(scope) => format!(
                "Requires the scope `{}`. An agent can authenticate as a client, with its id and secret.",
                scope.as_str()
            ),
            Self::OperatorOr(scope) => {
                format!("Requires the operator key, or the scope `{}`.", scope.as_str())
            }
            Self::OperatorOrAny => {
                format!(
                    "Requires the operator key, or the scope `{}`; users need no scope for themselves.",
                    Permission::UsersManage.as_str()
                )
            }
            Self::OperatorOrPublic => {
                "Requires the operator key. With `signup = \"open\"`, it is public too.".into()
            }
            Self::User => {
                "Requires a user: a session, or a token with all of the user's scopes.".into()
            }
            Self::Any
            | Self::DownloadToken
            | Self::Operator
            | Self::Page
            | Self::Public
            | Self::PublicOrClient
            | Self::RunnerToken
            | Self::ServiceKey
            | Self::SessionOrRefreshToken => return None,
        })
    }
}

/// Returns one alternative for each scheme.
fn requirements(schemes: &[&str], scope: Option<Permission>) -> Vec<Value> {
    let scopes: Vec<_> = scope.iter().map(|scope| scope.as_str()).collect();
    let one =
        |scheme: &&str| Value::Object(Map::from_iter([((*scheme).to_owned(), json!(scopes))]));
    schemes.iter().map(one).collect()
}

/// Returns the security schemes.
pub(super) fn schemes() -> Value {
    let in_header = |name: &str, description: &str| json!({"type": "apiKey", "in": "header", "name": name, "description": description});
    json!({
        "apiKey": in_header("X-API-Key", "An API key, a CLI token, or a configured key."),
        "bearer": {
            "type": "http", "scheme": "bearer",
            "description": "An access token, an API key, a CLI token, or the token of a configured issuer. A request can be signed with a key: `X-Cli-Signature`, `X-Cli-Timestamp` and `X-Cli-Nonce` are then required.",
        },
        "client": {
            "type": "http", "scheme": "basic",
            "description": "The id of a client, and its secret if it has one (RFC 6749 §2.3.1).",
        },
        "downloadToken": {
            "type": "apiKey", "in": "query", "name": "token",
            "description": "A token from POST /v1/auth/download-token for this path.",
        },
        "dpop": {
            "type": "http", "scheme": "dpop",
            "description": "An access token that is bound to a key, with a proof in the header `DPoP` (RFC 9449 §7.1).",
        },
        "operatorKey": {
            "type": "http", "scheme": "bearer", "description": "The operator key of the deployment.",
        },
        "runnerToken": in_header("X-Runner-Token", "A runner's token."),
        "serviceKey": in_header("X-Service-Key", "A service's key."),
        "serviceToken": in_header("X-Service-Token", "A token from POST /v1/auth/service-token. The header is a setting."),
        "session": in_header("X-Postern-Session", "The session of a browser, forwarded by a server. The header is a setting."),
        "sessionCookie": {
            "type": "apiKey", "in": "cookie", "name": "__Host-postern_session",
            "description": "The session of a browser.",
        },
    })
}
