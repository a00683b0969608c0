//! Settings: a wrong, unknown or missing one prevents the start with a message that names it, and
//! never means "open".

use std::collections::BTreeMap;

use postern::{
    config::{AuthorizerAnswer, Config, DEFAULT, SecretSource, SignInSettings, Signup},
    core::{clock::Clock, entropy::Entropy},
    crypto::{
        KeyAccess, Keyring,
        secrets::{self, Secrets},
        sign::Algorithm,
    },
};
use serde_json::{Value, json};

pub(super) fn variables(changes: &[(&str, Option<&str>)]) -> BTreeMap<String, String> {
    let mut variables = tests::variables(&[]);
    for (name, value) in changes {
        match value {
            Some(value) => drop(variables.insert((*name).to_owned(), (*value).to_owned())),
            None => drop(variables.remove(*name)),
        }
    }
    variables
}

#[track_caller]
fn assert_stops(changes: &[(&str, Option<&str>)], toml: &str, sentence: &str) {
    let fault = Config::from_settings(&variables(changes), toml).unwrap_err().to_string();
    assert!(fault.contains(sentence), "{fault:?} does not say {sentence:?}");
}

#[test]
fn the_repository_file_equals_the_defaults() {
    let written = Config::from_settings(&variables(&[]), DEFAULT).unwrap();
    let empty = Config::from_settings(&variables(&[]), "").unwrap();
    assert_eq!(format!("{written:?}"), format!("{empty:?}"));
    assert_eq!(
        (written.brand.as_str(), written.signup, written.deployment.authorizer_answer),
        ("pst", Signup::Operator, AuthorizerAnswer::Simple)
    );
    assert_eq!(written.deployment.secret, None);
}

#[test]
fn a_missing_setting_is_named() {
    for name in [
        "POSTERN_ISSUER",
        "POSTERN_KEYS_TABLE",
        "POSTERN_FAMILIES_TABLE",
        "POSTERN_NONCES_TABLE",
        "POSTERN_USES_TABLE",
        "POSTERN_EVENTS_TABLE",
    ] {
        assert_stops(&[(name, None)], "", &format!("{name} must be set"));
        assert_stops(&[(name, Some(""))], "", &format!("{name} must be set"));
    }
}

/// A terminal in which a user calls a deployment can start the local program, too.
#[test]
fn a_variable_of_the_callers_is_not_a_setting_and_prevents_no_start() {
    for name in [
        "POSTERN_AGENT_ID",
        "POSTERN_AGENT_SECRET",
        "POSTERN_API_KEY",
        "POSTERN_HOME",
        "POSTERN_ID_TOKEN",
        "POSTERN_PROFILE",
        "POSTERN_TOKEN",
    ] {
        Config::from_settings(&variables(&[(name, Some("x"))]), "").unwrap();
    }
}

#[test]
fn an_unknown_setting_is_named() {
    assert_stops(&[("POSTERN_ISUER", Some("x"))], "", "POSTERN_ISUER is not a setting");
    assert_stops(&[], "brnad = \"pst\"", "unknown field `brnad`");
    assert_stops(&[], "[lifetimes]\naccess_tokens = 1", "unknown field `access_tokens`");
    assert_stops(&[], "[[provider]]\ntype = \"saml\"", "unknown variant `saml`");
    assert_stops(&[], "[[provider]]\ntype = \"api_key\"\nheader = \"x\"", "unknown field `header`");
    assert_stops(
        &[],
        "[[route]]\nmethod = \"GET\"\npath = \"/x\"\nscope = [\"a\"]",
        "unknown field `scope`",
    );
}

#[test]
fn a_wrong_setting_is_named() {
    for issuer in [
        "auth.example.com",
        "http://auth.example.com",
        "https://auth.example.com/",
        "https://auth.example.com?x",
        "https://auth.example.com#x",
        "ftp://x",
        "https://",
        "http://127.0.0.1.evil.example",
    ] {
        assert_stops(&[("POSTERN_ISSUER", Some(issuer))], "", "POSTERN_ISSUER is");
    }
    assert_stops(&[("POSTERN_LOG", Some("loud"))], "", "POSTERN_LOG is \"loud\"");
    assert_stops(
        &[("POSTERN_AUTHORIZER_ANSWER", Some("yes"))],
        "",
        "POSTERN_AUTHORIZER_ANSWER is \"yes\"",
    );
    assert_stops(
        &[("POSTERN_SECRET_ARN", Some("a")), ("POSTERN_SECRET_FILE", Some("b"))],
        "",
        "are both set",
    );
    for brand in ["p", "pst1", "PST", "toolongbrand", "p_t", ""] {
        assert_stops(&[], &format!("brand = \"{brand}\""), "brand is");
    }
    assert_stops(&[], "signup = \"closed\"", "unknown variant `closed`");
    assert_stops(&[], "[signing]\nalgorithm = \"HS256\"", "unknown variant `HS256`");
    assert_stops(&[], "[signing]\nalgorithm = \"none\"", "unknown variant `none`");
    assert_stops(&[], "brand = 7", "invalid type");
    assert_stops(&[], "brand", "TOML parse error");
}

