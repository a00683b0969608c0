//! What is wrong with rules that are well formed: strangers could meet them, nobody can, or two of
//! them disagree.

use std::fmt;

use jiff::SignedDuration;
use serde::Deserialize;

use super::{
    RuleName, SPIFFE, TrustKind, TrustRule,
    claim_pattern::{AcceptedValues, ClaimPattern},
    clause::ClaimPath,
    kind::{ClaimRequirement, GITHUB_EVENTS_OF_STRANGERS, KindCondition},
};
use crate::{
    config::{Lifetimes, parse},
    core::error::Fault,
};

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFinding {
    /// The rule.
    pub rule: RuleName,
    /// What is wrong with it, and what to do.
    pub sentence: String,
}

impl fmt::Display for TrustFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[[trust]] {:?}: {}", self.rule.as_str(), self.sentence)
    }
}

/// The rules of a file, and what limits them, without its other settings.
#[derive(Deserialize)]
struct TrustRules {
    #[serde(default)]
    trust: Vec<TrustRule>,
    #[serde(default)]
    lifetimes: Lifetimes,
}

/// Returns what is wrong with the rules of a `postern.toml`, and how many there are.
///
/// # Errors
/// [`Fault::Setting`] if the file cannot be parsed.
pub fn lint_file(toml: &str) -> Result<(Vec<TrustFinding>, usize), Fault> {
    let TrustRules { trust, lifetimes } = parse(toml)?;
    Ok((lint(&trust, &lifetimes), trust.len()))
}

/// Returns what is wrong with `rules`. Disabled ones are checked too: they are enabled in a hurry.
pub(super) fn lint(rules: &[TrustRule], lifetimes: &Lifetimes) -> Vec<TrustFinding> {
    let mut findings = Vec::new();
    let longest = lifetimes.access_token;
    for (at, rule) in rules.iter().enumerate() {
        let earlier = &rules[..at];
        let covering = earlier.iter().find(|earlier| covers(earlier, rule));
        let overlapping = earlier.iter().filter_map(|earlier| overlap(earlier, rule, longest));
        let of_earlier: Vec<_> = match covering {
            Some(covering) => vec![never_decides(covering)],
            None => overlapping.collect(),
        };
        findings.extend(
            of_rule(rule)
                .into_iter()
                .chain(of_earlier)
                .map(|sentence| TrustFinding { rule: rule.name.clone(), sentence }),
        );
    }
    findings
}

/// Audiences for which every workload has tokens that are meant for others.
const AUDIENCES_OF_OTHERS: [&str; 4] = [
    "api://AzureADTokenExchange",
    "https://kubernetes.default.svc",
    "https://kubernetes.default.svc.cluster.local",
    "sts.amazonaws.com",
];

fn of_rule(rule: &TrustRule) -> Vec<String> {
    let mut found = Vec::new();
    if rule.audience.is_empty() {
        found.push("audience is empty: set it to the URL of this deployment".into());
    }
    if AUDIENCES_OF_OTHERS.contains(&rule.audience.as_str())
        || rule.audience.starts_with("https://github.com/")
    {
        found.push(format!(
            "tokens for the audience {:?} are sent to others, who could use them here: have the \
             workload request tokens for the URL of this deployment",
            rule.audience
        ));
    }
    match TrustKind::of_issuer(&rule.issuer) {
        Some(kind) if kind != rule.kind && !rule.is_about_users() => found.push(format!(
            "the issuer {:?} needs kind = {:?}, which knows what is safe to match",
            rule.issuer,
            kind.name()
        )),
        Some(_) | None => {}
    }
    for (path, values) in rule.clauses.iter() {
        if let Some(pattern) = values.patterns().iter().find(|pattern| pattern.is_unspecific()) {
            found.push(format!(
                "{path} = {:?} matches every value: write those that may match, or remove it",
                pattern.as_str()
            ));
        }
    }
    if rule.clauses.is_empty() {
        found.push(format!(
            "match is empty, so every token of the issuer would match: match {}, with an exact value",
            rule.kind.identifying_claim()
        ));
        return found;
    }
    must_be_absent(rule, &mut found);
    match rule.kind {
        TrustKind::Aws => aws(rule, &mut found),
        TrustKind::Azure => azure(rule, &mut found),
        TrustKind::Github => github(rule, &mut found),
        TrustKind::Gitlab => gitlab(rule, &mut found),
        TrustKind::Google => google(rule, &mut found),
        TrustKind::IdJag => id_jag(rule, &mut found),
        TrustKind::Kubernetes => kubernetes(rule, &mut found),
        TrustKind::Oidc => oidc(rule, &mut found),
        TrustKind::Spiffe => spiffe(rule, &mut found),
    }
    found
}

