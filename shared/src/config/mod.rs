//! Every setting, parsed once at the start into types. The only reader of the environment.
//!
//! What differs between deployments comes from environment variables, `POSTERN_…`. The structured
//! part is `postern.toml`, which is compiled in as the default. An invalid, unknown or missing
//! setting is an error at startup, which names it, and never means "open".

mod authorizer;
mod clients;
mod deployment;
mod import;
mod leaks;
mod lifetimes;
mod plan;
mod provider;
mod resource;
mod role;
mod rotation_plan;
mod route;
mod secret_ref;
mod signin;
mod tagged;
mod toml_error;
pub mod trust;
mod trusted_proxy;
mod user_ids;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

pub use authorizer::{
    AuthorizerSettings, CacheScope, IdentitySource, IdentitySourcesPlace, UnmatchedRequests,
};
pub use clients::{ClientPolicy, DeniedClient, DocumentHosts, DocumentSource, Registration};
pub use deployment::{AuthorizerAnswer, Deployment, SecretSource, Tables};
pub use import::ImportedForm;
pub use leaks::LeakSettings;
pub(crate) use lifetimes::LONGEST_GRACE;
pub use lifetimes::Lifetimes;
pub use plan::{PlanLimits, QuotaPeriod, UsagePlan};
pub use provider::*;
pub use resource::{ConfiguredAudience, ProtectedResource, ScopeDescription};
pub use role::RoleSettings;
pub(crate) use route::{Applies, LONGEST_POLICY, LONGEST_RESOURCE, LONGEST_STAGE};
pub use route::{RouteAuth, RouteRule};
use secret_ref::SecretRefPlaces;
pub use signin::{
    Client, ClientMetadataSource, GithubSignIn, OidcSignIn, PASSWORD_CLIENT, ResponseMode,
    SignInRules, SignInSettings, Throttle,
};
pub use trust::{TrustKind, TrustOwner, TrustRule};
pub use trusted_proxy::{SECRET_HEADER as PROXY_SECRET_HEADER, TrustedProxy};

use crate::{
    core::{
        credential_header::CredentialHeader,
        error::Fault,
        id::ClientId,
        principal::{AllowedUsers, Role},
        scope::Scopes,
        scope_limit::ScopeLimit,
    },
    credential::TokenPrefix,
    crypto::sign::Algorithm,
    telemetry::FUNCTION_NAME,
};

/// The repository's own `postern.toml`.
pub const DEFAULT: &str = include_str!("../../../postern.toml");

/// The name of [`DEFAULT`] in errors.
const DEFAULT_NAME: &str = "postern.toml";

/// All settings: the members of `postern.toml`, and what the environment adds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The settings of the environment.
    #[serde(skip)]
    pub deployment: Deployment,
    /// Where the file names secrets.
    #[serde(skip)]
    secret_refs_at: SecretRefPlaces,
    /// The prefix of every secret.
    #[serde(default)]
    pub brand: TokenPrefix,
    /// Who can create organizations.
    #[serde(default)]
    pub signup: Signup,
    /// The scopes that limit the credentials and users of organizations that anyone created,
    /// because signup is open.
    #[serde(default = "Scopes::all")]
    pub signup_scopes: Scopes,
    /// Whether the deployment publishes its OpenAPI document, and a page that shows it.
    #[serde(default)]
    pub dev: bool,
    /// The header in which a session is forwarded.
    #[serde(default = "default_session_header")]
    pub session_header: CredentialHeader,
    /// The header of a service token.
    #[serde(default = "default_service_token_header")]
    pub service_token_header: CredentialHeader,
    /// The users who are allowed to use the deployment.
    #[serde(rename = "gate", default)]
    pub allowed_users: AllowedUsers,
    /// The lifetimes of credentials.
    #[serde(default)]
    pub lifetimes: Lifetimes,
    /// The settings for signing tokens.
    #[serde(default)]
    pub signing: SigningSettings,
    /// The ways to authenticate, in the order in which they are tried.
    #[serde(default, rename = "provider")]
    pub providers: Vec<ProviderKind>,
    /// How a gateway attaches the authorizer.
    #[serde(default)]
    pub authorizer: AuthorizerSettings,
    /// The rules of the authorizer; the first match decides.
    #[serde(default, rename = "route")]
    pub routes: Vec<RouteRule>,
    /// The identity providers at which users can sign in.
    #[serde(default, rename = "signin")]
    pub signins: Vec<SignInSettings>,
    /// The settings for agents.
    #[serde(default)]
    pub agents: AgentSettings,
    /// Whose reports of leaked credentials are accepted.
    #[serde(default)]
    pub leaks: LeakSettings,
    /// What the keys of other systems look like, whose digests can be imported.
    #[serde(default, rename = "import")]
    pub imports: Vec<ImportedForm>,
    /// The usage plans of API Gateway, and who is in which.
    #[serde(default, rename = "plan")]
    pub plans: Vec<UsagePlan>,
    /// The tools that users run.
    #[serde(default, rename = "client")]
    pub clients: Vec<Client>,
    /// The clients that are not listed there, and those that are refused.
    #[serde(default, rename = "clients")]
    pub client_policy: ClientPolicy,
    /// The APIs that tokens are for.
    #[serde(default, rename = "resource")]
    pub resources: Vec<ProtectedResource>,
    /// What scopes mean, for people.
    #[serde(default, rename = "scope")]
    pub scopes: Vec<ScopeDescription>,
    /// The scopes of the roles.
    #[serde(default, rename = "role")]
    pub roles: Vec<RoleSettings>,
    /// The limits on failures.
    #[serde(default)]
    pub throttle: Throttle,
    /// The workloads of other issuers that get tokens; the first rule that matches decides.
    #[serde(default)]
    pub trust: Vec<TrustRule>,
}