#[test]
fn a_wrong_proxy_setting_is_named() {
    let digest = "0".repeat(64);
    for secrets in [
        "secret",
        "00",
        &digest.replace('0', "A"),
        &format!("{digest},"),
        &format!("{digest},{digest},{digest}"),
    ] {
        let changes = [("POSTERN_PROXY_SECRET_SHA256", Some(secrets))];
        assert_stops(
            &changes,
            "",
            "POSTERN_PROXY_SECRET_SHA256 must be one or two SHA-256 digests",
        );
    }
    for header in ["X-Forwarded-For", "x-postern-proxy-secret", "a b", "é"] {
        let changes = [
            ("POSTERN_PROXY_SECRET_SHA256", Some(digest.as_str())),
            ("POSTERN_PROXY_ADDRESS_HEADER", Some(header)),
        ];
        assert_stops(&changes, "", "POSTERN_PROXY_ADDRESS_HEADER is");
    }
    // A header alone trusts nobody.
    let alone = [("POSTERN_PROXY_ADDRESS_HEADER", Some("X-Real-IP"))];
    let config = Config::from_settings(&variables(&alone), "").unwrap();
    assert!(config.deployment.trusted_proxy.is_none());
}

#[test]
fn lifetimes_must_keep_their_relations() {
    for (setting, name) in [
        ("access_token = 0", "access_token"),
        ("access_token = 90000", "access_token"),
        ("access_token = -1", "access_token"),
        ("refresh_idle = 3599", "refresh_idle"),
        ("refresh_absolute = 604799", "refresh_absolute"),
        ("refresh_absolute = 9223372036854775807", "refresh_absolute"),
        ("refresh_grace = -1", "refresh_grace"),
        ("refresh_grace = 61", "refresh_grace"),
        ("session_idle = 59", "session_idle"),
        ("service_token = 3601", "service_token"),
        ("download_token = 29", "download_token"),
        ("signature_window = 0", "signature_window"),
        ("revocation_staleness = 1", "revocation_staleness"),
    ] {
        assert_stops(&[], &format!("[lifetimes]\n{setting}"), &format!("lifetimes.{name} is"));
    }
}

fn oidc(issuer: &str, more: &str) -> String {
    format!("[[provider]]\ntype = \"oidc\"\nissuer = \"{issuer}\"\naudience = \"a\"\n{more}\n")
}

fn jwt(more: &str) -> String {
    format!("[[provider]]\ntype = \"jwt\"\nissuer = \"i\"\naudience = \"a\"\n{more}\n")
}

#[test]
fn an_insecure_provider_prevents_the_start() {
    let first = oidc("https://a.example", "");
    assert_stops(
        &[],
        &format!("{first}{}", oidc("https://a.example", "subject_prefix = \"x\"")),
        "is configured twice",
    );
    for issuer in
        ["http://idp.example", "idp.example", "https://user@idp.example", "https://idp.example#x"]
    {
        assert_stops(&[], &oidc(issuer, ""), "oidc: issuer and jwks_url must be https URLs");
    }
    assert_stops(
        &[],
        &oidc("https://a.example", "jwks_url = \"http://a.example/keys\""),
        "https URLs",
    );
    assert_stops(&[], &oidc("https://a.example", "role = \"root\""), "unknown variant `root`");
    assert_stops(
        &[],
        "[[provider]]\ntype = \"oidc\"\nissuer = \"https://a.example\"",
        "missing field `audience`",
    );
}

#[test]
fn a_partner_whose_key_does_not_fit_its_algorithm_prevents_the_start() {
    for more in [
        "algorithm = \"HS256\"",
        "algorithm = \"HS256\"\npublic_key = \"x\"",
        "algorithm = \"HS256\"\nsecret_ref = \"x\"\npublic_key = \"x\"",
        "algorithm = \"RS256\"\nsecret_ref = \"x\"",
    ] {
        assert_stops(
            &[],
            &jwt(more),
            "jwt: HS256, HS384 and HS512 require secret_ref; all others require public_key",
        );
    }
    assert_stops(&[], &jwt("algorithm = \"none\""), "unknown variant `none`");
    assert_stops(
        &[],
        &jwt("algorithm = \"HS256\"\nsecret_ref = \"x\"\nscopes_claim = \"scope\""),
        "jwt: scopes_claim requires scopes",
    );
}

