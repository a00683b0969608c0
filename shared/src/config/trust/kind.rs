//! The kinds of issuers of workload tokens: what each of them is known to do.

use std::fmt;

use serde::Deserialize;

use super::clause::ClaimPath;
use crate::crypto::jws::JwsAlgorithm;

/// The type of identity assertions (draft-ietf-oauth-identity-assertion-authz-grant §3).
pub const ID_JAG: &str = "oauth-id-jag+jwt";

/// The kind of an issuer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustKind {
    /// AWS: `sts:GetWebIdentityToken`, with one issuer per account.
    Aws,
    /// Microsoft Entra: managed identities and other service principals.
    Azure,
    /// GitHub Actions, on github.com or an own server.
    Github,
    /// GitLab CI, on gitlab.com or an own server.
    Gitlab,
    /// Google Cloud: identity tokens of service accounts.
    Google,
    /// An identity provider of users, whose identity assertions say which apps act for them.
    #[serde(rename = "id_jag")]
    IdJag,
    /// Service accounts of a Kubernetes cluster, EKS, GKE and others.
    Kubernetes,
    /// Any other OpenID provider.
    #[default]
    Oidc,
    /// SPIFFE: JWT-SVIDs of a trust domain.
    Spiffe,
}

/// What tokens of a kind must have, besides what a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindCondition {
    /// The claim.
    pub path: ClaimPath,
    /// What is required of it.
    pub requirement: ClaimRequirement,
}

/// What is required of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimRequirement {
    /// It must be absent.
    Absent,
    /// It must be absent, unless the rule has a clause for it.
    AbsentByDefault,
    /// It must be one of these values, unless the rule has a clause for it.
    OneOfByDefault(&'static [&'static str]),
    /// It must be present.
    Present,
}

impl fmt::Display for ClaimRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent | Self::AbsentByDefault => f.write_str("absent"),
            Self::OneOfByDefault(values) => write!(f, "one of {}", values.join(", ")),
            Self::Present => f.write_str("present"),
        }
    }
}

/// The events of GitHub that only those can cause who can write to the repository, or that run what
/// they wrote.
const GITHUB_EVENTS: [&str; 7] = [
    "deployment",
    "merge_group",
    "push",
    "release",
    "repository_dispatch",
    "schedule",
    "workflow_dispatch",
];
/// The events of GitHub that anybody can cause, without rights in the repository, and that run with
/// the rights of the repository. A `workflow_run` follows a workflow that anybody can have caused.
pub(super) const GITHUB_EVENTS_OF_STRANGERS: [&str; 11] = [
    "discussion",
    "discussion_comment",
    "fork",
    "gollum",
    "issue_comment",
    "issues",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_target",
    "watch",
    "workflow_run",
];
/// The sources of GitLab's pipelines that only members of the project can start. A child pipeline,
/// whose source is `parent_pipeline`, can be that of a merge request.
const GITLAB_SOURCES: [&str; 7] =
    ["api", "pipeline", "push", "schedule", "trigger", "web", "webide"];