/// Who can create organizations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signup {
    /// Only the operator.
    #[default]
    Operator,
    /// Anyone.
    Open,
}

/// The settings for agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSettings {
    /// Whether an agent must authenticate to use a refresh token (RFC 6749 §6).
    pub authenticate_refresh: bool,
}

/// The settings for signing tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigningSettings {
    /// The algorithm of new signatures.
    pub algorithm: Algorithm,
}

fn default_session_header() -> CredentialHeader {
    CredentialHeader::from_static("x-postern-session")
}

fn default_service_token_header() -> CredentialHeader {
    CredentialHeader::from_static("x-service-token")
}

impl Config {
    /// Parses the settings in `variables` and in the file that `POSTERN_CONFIG` names.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names the setting.
    pub fn from_variables(variables: &BTreeMap<String, String>) -> Result<Self, Fault> {
        let file = variables.get("POSTERN_CONFIG").filter(|path| !path.is_empty());
        match file {
            None => Self::from_file(variables, DEFAULT, DEFAULT_NAME),
            Some(file) => Self::from_file(variables, &read_file(file)?, file),
        }
    }

    /// Parses the settings in `variables` and `toml`.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names the setting.
    pub fn from_settings(variables: &BTreeMap<String, String>, toml: &str) -> Result<Self, Fault> {
        Self::from_file(variables, toml, DEFAULT_NAME)
    }

    /// Parses the settings in `variables` and `toml`, the text of the file `name`.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names the setting.
    pub fn from_file(
        variables: &BTreeMap<String, String>,
        toml: &str,
        name: &str,
    ) -> Result<Self, Fault> {
        let deployment = Deployment::from_variables(variables)?;
        let config = parse(toml).and_then(|config: Self| config.validated());
        let config = config.and_then(|config| {
            resource::validate_issuer(&config.resources, &deployment.issuer)?;
            trust::validate_issuer(&config.trust, &deployment.issuer)?;
            Ok(config)
        });
        let config = config.map_err(|fault| {
            if let Fault::Setting(sentence) = fault {
                Fault::Setting(format!("{name}: {sentence}"))
            } else {
                fault
            }
        })?;
        let secret_refs_at = SecretRefPlaces::new(name, toml);
        Ok(Self { deployment, secret_refs_at, ..config })
    }

    fn validated(mut self) -> Result<Self, Fault> {
        self.validate()?;
        self.complete()?;
        Ok(self)
    }

    /// Checks what the types of single settings cannot check.
    fn validate(&mut self) -> Result<(), Fault> {
        self.lifetimes.validate()?;
        self.leaks.validate()?;
        import::validate(&self.imports, &self.brand)?;
        plan::validate(&self.plans)?;
        for rule in &self.routes {
            rule.validate()?;
        }
        route::validate_spelling(&self.routes)?;
        route::validate_reachable(&self.routes)?;
        self.authorizer.validate(&self.routes)?;
        provider::validate(&self.providers)?;
        signin::validate(&self.signins)?;
        user_ids::resolve_prefixes(&mut self.signins, &self.providers, &self.trust)?;
        signin::validate_allow(&self.signins)?;
        user_ids::validate_allowed_users(self)?;
        signin::validate_clients(&self.clients)?;
        signin::validate_throttle(&self.throttle)?;
        role::validate(&self.roles)?;
        resource::validate(&self.resources, &self.authorizer)?;
        resource::validate_mcp_rules(&self.resources, &self.routes)?;
        resource::validate_descriptions(&self.scopes)?;
        trust::validate(&self.trust, &self.resources, &self.lifetimes)?;
        trust::validate_audiences(&self.trust, &self.providers, &self.signins)?;
        if self.signup_scopes.is_empty() {
            return setting("signup_scopes needs at least one scope".into());
        }
        if self.session_header == self.service_token_header {
            return setting("session_header and service_token_header are the same header".into());
        }
        Ok(())
    }

    /// Replaces the identity sources of the authorizer by those of the command line.
    ///
    /// # Errors
    /// [`Fault::Setting`] if the rules cannot be applied with them.
    pub fn with_identity_sources(mut self, sources: Vec<IdentitySource>) -> Result<Self, Fault> {
        self.authorizer.identity_sources = sources;
        self.authorizer.identity_sources_place = IdentitySourcesPlace::CommandLine;
        self.authorizer.validate(&self.routes)?;
        resource::validate(&self.resources, &self.authorizer)?;
        Ok(self)
    }