#[test]
fn a_reserved_or_unsound_prefix_prevents_the_start() {
    let signin = |more: &str| {
        format!(
            "[[signin]]\ntype = \"oidc\"\nname = \"a\"\nissuer = \"https://a.example\"\n\
             client_id = \"c\"\nallow = []\n{more}\n"
        )
    };
    for reserved in ["usr_", "usr_1", "key_", "agt_", "apikey_", "github|", "ses_"] {
        let prefix = format!("subject_prefix = \"{reserved}\"");
        let of_jwt = format!("algorithm = \"HS256\"\nsecret_ref = \"x\"\n{prefix}");
        for toml in [oidc("https://a.example", &prefix), jwt(&of_jwt), signin(&prefix)] {
            assert_stops(&[], &toml, "a subject_prefix cannot begin with");
        }
    }
    for unsound in ["a".repeat(46), "a\\nb".to_owned()] {
        let toml = oidc("https://a.example", &format!("subject_prefix = \"{unsound}\""));
        assert_stops(
            &[],
            &toml,
            "a subject_prefix has at most 45 bytes, and no control characters",
        );
    }
}

#[test]
fn keys_or_senders_that_admit_nobody_prevent_the_start() {
    assert_stops(
        &[],
        "[[provider]]\ntype = \"configured_keys\"\nsha256 = []",
        "no caller could authenticate",
    );
    assert_stops(
        &[],
        "[[provider]]\ntype = \"configured_keys\"\nsha256 = [\"sk-my-secret\"]",
        "64 lowercase hexadecimal digits",
    );
    assert_stops(
        &[],
        "[[provider]]\ntype = \"allowlist\"\nuser_ids = []",
        "no sender could be allowed",
    );
}

#[test]
fn a_header_or_a_rule_with_another_meaning_prevents_the_start() {
    let with_header = format!(
        "[[provider]]\ntype = \"configured_keys\"\nsha256 = [\"{}\"]\nheader = \"Cookie\"",
        "0".repeat(64)
    );
    assert_stops(&[], &with_header, "header: ");
    assert_stops(&[], &with_header, "a valid header name without another meaning");
    assert_stops(
        &[],
        "session_header = \"X-A\"\nservice_token_header = \"x-a\"",
        "are the same header",
    );
    for rule in [
        "method = \"GET\"\npath = \"$connect\"",
        "method = \"CONNECT\"\npath = \"/x\"",
        "method = \"*\"\npath = \"$connect\"",
    ] {
        assert_stops(
            &[],
            &format!("[[route]]\n{rule}"),
            "the method CONNECT and the path $connect",
        );
    }
    for header in ["Authorization", "X-Api-Key", "X-Cli-Signature", "a b", ""] {
        let setting = format!("session_header = \"{header}\"");
        assert_stops(&[], &setting, &setting);
        assert_stops(&[], &setting, "a valid header name without another meaning");
    }
}

#[test]
fn a_misspelt_gate_prevents_the_start() {
    assert_stops(&[], "[gate]\nallowed_user = [\"ada\"]", "unknown field `allowed_user`");
    assert_stops(&[], "[gate]\nallowed_users = \"ada\"", "invalid type");
}