impl TrustKind {
    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Google => "google",
            Self::IdJag => "id_jag",
            Self::Kubernetes => "kubernetes",
            Self::Oidc => "oidc",
            Self::Spiffe => "spiffe",
        }
    }

    /// Returns the issuer, if the kind has one.
    pub fn issuer(self) -> Option<&'static str> {
        match self {
            Self::Github => Some("https://token.actions.githubusercontent.com"),
            Self::Gitlab => Some("https://gitlab.com"),
            Self::Google => Some("https://accounts.google.com"),
            Self::Aws
            | Self::Azure
            | Self::IdJag
            | Self::Kubernetes
            | Self::Oidc
            | Self::Spiffe => None,
        }
    }

    /// Returns the kind whose rules the issuer `issuer` needs, if it is a known one: many customers
    /// share these, or their tokens say more than `sub` does.
    pub(super) fn of_issuer(issuer: &str) -> Option<Self> {
        let rest = issuer.strip_prefix("https://")?;
        let host = rest.split('/').next().unwrap_or_default();
        match host {
            "token.actions.githubusercontent.com" => Some(Self::Github),
            "gitlab.com" => Some(Self::Gitlab),
            "accounts.google.com" => Some(Self::Google),
            "login.microsoftonline.com" | "sts.windows.net" => Some(Self::Azure),
            "container.googleapis.com" => Some(Self::Kubernetes),
            _ if host.ends_with(".tokens.sts.global.api.aws") => Some(Self::Aws),
            _ if host.starts_with("oidc.eks.") => Some(Self::Kubernetes),
            _ => None,
        }
    }

    /// Returns the algorithms with which the issuer signs.
    pub fn algorithms(self) -> &'static [JwsAlgorithm] {
        match self {
            Self::Azure | Self::Github | Self::Gitlab | Self::Google => &[JwsAlgorithm::RS256],
            Self::Aws => &[JwsAlgorithm::RS256, JwsAlgorithm::ES384],
            Self::IdJag | Self::Kubernetes | Self::Oidc | Self::Spiffe => &JwsAlgorithm::ASYMMETRIC,
        }
    }

    /// Returns the types that a token can have, in lower case. It can also have none, unless it is
    /// an identity assertion.
    pub fn types(self) -> &'static [&'static str] {
        match self {
            Self::IdJag => &[ID_JAG],
            Self::Spiffe => &["jwt", "jose"], // JWT-SVID §3
            Self::Aws
            | Self::Azure
            | Self::Github
            | Self::Gitlab
            | Self::Google
            | Self::Kubernetes
            | Self::Oidc => &["jwt"],
        }
    }

    /// Returns the claim by which a rule should say whose tokens it is about.
    pub fn identifying_claim(self) -> &'static str {
        match self {
            Self::Azure => "oid",
            Self::IdJag => "client_id",
            Self::Github => "repository_id",
            Self::Gitlab => "project_id",
            Self::Aws | Self::Google | Self::Kubernetes | Self::Oidc | Self::Spiffe => "sub",
        }
    }

    /// Returns what its tokens must have, besides what a rule says.
    pub fn conditions(self) -> Vec<KindCondition> {
        let (path, requirement) = match self {
            // Others choose what runs for other events, or when.
            Self::Github => {
                (ClaimPath::of("event_name"), ClaimRequirement::OneOfByDefault(&GITHUB_EVENTS))
            }
            Self::Gitlab => (
                ClaimPath::of("pipeline_source"),
                ClaimRequirement::OneOfByDefault(&GITLAB_SOURCES),
            ),
            // Tokens that are bound to nothing do not have it, and never expire.
            Self::Kubernetes => (
                ClaimPath::nested(&["kubernetes.io", "serviceaccount", "name"]),
                ClaimRequirement::Present,
            ),
            // What a user has delegated to an application.
            Self::Azure => (ClaimPath::of("scp"), ClaimRequirement::Absent),
            // An account of a person in a Google Workspace.
            Self::Google => (ClaimPath::of("hd"), ClaimRequirement::Absent),
            Self::IdJag => return of_identity_assertions(),
            Self::Aws | Self::Oidc | Self::Spiffe => return Vec::new(),
        };
        vec![KindCondition { path, requirement }]
    }
}

/// Returns what identity assertions must have. Members that would limit the grant, or say that
/// somebody else acts, are not supported; with `tenant`, `sub` is unique only within a tenant.
fn of_identity_assertions() -> Vec<KindCondition> {
    let conditions = [
        ("act", ClaimRequirement::Absent),
        ("authorization_details", ClaimRequirement::Absent),
        ("client_id", ClaimRequirement::Present),
        ("iat", ClaimRequirement::Present),
        ("jti", ClaimRequirement::Present),
        ("tenant", ClaimRequirement::AbsentByDefault),
    ];
    let of = |(name, requirement)| KindCondition { path: ClaimPath::of(name), requirement };
    conditions.map(of).into()
}