/// Returns what a rule accepts for a claim.
fn accepted<'r>(rule: &'r TrustRule, members: &[&str]) -> Option<&'r AcceptedValues> {
    rule.clauses.get(&ClaimPath::nested(members))
}

/// Reports whether a rule names exact values of a claim.
fn is_exact(rule: &TrustRule, claim: &str) -> bool {
    accepted(rule, &[claim]).is_some_and(AcceptedValues::are_exact)
}

/// Reports whether `is_pinned` holds for every value of `sub` that a rule accepts.
fn is_subject_pinned(rule: &TrustRule, is_pinned: impl Fn(&str) -> bool) -> bool {
    accepted(rule, &["sub"])
        .is_some_and(|subjects| subjects.patterns().iter().all(|one| is_pinned(one.as_str())))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Finds clauses for claims that tokens of the kind must not have.
fn must_be_absent(rule: &TrustRule, found: &mut Vec<String>) {
    for KindCondition { path, requirement } in rule.kind.conditions() {
        if requirement == ClaimRequirement::Absent && rule.clauses.get(&path).is_some() {
            found.push(format!(
                "tokens with {path} are of people and never accepted, so no token could match: \
                 remove it"
            ));
        }
    }
}

/// Finds values that no token of GitHub or GitLab has.
fn unmeetable(rule: &TrustRule, ids: &[&str], found: &mut Vec<String>) {
    for (path, values) in rule.clauses.iter() {
        if let Some(one) = values.patterns().iter().find(|one| one.reads_as_regular_expression()) {
            found.push(format!(
                "{path} = {:?} is written as a regular expression, but compared as it is: write * for \
                 one or more characters, such as refs/heads/*",
                one.as_str()
            ));
        }
    }
    for id in ids {
        let values = accepted(rule, &[id]).into_iter().flat_map(AcceptedValues::patterns);
        let is_name = |one: &&ClaimPattern| one.is_exact() && !is_number(one.as_str());
        if let Some(one) = values.into_iter().find(is_name) {
            found.push(format!(
                "{id} is a number, so no token has {:?}: write the number",
                one.as_str()
            ));
        }
    }
}

/// Finds a branch or tag that is not written as GitHub writes it.
fn short_ref(rule: &TrustRule, found: &mut Vec<String>) {
    let is_short = |one: &&ClaimPattern| {
        let prefix = one.exact_prefix();
        !prefix.starts_with("refs/") && (one.is_exact() || !"refs/".starts_with(prefix))
    };
    let refs = accepted(rule, &["ref"]).into_iter().flat_map(AcceptedValues::patterns);
    if let Some(one) =
        refs.into_iter().find(|one| is_short(one) && !one.reads_as_regular_expression())
    {
        found.push(format!(
            "ref is the whole name of a branch or tag, so no token has {0:?}: write \
             \"refs/heads/{0}\" or \"refs/tags/{0}\"",
            one.as_str()
        ));
    }
}

fn github(rule: &TrustRule, found: &mut Vec<String>) {
    unmeetable(rule, &["repository_id", "repository_owner_id", "actor_id"], found);
    short_ref(rule, found);
    // repo:OWNER@ID/REPOSITORY@ID:…, or a template that begins with an id.
    let has_ids = |subject: &str| {
        let owner = subject.strip_prefix("repo:").and_then(|rest| rest.split_once('/'));
        let by_owner = owner.and_then(|(owner, _)| owner.rsplit_once('@'));
        let by_template = ["repository_id:", "repository_owner_id:"]
            .iter()
            .find_map(|name| subject.strip_prefix(name)?.split(':').next());
        by_owner.map(|(_, id)| id).or(by_template).is_some_and(is_number)
    };
    let is_pinned = is_exact(rule, "repository_id")
        || is_exact(rule, "repository_owner_id")
        || is_subject_pinned(rule, has_ids);
    if !is_pinned {
        found.push(
            "any repository could match, or one that takes over a name: match repository_id, or \
             repository_owner_id for all repositories of an owner, with exact numbers"
                .into(),
        );
    }
    let is_of_names =
        |one: &ClaimPattern| one.as_str().starts_with("repo:") && !has_ids(one.as_str());
    if accepted(rule, &["sub"]).is_some_and(|all| all.patterns().iter().any(is_of_names)) {
        found.push(
            "sub has the form from before July 2026, without ids: new, renamed and transferred \
             repositories no longer have it. Match repository_id with ref or environment instead"
                .into(),
        );
    }
    if let Some(events) = accepted(rule, &["event_name"]) {
        found.extend(unsafe_event(events));
    }
    names(rule, &[("actor", "actor_id")], found);
}

/// Says what is wrong with the events that a rule accepts.
fn unsafe_event(events: &AcceptedValues) -> Option<String> {
    if !events.are_exact() {
        return Some("event_name must name exact events".into());
    }
    let event = GITHUB_EVENTS_OF_STRANGERS.into_iter().find(|event| events.accept_text(event))?;
    Some(format!(
        "event_name names {event}, which strangers cause, with rights of the repository: remove it"
    ))
}

fn gitlab(rule: &TrustRule, found: &mut Vec<String>) {
    let ids = ["project_id", "namespace_id", "job_project_id", "job_namespace_id"];
    unmeetable(rule, &[&ids[..], &["user_id"]].concat(), found);
    if !ids.iter().any(|id| is_exact(rule, id)) {
        found.push(
            "any project could match, or one that takes over a path: match project_id, or \
             namespace_id for all projects of a group, with exact numbers"
                .into(),
        );
    }
    if accepted(rule, &["pipeline_source"]).is_some_and(|sources| !sources.are_exact()) {
        found.push("pipeline_source must name exact sources".into());
    }
    names(rule, &[("user_login", "user_id"), ("user_email", "user_id")], found);
}

fn kubernetes(rule: &TrustRule, found: &mut Vec<String>) {
    let is_account = |subject: &str| {
        let account = subject.strip_prefix("system:serviceaccount:");
        account.and_then(|account| account.split_once(':')).is_some_and(|(namespace, name)| {
            !namespace.is_empty() && !namespace.contains('*') && !name.is_empty() && name != "*"
        })
    };
    let member = |names: &[&str]| accepted(rule, &[&["kubernetes.io"], names].concat());
    let is_by_members = member(&["namespace"]).is_some_and(AcceptedValues::are_exact)
        && member(&["serviceaccount", "name"]).is_some();
    let is_whole_namespace = |subject: &str| {
        let namespace = subject
            .strip_prefix("system:serviceaccount:")
            .and_then(|account| account.strip_suffix(":*"));
        namespace.is_some_and(|namespace| !namespace.contains('*'))
    };
    if is_subject_pinned(rule, is_account) || is_by_members {
        return;
    }
    let whose = if is_subject_pinned(rule, is_whole_namespace) {
        "every service account of the namespace could match"
    } else {
        "service accounts of any namespace could match"
    };
    found.push(format!(
        "{whose}: match sub, such as system:serviceaccount:NAMESPACE:NAME, with an exact namespace \
         and a name, or with the beginning of names, such as \
         system:serviceaccount:NAMESPACE:deploy-*"
    ));
}

fn aws(rule: &TrustRule, found: &mut Vec<String>) {
    let is_of_account = |subject: &str| {
        let parts: Vec<_> = subject.splitn(6, ':').collect();
        matches!(parts.as_slice(), ["arn", _, "iam", "", account, name]
            if is_number(account) && name.split('/').next_back().is_some_and(|name| name != "*"))
    };
    if !is_subject_pinned(rule, is_of_account) {
        found.push(
            "every role of the account could match: match sub, such as \
             arn:aws:iam::ACCOUNT:role/NAME, with the exact number of the account"
                .into(),
        );
    }
    let is_chosen =
        |path: &ClaimPath| path.members().get(1).is_some_and(|one| one == "request_tags");
    if rule.clauses.iter().any(|(path, _)| is_chosen(path)) {
        found.push("request_tags say what the caller wants, and prove nothing: remove it".into());
    }
}

fn azure(rule: &TrustRule, found: &mut Vec<String>) {
    if !["oid", "sub", "azp", "appid"].iter().any(|id| is_exact(rule, id)) {
        found.push(
            "every application of the tenant could match: match oid, the object id of the service \
             principal"
                .into(),
        );
    }
    let tenant = rule.issuer.split('/').nth(3).unwrap_or_default();
    if ["common", "consumers", "organizations", "{tenantid}"].contains(&tenant) {
        found.push("the issuer names no tenant: write the id of yours".into());
    }
}

fn google(rule: &TrustRule, found: &mut Vec<String>) {
    if !is_exact(rule, "sub") {
        found.push(
            "any service account could match, or one that takes over an address: match sub, the \
             unique id of the service account"
                .into(),
        );
    }
}

fn spiffe(rule: &TrustRule, found: &mut Vec<String>) {
    let is_workload = |subject: &str| {
        let id = subject.strip_prefix(SPIFFE).and_then(|rest| rest.split_once('/'));
        id.is_some_and(|(domain, path)| {
            !domain.contains('*') && path.split('/').any(|part| !part.is_empty() && part != "*")
        })
    };
    if !is_subject_pinned(rule, is_workload) {
        found.push(
            "any workload could match: match sub, such as spiffe://example.org/ns/prod/sa/deploy, \
             with an exact trust domain"
                .into(),
        );
        return;
    }
    let is_of = |subject: &str, domain: &str| {
        subject
            .strip_prefix(SPIFFE)
            .and_then(|rest| rest.strip_prefix(domain))
            .is_some_and(|path| path.starts_with('/'))
    };
    if let Some(domain) = rule.trust_domain()
        && !is_subject_pinned(rule, |subject| is_of(subject, domain))
    {
        found
            .push(format!("sub is of another trust domain than {domain}, so no token could match"));
    }
}

fn id_jag(rule: &TrustRule, found: &mut Vec<String>) {
    if !is_exact(rule, "client_id") {
        found.push(
            "every app could act for every user of the issuer: match client_id, with the exact ids of \
             the apps"
                .into(),
        );
    }
}

fn oidc(rule: &TrustRule, found: &mut Vec<String>) {
    let identifies = |path: &ClaimPath| {
        let name = path.members().last().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
        name == "sub" || name.ends_with("id")
    };
    if !rule.clauses.iter().any(|(path, values)| identifies(path) && values.are_exact()) {
        found.push(
            "strangers could match: match an exact sub, or the exact id of what the token belongs to, \
             in a claim whose name ends with id"
                .into(),
        );
    }
}

/// Finds names that others can take over, where the issuer has ids.
fn names(rule: &TrustRule, pairs: &[(&str, &str)], found: &mut Vec<String>) {
    for (name, id) in pairs {
        if accepted(rule, &[name]).is_some() && !is_exact(rule, id) {
            found.push(format!("{name} can change hands: match {id} instead"));
        }
    }
}

/// Reports whether every token that meets `later` meets `earlier`, which decides about it.
fn covers(earlier: &TrustRule, later: &TrustRule) -> bool {
    let are_about_the_same = earlier.name != later.name
        && earlier.decides()
        && later.decides()
        && earlier.issuer == later.issuer
        && earlier.audience == later.audience;
    are_about_the_same && earlier.effective_clauses().cover(&later.effective_clauses())
}

fn never_decides(covering: &TrustRule) -> String {
    format!(
        "every token that meets it meets {:?} too, which decides because it is earlier: remove one of \
         them, or put the rule with more clauses first",
        covering.name.as_str()
    )
}

/// Says that `later` grants what `earlier` does not to a token that meets both. The first decides.
/// `longest` is the lifetime of a rule that names none.
fn overlap(earlier: &TrustRule, later: &TrustRule, longest: SignedDuration) -> Option<String> {
    let can_meet_both = earlier.decides()
        && later.decides()
        && earlier.issuer == later.issuer
        && earlier.audience == later.audience
        && !earlier.effective_clauses().exclude(&later.effective_clauses());
    let lifetime = |rule: &TrustRule| rule.lifetime.unwrap_or(longest);
    let is_same = earlier.resource == later.resource
        && earlier.owner == later.owner
        && earlier.scopes.allows_all(&later.scopes);
    let sentence = if !can_meet_both || (is_same && lifetime(earlier) >= lifetime(later)) {
        return None;
    } else if is_same {
        "for a shorter lifetime: put the rule with the longer lifetime first, or match different \
         values of one claim"
    } else {
        "something else: put the rule with more scopes first, or match different values of one claim"
    };
    Some(format!(
        "a token can meet {:?} too, which decides because it is earlier, and grants {sentence}",
        earlier.name.as_str()
    ))
}