#[test]
fn two_sources_of_users_cannot_share_a_prefix() {
    let issuer = |table: &str, kind: &str, name: &str, more: &str, prefix: Option<&str>| {
        let prefix = prefix.map_or_else(String::new, |it| format!("subject_prefix = \"{it}\"\n"));
        format!("[[{table}]]\ntype = \"{kind}\"\nissuer = \"{name}\"\n{more}\n{prefix}")
    };
    let oidc = |name: &str, prefix| issuer("provider", "oidc", name, "audience = \"a\"", prefix);
    let jwt = |name: &str, prefix| {
        let more = "audience = \"a\"\nalgorithm = \"HS256\"\nsecret_ref = \"x\"";
        issuer("provider", "jwt", name, more, prefix)
    };
    let signin = |name: &str, prefix| {
        let last = name.trim_end_matches('/').chars().next_back().unwrap();
        let more = format!("name = \"{last}\"\nclient_id = \"c\"\nallow = []");
        issuer("signin", "oidc", name, &more, prefix)
    };
    let senders = |platforms: &str| {
        format!("[[provider]]\ntype = \"allowlist\"\nuser_ids = [\"1\"]\nplatforms = {platforms}\n")
    };
    let (a, b) = ("https://a.example/a", "https://b.example/b");
    for prefix in [None, Some(""), Some("p|")] {
        for (one, other, kinds) in [
            (oidc(a, prefix), oidc(b, prefix), ["oidc provider", "oidc provider"]),
            (oidc(a, prefix), jwt(b, prefix), ["oidc provider", "jwt provider"]),
            (jwt(a, prefix), jwt(b, prefix), ["jwt provider", "jwt provider"]),
            (oidc(a, prefix), signin(b, prefix), ["oidc provider", "signin"]),
            (jwt(a, prefix), signin(b, prefix), ["jwt provider", "signin"]),
            (signin(a, prefix), signin(b, prefix), ["signin", "signin"]),
        ] {
            let both = format!("{one}{other}");
            for named in [format!("the {} \"{a}\"", kinds[0]), format!("the {} \"{b}\"", kinds[1])]
            {
                assert_stops(&[], &both, &named);
            }
            assert_stops(&[], &both, "have the same subject_prefix");
            assert_stops(&[], &format!("{other}{one}"), "have the same subject_prefix");
        }
    }
    // Issuers that differ only in a slash are two.
    let slash = format!("{a}/");
    assert_stops(&[], &format!("{}{}", oidc(a, None), signin(&slash, None)), "have the same");
    // Senders of messages are users too.
    let telegram = senders("[\"telegram\"]");
    assert_stops(&[], &format!("{telegram}{}", jwt(a, Some("telegram|"))), "have the same");
    assert_stops(&[], &format!("{}{}", senders("[]"), oidc(a, None)), "without platforms");
    for platform in ["github", "a|b", ""] {
        assert_stops(&[], &senders(&format!("[\"{platform}\"]")), "must be a name without |");
    }
    // One issuer has one prefix, which a sign-in takes from the provider.
    for other in [Some("y|"), Some("")] {
        let both = format!("{}{}", oidc(a, Some("x|")), signin(a, other));
        assert_stops(&[], &both, "have the same users, but a different subject_prefix");
    }
    let prefix_of_signin = |toml: &str| {
        let config = Config::from_settings(&variables(&[]), toml).unwrap();
        let Some(SignInSettings::Oidc(oidc)) = config.signin("a") else { panic!("a signin") };
        oidc.subject_prefix.as_ref().unwrap().as_str().to_owned()
    };
    for prefix in [None, Some("x|")] {
        let both = format!("{}{}", oidc(a, prefix), signin(a, None));
        assert_eq!(prefix_of_signin(&both), prefix.unwrap_or_default());
    }
    let several = [oidc(a, None), jwt("partner", Some("p|")), signin(a, Some(""))].concat();
    assert_eq!(prefix_of_signin(&format!("{several}{telegram}{telegram}")), "");
}

#[test]
fn a_missing_or_weak_provider_secret_prevents_the_start() {
    use postern::crypto::secrets::Secrets;
    let start = |algorithm: &str, more: &str, secret: Option<Value>| {
        let toml = format!(
            "[[provider]]\ntype = \"jwt\"\nalgorithm = \"{algorithm}\"\nissuer = \"i\"\naudience = \"a\"\n{more}"
        );
        let config =
            Config::from_settings(&variables(&[]), &toml).map_err(|fault| fault.to_string())?;
        let mut secrets = Secrets::default();
        secrets.refs.extend(secret.map(|secret| ("partner".to_owned(), secret)));
        let none = postern::identity_provider::IdentityProviders::new(&config, &secrets).unwrap();
        let started = postern::authn::ProviderChain::new(&config, &secrets, &none);
        started.map(drop).map_err(|fault| fault.to_string())
    };
    let reference = "secret_ref = \"partner\"";
    let named = "postern.toml, line 6: secret_ref = \"partner\": the member \"partner\" of refs in the deployment's secret (in memory: set POSTERN_SECRET_FILE to a file that contains it)";
    let long = Value::from("x".repeat(32));
    assert_eq!(start("HS256", reference, Some(long.clone())), Ok(()));
    assert_eq!(start("HS256", reference, None), Err(format!("{named} is missing: add it")));
    let short = |has: usize, needs: &str| {
        Err(format!("{named} is too short: it has {has} bytes, and {needs}"))
    };
    let weak = short(31, "HS256 needs at least 32");
    assert_eq!(start("HS256", reference, Some("x".repeat(31).into())), weak);
    assert_eq!(start("HS512", reference, Some(long)), short(32, "HS512 needs at least 64"));
    assert!(start("HS256", reference, Some(json!({"keys": [{"kty": "RSA"}]}))).is_err());
    for pem in ["nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        let refused = start("ES256", &format!("public_key = \"\"\"{pem}\"\"\""), None).unwrap_err();
        assert!(refused.contains("the public_key of \"i\""), "{refused}");
    }
}

#[test]
fn an_ambiguous_route_rule_is_refused() {
    assert_stops(&[], "[[route]]\nmethod = \"ANY\"\npath = \"/x\"", "method must be one of");
    assert_stops(&[], "[[route]]\nmethod = \"get\"\npath = \"/x\"", "method must be one of");
    assert_stops(&[], "[[route]]\nmethod = \"GET\"\npath = \"x\"", "must begin with /");
    assert_stops(&[], "[[route]]\nmethod = \"GET\"\npath = \"/a/**/b\"", "** only at its end");
    assert_stops(
        &[],
        "[[route]]\nmethod = \"GET\"\npath = \"/x\"\nauth = \"none\"\nscopes = [\"a\"]",
        "cannot require scopes",
    );
    assert_stops(
        &[],
        "[[route]]\nmethod = \"GET\"\npath = \"/x\"\nauth = \"optional\"",
        "unknown variant `optional`",
    );
    assert_stops(
        &[],
        "[[route]]\nmethod = \"GET\"\npath = \"/x\"\nscopes = [\"A\"]",
        "The scope is not valid",
    );
    assert_stops(&[], "[[route]]\npath = \"/x\"", "missing field `method`");
}

