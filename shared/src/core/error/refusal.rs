//! The table of all refusals: every cause, and what the caller sees of it.

use http::StatusCode;

use super::{Challenge, PublicError};

/// Generates [`Refusal`] from a table with one row per cause: what happened, its name, and what the
/// caller sees. A cause without a description or an answer does not compile.
macro_rules! refusals {
    ($($(#[doc = $meaning:literal])+ $cause:ident => $answer:expr,)+) => {
        /// Why a caller was refused: one variant per cause, in alphabetical order. Only the log
        /// names the cause.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        #[error("{}", self.public().description)]
        pub enum Refusal {
            $($(#[doc = $meaning])+ $cause,)+
        }

        impl Refusal {
            /// All causes, in alphabetical order.
            pub const ALL: &[Self] = &[$(Self::$cause),+];

            /// Returns the name of the cause, as in the log.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$cause => stringify!($cause),)+
                }
            }

            /// Returns what happened, in a sentence for operators.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$cause => concat!($($meaning),+).trim_ascii(),)+
                }
            }

            /// Returns what the caller sees. Several causes share an answer where the difference
            /// would help someone guess credentials.
            pub const fn public(self) -> PublicError {
                match self {
                    $(Self::$cause => $answer,)+
                }
            }
        }
    };
}

/// What is wrong with a scope, after the scope itself: the answer can say which one it is.
macro_rules! scope_rule {
    () => {
        "is not valid: use parts of a-z, 0-9, _ and -, or *, joined by colons, such as data:read; at most 64 characters."
    };
}

/// Why a scope is not granted, after the scope itself.
macro_rules! scope_not_granted {
    () => {
        "was not granted: request only scopes that the user or agent has."
    };
}

/// The rest of a sentence about a malformed scope.
pub(crate) const SCOPE_RULE: &str = scope_rule!();
/// The rest of a sentence about a scope that is not granted.
pub(crate) const SCOPE_NOT_GRANTED: &str = scope_not_granted!();

