//! Rules in `[[trust]]` that the start accepts, and those that it refuses because strangers could
//! meet them, nobody can, or two of them disagree.

use postern::config::{Config, trust::claim_pattern::ClaimPattern};
use proptest::prelude::*;
use regex::Regex;

use super::settings::variables;

const AGENT: &str = "agent = \"agt_01h455vb4pex5vsknk084sn02q\"";
const WORKLOAD: &str =
    "organization = \"org_01h455vb4pex5vsknk084sn02q\"\nsubject_prefix = \"ci|\"";
const CLUSTER: &str = "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC";
const ACCOUNT: &str = "https://a1.tokens.sts.global.api.aws";
const TENANT: &str = "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0";

/// Returns a rule with these members besides its name, its agent and what it grants.
fn rule(name: &str, members: &str) -> String {
    format!(
        "[[trust]]\nname = \"{name}\"\naudience = \"https://auth.example.com\"\n{AGENT}\n\
         scopes = [\"deploy:write\"]\n{members}\n"
    )
}

/// Returns a rule of a kind about this issuer, with these clauses.
fn of_kind(kind: &str, issuer: &str, clauses: &str) -> String {
    let issuer = if issuer.is_empty() { String::new() } else { format!("issuer = \"{issuer}\"\n") };
    rule("a", &format!("kind = \"{kind}\"\n{issuer}match = {{ {clauses} }}"))
}

#[track_caller]
fn accepted(toml: &str) {
    Config::from_settings(&variables(&[]), toml).unwrap_or_else(|fault| panic!("{toml}: {fault}"));
}

/// Expects that the start refuses a file with a sentence that contains `part`.
#[track_caller]
fn refused(toml: &str, part: &str) {
    let message = Config::from_settings(&variables(&[]), toml).expect_err(toml).to_string();
    assert!(message.contains(part), "{toml}: {message}");
}

#[test]
fn rules_that_pin_what_nobody_else_can_have_are_accepted() {
    for (kind, issuer, clauses) in [
        ("github", "", "repository_id = \"456\", ref = \"refs/heads/main\""),
        ("github", "", "repository_owner_id = 123, environment = [\"production\", \"staging\"]"),
        ("github", "", "sub = \"repo:octo@123/my-repo@456:ref:refs/heads/main\""),
        ("github", "", "sub = \"repo:*@123/*@456:environment:production\""),
        ("github", "", "sub = \"repository_owner_id:123:repository_id:456\""),
        ("github", "", "repository_id = 4, event_name = [\"push\", \"pull_request\"]"),
        (
            "github",
            "",
            "repository_owner_id = 1, job_workflow_ref = \"octo/ci/.github/workflows/deploy.yml@refs/heads/*\"",
        ),
        ("github", "https://ghes.example/_services/token", "repository_id = \"4\""),
        ("gitlab", "", "project_id = \"22\", ref = \"main\", ref_protected = true"),
        ("gitlab", "https://gitlab.example", "namespace_id = 7"),
        ("kubernetes", CLUSTER, "sub = \"system:serviceaccount:prod:deploy\""),
        ("kubernetes", CLUSTER, "sub = \"system:serviceaccount:prod:deploy-*\""),
        (
            "kubernetes",
            CLUSTER,
            "\"/kubernetes.io/namespace\" = \"prod\", \"/kubernetes.io/serviceaccount/name\" = \"a\"",
        ),
        ("aws", ACCOUNT, "sub = \"arn:aws:iam::123456789012:role/Deploy\""),
        (
            "aws",
            ACCOUNT,
            "sub = \"arn:aws:iam::123456789012:role/ci-*\", \"/https:~1~1sts.amazonaws.com~1/org_id\" = \"o-1\"",
        ),
        ("azure", TENANT, "oid = \"9b1a\""),
        ("google", "", "sub = \"112233445566778899001\""),
        ("spiffe", "https://oidc.example", "sub = \"spiffe://example.org/ns/prod/sa/*\""),
        ("oidc", "https://ci.example", "sub = \"job\", \"/nested/claim\" = \"x-*\""),
        ("oidc", "https://ci.example", "\"/job/project_id\" = 7, sub = \"job-*\""),
        ("oidc", "https://ci.example", "repositoryUuid = \"{a}\""),
    ] {
        accepted(&of_kind(kind, issuer, clauses));
    }
    let members = "kind = \"spiffe\"\nissuer = \"spiffe://example.org\"\n\
                   jwks_url = \"https://bundle.example/\"\nlifetime = 900\nmode = \"audit\"\n\
                   match = { sub = \"spiffe://example.org/deploy\" }";
    accepted(&rule("svid", members));
}