#[test]
fn a_function_that_rotates_keys_needs_all_three_secrets() {
    let signing = ("POSTERN_SIGNING_SECRET_ARN", Some("arn:signing"));
    assert_stops(&[signing], "", "POSTERN_VERIFICATION_KEYS_ARN must be set");
    let verification = ("POSTERN_VERIFICATION_KEYS_ARN", Some("arn:verification"));
    assert_stops(&[signing, verification], "", "POSTERN_PUBLIC_KEYS_ARN must be set");
}

#[test]
fn roles_have_the_scopes_of_the_configuration() {
    use postern::core::{principal::Role, scope::Scopes};
    let orders = "[[role]]\nname = \"user\"\nscopes = [\"orders:read\"]";
    let config = Config::from_settings(&variables(&[]), orders).unwrap();
    assert_eq!(config.role_scopes(Role::User), Scopes::parse("orders:read").unwrap());
    assert_eq!(config.role_scopes(Role::Admin), Scopes::all());
    assert_stops(&[], "[[role]]\nname = \"root\"\nscopes = [\"a\"]", "unknown variant `root`");
    assert_stops(&[], "[[role]]\nname = \"user\"\nscopes = [\"A\"]", "The scope is not valid");
    assert_stops(&[], "[[role]]\nname = \"user\"\nscopes = []", "the role user needs");
    assert_stops(&[], "[[role]]\nname = \"user\"", "missing field `scopes`");
    assert_stops(&[], &format!("{orders}\n{orders}"), "the role user is configured twice");
}

#[test]
fn a_missing_file_is_named() {
    let fault =
        Config::from_variables(&variables(&[("POSTERN_CONFIG", Some("/nowhere/postern.toml"))]))
            .unwrap_err();
    assert!(fault.to_string().contains("cannot read /nowhere/postern.toml"));
}

#[test]
fn loopback_issuers_can_use_plain_http() {
    for issuer in ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"] {
        let config = Config::from_settings(
            &variables(&[("POSTERN_ISSUER", Some(issuer)), ("POSTERN_SECRET_FILE", Some("s"))]),
            "",
        )
        .unwrap();
        assert_eq!(
            (config.deployment.issuer.as_str(), config.deployment.secret),
            (issuer, Some(SecretSource::File("s".into())))
        );
    }
}

/// Returns new secrets of a deployment.
fn generated() -> Secrets {
    let mut secrets = Secrets::default();
    secrets.generate_missing(&[Algorithm::ES256], &Clock::system(), &Entropy::system()).unwrap();
    secrets
}

#[test]
fn an_unusable_secret_prevents_the_start() {
    let good = generated();
    Keyring::new(&good, &[Algorithm::ES256], &Clock::system()).unwrap();

    let mut doubled = good.clone();
    doubled.signing_keys.push(doubled.signing_keys[0].clone());
    let mut swapped = good.clone();
    swapped.signing_keys[0].public_key = generated().signing_keys[0].public_key.clone();
    let mut mislabelled = good.clone();
    mislabelled.signing_keys[0].algorithm = Algorithm::RS256;
    let mut short = good.clone();
    short.refresh_keys[0].key = "c2hvcnQ=".into();
    for (why, secrets) in [
        ("a kid twice", doubled),
        ("another's public key", swapped),
        ("another algorithm", mislabelled),
        ("a short key", short),
    ] {
        assert!(Keyring::new(&secrets, &[Algorithm::ES256], &Clock::system()).is_err(), "{why}");
    }
    let mut misnamed = good.clone();
    misnamed.refresh_keys[0].kid = "key1".into();
    assert!(Keyring::new(&misnamed, &[Algorithm::ES256], &Clock::system()).is_err());
}

#[test]
fn a_keyring_gives_only_the_access_for_which_it_has_keys() {
    let good = generated();
    let ring =
        |secrets: &Secrets| Keyring::new(secrets, &[Algorithm::ES256], &Clock::system()).unwrap();
    let mut half = good.clone();
    half.refresh_keys.clear();
    let empty = ring(&Secrets::default());
    assert!(
        empty.check_access(KeyAccess::Nothing).is_ok()
            && empty.check_access(KeyAccess::Verification).is_err()
    );
    assert!(
        ring(&half).check_access(KeyAccess::Verification).is_ok()
            && ring(&half).check_access(KeyAccess::Signing).is_err()
    );
    assert!(
        ring(&good.verification(&[])).check_access(KeyAccess::Signing).is_err()
            && ring(&good).check_access(KeyAccess::Signing).is_ok()
    );

    let verifier =
        Keyring::new(&good.verification(&[]), &[Algorithm::ES256], &Clock::system()).unwrap();
    assert!(
        verifier.signing_key(None).is_err()
            && verifier.current_refresh_kid().is_err()
            && verifier.verifying_keys().len() == 1
    );
}