refusals! {
    /// A token exchange has an `actor_token`.
    ActorTokenNotSupported => invalid_request(
        "An actor_token is not supported: the agent that acts authenticates as the client of the request, by client_secret or client_assertion.",
    ),
    /// As many agents as possible have acted with the subject token one after another.
    ActorsTooMany => invalid_request(
        "Three agents act in the subject_token already, which is the most: send a token in which fewer do.",
    ),
    /// The credential can be used only from some networks, and the caller's address is in none of
    /// them, or is not known.
    AddressNotAllowed => INVALID_TOKEN,
    /// The credential can be used only from some networks, and the API caches responses of the
    /// authorizer without the caller's address: add `$context.identity.sourceIp` to
    /// `identity_sources` of `[authorizer]`, and to the API.
    AddressNotIdentitySource => INVALID_TOKEN,
    /// The client secret is malformed, or is the secret of another agent.
    AgentSecretMalformed => INVALID_CLIENT,
    /// The client secret is wrong.
    AgentSecretWrong => INVALID_CLIENT,
    /// There is no agent with this client id.
    AgentUnknown => INVALID_CLIENT,
    /// There is no such key, or its owner no longer belongs to its organization.
    ApiKeyUnknown => INVALID_TOKEN,
    /// The key exists, but its secret is wrong.
    ApiKeyWrong => INVALID_TOKEN,
    /// The client that requests authorization is one of `denied`.
    AuthorizationClientDenied => invalid_request(
        "The app is not accepted here: the operator has denied it in [clients] of postern.toml.",
    ),
    /// No client that can request authorization has this id.
    AuthorizationClientUnknown => invalid_request(
        "The app is not known here: its client_id must be one that postern.toml accepts, such as the id of a [[client]].",
    ),
    /// The user did not allow what a client asked for.
    AuthorizationDenied => bad_request("access_denied", "The user did not allow it."),
    /// A page loaded the authorization endpoint, and no browser window opened it.
    AuthorizationNotOpened => invalid_request(
        "This address must be opened in a window of the browser: a page cannot load it.",
    ),
    /// The body is not the JSON object that the route expects.
    BodyMalformed => invalid_request(
        "The body is not valid: send a JSON object with the members that this route documents.",
    ),
    /// The body is empty.
    BodyMissing => invalid_request("The body is missing: send a JSON object."),
    /// The body exceeds the limit.
    BodyTooLarge => PublicError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "The body is larger than 64 KiB."),
    /// The PKCE method is not S256.
    ChallengeMethodUnknown => invalid_request(
        "The code_challenge_method is not supported: use S256 (RFC 7636).",
    ),
    /// The client assertion is for another audience than this issuer alone.
    ClientAssertionAudienceWrong => unauthenticated_client(
        "The client assertion is for another audience: its aud must be the issuer of this deployment alone, as in its metadata, and not a list or the URL of an endpoint.",
    ),
    /// The issuer, the subject, the id or a time of the client assertion is missing or invalid.
    ClientAssertionClaimsInvalid => unauthenticated_client(
        "The claims of the client assertion are not valid: it needs iss and sub, which are both the client_id, exp in seconds, and a jti of 1 to 256 bytes; iat and nbf are optional, in seconds.",
    ),
    /// The client assertion has expired, or is not valid yet.
    ClientAssertionExpired => unauthenticated_client(
        "The client assertion has expired or is not valid yet: set the clock, and sign a new one for each request.",
    ),
    /// The header or the signature of the client assertion is not valid.
    ClientAssertionForged => INVALID_ASSERTION,
    /// No key of the client has the kid and the algorithm of the client assertion.
    ClientAssertionKeyUnknown => INVALID_ASSERTION,
    /// The client assertion is not a JWT whose issuer and subject are the same client.
    ClientAssertionMalformed => unauthenticated_client(
        "The client_assertion is not a signed JWT of at most 8 KiB whose iss and sub are both the client_id.",
    ),
    /// The client authenticates with a key, and sent no client assertion.
    ClientAssertionMissing => unauthenticated_client(
        "This client authenticates with a key: send client_assertion_type and client_assertion.",
    ),
    /// The client assertion was already used.
    ClientAssertionReplayed => unauthenticated_client(
        "The client assertion was already used: sign a new one, with a new jti, for each request.",
    ),
    /// The client assertion is from another client than the one that the request names.
    ClientAssertionSubjectWrong => unauthenticated_client(
        "The client assertion is from another client: its iss and sub must both be the client_id of the request.",
    ),
    /// The client assertion expires too late.
    ClientAssertionTooLong => unauthenticated_client(
        "The client assertion is valid for too long: its exp can be at most 5 minutes from now.",
    ),
    /// The client assertion is of a type that is not supported.
    ClientAssertionTypeUnknown => unauthenticated_client(
        "The client_assertion_type is not supported: use urn:ietf:params:oauth:client-assertion-type:jwt-bearer.",
    ),
    /// The token endpoint received a secret without a client id, or no secret for
    /// client_credentials.
    ClientCredentialsMissing => INVALID_CLIENT,
    /// The client is one of `denied`.
    ClientDenied => unauthenticated_client(
        "This client is not accepted here: the operator has denied it in [clients] of postern.toml.",
    ),
    /// The metadata document of a client is not valid.
    ClientDocumentInvalid => invalid_request(
        "The app could not be identified, because its metadata document is not valid.",
    ),
    /// The metadata document of a client cannot be fetched, whose URL anyone can choose: that is
    /// not a failure of this deployment.
    ClientDocumentUnavailable => invalid_request(
        "The app could not be identified, because its metadata document could not be fetched. Try again in a minute. If you provide the app: serve the document at its client_id, as application/json, without a redirect, within 2 seconds, and at most 5 KiB long.",
    ),
    /// The keys of an agent are not valid, or both a set and a URL were sent.
    ClientKeysInvalid => invalid_request(
        "The keys are not valid: send either jwks with 1 to 5 public keys, or jwks_uri.",
    ),
    /// The client sent an assertion, and is unknown or has no keys.
    ClientKeysMissing => INVALID_ASSERTION,
    /// The metadata or the keys of a client that authenticates with a key cannot be fetched now.
    ClientKeysUnavailable => PublicError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        "The keys of the client could not be fetched. If you provide the client: serve its jwks_uri as application/json, without a redirect, and within 2 seconds.",
    ),
    /// The name of a client that registers is not valid, or its metadata are too long.
    ClientMetadataInvalid => bad_request("invalid_client_metadata", "The metadata of the client is not valid."),
    /// A client that authenticates with a key asked for the device flow.
    ClientNotPublic => bad_request(
        "unauthorized_client",
        "The device flow is for public clients, and this client authenticates with a key.",
    ),
    /// The redirect URIs of a client that registers are missing, too many, or not valid.
    ClientRedirectUrisInvalid => bad_request(
        "invalid_redirect_uri",
        "The redirect_uris are missing or too many: send a list of 1 to 5.",
    ),
    /// No public client has this id: none is configured, and it is neither an accepted URL nor that
    /// of a client that registered.
    ClientUnknown => INVALID_CLIENT,
    /// A client whose redirect URIs are all on servers asked for the device flow.
    ClientWithoutDeviceFlow => bad_request(
        "unauthorized_client",
        "The device flow is for tools, and the redirect URIs of this client are those of a web app: use the authorization endpoint, or a client with a redirect URI on the user's machine or without any.",
    ),
    /// The PKCE challenge is malformed.
    CodeChallengeMalformed => invalid_request(
        "The code_challenge is not valid: send the SHA-256 of the code_verifier in base64url, 43 characters (RFC 7636).",
    ),
    /// The authorization code is bound to a key, and the proof is missing or of another one.
    CodeKeyMismatch => CODE_INVALID,
    /// The authorization code was already redeemed, or the device code was, and its tokens were
    /// refreshed or the poll came from another network. Its tokens are revoked.
    CodeReplayed => CODE_INVALID,
    /// The PKCE verifier does not match the challenge.
    CodeVerifierWrong => CODE_INVALID,
    /// The authorization code is malformed, unknown, expired, or issued for another client or
    /// redirect URI.
    CodeWrong => CODE_INVALID,
    /// The user has not allowed the agent to act for them at this API with these scopes.
    ConsentMissing => bad_request(
        "consent_required",
        "The user has not allowed this agent to act for them with these scopes at this API: ask the user to open the page /apps with the client_id of the agent, and with the same resource and scope.",
    ),
    /// The user has not allowed this yet, and the client asks that nobody be asked.
    ConsentRequired => bad_request("consent_required", "The user has not allowed this yet: send the request without prompt=none."),
    /// An agent that acts for a user wants to create a credential, which would outlive the consent.
    CreationByActor => insufficient_scope(
        "An agent that acts for a user cannot create or renew credentials, because they would still be valid after the user has ended the consent: the user creates them, or the agent with a token of its own.",
    ),
    /// The credential is disabled.
    CredentialDisabled => INVALID_TOKEN,
    /// No provider of this deployment recognizes the format of the credential.
    CredentialFormatUnknown => INVALID_TOKEN,
    /// The format or the checksum of the credential is invalid.
    CredentialMalformed => INVALID_TOKEN,
    /// No credential was presented.
    CredentialMissing => PublicError::new(
        StatusCode::UNAUTHORIZED,
        "auth_required",
        "No credential was presented: send one in a header that this route reads.",
    )
    .challenging(Challenge::Bearer),
    /// The form does not contain the CSRF token of this session.
    CsrfTokenWrong => PublicError::new(
        StatusCode::FORBIDDEN,
        "forbidden_origin",
        "The form has expired or was not sent from this site. Reload the page and try again.",
    ),
    /// The cursor was not returned by this list.
    CursorMalformed => invalid_request(
        "The cursor is invalid: use a next_cursor returned by this list; null means that there are no more records.",
    ),
    /// The device code has expired.
    DeviceCodeExpired => PublicError::new(
        StatusCode::BAD_REQUEST,
        "expired_token",
        "The device code has expired. Start the sign-in again.",
    ),
    /// The user has not approved or denied the device yet.
    DeviceCodePending => PublicError::new(
        StatusCode::BAD_REQUEST,
        "authorization_pending",
        "The device has not been approved yet. Poll again after the interval.",
    ),
    /// The device code is malformed, unknown, or was redeemed earlier by the same device.
    DeviceCodeUnknown => CODE_INVALID,
    /// The user denied the device.
    DeviceDenied => ACCESS_DENIED,
    /// The device polled before its interval had passed.
    DevicePollTooEarly => PublicError::new(
        StatusCode::BAD_REQUEST,
        "slow_down",
        "The device polled too early. Add 5 seconds to the interval between polls.",
    ),
    /// The download token was issued for another path.
    DownloadPathMismatch => INVALID_TOKEN,
    /// A claim of the DPoP proof is missing or invalid.
    DpopProofClaimsInvalid => invalid_dpop_proof(
        "The claims of the DPoP proof are not valid: it needs a jti of 1 to 256 bytes, htm, an absolute htu, and iat in seconds; with an access token also ath, 43 characters (RFC 9449, section 4.2).",
    ),
    /// The signature of the DPoP proof is not that of the key that it contains.
    DpopProofForged => invalid_dpop_proof(
        "The signature of the DPoP proof is not that of its jwk: sign it with the private half of that key, with the algorithm alg.",
    ),
    /// The DPoP proof is signed with another key than the one that the token is bound to.
    DpopProofKeyWrong => invalid_dpop_proof(
        "The DPoP proof is signed with another key than the one that the token is bound to: use the key of the token request.",
    ),
    /// The DPoP proof is not a JWT of its type, or its key is not a sound public key.
    DpopProofMalformed => invalid_dpop_proof(
        "The DPoP proof is not valid: send one JWT with the type dpop+jwt, an asymmetric alg, and the public key alone as jwk (RFC 9449, section 4.2).",
    ),
    /// The token is bound to a key, and there is no DPoP proof.
    DpopProofMissing => invalid_dpop_proof(
        "The token is bound to a key: send a proof that is signed with it in the header DPoP (RFC 9449).",
    ),
    /// The DPoP proof was already used.
    DpopProofReplayed => invalid_dpop_proof(
        "The DPoP proof was already used: send a new one, with a new jti, with each request.",
    ),
    /// The DPoP proof is for another method or URI.
    DpopProofRequestWrong => invalid_dpop_proof(
        "The DPoP proof is for another request: htm is the method in upper case, and htu the URI as the client sends it, without its query.",
    ),
    /// The DPoP proof was made too long ago, or in the future.
    DpopProofStale => invalid_dpop_proof(
        "The DPoP proof has expired, or its time is too far from the current time: set the clock, and send a new proof, with iat in seconds.",
    ),
    /// The DPoP proof is for another access token, or names none.
    DpopProofTokenWrong => invalid_dpop_proof(
        "The DPoP proof is not for this token: ath is the SHA-256 of the token in base64url.",
    ),
    /// `dpop_jkt` is not a thumbprint.
    DpopThumbprintMalformed => invalid_request(
        "The dpop_jkt is not valid: send the SHA-256 thumbprint of the public key in base64url, 43 characters (RFC 7638).",
    ),
    /// The client's credentials were sent both in the header and in the body.
    DuplicateClientCredentials => invalid_request(
        "The client authenticated in more than one way: send one of Authorization: Basic, client_secret and client_assertion, and one client_id.",
    ),
    /// A header that carries a credential occurs more than once.
    DuplicateHeader => invalid_request(
        "A header that carries a credential was sent more than once: send it once.",
    ),
    /// A parameter occurs more than once.
    DuplicateParameter => invalid_request("A parameter was sent more than once: send it once."),
    /// The email address is not valid.
    EmailMalformed => invalid_request(
        "The email address is not valid: use a name, the sign @ and a domain, at most 254 characters.",
    ),
    /// Another user has this email address.
    EmailTaken => PublicError::new(StatusCode::CONFLICT, "conflict", "Another user already has this email address."),
    /// A client that is no agent wants to act for a user whose access token it exchanges.
    ExchangeClientNotAgent => bad_request(
        "unauthorized_client",
        "Only an agent exchanges an access token, to act for its user: an app gets tokens at the authorization endpoint.",
    ),
    /// A client identified itself that wants to exchange a key of somebody else, or authenticated.
    ExchangeClientNotAllowed => invalid_request(
        "The key is all that authenticates its exchange: send no client credentials, and as client_id at most the id of the key.",
    ),
    /// The exchange is of a token of another type, or asks for another token than an access token.
    ExchangeNotSupported => invalid_request(
        "This exchange is not supported: send the token of a workload with subject_token_type=urn:ietf:params:oauth:token-type:jwt, or an API key, a CLI token or the access token of a user with urn:ietf:params:oauth:token-type:access_token; and as requested_token_type at most urn:ietf:params:oauth:token-type:access_token.",
    ),
    /// The key that is to be exchanged requires signed requests.
    ExchangeSignatureRequired => invalid_request(
        "This key requires signed requests, and a token that is exchanged for it would not: exchange a key without require_signature.",
    ),
    /// The access token with which an agent wants to act for a user was granted by a rule, for an
    /// identity assertion.
    ExchangeTokenByRule => invalid_request(
        "The subject_token was granted for an identity assertion, and an agent does not act with it: send an access token of an app in which the user has signed in.",
    ),
    /// The subject token of the exchange is neither an API key, a CLI token nor an access token.
    ExchangeTokenNotKey => invalid_request(
        "The subject_token is neither an API key, a CLI token nor an access token: send one of them, or the token of a workload with subject_token_type=urn:ietf:params:oauth:token-type:jwt.",
    ),
    /// The access token with which an agent wants to act for a user is not that of a user.
    ExchangeTokenNotOfUser => invalid_request(
        "The subject_token is not the access token of a user: an agent acts only for users.",
    ),
    /// The caller's credential expires, and the new one would outlive it.
    ExpiryEscalation => insufficient_scope(
        "A credential cannot outlive its creator: send an earlier expires_at, or none.",
    ),
    /// A change would let a credential live longer.
    ExpiryExtended => invalid_request(
        "expires_at can only be changed to an earlier time: create a new credential to use one for longer.",
    ),
    /// The requested expiry is in the past.
    ExpiryInThePast => invalid_request("expires_at is in the past: send a future time."),
    /// The caller's credential expires, and users do not.
    ExpiryNotInherited => insufficient_scope(
        "A credential that expires cannot enroll, invite or enable users, because users do not expire: use a session, or a credential without expires_at.",
    ),
    /// The external id is empty or too long, or contains spaces or characters that are not ASCII.
    ExternalIdMalformed => invalid_request(
        "external_id is not valid: use 1 to 128 visible ASCII characters without spaces.",
    ),
    /// Too many attempts failed, for the account or from the address.
    FailuresTooMany => PublicError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_requests",
        "Too many failed attempts for this account or from this address.",
    ),
    /// The token family was granted before `not_before` of the deployment's secret.
    FamilyBeforeNotBefore => INVALID_GRANT,
    /// The client of the refresh token is one of `denied`, or is no longer accepted.
    FamilyClientDenied => INVALID_GRANT,
    /// The refresh token belongs to another client.
    FamilyClientMismatch => INVALID_GRANT,
    /// All tokens of the agent or user were ended after the token family was granted.
    FamilyEpochEnded => INVALID_GRANT,
    /// The token family has expired, was revoked, or is unknown.
    FamilyInactive => INVALID_GRANT,
    /// The owner of the token family was deleted, or left its organization.
    FamilyOwnerDeleted => INVALID_GRANT,
    /// The resource of the grant is no longer configured.
    GrantResourceRemoved => INVALID_GRANT,
    /// The token endpoint does not support this grant type.
    GrantTypeUnknown => PublicError::new(
        StatusCode::BAD_REQUEST,
        "unsupported_grant_type",
        "The grant_type is not supported: use client_credentials, refresh_token or authorization_code, or device_code, jwt-bearer or token-exchange with urn:ietf:params:oauth:grant-type: before it.",
    ),
    /// A header's name or value is not valid.
    HeaderMalformed => invalid_request(
        "The name of a header is not valid: use letters, digits and dashes.",
    ),
    /// The identity assertion is for another client.
    IdJagClientMismatch => INVALID_WORKLOAD_TOKEN,
    /// A client presented an identity assertion without authenticating.
    IdJagClientNotConfidential => bad_request(
        "unauthorized_client",
        "An identity assertion is for clients that authenticate: send client_assertion and client_assertion_type, or the client_secret of an agent.",
    ),
    /// The identity assertion is bound to another key than that of the DPoP proof.
    IdJagKeyMismatch => INVALID_WORKLOAD_TOKEN,
    /// The user of the identity assertion has not signed in here, or has to sign in again.
    IdJagUserUnknown => INVALID_WORKLOAD_TOKEN,
    /// The ID token of a sign-in is for another client.
    IdTokenAudienceWrong => SIGN_IN_REFUSED,
    /// The issuer, a time, the user or another claim of a sign-in's ID token is missing or invalid.
    IdTokenClaimsInvalid => SIGN_IN_REFUSED,
    /// The ID token of a sign-in has expired.
    IdTokenExpired => SIGN_IN_REFUSED,
    /// The ID token of a sign-in is malformed, or no key that its issuer publishes has signed it.
    IdTokenForged => SIGN_IN_REFUSED,
    /// The identity provider returned no ID token.
    IdTokenMissing => SIGN_IN_REFUSED,
    /// The ID token belongs to another sign-in.
    IdTokenNonceWrong => SIGN_IN_REFUSED,
    /// An ID token was presented as an access token, and the provider does not accept ID tokens.
    IdTokenNotAccepted => INVALID_TOKEN,
    /// The identity provider is not configured.
    IdentityProviderUnknown => invalid_request(
        "The identity provider is unknown: use the name of a configured provider.",
    ),
    /// A header or parameter has the value of the route key, by which the API caches.
    IdentitySourceAmbiguous => invalid_request(
        "A header or parameter has the value of the API's route: send another value.",
    ),
    /// The digest of a key to import is malformed, of another hash, or of a text that anyone guesses.
    ImportDigestUnusable => invalid_request(
        "sha256 is not the SHA-256 of a key: send 64 hexadecimal digits, or 43 characters of base64url.",
    ),
    /// A key to import has the prefix of no `[[import]]`, so it would never be looked up.
    ImportFormUnknown => invalid_request(
        "The prefix is that of no [[import]] in postern.toml, so the key would not be accepted: add an [[import]], or correct prefix.",
    ),
    /// The end of a key to import is not four characters.
    ImportLastFourMalformed => invalid_request(
        "last_four is not valid: send the last four characters of the key, or leave it out.",
    ),
    /// A request imports no keys or too many.
    ImportSizeWrong => invalid_request("keys must be a list of 1 to 100 keys: send more in several requests."),
    /// Another organization has the key that is imported.
    ImportedElsewhere => PublicError::new(
        StatusCode::CONFLICT,
        "conflict",
        "Another organization has this key: delete it there first, or import it for that organization.",
    ),
    /// The invitation is malformed, unknown, expired or already used.
    InvitationWrong => PublicError::new(
        StatusCode::BAD_REQUEST,
        "invalid_grant",
        "The invitation is not valid or has expired. Ask for a new one.",
    ),
    /// A label is empty or too long, or there are too many.
    LabelMalformed => invalid_request(
        "The labels are not valid: send at most 32, each of 1 to 64 characters, none of them invisible.",
    ),
    /// The limit of a list is out of range.
    LimitMalformed => invalid_request("limit must be a number from 1 to 100."),
    /// The value of a question to a list is not valid.
    ListQuestionMalformed => invalid_request("The question to the list is not valid."),
    /// A list was asked several questions at once.
    ListQuestionsSeveral => invalid_request(
        "A list answers one question at a time: send one of expires_before, external_id, name and unused_since.",
    ),
    /// Nobody is signed in, and the client asks that nobody be asked.
    LoginRequired => bad_request("login_required", "The user is not signed in: send the request without prompt=none."),
    /// The email address is unknown or the password is wrong.
    LoginWrong => unauthorized(
        "invalid_credentials",
        "The email address or the password is wrong.",
    ),
    /// The route does not accept a body of this type.
    MediaTypeUnsupported => PublicError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "The Content-Type is not supported: send JSON as application/json. Only OAuth routes and pages accept application/x-www-form-urlencoded.",
    ),
    /// The metadata of a credential are not valid, or too large.
    MetadataMalformed => invalid_request(
        "metadata is not valid: send an object of at most 20 members, each with a name of 1 to 40 characters from A-Z, a-z, 0-9, _, - and ., and a string, a number, true or false.",
    ),
    /// The path exists, with other methods.
    MethodUnknown => PublicError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This path does not support the method: see the Allow header.",
    ),
    /// The name is empty, too long, or contains control characters.
    NameMalformed => invalid_request(
        "The name is not valid: use 1 to 100 characters, none of them invisible.",
    ),
    /// The caller's credential can be used only from some networks, and the other one could be used
    /// from more.
    NetworkEscalation => insufficient_scope(
        "A credential that is limited to networks cannot create, renew or enable one that can be used from others: send allowed_networks within its own.",
    ),
    /// The networks of a credential are not valid, or too many.
    NetworksMalformed => invalid_request(
        "allowed_networks is not valid: send a list of 1 to 32 networks such as 192.0.2.0/24 or 2001:db8::/32, or null for every network.",
    ),
    /// The caller's credential can be used only from some networks, and users are not limited to
    /// networks.
    NetworksNotInherited => insufficient_scope(
        "A credential that is limited to networks cannot enroll, invite or enable users, because users are not limited to networks: use a session, or a credential without allowed_networks.",
    ),
    /// The nonce was already used.
    NonceReplayed => unauthorized(
        "replayed_nonce",
        "The nonce was already used: sign the request again with a new nonce.",
    ),
    /// The operator key does not match the one in the secret.
    OperatorKeyWrong => INVALID_TOKEN,
    /// The caller belongs to no organization.
    OrganizationMissing => insufficient_scope(
        "The caller does not belong to an organization, which this route requires: send a credential of an organization, such as its API key.",
    ),
    /// A page of another origin sent the request with our cookie.
    OriginNotAllowed => PublicError::new(
        StatusCode::FORBIDDEN,
        "forbidden_origin",
        "Requests with a session cookie are only accepted from this site.",
    ),
    /// The overlap of two secrets is out of range.
    OverlapTooLong => invalid_request(
        "overlap_s must be a number of seconds from 0 to 604800.",
    ),
    /// The owner of an organization is not a valid user id.
    OwnerMalformed => invalid_request(
        "The owner is not valid: send the user_id that GET /v1/auth/whoami shows for the user, such as usr_ and 26 characters, github| and a number, or that of an issuer.",
    ),
    /// A caller other than the operator named the owner of an organization.
    OwnerNotAllowed => invalid_request(
        "Only the operator is allowed to set the owner of an organization.",
    ),
    /// A required parameter is missing.
    ParameterMissing => invalid_request("A required parameter is missing."),
    /// The password is too short, too long, or the email address.
    PasswordMalformed => invalid_request(
        "The password is not valid: use 8 to 256 characters, none of them invisible and not only spaces, and not the email address.",
    ),
    /// A new user has neither a password nor an invitation, or both.
    PasswordOrInvitation => invalid_request(
        "Send either a password, or 'invite': true for an invitation with which the user sets one.",
    ),
    /// The path is ambiguous.
    PathMalformed => invalid_request(
        "The path is ambiguous: remove dot segments, empty segments, unnecessary escapes, semicolons, backslashes and control characters.",
    ),
    /// No `[[plan]]` has this name.
    PlanUnknown => invalid_request("The plan is unknown: use the name of a [[plan]] of postern.toml."),
    /// The record can do more than the caller, who is therefore not allowed to change or delete it.
    RecordBeyondCaller => insufficient_scope(
        "The record has scopes or resources that the caller lacks, so the caller can neither change nor delete it.",
    ),
    /// The record changed between reading and writing it.
    RecordChanged => PublicError::new(
        StatusCode::CONFLICT,
        "conflict",
        "The record was changed by another request. Read it again and retry.",
    ),
    /// Another user created the record, and the caller does not manage the users.
    RecordOfAnother => insufficient_scope(
        "Another user created the record. Only that user, or a caller with users:manage, can change it.",
    ),
    /// The record does not exist, or belongs to another organization.
    RecordUnknown => not_found("There is no such record in your organization."),
    /// The redirect URI is not a loopback address.
    RedirectUriNotAllowed => invalid_request(
        "The redirect_uri is not allowed: use http, a loopback address (127.0.0.1 or [::1]), a port and a path.",
    ),
    /// The client has not registered this redirect URI.
    RedirectUriUnknown => invalid_request(
        "The redirect_uri is not one of those of this app: the operator adds it to redirect_uris of its [[client]] in postern.toml.",
    ),
    /// The refresh token was already rotated, from another address.
    RefreshAddressMismatch => INVALID_GRANT,
    /// The agent did not authenticate, which the deployment requires for refresh tokens.
    RefreshClientUnauthenticated => unauthenticated_client(
        "This client must authenticate to use a refresh token: send its client_secret, or client_assertion_type and client_assertion.",
    ),
    /// The refresh token was rotated, and the MAC key of its successor was removed.
    RefreshKeyDropped => INVALID_GRANT,
    /// The refresh token is bound to another key than the one of the proof.
    RefreshKeyMismatch => INVALID_GRANT,
    /// The refresh token is malformed, or was not issued by us.
    RefreshTokenForged => INVALID_GRANT,
    /// The refresh token was already used. Its family is revoked.
    RefreshTokenReused => INVALID_GRANT,
    /// The repositories of a token are missing, too many, or not valid.
    RepositoriesMalformed => invalid_request(
        "The repositories are not valid: set all_repositories to true, or list 1 to 100 names in repositories.",
    ),
    /// The request is not in the form that the route expects.
    RequestMalformed => invalid_request(
        "The request is not valid HTTP: its path, query, headers or body cannot be read.",
    ),
    /// The request is in a JWT (RFC 9101).
    RequestObjectUnsupported => bad_request("request_not_supported", "The parameters request and request_uri are not supported: send the parameters themselves."),
    /// Too many requests of one kind, whether or not they succeeded.
    RequestsTooMany => PublicError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_requests",
        "Too many requests of this kind.",
    ),
    /// The request names another resource than the grant.
    ResourceNotGranted => invalid_target(
        "The grant is for another resource: send the resource of the authorization request, or none.",
    ),
    /// The secret of a resource is wrong, or it has none.
    ResourceSecretWrong => INVALID_CLIENT,
    /// No configured resource has this URI.
    ResourceUnknown => invalid_target(
        "The resource is unknown: send the uri of a [[resource]] in postern.toml, or no resource for the routes of this deployment.",
    ),
    /// The resources of a key are not valid, or too many.
    ResourcesMalformed => invalid_request(
        "resources is not valid: name each kind, such as repositories, with 1 to 64 characters from a-z and _, and list at most 100 names in total, each of 1 to 200 visible characters.",
    ),
    /// The request names several resources.
    ResourcesTooMany => invalid_target("A token is for one resource: send one resource, and request a token for each."),
    /// The response type is not `code`.
    ResponseTypeUnsupported => bad_request("unsupported_response_type", "The response_type is not supported: use code."),
    /// There is no such route.
    RouteUnknown => not_found("There is no such route."),
    /// The status or version of a heartbeat is not valid.
    RunnerStatusMalformed => invalid_request(
        "status must be 1 to 32 characters from a-z, 0-9, _ and -; version must be 1 to 64 visible characters.",
    ),
    /// The runner does not exist, or the token is wrong.
    RunnerTokenWrong => INVALID_TOKEN,
    /// The caller tried to create a credential with more rights than its own.
    ScopeEscalation => insufficient_scope(
        "A credential cannot have scopes or resources that its creator lacks: GET /v1/auth/whoami shows those of the creator.",
    ),
    /// The credential is valid but lacks the scope.
    ScopeInsufficient => insufficient_scope("The credential lacks the required scope."),
    /// The scope is malformed.
    ScopeMalformed => invalid_scope(concat!("The scope ", scope_rule!())),
    /// A requested scope was not granted to the caller.
    ScopeNotGranted => invalid_scope(concat!("A requested scope ", scope_not_granted!())),
    /// A change would give a credential more scopes.
    ScopeWidened => invalid_scope(
        "The scopes of a credential can only be narrowed: create a new credential with more scopes.",
    ),
    /// No scope was requested.
    ScopesEmpty => invalid_scope("At least one scope is required."),
    /// Too many scopes were requested.
    ScopesTooMany => invalid_scope(
        "Too many scopes: send at most 64, with 2048 characters in total.",
    ),
    /// A security event token, such as a logout token, was presented as an access token or ID
    /// token.
    SecurityEventNotAccepted => INVALID_TOKEN,
    /// The sender of a chat message, or the chat, is not listed.
    SenderUnknown => INVALID_TOKEN,
    /// The service does not exist, or the key is wrong.
    ServiceKeyWrong => INVALID_TOKEN,
    /// The session was created before `not_before` of the deployment's secret.
    SessionBeforeNotBefore => SESSION_EXPIRED,
    /// The session expired, or was signed out.
    SessionExpired => SESSION_EXPIRED,
    /// The session's MAC is invalid.
    SessionForged => unauthorized(
        "invalid_signature",
        "The signature of the session is not valid. Sign in again.",
    ),
    /// The session is malformed.
    SessionMalformed => unauthorized(
        "malformed_session",
        "The session is malformed. Sign in again.",
    ),
    /// The identity provider has not verified an email address of the user, and only verified
    /// addresses are allowed.
    SignInAddressUnverified => FORBIDDEN_USER,
    /// The user canceled at the identity provider, or the provider denied the sign-in.
    SignInDenied => ACCESS_DENIED,
    /// The sign-in expired, was already completed, or was started in another browser.
    SignInExpired => invalid_request(
        "The sign-in expired or was started in another browser. Start again.",
    ),
    /// The browser returned with an error of the identity provider, which failed or is unavailable.
    SignInFailed => sign_in_unavailable(
        "The identity provider failed or is unavailable. Try again shortly.",
    ),
    /// The identity provider's response does not name its issuer, or names another one.
    SignInIssuerWrong => SIGN_IN_REFUSED,
    /// The browser returned with an error of the identity provider, which refused our client or our
    /// request: check the `[[signin]]`.
    SignInMisconfigured => sign_in_unavailable(
        "The identity provider refused the request of this deployment. Ask the operator to check the [[signin]] in postern.toml.",
    ),
    /// The identity provider authenticated a user whom this deployment does not allow.
    SignInNotAllowed => FORBIDDEN_USER,
    /// The identity provider returned no code, refused the code, or named no user.
    SignInRefused => SIGN_IN_REFUSED,
    /// The caller's key requires signed requests, and the new key would not.
    SignatureEscalation => insufficient_scope(
        "A key that requires signed requests can only create such keys: omit require_signature, or set it to true.",
    ),
    /// The signature headers are incomplete or malformed.
    SignatureMalformed => unauthorized(
        "invalid_signature",
        "The signature headers are not valid: send X-Cli-Signature with 64 digits of 0-9 and a-f, X-Cli-Timestamp in milliseconds, and X-Cli-Nonce with 16 to 128 characters of A-Z, a-z, 0-9, _ and -.",
    ),
    /// The key requires signed requests, but the request has no signature.
    SignatureMissing => unauthorized(
        "invalid_signature",
        "This key requires signed requests: send X-Cli-Signature, X-Cli-Timestamp and X-Cli-Nonce.",
    ),
    /// The caller's key requires signed requests, and what it would create could create credentials
    /// without.
    SignatureNotInherited => insufficient_scope(
        "A key that requires signed requests cannot create users, or agents and services that manage credentials. Remove the :manage scopes, or use a session.",
    ),
    /// The request is signed, but its credential does not support signatures.
    SignatureNotSupported => unauthorized(
        "invalid_signature",
        "This credential does not sign requests: send an API key or a CLI token, or no X-Cli headers.",
    ),
    /// The request was signed too long ago, or in the future.
    SignatureStale => unauthorized(
        "stale_timestamp",
        "The timestamp is too far from the current time: set the clock, and sign the request again.",
    ),
    /// The signature does not match the request.
    SignatureWrong => unauthorized(
        "invalid_signature",
        "The signature does not match the request: sign timestamp:nonce:METHOD:target:hash with the key itself, exactly as the request is sent.",
    ),
    /// A report of leaked credentials names a key that GitHub does not publish.
    SignedReportKeyUnknown => REPORT_NOT_SIGNED,
    /// A report of leaked credentials has no signature, or a malformed one.
    SignedReportSignatureMalformed => REPORT_NOT_SIGNED,
    /// The signature of a report of leaked credentials is not that of its body.
    SignedReportSignatureWrong => REPORT_NOT_SIGNED,
    /// The subject token is bound to a key, and the request has no proof of that key.
    SubjectTokenBound => invalid_request(
        "The subject_token is bound to a key: send a proof of that key in the header DPoP.",
    ),
    /// The agent that acts for the user is one of `denied`.
    TokenActorDenied => INVALID_TOKEN,
    /// The token is for another audience, or names none.
    TokenAudienceWrong => INVALID_TOKEN,
    /// The token was issued, or its family granted, before `not_before` of the deployment's secret.
    TokenBeforeNotBefore => INVALID_TOKEN,
    /// The token of another issuer is bound in a way that Postern cannot check.
    TokenBindingUnknown => INVALID_TOKEN,
    /// The token is bound to a key, and was sent as a bearer token.
    TokenBound => unauthorized(
        "invalid_token",
        "The token is bound to a key: send it after the word DPoP instead of Bearer, with a proof in the header DPoP (RFC 9449).",
    ),
    /// The issuer, a time, the user or another claim of the token is missing or invalid.
    TokenClaimsInvalid => INVALID_TOKEN,
    /// The user has ended what they had allowed the agent that acts for them.
    TokenConsentEnded => INVALID_TOKEN,
    /// The token has expired.
    TokenExpired => INVALID_TOKEN,
    /// The token is malformed, or its signature is invalid.
    TokenForged => INVALID_TOKEN,
    /// The issuer of the token is neither this deployment nor one that a `[[provider]]` names.
    TokenIssuerUnknown => INVALID_TOKEN,
    /// The token was issued since the keys of its issuer were last fetched, and names a key that
    /// was not among them.
    TokenKeyNotFetched => PublicError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        "The key that signed the token is not known yet. The keys of its issuer are fetched again within a minute: try again shortly.",
    ),
    /// The token is signed with a key that its issuer does not publish.
    TokenKeyUnknown => INVALID_TOKEN,
    /// A credential that is not bound to a key was sent after the word DPoP.
    TokenNotBound => unauthorized(
        "invalid_token",
        "The credential is not bound to a key: send it after the word Bearer, and no DPoP proof.",
    ),
    /// The token is not valid yet.
    TokenNotYetValid => INVALID_TOKEN,
    /// The owner of the token was deleted, or left its organization.
    TokenOwnerDeleted => INVALID_TOKEN,
    /// The token was revoked, or its family or its agent's epoch has ended.
    TokenRevoked => INVALID_TOKEN,
    /// The user's tokens were issued to a tool, which is not allowed to do this.
    ToolNotAllowed => insufficient_scope(
        "A tool cannot create CLI tokens: create them in the portal, or after a login with a password.",
    ),
    /// The agent of the trust rule does not exist, or has expired.
    TrustAgentUnknown => INVALID_WORKLOAD_TOKEN,
    /// The token of the workload is for another audience than that of a trust rule, or for several.
    TrustAudienceWrong => INVALID_WORKLOAD_TOKEN,
    /// The request names another client than the agent of the trust rule, or than the rule itself.
    TrustClientMismatch => INVALID_WORKLOAD_TOKEN,
    /// A client authenticated that wants to exchange the token of a workload.
    TrustClientNotAllowed => invalid_request(
        "The token of the workload is all that authenticates it: send no client credentials, and as client_id at most the agent of the trust rule, or trust: and the name of a rule without an agent.",
    ),
    /// No trust rule names the issuer of the token.
    TrustIssuerUnknown => INVALID_WORKLOAD_TOKEN,
    /// The token of the workload meets no trust rule. The event trust_unmatched names the claims.
    TrustRuleUnmatched => INVALID_WORKLOAD_TOKEN,
    /// The subject of the workload is missing, empty or too long, has control characters, or reads
    /// as that of another issuer.
    TrustSubjectInvalid => INVALID_WORKLOAD_TOKEN,
    /// The token of the workload has expired, or is not valid yet.
    TrustTokenExpired => INVALID_WORKLOAD_TOKEN,
    /// The header, the signature or a time of the workload's token is not valid, or it reports an
    /// event.
    TrustTokenForged => INVALID_WORKLOAD_TOKEN,
    /// The token of the workload is signed with a key that its issuer does not publish.
    TrustTokenKeyUnknown => INVALID_WORKLOAD_TOKEN,
    /// The token of the workload is not a JWT, or too long.
    TrustTokenMalformed => INVALID_WORKLOAD_TOKEN,
    /// The token is an ID token of a user, or its subject has signed in as a user.
    TrustTokenOfUser => INVALID_WORKLOAD_TOKEN,
    /// The token of the workload was already used.
    TrustTokenReplayed => INVALID_WORKLOAD_TOKEN,
    /// The token of the workload is valid for more than a day.
    TrustTokenTooLong => INVALID_WORKLOAD_TOKEN,
    /// The user code is malformed, unknown or expired.
    UserCodeWrong => invalid_request(
        "The code is wrong or has expired. Check the code that the device shows.",
    ),
    /// The user was deleted, or belongs to no organization.
    UserDeleted => CODE_INVALID,
    /// An administrator or the operator disabled the user.
    UserDisabled => FORBIDDEN_USER,
    /// `[gate]` allows neither the caller nor the user on whose behalf it acts, or denies one of
    /// them.
    UserForbidden => FORBIDDEN_USER,
    /// The id of a user has a form that no user of this deployment can have.
    UserIdMalformed => invalid_request(
        "The user_id is not valid: send the one that GET /v1/auth/whoami shows for the user, such as usr_ and 26 characters, github| and a number, or that of an issuer; not an email address or the id of a credential.",
    ),
    /// The caller is not a signed-in user.
    UserRequired => insufficient_scope(
        "Only a signed-in user is allowed to do this: send a session, or the access token from POST /v1/auth/login.",
    ),
    /// The caller is a user without a password.
    UserWithoutPassword => insufficient_scope(
        "Only a user with a password can change it: change it where you sign in.",
    ),
    /// The identity provider's userinfo response is about another user.
    UserinfoSubjectWrong => SIGN_IN_REFUSED,
}