#[test]
fn rules_that_strangers_could_meet_are_refused() {
    let any_repository = "any repository could match";
    let any_project = "any project could match";
    let any_namespace = "service accounts of any namespace could match";
    let any_role = "every role of the account could match";
    let any_workload = "any workload could match";
    let events = "event_name must name exact events";
    let of_strangers = "which strangers cause, with rights of the repository: remove it";
    for (kind, issuer, clauses, part) in [
        ("github", "", "", "would match: match repository_id, with an exact value"),
        ("kubernetes", CLUSTER, "", "would match: match sub, with an exact value"),
        ("github", "", "ref = \"refs/heads/main\"", any_repository),
        ("github", "", "environment = \"production\"", any_repository),
        ("github", "", "repository = \"octo/my-repo\"", any_repository),
        ("github", "", "repository_owner = \"octo\"", any_repository),
        ("github", "", "repository_id = \"45*\"", any_repository),
        ("github", "", "repository_id = \"*\"", "repository_id = \"*\" matches every value"),
        (
            "github",
            "",
            "job_workflow_ref = \"octo/ci/.github/workflows/a.yml@refs/heads/main\"",
            any_repository,
        ),
        ("github", "", "sub = \"repo:octo/my-repo:ref:refs/heads/main\"", any_repository),
        (
            "github",
            "",
            "repository_id = 4, sub = \"repo:octo/my-repo:ref:refs/heads/main\"",
            "sub has the form from before July 2026",
        ),
        ("github", "", "sub = \"repo:octo@*/my-repo@456:ref:refs/heads/main\"", any_repository),
        ("github", "", "sub = [\"repo:o@1/r@2:ref:a\", \"repo:o/r:ref:a\"]", any_repository),
        ("github", "", "repository_id = 4, event_name = \"pull_request_target\"", of_strangers),
        (
            "github",
            "",
            "repository_id = 4, event_name = [\"push\", \"issue_comment\"]",
            of_strangers,
        ),
        ("github", "", "repository_id = 4, event_name = \"workflow_run\"", of_strangers),
        (
            "github",
            "",
            "repository_id = 4, event_name = [\"push\", \"pull_request_target\"]",
            of_strangers,
        ),
        ("github", "", "repository_id = 4, event_name = \"pull_request*\"", events),
        ("github", "", "repository_id = 4, actor = \"octocat\"", "actor can change hands"),
        ("gitlab", "", "project_path = \"group/project\"", any_project),
        (
            "gitlab",
            "",
            "sub = \"project_path:group/project:ref_type:branch:ref:main\"",
            any_project,
        ),
        ("gitlab", "", "project_id = 7, pipeline_source = \"p*\"", "must name exact sources"),
        ("gitlab", "", "project_id = 7, user_login = \"ada\"", "user_login can change hands"),
        ("kubernetes", CLUSTER, "sub = \"system:serviceaccount:*:deploy\"", any_namespace),
        (
            "kubernetes",
            CLUSTER,
            "sub = \"system:serviceaccount:prod:*\"",
            "every service account of the namespace could match",
        ),
        ("kubernetes", CLUSTER, "\"/kubernetes.io/namespace\" = \"prod\"", any_namespace),
        (
            "aws",
            ACCOUNT,
            "\"/https:~1~1sts.amazonaws.com~1/aws_account\" = \"123456789012\"",
            any_role,
        ),
        ("aws", ACCOUNT, "sub = \"arn:aws:iam::*:role/Deploy\"", any_role),
        ("aws", ACCOUNT, "sub = \"arn:aws:iam::123456789012:role/*\"", any_role),
        (
            "aws",
            ACCOUNT,
            "sub = \"arn:aws:iam::1:role/a\", \"/https:~1~1sts.amazonaws.com~1/request_tags/job\" = \"1\"",
            "request_tags say what the caller wants",
        ),
        ("azure", TENANT, "tid = \"72f9\"", "every application of the tenant could match"),
        (
            "azure",
            "https://login.microsoftonline.com/common/v2.0",
            "oid = \"9b1a\"",
            "the issuer names no tenant",
        ),
        ("google", "", "email = \"ci@project.iam.gserviceaccount.com\"", "any service account"),
        ("spiffe", "https://oidc.example", "sub = \"spiffe://*/deploy\"", any_workload),
        ("spiffe", "https://oidc.example", "sub = \"spiffe://example.org/*\"", any_workload),
        ("spiffe", "https://oidc.example", "aud_kind = \"x\"", any_workload),
        ("oidc", "https://ci.example", "sub = \"job-*\"", "strangers could match"),
        ("oidc", "https://ci.example", "ref = \"refs/heads/main\"", "strangers could match"),
        ("oidc", "https://ci.example", "project_id = \"7*\"", "strangers could match"),
        (
            "oidc",
            "https://token.actions.githubusercontent.com",
            "sub = \"a\"",
            "needs kind = \"github\"",
        ),
        ("oidc", "https://gitlab.com", "sub = \"a\"", "needs kind = \"gitlab\""),
        ("oidc", ACCOUNT, "sub = \"a\"", "needs kind = \"aws\""),
        ("oidc", CLUSTER, "sub = \"a\"", "needs kind = \"kubernetes\""),
        ("oidc", TENANT, "sub = \"a\"", "needs kind = \"azure\""),
    ] {
        refused(&of_kind(kind, issuer, clauses), part);
    }
    for audience in ["", "sts.amazonaws.com", "https://github.com/octo"] {
        let toml = of_kind("github", "", "repository_id = 4");
        refused(&toml.replace("https://auth.example.com", audience), "audience");
    }
}

