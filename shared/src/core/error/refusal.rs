//! Every way in which a caller can be refused, and the one table to what it is told.

use super::{Challenge, Public};

/// Why we refused: one variant per cause, alphabetical, for our own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.public().description)]
pub enum Refusal {
    AddressTaken,
    AgentSecretMalformed,
    AgentSecretWrong,
    AgentUnknown,
    ApiKeyUnknown,
    ApiKeyWrong,
    BodyMalformed,
    BodyMissing,
    BodyTooLarge,
    ChallengeMethodUnknown,
    ClientCredentialsDoubled,
    ClientCredentialsMissing,
    ClientUnknown,
    CodeChallengeMalformed,
    CodeReplayed,
    CodeVerifierWrong,
    CodeWrong,
    CredentialAbsent,
    CredentialMalformed,
    CredentialShapeUnknown,
    CsrfTokenWrong,
    CursorMalformed,
    DeviceCodeExpired,
    DeviceCodePending,
    DeviceCodeTooEarly,
    DeviceCodeUnknown,
    DeviceDenied,
    DownloadPathForeign,
    EmailMalformed,
    ExpiryInThePast,
    FailuresTooMany,
    FamilyElsewhere,
    FamilyGone,
    FamilyOfAnotherClient,
    FamilyOrphaned,
    GrantTypeUnknown,
    HeaderDoubled,
    HeaderMalformed,
    LabelMalformed,
    LimitMalformed,
    LoginWrong,
    MediaTypeUnsupported,
    MethodUnknown,
    NameMalformed,
    NonceReplayed,
    OperatorKeyWrong,
    OrganizationMissing,
    OriginForeign,
    OverlapTooLong,
    OwnerMalformed,
    OwnerNotYours,
    ParameterDoubled,
    ParameterMissing,
    PasswordMalformed,
    PathMalformed,
    PersonGone,
    PersonNeeded,
    RecordChanged,
    RecordUnknown,
    RedirectUriForeign,
    RefreshTokenForged,
    RefreshTokenReused,
    RepositoriesMalformed,
    RequestMalformed,
    ResourcesMalformed,
    RouteUnknown,
    RunnerStatusMalformed,
    RunnerTokenWrong,
    ScopeEscalation,
    ScopeInsufficient,
    ScopeMalformed,
    ScopeNotGranted,
    ScopesEmpty,
    ScopesTooMany,
    SenderUnknown,
    ServiceKeyWrong,
    SessionExpired,
    SessionForged,
    SessionMalformed,
    SignInDenied,
    SignInGone,
    SignInNotAllowed,
    SignInRefused,
    SignInUnknown,
    SignatureMalformed,
    SignatureMissing,
    SignatureOutOfPlace,
    SignatureStale,
    SignatureWrong,
    TokenEarly,
    TokenExpired,
    TokenForged,
    TokenKeyUnknown,
    TokenMisfit,
    TokenOrphaned,
    TokenRevoked,
    UserCodeWrong,
    UserForbidden,
}

const INVALID_TOKEN: Public = Public::new(401, "invalid_token", "The credential is not valid.")
    .challenging(Challenge::BearerError);
const INVALID_CLIENT: Public =
    Public::new(401, "invalid_client", "The client's id or secret is not valid.")
        .challenging(Challenge::Basic);
const INVALID_GRANT: Public = Public::new(
    400,
    "invalid_grant",
    "The refresh token is not valid: sign in or exchange your credentials again.",
);

const CODE_INVALID: Public =
    Public::new(400, "invalid_grant", "The code is not valid, or not any more: begin again.");

const fn unauthorized(code: &'static str, description: &'static str) -> Public {
    Public::new(401, code, description).challenging(Challenge::BearerError)
}

const fn invalid_request(description: &'static str) -> Public {
    Public::new(400, "invalid_request", description)
}

const fn invalid_scope(description: &'static str) -> Public {
    Public::new(400, "invalid_scope", description)
}

const fn insufficient_scope(description: &'static str) -> Public {
    Public::new(403, "insufficient_scope", description).challenging(Challenge::BearerError)
}

const fn not_found(description: &'static str) -> Public {
    Public::new(404, "not_found", description)
}