#[test]
fn a_secret_is_not_printed_and_is_read_with_a_byte_order_mark() {
    let json = serde_json::to_string(&generated().verification(&[])).unwrap();
    assert!(!json.contains("private_key") && !json.contains("refresh_keys"));

    let hidden = r#"{"signing_keys": "hunter2"}"#;
    let fault = secrets::parse(hidden).unwrap_err().to_string();
    assert!(!fault.contains("hunter2") && fault.contains("line 1"), "{fault}");
    // Some editors write a byte order mark.
    secrets::parse(&format!("\u{feff}{json}")).unwrap();
    let marked = "\u{feff}brand = \"abc\"";
    assert!(Config::from_settings(&variables(&[]), marked).is_ok());
}

#[test]
fn rules_that_spell_a_path_differently_stop_the_start() {
    for (first, second) in [
        ("/admin/x", "/Admin/y"),
        ("/admin", "/ADMIN/**"),
        ("/v1/admin.", "/v1/admin/*"),
        ("/*/Reports", "/*/reports"),
    ] {
        let rule = |path| format!("[[route]]\nmethod = \"GET\"\npath = \"{path}\"\n");
        let sentence = format!("for {first} and {second} spell the same path differently");
        assert_stops(&[], &[rule(first), rule(second)].concat(), &sentence);
    }
    let rule = |path| format!("[[route]]\nmethod = \"GET\"\npath = \"{path}\"\n");
    Config::from_settings(&variables(&[]), &[rule("/Admin/x"), rule("/Admin/y")].concat()).unwrap();
}

/// What such a rule requires would never apply.
#[test]
fn a_rule_that_never_applies_stops_the_start_and_both_are_named() {
    let rules = |rules: &[(&str, &str)]| {
        let rules = rules.iter().map(|(method, path)| {
            format!("[[route]]\nmethod = \"{method}\"\npath = \"{path}\"\nscopes = [\"a\"]\n")
        });
        rules.collect::<String>()
    };
    for (given, sentence) in [
        (
            &[("*", "/**"), ("GET", "/admin/**")][..],
            "the rule GET /admin/** never applies, because * /** comes before it and matches all its requests: move the rule GET /admin/** before it, or remove it",
        ),
        (&[("GET", "/a/*"), ("GET", "/a/b")], "GET /a/b never applies, because GET /a/* comes"),
        (&[("GET", "/a/**"), ("HEAD", "/a")], "HEAD /a never applies, because GET /a/** comes"),
        (
            &[("HEAD", "/a"), ("*", "/a/**"), ("GET", "/a")],
            "GET /a never applies, because * /a/** and HEAD /a comes",
        ),
        (&[("GET", "/a"), ("GET", "/a")], "there are two rules GET /a, and only the first applies"),
        (&[("CONNECT", "$connect"), ("CONNECT", "$connect")], "two rules CONNECT $connect"),
    ] {
        assert_stops(&[], &rules(given), sentence);
    }
    for given in [
        &[("GET", "/admin/**"), ("*", "/**")][..],
        &[("GET", "/a/b"), ("GET", "/a/*"), ("GET", "/a/**")],
        &[("GET", "/a/*"), ("GET", "/a/**")],
        &[("HEAD", "/a"), ("GET", "/a")],
        &[("GET", "/a"), ("POST", "/a"), ("*", "/a")],
        &[("*", "/**"), ("CONNECT", "$connect")],
    ] {
        Config::from_settings(&variables(&[]), &rules(given)).unwrap();
    }
}