#[test]
fn rules_that_say_too_little_or_contradict_themselves_are_refused() {
    let good = "issuer = \"https://ci.example\"\nmatch = { sub = \"job\" }";
    accepted(&rule("a", good));
    let issuer = |issuer: &str| good.replace("https://ci.example", issuer);
    for (members, part) in [
        (issuer("http://ci.example"), "issuer must be an https URL"),
        (
            issuer("https://ci.example/.well-known/openid-configuration"),
            "write \"https://ci.example\"",
        ),
        (issuer("https://auth.example.com"), "the issuer is this deployment"),
        (
            format!("kind = \"spiffe\"\n{}", issuer("example.org")),
            "issuer must be a trust domain, such as \"spiffe://example.org\"",
        ),
        (issuer("spiffe://example.org"), "set kind = \"spiffe\""),
        (
            "match = { sub = \"job\" }".into(),
            "the kind oidc needs an issuer: set issuer, or a kind",
        ),
        (
            "kind = \"aws\"\nmatch = { sub = \"job\" }".into(),
            "the kind aws needs an issuer: set issuer",
        ),
        (good.replace("sub", "iss"), "match names iss, which is checked anyway"),
        (good.replace("\"job\"", "[]"), "the list is empty"),
        (good.replace("\"job\"", "\"a**\""), "contains **"),
        (good.replace("\"job\"", "1.5"), "text, a whole number, true, false, or a list"),
        (format!("{good}\nlifetime = 30"), "lifetime is 30; it must be 60 to 3600 seconds"),
        (format!("{good}\nlifetime = 7200"), "lifetime is 7200"),
        (
            format!("{good}\nlifetime = \"5m\""),
            "write seconds without quotation marks, such as 300",
        ),
        (format!("{good}\nlifetime = -1"), "expected a whole number that is not negative"),
        (format!("{good}\nresource = \"https://api.example.com\""), "has no [[resource]]"),
        (format!("{good}\njwks_url = \"http://ci.example/jwks\""), "jwks_url must be an https URL"),
        (format!("{good}\nmode = \"warn\""), "unknown variant `warn`"),
        (format!("{good}\nsubject = \"a\""), "unknown field `subject`"),
        (
            format!("{good}\n{WORKLOAD}"),
            "agent is set together with organization or subject_prefix: keep agent",
        ),
    ] {
        refused(&rule("a", &members), part);
    }
    let without_agent = |with: &str| rule("a", good).replace(AGENT, with);
    accepted(&without_agent(WORKLOAD));
    refused(&without_agent(""), "set agent, for tokens of that agent");
    let without_organization = without_agent("subject_prefix = \"ci|\"");
    refused(&without_organization, "subject_prefix is set without organization");
    let without_prefix = without_agent("organization = \"org_01h455vb4pex5vsknk084sn02q\"");
    refused(&without_prefix, "organization is set without subject_prefix");
    for other in ["my-agent", "agt_123", "org_01h455vb4pex5vsknk084sn02q"] {
        let named = without_agent(&format!("agent = \"{other}\""));
        refused(&named, "write the id of the agent, which is agt_ and 26 characters");
    }
    refused(&without_agent(&WORKLOAD.replace("ci|", "github|")), "cannot begin with");
    refused(&rule("Deploy", good), "a name has 1 to 64 of a-z, 0-9 and -");
    refused(&rule("a", good).replace("[\"deploy:write\"]", "[]"), "it needs at least one scope");
    refused(&rule("a", good).replace("[[trust]]", "[trust]"), "write [[trust]], with two brackets");
    refused(&[rule("a", good), rule("a", good)].concat(), "the name is used twice");
    let other_keys = format!("{good}\njwks_url = \"https://ci.example/jwks\"");
    refused(&[rule("a", good), rule("b", &other_keys)].concat(), "another kind or jwks_url");
    let domain = "kind = \"spiffe\"\nissuer = \"spiffe://example.org\"\n\
                  match = { sub = \"spiffe://example.org/deploy\" }";
    refused(&rule("a", domain), "set jwks_url to the URL of its bundle");
    let other = format!("{}\njwks_url = \"https://b.example/\"", domain.replace("org/", "com/"));
    refused(&rule("a", &other), "sub is of another trust domain");
}