const ACCESS_DENIED: PublicError = PublicError::new(
    StatusCode::BAD_REQUEST,
    "access_denied",
    "Access was denied by the user or by the identity provider.",
);
const CODE_INVALID: PublicError = PublicError::new(
    StatusCode::BAD_REQUEST,
    "invalid_grant",
    "The code is unknown, used or expired, or it was issued for another client_id, redirect_uri, code_verifier or DPoP key. Start again.",
);
const FORBIDDEN_USER: PublicError = PublicError::new(
    StatusCode::FORBIDDEN,
    "forbidden_user",
    "This user is not allowed to use this deployment.",
);
const INVALID_CLIENT: PublicError = unauthenticated_client("The client id or secret is not valid.");
const INVALID_ASSERTION: PublicError = unauthenticated_client(
    "The client assertion could not be verified: sign it with a key that is registered for this client, name the key by its kid, and leave out crit and any typ but JWT. A client without keys sends its client_secret, or its client_id alone.",
);
const REPORT_NOT_SIGNED: PublicError = unauthorized(
    "invalid_signature",
    "The report is not signed by GitHub: send the body exactly as it is signed, with the headers Github-Public-Key-Identifier and Github-Public-Key-Signature.",
);
const INVALID_GRANT: PublicError = PublicError::new(
    StatusCode::BAD_REQUEST,
    "invalid_grant",
    "The refresh token is not valid, or was issued to another client or for another key. Sign in again, or exchange the client's credentials again.",
);
const INVALID_WORKLOAD_TOKEN: PublicError = PublicError::new(
    StatusCode::BAD_REQUEST,
    "invalid_grant",
    "The token of the workload is not accepted: it must be current and unused, from a trusted issuer, for the audience of a trust rule alone, and meet that rule. The operator can see why with postern trust try.",
);
const INVALID_TOKEN: PublicError = unauthorized("invalid_token", "The credential is not valid.");
const SESSION_EXPIRED: PublicError =
    unauthorized("session_expired", "The session has expired. Sign in again.");

