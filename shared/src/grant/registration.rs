//! Dynamic client registration (RFC 7591), which stores nothing: the client id is what the client
//! said about itself, with a MAC. The same metadata gives the same id, so a user who has allowed a
//! client is not asked again when it registers again.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::throttle;
use crate::{
    config::{Client, ClientMetadataSource, Registration},
    context::Context,
    core::{
        client_kind::ClientKind,
        error::{Error, Fault, Refusal},
        id::ClientId,
        name::Name,
        network::Network,
        redirect_uri::RedirectUri,
    },
    store::counter::Counter,
};

/// Separates the MACs of clients from all other MACs of the same key.
const PURPOSE: &str = "client";
/// The most redirect URIs of a client.
const MOST_REDIRECT_URIS: usize = 5;
/// The most bytes of metadata: they are in URLs and in access tokens.
const LONGEST: usize = 600;
const TAG_LEN: usize = 32;

/// What a client says about itself. Everything else is ignored (RFC 7591 §2).
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RegistrationRequest {
    /// Where the client receives codes.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::NewRedirectUris"))]
    redirect_uris: Option<Vec<Value>>,
    /// The name that users see.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<Name>"))]
    client_name: Option<String>,
}

/// The metadata in the id of a client.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct ClientMetadata {
    /// The name that users see.
    #[cfg_attr(feature = "openapi", schemars(with = "Name"))]
    client_name: String,
    /// Where the client receives codes.
    redirect_uris: Vec<RedirectUri>,
}

/// The response of RFC 7591 §3.2.1.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RegisteredClient {
    /// The id of the client.
    client_id: ClientId,
    #[serde(flatten)]
    metadata: ClientMetadata,
    /// How the client authenticates: not at all.
    token_endpoint_auth_method: &'static str,
    /// The grants that it can use.
    #[cfg_attr(feature = "openapi", schemars(with = "Vec<String>"))]
    grant_types: [&'static str; 2],
    /// The responses that it can get.
    #[cfg_attr(feature = "openapi", schemars(with = "Vec<String>"))]
    response_types: [&'static str; 1],
}

/// The registration of a deployment at which anyone can register a client.
#[derive(Clone, Copy, Debug)]
pub struct OpenRegistration<'c> {
    context: &'c Context,
}

impl<'c> OpenRegistration<'c> {
    /// Returns the registration, if it is open.
    ///
    /// # Errors
    /// [`Refusal::RouteUnknown`], as if there were no such route.
    pub fn of(context: &'c Context) -> Result<Self, Refusal> {
        match context.config.client_policy.registration {
            Registration::Open => Ok(Self { context }),
            Registration::Closed => Err(Refusal::RouteUnknown),
        }
    }

    /// Registers a client, for a caller at `address`.
    ///
    /// # Errors
    /// [`Refusal::ClientMetadataInvalid`], [`Refusal::ClientRedirectUrisInvalid`],
    /// [`Refusal::RequestsTooMany`]; a fault.
    pub async fn register(
        self,
        request: RegistrationRequest,
        address: &str,
    ) -> Result<RegisteredClient, Error> {
        let context = self.context;
        let metadata = metadata(request)?;
        let network = Network::of(address);
        let limit = context.config.throttle.registrations_per_address;
        let counter = Counter { what: "register", whom: network.as_str(), limit };
        throttle::count_request(context, counter, context.clock.now()).await?;
        let json =
            serde_json::to_string(&metadata).map_err(|error| Fault::Serialization(error.into()))?;
        if json.len() > LONGEST {
            let detail = format!(
                "client_name and redirect_uris are too long: use at most {LONGEST} bytes of JSON in total."
            );
            return Err(Error::with_detail(Refusal::ClientMetadataInvalid, detail));
        }
        let tag = context.keyring.sign_for(PURPOSE, &json)?;
        let encoded = BASE64URL.encode([&tag[..], json.as_bytes()].concat());
        Ok(RegisteredClient {
            client_id: ClientId::registered(&encoded),
            metadata,
            token_endpoint_auth_method: "none",
            grant_types: ["authorization_code", "refresh_token"],
            response_types: ["code"],
        })
    }
}

fn metadata(request: RegistrationRequest) -> Result<ClientMetadata, Error> {
    let uris = request.redirect_uris.unwrap_or_default();
    if !(1..=MOST_REDIRECT_URIS).contains(&uris.len()) {
        return Err(Refusal::ClientRedirectUrisInvalid.into());
    }
    let mut redirect_uris = Vec::new();
    for (at, uri) in uris.into_iter().enumerate() {
        let parsed = uri.as_str().map(|uri| RedirectUri::try_from(uri.to_owned()));
        let Some(Ok(uri)) = parsed else {
            let detail = format!(
                "redirect_uris[{at}] is not valid: use an https URL, or an http URL of 127.0.0.1, [::1] or localhost, with a path and without a fragment."
            );
            return Err(Error::with_detail(Refusal::ClientRedirectUrisInvalid, detail));
        };
        redirect_uris.push(uri);
    }
    let client_name = match request.client_name {
        Some(name) => Name::try_from(name).map_err(|_| {
            let detail = "client_name is not valid: use 1 to 100 visible characters.";
            Error::with_detail(Refusal::ClientMetadataInvalid, detail.into())
        })?,
        None => Name::try_from(redirect_uris[0].host().to_owned())?,
    };
    Ok(ClientMetadata { client_name: client_name.into(), redirect_uris })
}

/// Returns the client with this id, if it registered here and clients that did are still accepted.
pub(super) fn find(context: &Context, id: &ClientId) -> Option<Client> {
    let ClientKind::Registered(encoded) = id.kind() else { return None };
    if !context.config.accepts_client(id) {
        return None;
    }
    let bytes = BASE64URL.decode(encoded).ok()?;
    let (tag, json) = bytes.split_first_chunk::<TAG_LEN>()?;
    let json = std::str::from_utf8(json).ok()?;
    if !context.keyring.verifies_for(PURPOSE, json, tag) {
        return None;
    }
    let metadata: ClientMetadata = serde_json::from_str(json).ok()?;
    Some(Client {
        id: id.clone(),
        name: metadata.client_name,
        redirect_uris: metadata.redirect_uris,
        source: ClientMetadataSource::Registration,
        keys: None,
    })
}