    /// Replaces the issuer.
    ///
    /// # Errors
    /// [`Fault::Setting`] if a resource or the issuer of a rule has its URL.
    pub fn with_issuer(mut self, issuer: &str) -> Result<Self, Fault> {
        resource::validate_issuer(&self.resources, issuer)?;
        trust::validate_issuer(&self.trust, issuer)?;
        issuer.clone_into(&mut self.deployment.issuer);
        Ok(self)
    }

    /// Adds the providers, the client and the roles that exist by default.
    fn complete(&mut self) -> Result<(), Fault> {
        if self.providers.is_empty() {
            self.providers = provider::defaults();
        }
        let client = signin::default_client();
        if self.clients.iter().all(|known| known.id != client.id) {
            self.clients.push(client);
        }
        role::add_default_roles(&mut self.roles)
    }
}

/// Parses the text of a `postern.toml`.
fn parse<T: serde::de::DeserializeOwned>(toml: &str) -> Result<T, Fault> {
    toml::from_str(toml).map_err(|error| Fault::Setting(toml_error::explain(toml, &error)))
}

impl Config {
    /// Returns the `[[client]]` whose id is `id`, unless it is denied.
    pub fn client(&self, id: &ClientId) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == *id && !self.is_denied(id))
    }

    /// Returns the resource that a client means by `text`.
    pub fn resource(&self, text: &str) -> Option<&ProtectedResource> {
        self.resources.iter().find(|resource| resource.uri.is_named_by(text))
    }

    /// Returns the resource that the API with this id, or at this domain name, is.
    pub fn resource_of_api(&self, id: &str, domain: Option<&str>) -> Option<&ProtectedResource> {
        self.resources.iter().find(|resource| resource.is_api(id, domain))
    }

    /// Returns the algorithms of new signatures, the one of `[signing]` first.
    pub fn signing_algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms = vec![self.signing.algorithm];
        for algorithm in self.resources.iter().filter_map(|resource| resource.algorithm) {
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        algorithms
    }

    /// Returns the sign-in whose name is `name`.
    pub fn signin(&self, name: &str) -> Option<&SignInSettings> {
        self.signins.iter().find(|signin| signin.name() == name)
    }

    /// Returns the scopes that a role gives its users in their own organization.
    pub fn role_scopes(&self, role: Role) -> Scopes {
        let settings = self.roles.iter().find(|settings| settings.name == role);
        settings.map(|settings| settings.scopes.clone()).unwrap_or_default()
    }

    /// Returns the scopes of a user with this role, in an organization of open signup within its
    /// limit.
    pub fn user_scopes(&self, role: Role, scope_limit: ScopeLimit) -> Scopes {
        self.limit_scopes(scope_limit, &self.role_scopes(role))
    }

    /// Returns what is left of `scopes` for a credential of an organization that open signup
    /// created, if it is one.
    pub fn limit_scopes(&self, scope_limit: ScopeLimit, scopes: &Scopes) -> Scopes {
        match scope_limit {
            ScopeLimit::Unlimited => scopes.clone(),
            ScopeLimit::SignupScopes => scopes.intersection(&self.signup_scopes),
        }
    }

    /// Returns the `refs` of the deployment's secret that providers use to verify tokens, that
    /// sign-ins use to authenticate our client, and that list the API keys of plans.
    pub fn secret_refs(&self) -> Vec<&str> {
        let named = self.providers.iter().filter_map(|provider| {
            if let ProviderKind::Jwt(jwt) = provider { jwt.secret_ref.as_deref() } else { None }
        });
        let of_plans = self.plans.iter().map(|plan| plan.secret_ref.as_str());
        let of_signins = self.signins.iter().filter_map(SignInSettings::secret_ref);
        named.chain(of_signins).chain(of_plans).collect()
    }
}

/// Returns the environment variables of this process that concern Postern.
pub fn environment_variables() -> BTreeMap<String, String> {
    variables(|name| name.starts_with("POSTERN_") || name == FUNCTION_NAME)
}

/// The environment variables that say how to reach AWS. Credentials are not among them: only the
/// SDK reads those.
#[derive(Clone, Debug, Default)]
pub struct AwsVariables(BTreeMap<String, String>);

impl AwsVariables {
    /// Returns the value of `name`, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Returns the environment variables of this process that say how to reach AWS.
pub fn aws_variables() -> AwsVariables {
    const PREFIXES: [&str; 3] = ["AWS_ENDPOINT_URL", "AWS_REGION", "AWS_USE_"];
    AwsVariables(variables(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix))))
}

#[expect(clippy::disallowed_methods, reason = "the only reader of the environment")]
fn variables(is_wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let wanted = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| is_wanted(name))?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    wanted.collect()
}

/// Reads a file that a setting names.
///
/// # Errors
/// [`Fault::Setting`] if it cannot be read.
pub fn read_file(path: impl AsRef<Path>) -> Result<String, Fault> {
    let path = path.as_ref();
    std::fs::read_to_string(path)
        .map_err(|error| Fault::Setting(format!("cannot read {}: {error}", path.display())))
}

fn setting<T>(sentence: String) -> Result<T, Fault> {
    Err(Fault::Setting(sentence))
}