#[test]
fn a_rule_cannot_be_for_tokens_that_are_made_for_people_or_apis() {
    let rule = rule("a", "issuer = \"https://idp.example\"\nmatch = { sub = \"job\" }");
    let signin = "[[signin]]\ntype = \"oidc\"\nname = \"idp\"\nissuer = \"https://idp.example\"\n\
                  client_id = \"postern\"\nallow = [\"*\"]\n";
    let provider = "[[provider]]\ntype = \"oidc\"\nissuer = \"https://idp.example\"\n\
                    audience = \"postern\"\n";
    accepted(&format!("{signin}{rule}"));
    accepted(&format!("{provider}{rule}"));
    let for_client = rule.replace("https://auth.example.com", "postern");
    refused(&format!("{signin}{for_client}"), "it would accept the ID tokens of people");
    refused(&format!("{provider}{for_client}"), "it would accept tokens for an API");
    // The users of an issuer have one prefix, whoever names them.
    let workload = rule.replace(AGENT, WORKLOAD);
    refused(
        &format!("{provider}{workload}"),
        "have the same users, but a different subject_prefix",
    );
    let other = provider.replace("idp.example", "other.example");
    accepted(&format!("{other}{workload}"));
    let taken = other.replace("audience", "subject_prefix = \"ci|\"\naudience");
    refused(&format!("{taken}{workload}"), "have the same subject_prefix \"ci|\"");
}