const SIGN_IN_REFUSED: PublicError =
    invalid_request("The identity provider did not confirm the sign-in. Start again.");

const fn insufficient_scope(description: &'static str) -> PublicError {
    PublicError::new(StatusCode::FORBIDDEN, "insufficient_scope", description)
        .challenging(Challenge::BearerError)
}

const fn invalid_dpop_proof(description: &'static str) -> PublicError {
    PublicError::new(StatusCode::UNAUTHORIZED, "invalid_dpop_proof", description)
        .challenging(Challenge::Dpop)
}

const fn invalid_request(description: &'static str) -> PublicError {
    PublicError::new(StatusCode::BAD_REQUEST, "invalid_request", description)
}

const fn invalid_scope(description: &'static str) -> PublicError {
    PublicError::new(StatusCode::BAD_REQUEST, "invalid_scope", description)
}

const fn unauthenticated_client(description: &'static str) -> PublicError {
    PublicError::new(StatusCode::UNAUTHORIZED, "invalid_client", description)
        .challenging(Challenge::Basic)
}

const fn bad_request(code: &'static str, description: &'static str) -> PublicError {
    PublicError::new(StatusCode::BAD_REQUEST, code, description)
}

const fn invalid_target(description: &'static str) -> PublicError {
    PublicError::new(StatusCode::BAD_REQUEST, "invalid_target", description)
}

