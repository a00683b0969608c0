//! The prefixes of user ids. Each source of user ids (an `oidc` or `jwt` provider, a `[[signin]]`,
//! a `[[trust]]`, a platform of an `allowlist`) has a prefix of its own, so that none can assign
//! the id of a user of another.

use super::{Config, ProviderKind, SignInSettings, TrustRule, provider::SenderAllowlist, setting};
use crate::core::{
    error::{Fault, Refusal},
    principal::Role,
    subject::{GITHUB_PREFIX, Subject, SubjectPrefix, platform_prefix},
};

/// A setting whose users have ids from another system.
struct UserIdSource {
    /// Its kind and name, for the sentence that refuses the configuration.
    what: String,
    /// The issuer. Two settings of one issuer name the same users.
    issuer: String,
    prefix: String,
}

impl UserIdSource {
    fn issuer(kind: &str, issuer: &str, prefix: &SubjectPrefix) -> Self {
        let what = format!("the {kind} {issuer:?}");
        Self { what, issuer: issuer.to_owned(), prefix: prefix.as_str().to_owned() }
    }
}

/// Checks that no two sources of user ids have the same prefix, and sets the prefixes of the
/// sign-ins. A user has the same id with a bearer token and with a session, so a sign-in has the
/// prefix of the provider of its issuer.
///
/// # Errors
/// [`Fault::Setting`] with a sentence that names both.
pub(super) fn resolve_prefixes(
    signins: &mut [SignInSettings],
    providers: &[ProviderKind],
    rules: &[TrustRule],
) -> Result<(), Fault> {
    let mut sources = Vec::new();
    for provider in providers {
        match provider {
            ProviderKind::Oidc(oidc) => {
                let source =
                    UserIdSource::issuer("oidc provider", &oidc.issuer, &oidc.subject_prefix);
                add(&mut sources, source)?;
            }
            ProviderKind::Jwt(jwt) => {
                let source = UserIdSource::issuer("jwt provider", &jwt.issuer, &jwt.subject_prefix);
                add(&mut sources, source)?;
            }
            ProviderKind::Allowlist(list) => add_senders(&mut sources, list)?,
            ProviderKind::AccessToken {}
            | ProviderKind::ApiKey {}
            | ProviderKind::Session {}
            | ProviderKind::ServiceToken {}
            | ProviderKind::Runner {}
            | ProviderKind::ConfiguredKeys(_) => {}
        }
    }
    for signin in signins {
        // Every SubjectPrefix differs from that of GitHub's users.
        let SignInSettings::Oidc(oidc) = signin else { continue };
        let known = sources.iter().find(|known| known.issuer == oidc.issuer);
        let inherited = known.map(|known| known.prefix.clone()).unwrap_or_default();
        let prefix = match oidc.subject_prefix.take() {
            Some(given) => given,
            None => SubjectPrefix::try_from(inherited).map_err(Fault::Setting)?,
        };
        add(&mut sources, UserIdSource::issuer("signin", &oidc.issuer, &prefix))?;
        oidc.subject_prefix = Some(prefix);
    }
    for rule in rules {
        let Some(prefix) = rule.subject_prefix() else { continue };
        add(&mut sources, UserIdSource::issuer("trusted issuer", &rule.issuer, prefix))?;
    }
    Ok(())
}

/// Checks that callers can have the ids that `[gate]` lists: users, as where the operator disables
/// one, and machines of ours. A denied id that nobody can have would deny nobody.
pub(super) fn validate_allowed_users(config: &Config) -> Result<(), Fault> {
    let is_impossible = |listed: &&Subject| match listed {
        Subject::External(text) => {
            Subject::parse_user(text.clone()).is_none_or(|user| !config.can_name(&user))
        }
        Subject::Agent(_)
        | Subject::ApiKey(_)
        | Subject::CliToken(_)
        | Subject::ConfiguredKey(_)
        | Subject::Runner(_)
        | Subject::Service(_)
        | Subject::User(_) => false,
    };
    match config.allowed_users.users().find(is_impossible).map(ToString::to_string) {
        None => Ok(()),
        Some(id) => setting(format!(
            "allowed_users and denied_users of [gate]: {id:?} is not the id of a caller: write the \
             user_id that GET /v1/auth/whoami shows, such as usr_ and 26 characters, github| and a \
             number, or that of a configured issuer"
        )),
    }
}

/// Adds the platforms of an allowlist. Several allowlists of one platform name the same senders.
fn add_senders(sources: &mut Vec<UserIdSource>, list: &SenderAllowlist) -> Result<(), Fault> {
    if list.platforms.is_empty() {
        let what = "an allowlist without platforms".to_owned();
        return add(sources, UserIdSource { issuer: what.clone(), what, prefix: String::new() });
    }
    for platform in &list.platforms {
        let prefix = platform_prefix(platform);
        if platform.is_empty() || platform.contains('|') || prefix == GITHUB_PREFIX {
            return setting(format!(
                "a provider: allowlist: the platform {platform:?} must be a name without |, and not \"github\""
            ));
        }
        let what = format!("the allowlist of the platform {platform:?}");
        add(sources, UserIdSource { issuer: what.clone(), what, prefix })?;
    }
    Ok(())
}