impl Refusal {
    /// What the caller is told. No `_` arm: a new cause must be placed by hand.
    pub const fn public(self) -> Public {
        match self {
            Self::ApiKeyUnknown
            | Self::ApiKeyWrong
            | Self::CredentialMalformed
            | Self::CredentialShapeUnknown
            | Self::DownloadPathForeign
            | Self::OperatorKeyWrong
            | Self::RunnerTokenWrong
            | Self::SenderUnknown
            | Self::ServiceKeyWrong
            | Self::TokenEarly
            | Self::TokenExpired
            | Self::TokenForged
            | Self::TokenKeyUnknown
            | Self::TokenMisfit
            | Self::TokenOrphaned
            | Self::TokenRevoked => INVALID_TOKEN,
            Self::AgentSecretMalformed
            | Self::AgentSecretWrong
            | Self::AgentUnknown
            | Self::ClientCredentialsMissing
            | Self::ClientUnknown => INVALID_CLIENT,
            Self::CodeReplayed
            | Self::CodeVerifierWrong
            | Self::CodeWrong
            | Self::DeviceCodeUnknown
            | Self::PersonGone => CODE_INVALID,
            Self::FamilyElsewhere
            | Self::FamilyGone
            | Self::FamilyOfAnotherClient
            | Self::FamilyOrphaned
            | Self::RefreshTokenForged
            | Self::RefreshTokenReused => INVALID_GRANT,
            Self::SignatureMalformed
            | Self::SignatureMissing
            | Self::SignatureOutOfPlace
            | Self::SignatureWrong
            | Self::SessionForged => {
                unauthorized("invalid_signature", "The signature is missing or does not hold.")
            }

            Self::AddressTaken => {
                Public::new(409, "conflict", "Somebody has this email address already.")
            }
            Self::BodyMalformed => {
                invalid_request("The body is not the JSON object that this route reads.")
            }
            Self::BodyMissing => invalid_request("The request needs a body."),
            Self::BodyTooLarge => {
                Public::new(413, "payload_too_large", "The body is larger than 64 KiB.")
            }
            Self::ChallengeMethodUnknown => {
                invalid_request("The code_challenge_method is S256 (RFC 7636).")
            }
            Self::CodeChallengeMalformed => invalid_request(
                "The code_challenge is the 43 characters of a SHA-256 in base64url (RFC 7636).",
            ),
            Self::ClientCredentialsDoubled => invalid_request(
                "The client's credentials were sent twice: send them in the header or in the body.",
            ),
            Self::CredentialAbsent => Public::new(
                401,
                "auth_required",
                "No credential was presented, or not in the header in which it is looked for.",
            )
            .challenging(Challenge::Bearer),
            Self::CsrfTokenWrong => Public::new(
                403,
                "forbidden_origin",
                "The form is not from this page, or too old: load it again.",
            ),
            Self::CursorMalformed => invalid_request("The cursor is not one that a list answered."),
            Self::DeviceCodeExpired => {
                Public::new(400, "expired_token", "The device code is over: begin again.")
            }
            Self::DeviceCodePending => Public::new(
                400,
                "authorization_pending",
                "Nobody has approved the device yet: ask again after the interval.",
            ),
            Self::DeviceCodeTooEarly => Public::new(
                400,
                "slow_down",
                "The poll came too early: wait 5 seconds more between polls from now on.",
            ),
            Self::DeviceDenied | Self::SignInDenied => Public::new(
                400,
                "access_denied",
                "The person has refused, or the issuer of their identity has.",
            ),
            Self::EmailMalformed => invalid_request("The email address is not one."),
            Self::ExpiryInThePast => invalid_request("expires_at lies in the past."),
            Self::FailuresTooMany => Public::new(
                429,
                "too_many_requests",
                "Too many failures: try again in a quarter of an hour at the latest.",
            ),
            Self::GrantTypeUnknown => Public::new(
                400,
                "unsupported_grant_type",
                "The grant_type is not one of client_credentials, refresh_token, authorization_code and urn:ietf:params:oauth:grant-type:device_code.",
            ),
            Self::HeaderDoubled => {
                invalid_request("A header that carries a credential was sent twice.")
            }
            Self::HeaderMalformed => invalid_request("A header is malformed."),
            Self::LabelMalformed => {
                invalid_request("At most 32 labels, each of 1 to 64 characters.")
            }
            Self::LimitMalformed => invalid_request("limit is a number from 1 to 100."),
            Self::LoginWrong => {
                unauthorized("invalid_credentials", "The email address or the password is wrong.")
            }
            Self::MediaTypeUnsupported => Public::new(
                415,
                "unsupported_media_type",
                "The Content-Type is not one that this route reads: application/json, or application/x-www-form-urlencoded for OAuth and pages.",
            ),
            Self::MethodUnknown => Public::new(
                405,
                "method_not_allowed",
                "The route has no such method; the Allow header lists those that it has.",
            ),
            Self::NameMalformed => {
                invalid_request("A name has 1 to 100 characters, none of them a control character.")
            }
            Self::NonceReplayed => unauthorized(
                "replayed_nonce",
                "A request with this nonce was made before: sign anew.",
            ),
            Self::OrganizationMissing => insufficient_scope(
                "The caller belongs to no organization, and this is about the records of one.",
            ),
            Self::OriginForeign => Public::new(
                403,
                "forbidden_origin",
                "A page of another origin cannot act with this cookie.",
            ),
            Self::OverlapTooLong => {
                invalid_request("overlap_s is a number of seconds from 0 to 604800.")
            }
            Self::OwnerMalformed => invalid_request("owner is a user id of 1 to 200 characters."),
            Self::OwnerNotYours => {
                invalid_request("Only the operator names the owner of an organization.")
            }
            Self::ParameterDoubled => invalid_request("A parameter was sent twice."),
            Self::ParameterMissing => invalid_request("A parameter is missing."),
            Self::PasswordMalformed => {
                invalid_request("A password has 8 to 256 characters, and is not the email address.")
            }
            Self::PathMalformed => invalid_request(
                "The path can be read in two ways: dot or empty segments, needless escapes, semicolons, stars, backslashes or control characters.",
            ),
            Self::PersonNeeded => insufficient_scope("Only a signed-in person may do this."),
            Self::RecordChanged => Public::new(
                409,
                "conflict",
                "Somebody else changed the record at the same time: read it again.",
            ),
            Self::RecordUnknown => not_found("There is no such record in your organization."),
            Self::RedirectUriForeign => invalid_request(
                "The redirect_uri is http, a loopback address (127.0.0.1 or [::1]), a port, and a path.",
            ),
            Self::RepositoriesMalformed => invalid_request(
                "Either all_repositories is true, or repositories lists 1 to 100 names.",
            ),
            Self::RequestMalformed => invalid_request("The request is malformed."),
            Self::ResourcesMalformed => invalid_request(
                "resources lists names by kind, at most 100 in all: {'repositories': ['acme/site']}.",
            ),
            Self::RouteUnknown => not_found("There is no such route."),
            Self::RunnerStatusMalformed => invalid_request(
                "status has 1 to 32 of a-z, 0-9, _ and -; version has 1 to 64 visible characters.",
            ),
            Self::ScopeEscalation => insufficient_scope(
                "A credential cannot be given scopes or resources that its maker lacks.",
            ),
            Self::ScopeInsufficient => {
                insufficient_scope("The credential lacks the scope that this needs.")
            }
            Self::ScopeMalformed => invalid_scope(
                "A scope is resource:action of lowercase letters, digits, _ and -, or *; at most 64 characters.",
            ),
            Self::ScopeNotGranted => invalid_scope("A scope was asked for that was not granted."),
            Self::ScopesEmpty => invalid_scope("At least one scope is needed."),
            Self::ScopesTooMany => invalid_scope("At most 64 scopes, and 2048 characters in all."),
            Self::SessionExpired => {
                unauthorized("session_expired", "The session is over: sign in again.")
            }
            Self::SignInGone => invalid_request(
                "The sign-in is over, or was begun in another browser: begin again.",
            ),
            Self::SignInNotAllowed | Self::UserForbidden => {
                Public::new(403, "forbidden_user", "This deployment does not admit this user.")
            }
            Self::SignInRefused => invalid_request(
                "The issuer of the identity has not confirmed this sign-in: begin again.",
            ),
            Self::SignInUnknown => {
                invalid_request("There is no such provider: name one of those that are configured.")
            }
            Self::SessionMalformed => {
                unauthorized("malformed_session", "The session does not have the form of one.")
            }
            Self::SignatureStale => unauthorized(
                "stale_timestamp",
                "The timestamp is more than the allowed time away from ours: set the clock, and sign anew.",
            ),
            Self::UserCodeWrong => {
                invalid_request("There is no such code, or not any more: look at the device again.")
            }
        }
    }
}
