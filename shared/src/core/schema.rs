//! JSON Schemas of the types whose form serde does not show, for the OpenAPI document. They are not
//! a part of what is deployed: only the feature `openapi` contains them.
//!
//! A schema says what the code checks, as far as a schema can.

use std::{borrow::Cow, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;
use type_safe_id::StaticType;

use crate::core::{
    allowed_networks::AllowedNetworks,
    email::Email,
    external_id::ExternalId,
    id::ClientId,
    metadata::Metadata,
    name::Name,
    redirect_uri::RedirectUri,
    scope::{ResourceLimits, Scopes},
    secret::Secret,
    subject::{CredentialId, Subject},
};

/// The pattern of a scope.
const SCOPE: &str = "^([a-z0-9_-]+|\\*)(:([a-z0-9_-]+|\\*))*$";
/// An example of an id, without its prefix.
const SUFFIX: &str = "01h455vb4pex5vsknk084sn02q";

/// The schema of the id of a kind of record.
#[derive(Debug)]
pub struct IdOf<K>(PhantomData<K>);

impl<K: StaticType> JsonSchema for IdOf<K> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Id_{}", K::TYPE).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = format!("^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$", K::TYPE);
        let example = format!("{}_{SUFFIX}", K::TYPE);
        json_schema!({"type": "string", "pattern": pattern, "examples": [example]})
    }
}

/// Defines a schema for each of these types, which serialize as something else than they are.
macro_rules! schemas {
    ($($type:ty => $schema:tt;)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

/// Declares types that exist only for their schemas: those of members that are parsed later.
macro_rules! members {
    ($($(#[doc = $doc:literal])+ $name:ident => $schema:tt;)*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug)]
            pub struct $name;
        )*
        schemas! { $($name => $schema;)* }
    };
}

schemas! {
    AllowedNetworks => {
        "description": "Networks in CIDR notation, or single addresses, of IPv4 and IPv6.",
        "type": "array", "items": {"type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$"},
        "minItems": 1, "maxItems": 32, "examples": [["192.0.2.0/24", "2001:db8::/32"]],
    };
    ClientId => {"type": "string", "examples": ["postern-cli"]};
    CredentialId => {"type": "string", "examples": [format!("key_{SUFFIX}")]};
    Email => {"type": "string", "format": "idn-email", "examples": ["ada@example.com"]};
    ExternalId => {
        "description": "What another system calls the owner: 1 to 128 visible ASCII characters.",
        "type": "string", "pattern": "^[!-~]{1,128}$", "examples": ["customer-42"],
    };
    Metadata => {
        "description": "At most 20 members and 1024 bytes of JSON. The names `name` and `external_id` are reserved.",
        "type": "object", "maxProperties": 20,
        "propertyNames": {"pattern": "^[A-Za-z0-9_.-]{1,40}$"},
        "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 200},
        "examples": [{"tier": "pro", "seats": 12, "trial": false}],
    };
    Name => {
        "description": "1 to 100 characters that people can see. Spaces around it are removed.",
        "type": "string", "minLength": 1, "maxLength": 100, "examples": ["deploy"],
    };
    RedirectUri => {
        "description": "An https URL, or an http URL of 127.0.0.1, [::1] or localhost, with a path and without a fragment.",
        "type": "string", "format": "uri", "maxLength": 1000, "examples": ["http://127.0.0.1/callback"],
    };
    ResourceLimits => {
        "description": "The resources that the credential is limited to, by kind. A kind that is not listed is not limited.",
        "type": "object",
        "maxProperties": 100,
        "propertyNames": {"pattern": "^[a-z_]{1,64}$"},
        "additionalProperties": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}},
        "examples": [{"repositories": ["acme/site"]}],
    };
    Scopes => {
        "type": "array", "items": {"type": "string", "pattern": SCOPE, "maxLength": 64},
        "maxItems": 64, "uniqueItems": true, "examples": [["data:read"]],
    };
    Secret => {"type": "string", "description": "A secret, in plain text."};
    Subject => {"type": "string", "examples": [format!("usr_{SUFFIX}")]};
}

members! {
    /// The type of an access token.
    TokenType => {"type": "string", "enum": ["Bearer", "DPoP"]};
    /// The claims of a token, in the response to an introspection.
    Claims => {"type": "object", "properties": {
        "act": {"type": "object", "description": "The agent that acts for the user (RFC 8693 §4.1)."},
        "iss": {"type": "string", "description": "The issuer of the token."},
        "aud": {"type": ["string", "array"], "items": {"type": "string"}, "description": "The API that the token is for."},
        "client_id": {"type": "string", "description": "The client that the token was issued to."},
        "cnf": {"type": "object", "description": "The key that the token is bound to (RFC 9449 §6.2)."},
        "iat": {"type": "integer", "description": "When the token was issued, in seconds since 1970."},
        "nbf": {"type": "integer", "description": "When the token becomes valid, in seconds since 1970."},
        "jti": {"type": "string", "description": "The id of the token."},
    }};
    /// A future date and time.
    Expiry => {
        "description": "When the credential expires: a date and time in the future. Without it, the credential does not expire.",
        "type": "string", "format": "date-time", "examples": ["2099-01-31T12:00:00Z"],
    };
    /// The path of a download.
    DownloadPath => {
        "type": "string", "pattern": "^/", "maxLength": 1024,
        "examples": [format!("/v1/runners/run_{SUFFIX}/install.sh")],
    };
    /// The labels of a runner.
    Labels => {
        "type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 64}, "maxItems": 32,
        "examples": [["linux", "x64"]],
    };
    /// A password to be set.
    NewPassword => {
        "description": "8 to 256 characters, none of them invisible and not only spaces, and not the email address.",
        "type": "string", "minLength": 8, "maxLength": 256, "format": "password", "examples": ["correct horse battery"],
    };
    /// The redirect URIs of a client that registers.
    NewRedirectUris => {
        "type": "array", "minItems": 1, "maxItems": 5,
        "items": {"type": "string", "format": "uri", "maxLength": 1000},
        "examples": [["http://127.0.0.1/callback"]],
    };
    /// The scopes of a new credential.
    NewScopes => {
        "description": "The scopes of the credential: parts of a-z, 0-9, _ and -, or *, joined by colons.",
        "type": "array", "items": {"type": "string", "pattern": SCOPE, "maxLength": 64},
        "minItems": 1, "examples": [["data:read"]],
    };
    /// Public keys of a client.
    PublicKeys => {
        "type": "object", "properties": {"keys": {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 5}},
        "required": ["keys"],
    };
    /// How long both secrets of a key work.
    Overlap => {
        "description": "How long the old secret keeps working, in seconds.",
        "type": "integer", "minimum": 0, "maximum": 604_800, "default": 0, "examples": [3600],
    };
    /// The repositories of a CLI token.
    Repositories => {
        "type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200},
        "minItems": 1, "examples": [["acme/site"]],
    };
    /// Scopes, space-joined.
    ScopeList => {"type": "string", "examples": ["data:read"]};
    /// The id of a user whom a caller names.
    UserId => {
        "description": "The user_id that GET /v1/auth/whoami shows for the user.",
        "type": "string", "minLength": 1, "maxLength": 300, "examples": [format!("usr_{SUFFIX}"), json!("github|7")],
    };
}