#[test]
fn of_two_rules_that_a_token_can_meet_the_first_must_grant_no_less() {
    let with = |name: &str, clauses: &str, scopes: &str| {
        let members = format!("kind = \"github\"\nmatch = {{ repository_id = 4, {clauses} }}");
        rule(name, &members).replace("\"deploy:write\"", scopes)
    };
    let wide = || with("wide", "ref = \"refs/heads/main\"", "\"deploy:write\", \"data:read\"");
    let narrow = |clauses: &str| with("narrow", clauses, "\"data:read\"");
    accepted(&[wide(), narrow("ref = \"refs/heads/*\"")].concat());
    let covered = "meets \"wide\" too, which decides because it is earlier: remove one of them";
    for same in ["ref = \"refs/heads/main\"", "ref = \"refs/heads/main\", environment = \"a\""] {
        refused(&[wide(), narrow(same)].concat(), covered);
        refused(&[wide(), narrow(same).replace("deploy:write", "*")].concat(), covered);
    }
    let mode = |mode: &str| narrow("ref = \"refs/heads/main\"") + &format!("mode = \"{mode}\"\n");
    accepted(&[wide(), mode("audit")].concat());
    accepted(&[wide(), mode("disabled")].concat());
    refused(&mode("off"), "mode");
    for overlapping in [
        "ref = \"refs/heads/*\"",
        "ref = \"refs/*/main\"",
        "environment = \"a\"",
        "ref = [\"refs/heads/dev\", \"refs/heads/main\"]",
    ] {
        refused(&[narrow(overlapping), wide()].concat(), "\"narrow\" too, which decides");
    }
    for separate in ["ref = \"refs/heads/release-*\"", "ref = \"refs/tags/*\""] {
        accepted(&[narrow(separate), wide()].concat());
    }
    let overlapping = narrow("ref = \"refs/heads/*\"");
    accepted(&[overlapping.clone() + "mode = \"audit\"\n", wide()].concat());
    accepted(&[overlapping.clone() + "mode = \"disabled\"\n", wide()].concat());
    let other_agent =
        wide().replace("agt_01h455vb4pex5vsknk084sn02q", "agt_01h455vb4pex5vsknk084sn02r");
    let other_agent = other_agent.replace("\"wide\"", "\"other\"");
    let other_agent = other_agent.replace("refs/heads/main", "refs/heads/*");
    refused(&[wide(), other_agent].concat(), "grants something else");
}

#[test]
fn rules_that_only_tokens_of_different_events_meet_do_not_overlap() {
    let of = |kind: &str, name: &str, clauses: &str, scopes: &str| {
        let members = format!("kind = \"{kind}\"\nmatch = {{ {clauses} }}");
        rule(name, &members).replace("deploy:write", scopes)
    };
    for (kind, id, by_default, other) in [
        ("github", "repository_id = 4", "event_name = \"push\"", "event_name = \"pull_request\""),
        (
            "gitlab",
            "project_id = 7",
            "pipeline_source = \"web\"",
            "pipeline_source = \"merge_request_event\"",
        ),
    ] {
        let push = of(kind, "push", id, "deploy:write");
        let with = |clause: &str| of(kind, "pull", &format!("{id}, {clause}"), "data:read");
        accepted(&[push.clone(), with(other)].concat());
        accepted(&[with(other), push.clone()].concat());
        refused(&[push.clone(), with(by_default)].concat(), "meets \"push\" too");
        refused(&[with(by_default), push].concat(), "\"pull\" too, which decides");
    }
}