fn add(sources: &mut Vec<UserIdSource>, new: UserIdSource) -> Result<(), Fault> {
    for known in sources.iter() {
        let (one, other) = (&known.what, &new.what);
        if known.issuer == new.issuer && known.prefix != new.prefix {
            return setting(format!(
                "{one} and {other} have the same users, but a different subject_prefix: set the same one"
            ));
        }
        if known.issuer != new.issuer && known.prefix == new.prefix {
            return setting(format!(
                "{one} and {other} have the same subject_prefix {:?}, so a user of one could have the id of a user of the other: set another subject_prefix for one of them",
                new.prefix
            ));
        }
    }
    sources.push(new);
    Ok(())
}

impl Config {
    /// Returns the subject of the user `user` of another issuer, whose prefix is `prefix`.
    ///
    /// # Errors
    /// [`Refusal::TokenClaimsInvalid`] if it would read as a subject of ours or of a third issuer.
    pub fn external_subject(&self, prefix: &str, user: &str) -> Result<Subject, Refusal> {
        let text = format!("{prefix}{user}");
        if self.collides_with_another_issuer(prefix, &text) {
            Err(Refusal::TokenClaimsInvalid)
        } else {
            Ok(Subject::External(text))
        }
    }

    /// Returns the role of the users of the `oidc` provider that names `user`: the one with the
    /// longest prefix.
    pub fn issuer_role(&self, user: &Subject) -> Role {
        let text = user.to_string();
        let source = self.providers.iter().filter_map(|provider| match provider {
            ProviderKind::Oidc(oidc) => Some((oidc.subject_prefix.as_str(), oidc.role)),
            ProviderKind::AccessToken {}
            | ProviderKind::ApiKey {}
            | ProviderKind::Session {}
            | ProviderKind::ServiceToken {}
            | ProviderKind::Runner {}
            | ProviderKind::Jwt(_)
            | ProviderKind::ConfiguredKeys(_)
            | ProviderKind::Allowlist(_) => None,
        });
        let source = source.filter(|(prefix, _)| text.starts_with(prefix));
        source.max_by_key(|(prefix, _)| prefix.len()).map_or(Role::User, |(_, role)| role)
    }

    /// Returns the subject of the sender `user` of the messaging platform `platform`.
    ///
    /// # Errors
    /// [`Refusal::SenderUnknown`] if it would read as a subject of ours, of an issuer or of another
    /// platform.
    pub fn sender_subject(&self, platform: &str, user: &str) -> Result<Subject, Refusal> {
        let text = format!("{}{user}", platform_prefix(platform));
        let is_of_issuer =
            self.issuer_prefixes().any(|prefix| !prefix.is_empty() && text.starts_with(prefix));
        let is_reserved = SubjectPrefix::reserved().any(|reserved| text.starts_with(reserved));
        if platform.contains('|') || is_of_issuer || is_reserved {
            Err(Refusal::SenderUnknown)
        } else {
            Ok(Subject::External(text))
        }
    }

    /// Reports whether the user id begins with the prefix of others: with a longer prefix than its
    /// own, or with one of ours.
    fn collides_with_another_issuer(&self, prefix: &str, user_id: &str) -> bool {
        let is_longer = |other: &str| other.len() > prefix.len() && user_id.starts_with(other);
        self.issuer_prefixes().any(is_longer)
            || self.platforms().any(|platform| is_longer(&platform_prefix(platform)))
            || SubjectPrefix::reserved().any(|reserved| user_id.starts_with(reserved))
    }

    /// Reports whether somebody could be the user `user` who was not seen before: a GitHub user, or
    /// a user whom a configured issuer or platform names.
    pub fn can_name(&self, user: &Subject) -> bool {
        let text = user.to_string();
        text.starts_with(GITHUB_PREFIX)
            || self.issuer_prefixes().any(|prefix| text.starts_with(prefix))
            || self.platforms().any(|platform| text.starts_with(&platform_prefix(platform)))
            || self.accepts_all_platforms()
    }

    /// Reports whether an allowlist applies to the senders of all platforms.
    fn accepts_all_platforms(&self) -> bool {
        self.providers.iter().any(|provider| match provider {
            ProviderKind::Allowlist(list) => list.platforms.is_empty(),
            ProviderKind::AccessToken {}
            | ProviderKind::ApiKey {}
            | ProviderKind::Session {}
            | ProviderKind::ServiceToken {}
            | ProviderKind::Runner {}
            | ProviderKind::Oidc(_)
            | ProviderKind::Jwt(_)
            | ProviderKind::ConfiguredKeys(_) => false,
        })
    }

    fn issuer_prefixes(&self) -> impl Iterator<Item = &str> {
        let of_providers = self.providers.iter().filter_map(ProviderKind::subject_prefix);
        let of_signins = self.signins.iter().filter_map(|signin| match signin {
            SignInSettings::Oidc(oidc) => oidc.subject_prefix.as_ref(),
            SignInSettings::Github(_) => None,
        });
        let of_rules = self.trust.iter().filter_map(TrustRule::subject_prefix);
        of_providers.chain(of_signins).chain(of_rules).map(SubjectPrefix::as_str)
    }

    fn platforms(&self) -> impl Iterator<Item = &str> {
        fn of_allowlist(provider: &ProviderKind) -> Option<impl Iterator<Item = &String>> {
            match provider {
                ProviderKind::Allowlist(list) => Some(list.platforms.iter()),
                ProviderKind::AccessToken {}
                | ProviderKind::ApiKey {}
                | ProviderKind::Session {}
                | ProviderKind::ServiceToken {}
                | ProviderKind::Runner {}
                | ProviderKind::Oidc(_)
                | ProviderKind::Jwt(_)
                | ProviderKind::ConfiguredKeys(_) => None,
            }
        }
        self.providers.iter().filter_map(of_allowlist).flatten().map(String::as_str)
    }
}