#[test]
fn an_entry_of_allow_that_admits_nobody_stops_the_start() {
    let start = |kind: &str, more: &str, entry: &str| {
        let toml = format!(
            "[[signin]]\ntype = \"{kind}\"\nname = \"a\"\nclient_id = \"c\"\nallow = [\"*\", \"{entry}\"]\n{more}"
        );
        Config::from_settings(&variables(&[]), &toml).map(drop).map_err(|fault| fault.to_string())
    };
    let issuer = "issuer = \"https://idp.example\"";
    let prefixed = format!("{issuer}\nsubject_prefix = \"idp|\"");
    let domain = "\"@example.com\" for everyone with a verified address there";
    for (kind, more, entry, expected) in [
        ("github", "", "example.com", domain),
        ("github", "", "ada@example.com", domain),
        ("github", "", "octocat", "write \"github|\" and the number that GitHub's API shows"),
        ("github", "", "583231", "write \"github|\" and the number"),
        ("github", "", "github|octocat", "write \"github|\" and the number"),
        ("oidc", issuer, "example.com", domain),
        ("oidc", issuer, "mail.example.com", "\"@mail.example.com\""),
        ("oidc", issuer, "usr_01h455vb4pex5vsknk084sn02q", ": write the sub of the user, or"),
        ("oidc", issuer, "github|7", ": write the sub of the user, or"),
        ("oidc", &prefixed, "ada", "write \"idp|\" and the sub of the user"),
        ("oidc", &prefixed, "example.com", domain),
    ] {
        let message = start(kind, more, entry).unwrap_err();
        let named =
            format!("a signin: {entry:?} in allow of \"a\" is not a user id of this sign-in");
        assert!(message.contains(&named) && message.contains(expected), "{message}");
    }
    for (kind, more, entry) in [
        ("github", "", "github|583231"),
        ("github", "", "@example.com"),
        ("oidc", issuer, "ada"),
        ("oidc", issuer, "john.doe"),
        ("oidc", issuer, "auth0|5f7c8ec7c33c6c004bbafe82"),
        ("oidc", issuer, "ada@example.com"),
        ("oidc", &prefixed, "idp|ada@example.com"),
        ("oidc", &prefixed, "idp|example.com"),
    ] {
        assert_eq!(start(kind, more, entry), Ok(()), "{entry}");
    }
}

#[test]
fn the_error_for_a_duration_or_a_limit_names_its_unit() {
    let seconds =
        "expected a whole number of seconds without quotation marks, such as 3600 for one hour";
    for (toml, sentence) in [
        ("[lifetimes]\naccess_token = \"1h\"", seconds),
        ("[lifetimes]\naccess_token = 1.5", seconds),
        ("[lifetimes]\naccess_token = true", seconds),
        (
            "[lifetimes]\naccess_token = -3600",
            "lifetimes.access_token is -3600; it must be 30 to 86400 seconds",
        ),
        ("[throttle]\nlogin_per_account = \"10\"", "expected a whole number"),
        (
            "[throttle]\nlogin_per_account = -1",
            "throttle.login_per_account is -1; it must be 1 to 100000 in 15 minutes",
        ),
    ] {
        assert_stops(&[], toml, sentence);
    }
}

#[test]
fn the_error_for_a_secret_names_its_setting_and_its_place() {
    use postern::{
        authn::ProviderChain, crypto::secrets::Secrets, identity_provider::IdentityProviders,
    };
    let jwt = "brand = \"pst\"\n[[provider]]\ntype = \"jwt\"\nalgorithm = \"HS256\"\nissuer = \"i\"\naudience = \"a\"\nsecret_ref = \"partner\"";
    let signin =
        "[[signin]]\ntype = \"github\"\nclient_id = \"c\"\nsecret_ref = 'partner'\nallow = []";
    let start = |file: Option<&str>, toml: &str, secret: Option<Value>| {
        let variables = variables(&[("POSTERN_SECRET_FILE", file)]);
        let config = Config::from_settings(&variables, toml).unwrap();
        let mut secrets = Secrets::default();
        secrets.refs.extend(secret.map(|secret| ("partner".to_owned(), secret)));
        let people = IdentityProviders::new(&config, &secrets).map_err(|it| it.to_string())?;
        let chain = ProviderChain::new(&config, &secrets, &people);
        chain.map(drop).map_err(|fault| fault.to_string())
    };
    let named = |line: usize, secret: &str| {
        format!(
            "postern.toml, line {line}: secret_ref = \"partner\": the member \"partner\" of refs in {secret}"
        )
    };
    let default =
        "the deployment's secret (in memory: set POSTERN_SECRET_FILE to a file that contains it)";
    for (file, secret) in [(None, default), (Some("/s.json"), "/s.json")] {
        for (toml, line) in [(jwt, 7), (signin, 4)] {
            let expected = Err(format!("{} is missing: add it", named(line, secret)));
            assert_eq!(start(file, toml, None), expected);
        }
    }
    let short = "is too short: it has 5 bytes, and HS256 needs at least 32";
    let weak = Err(format!("{} {short}", named(7, default)));
    assert_eq!(start(None, jwt, Some("short".into())), weak);
    let empty = Err(format!("{} is empty, or is not text", named(4, default)));
    assert_eq!(start(None, signin, Some("".into())), empty);
    assert_eq!(start(None, signin, Some("s3cret".into())), Ok(()));
}