#[test]
fn of_two_rules_that_a_token_can_meet_the_first_must_grant_it_for_as_long() {
    let with = |name: &str, lifetime: &str| {
        let members = format!("kind = \"github\"\nmatch = {{ repository_id = 4 }}\n{lifetime}");
        rule(name, &members)
    };
    let later = |lifetime: &str| with("b", lifetime).replace("id = 4", "id = [4, 5]");
    let shorter = "grants for a shorter lifetime: put the rule with the longer lifetime first";
    for (first, second, is_refused) in [
        ("lifetime = 60", "", true),
        ("lifetime = 60", "lifetime = 61", true),
        ("lifetime = 61", "lifetime = 60", false),
        ("", "lifetime = 60", false),
        ("lifetime = 3600", "", false),
        ("", "", false),
    ] {
        let toml = [with("a", first), later(second)].concat();
        if is_refused {
            refused(&toml, shorter);
        } else {
            accepted(&toml);
        }
    }
}

#[test]
fn rules_that_nobody_can_meet_are_refused() {
    let number = "is a number, so no token has";
    let expression = "is written as a regular expression";
    let name = "ref is the whole name of a branch or tag";
    for (kind, clauses, part) in [
        ("github", "repository_id = \"octo-org/site\"", number),
        ("github", "repository_id = [\"4\", \"site\"]", number),
        ("github", "repository_owner_id = \"octo-org\"", number),
        ("github", "repository_id = 4, actor = \"a\", actor_id = \"octocat\"", number),
        ("github", "repository_id = 4, ref = \"main\"", "write \"refs/heads/main\""),
        ("github", "repository_id = 4, ref = [\"refs/heads/main\", \"v1\"]", name),
        ("github", "repository_id = 4, ref = \"heads/*\"", name),
        ("github", "repository_id = 4, ref = \"^refs/heads/.*$\"", expression),
        ("github", "repository_id = 4, ref = \"refs/heads/.*\"", expression),
        ("github", "repository_id = 4, environment = \"prod.+\"", expression),
        ("gitlab", "project_id = \"group/project\"", number),
        ("gitlab", "project_id = 7, ref = \"main$\"", expression),
        ("google", "sub = \"1\", hd = \"example.com\"", "tokens with hd are of people"),
    ] {
        refused(&of_kind(kind, "", clauses), part);
    }
    for (kind, clauses) in [
        ("github", "repository_id = 4, ref = \"refs/tags/v1.*\""),
        ("github", "repository_id = 4, ref = \"refs/*/main\""),
        ("github", "repository_id = 4, ref = \"re*/heads/main\""),
        ("github", "repository_id = 4, repository = \"octo-org/site\""),
        ("gitlab", "project_id = 7, ref = \"main\""),
    ] {
        accepted(&of_kind(kind, "", clauses));
    }
}

fn pattern(text: &str) -> ClaimPattern {
    text.to_owned().try_into().unwrap()
}

/// Texts in which separators and repetitions are frequent.
fn text(letters: &'static str) -> impl Strategy<Value = String> {
    let letters: Vec<_> = letters.chars().collect();
    prop::collection::vec(prop::sample::select(letters), 1..10)
        .prop_map(|letters| letters.into_iter().collect())
}

fn pattern_text() -> impl Strategy<Value = String> {
    text("aab/:@**").prop_filter("one star at a time", |text| !text.contains("**"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A pattern accepts what a regular expression does in which a star is `[^/:@]+`.
    #[test]
    fn a_pattern_accepts_what_a_regular_expression_accepts(one in pattern_text(), value in text("aaab/:@")) {
        let parts: Vec<_> = one.split('*').map(regex::escape).collect();
        let expression = Regex::new(&format!("^(?:{})$", parts.join("[^/:@]+"))).unwrap();
        prop_assert_eq!(pattern(&one).accepts(&value), expression.is_match(&value));
    }

    /// Two patterns that accept the same value overlap, in either order.
    #[test]
    fn patterns_that_accept_the_same_value_overlap(one in pattern_text(), other in pattern_text(), value in text("aab/")) {
        let (one, other) = (pattern(&one), pattern(&other));
        prop_assert_eq!(one.overlaps(&other), other.overlaps(&one));
        prop_assert!(one.overlaps(&one));
        if one.accepts(&value) && other.accepts(&value) {
            prop_assert!(one.overlaps(&other));
        }
    }
}