const fn not_found(description: &'static str) -> PublicError {
    PublicError::new(StatusCode::NOT_FOUND, "not_found", description)
}

const fn sign_in_unavailable(description: &'static str) -> PublicError {
    PublicError::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", description)
}

const fn unauthorized(code: &'static str, description: &'static str) -> PublicError {
    PublicError::new(StatusCode::UNAUTHORIZED, code, description)
        .challenging(Challenge::BearerError)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn causes_are_in_alphabetical_order() {
        assert!(Refusal::ALL.is_sorted_by(|one, next| one.name() < next.name()));
    }

    #[test]
    fn a_cause_is_logged_under_its_name() {
        for cause in Refusal::ALL {
            assert_eq!(format!("{cause:?}"), cause.name());
        }
    }

    #[test]
    fn no_two_causes_mean_the_same() {
        let meanings: BTreeSet<_> = Refusal::ALL.iter().map(|cause| cause.meaning()).collect();
        assert_eq!(meanings.len(), Refusal::ALL.len());
    }

    /// RFC 6749 §5.2 allows neither quotation marks nor backslashes.
    #[test]
    fn descriptions_are_sentences_that_oauth_allows() {
        for cause in Refusal::ALL {
            let description = cause.public().description;
            let is_allowed = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
            assert!(description.ends_with('.'), "{description}");
            assert!(description.chars().all(is_allowed), "{description}");
        }
    }
}