#[test]
fn rules_that_a_cached_policy_cannot_express_stop_the_start() {
    let rules = |rules: &[(&str, &str, &str)]| {
        let rules = rules.iter().map(|(method, path, rest)| {
            format!("[[route]]\nmethod = \"{method}\"\npath = \"{path}\"\n{rest}\n")
        });
        let rules = rules.collect::<String>();
        format!("{rules}[authorizer]\nidentity_sources = [\"Authorization\"]")
    };
    let (a, b, none) = ("scopes = [\"a\"]", "scopes = [\"b\"]", "auth = \"none\"");
    let paths =
        ["v", "w", "x", "y", "z"].map(|last| format!("/a-long-path-with-many-letters-{last}/**"));
    let long = rules(&paths.each_ref().map(|path| ("*", path.as_str(), a)));
    for (toml, sentence) in [
        (rules(&[("GET", "/v1/*", a)]), "cannot express * in the rule GET /v1/*"),
        (rules(&[("GET", "/x", a), ("GET", "/**", b)]), "GET /x allows more than the rule GET /**"),
        (rules(&[("GET", "/x", none), ("*", "/**", b)]), "GET /x allows more than the rule * /**"),
        (
            rules(&[("GET", "/x/**", ""), ("*", "/x/y", b)]),
            "GET /x/** allows more than the rule * /x/y",
        ),
        (long, "5 rules are too many"),
        (
            rules(&[("PUT", &format!("{}/**", "/1234567".repeat(55)), a)]),
            "is too long for a policy",
        ),
    ] {
        assert_stops(&[], &toml, sentence);
    }
    for toml in [
        rules(&[]),
        rules(&[("GET", "/x", "scopes = [\"a\", \"b\"]"), ("GET", "/**", b)]),
        rules(&[("GET", "/x/**", a), ("*", "/x/y", a)]),
        rules(&[("GET", "/x", a), ("POST", "/x", b)]),
        rules(&[("CONNECT", "$connect", a)]),
    ] {
        Config::from_settings(&variables(&[]), &toml).unwrap();
    }
}

/// A wrong value inside a table whose type decides its members is named too.
#[test]
fn the_member_with_a_wrong_value_is_named() {
    let provider = |text: &str| format!("[[provider]]\n{text}\n");
    let signin = |text: &str| format!("[[signin]]\n{text}\n");
    for (toml, sentence) in [
        (
            provider("type = \"saml\""),
            "type: unknown variant `saml`, expected one of `access_token`",
        ),
        (provider("issuer = \"a\""), "missing field `type`"),
        (
            provider("type = \"configured_keys\"\nsha256 = [\"abc\"]"),
            "sha256: a SHA-256 digest is 64 lowercase hexadecimal digits",
        ),
        (
            provider(&format!("type = \"configured_keys\"\nsha256 = [\"{}\"]", "A".repeat(64))),
            "sha256: a SHA-256 digest is 64 lowercase hexadecimal digits",
        ),
        (provider("type = \"configured_keys\"\nsha256 = \"a\""), "sha256: invalid type: string"),
        (provider("type = \"configured_keys\"\nsha256 = []\nheader = \"host\""), "header: "),
        (provider("type = \"configured_keys\"\nsha256 = []\nscopes = [\"A\"]"), "scopes: "),
        (
            provider("type = \"jwt\"\nalgorithm = \"none\"\nissuer = \"a\"\naudience = \"b\""),
            "algorithm: unknown variant `none`, expected one of `HS256`",
        ),
        (
            provider("type = \"jwt\"\nalgorithm = 256\nissuer = \"a\"\naudience = \"b\""),
            "algorithm: ",
        ),
        (
            provider("type = \"oidc\"\nissuer = \"https://a.example\"\naudience = [\"a\"]"),
            "audience: invalid type: sequence, expected a string",
        ),
        (
            provider(
                "type = \"oidc\"\nissuer = \"https://a.example\"\naudience = \"a\"\nrole = \"root\"",
            ),
            "role: unknown variant `root`",
        ),
        (provider("type = \"allowlist\"\nuser_ids = [1]"), "user_ids: invalid type: integer"),
        (provider("type = \"oidc\"\nissuer = \"https://a.example\""), "missing field `audience`"),
        (signin("type = \"saml\""), "type: unknown variant `saml`, expected `oidc` or `github`"),
        (
            signin("type = \"github\"\nclient_id = \"a\"\nallow = \"*\""),
            "allow: invalid type: string",
        ),
        (
            signin("type = \"github\"\nclient_id = \"a\"\nallow = [\"\"]"),
            "allow: an entry is empty",
        ),
    ] {
        let error = Config::from_settings(&variables(&[]), &toml).unwrap_err().to_string();
        assert!(error.starts_with("postern.toml: TOML parse error at line "), "{error}");
        assert!(error.contains(&format!("\n{sentence}")), "{error} does not say {sentence:?}");
    }
    for table in ["[signing]\nalgorithm = \"HS256\"", "[lifetimes]\naccess_token = \"1h\""] {
        let error = Config::from_settings(&variables(&[]), table).unwrap_err().to_string();
        let line = table.lines().nth(1).unwrap();
        assert!(error.contains(&format!("2 | {line}")), "{error}");
    }
}
