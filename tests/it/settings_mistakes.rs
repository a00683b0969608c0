//! Mistakes in `postern.toml` that the start reports, with what to write instead.

use postern::config::Config;

use super::settings::variables;

/// Returns what the start says about a file.
#[track_caller]
fn refused(toml: &str) -> String {
    Config::from_settings(&variables(&[]), toml).expect_err(toml).to_string()
}

#[track_caller]
fn assert_ends_with(toml: &str, sentence: &str) {
    let message = refused(toml);
    assert!(message.ends_with(sentence), "{toml}: {message}");
}

fn accepted(toml: &str) {
    Config::from_settings(&variables(&[]), toml).unwrap_or_else(|fault| panic!("{toml}: {fault}"));
}

#[test]
fn an_error_in_a_later_table_names_its_own_line() {
    let message = refused(
        "[[provider]]\ntype = \"access_token\"\n[[provider]]\ntype = \"configured_keys\"\n\
         sha256 = [\"abc\"]\n",
    );
    assert_eq!(
        message,
        "postern.toml: TOML parse error at line 5, column 10\n  |\n5 | sha256 = [\"abc\"]\n  |          \
         ^^^^^^^\nsha256: a SHA-256 digest is 64 lowercase hexadecimal digits"
    );
    for (toml, line) in [
        ("[[provider]]\ntype = \"api_key\"\n[[provider]]\ntype = \"saml\"", 4),
        ("[[provider]]\ntype = \"api_key\"\n\n[[provider]]\nissuer = \"a\"", 4),
        ("[[provider]]\ntype = \"api_key\"\n[[provider]]\ntype = \"session\"\nheader = \"x\"", 5),
        (
            "[[signin]]\ntype = \"github\"\nclient_id = \"a\"\nallow = []\n[[signin]]\n\
             type = \"oidc\"\nname = 7",
            7,
        ),
        ("[[route]]\nmethod = \"GET\"\npath = \"/\"\n[[route]]\nmethod = \"GET\"\npath = \"x\"", 6),
    ] {
        let message = refused(toml);
        let place = format!("postern.toml: TOML parse error at line {line}, column ");
        assert!(message.starts_with(&place), "{toml}: {message}");
    }
}

#[test]
fn a_table_of_which_there_can_be_several_has_two_brackets() {
    for (toml, name) in [
        ("[route]\nmethod = \"GET\"\npath = \"/\"", "route"),
        ("brand = \"pst\"\n[provider]\ntype = \"api_key\"", "provider"),
        ("[signin]\ntype = \"github\"", "signin"),
        ("[client]\nid = \"a\"\nname = \"A\"", "client"),
        ("[role]\nname = \"user\"\nscopes = [\"a\"]", "role"),
    ] {
        let sentence =
            format!("\n{name} can be listed several times: write [[{name}]], with two brackets");
        assert_ends_with(toml, &sentence);
    }
}

#[test]
fn a_table_of_which_there_is_one_has_one_bracket() {
    let sentence = "\nclients can be listed once: write [clients], with one bracket";
    assert_ends_with("brand = \"pst\"\n[[clients]]\nregistration = \"open\"", sentence);
}

#[test]
fn the_error_for_another_type_names_what_to_write() {
    for (toml, sentence) in [
        ("signup_scopes = \"a\"", "expected a list: write [\"a\"]"),
        ("[authorizer]\nidentity_sources = \"X-A\"", "expected a list: write [\"X-A\"]"),
        (
            "[[signin]]\ntype = \"github\"\nclient_id = \"c\"\nallow = \"*\"",
            "allow: invalid type: string \"*\", expected a list: write [\"*\"]",
        ),
        (
            "[[route]]\nmethod = [\"GET\", \"POST\"]\npath = \"/\"",
            "write a rule for each method, or \"*\" for all",
        ),
        ("signup = true", "\nsignup must be \"operator\" or \"open\""),
        (
            "[[route]]\nmethod = \"GET\"\npath = \"/\"\nauth = false",
            "\nauth must be \"none\" or \"required\"",
        ),
        ("[signing]\nalgorithm = 256", "expected text in quotation marks"),
    ] {
        assert_ends_with(toml, sentence);
    }
}

#[test]
fn the_error_for_a_path_of_another_framework_shows_ours() {
    for (path, sentence) in [
        ("/x/{id}", "contains {id}: write * for a parameter"),
        ("/x/:id", "contains :id: write * for a parameter"),
        ("/x/a*", "contains a*: * stands for a whole segment, and ** at the end for the rest"),
        ("/x/", "ends with a slash: remove it, a rule applies with and without"),
        ("//x", "has an empty segment: write only one slash"),
        ("/a b", "can contain only letters, digits, - . _ ~ and the segments * and **"),
    ] {
        let toml = format!("[[route]]\nmethod = \"GET\"\npath = \"{path}\"");
        assert_ends_with(&toml, &format!("the path {path:?} of a route rule {sentence}"));
    }
}

#[test]
fn an_identity_source_has_no_prefix_of_api_gateway() {
    for prefix in ["method.request", "route.request", "$request"] {
        let source = format!("{prefix}.header.Authorization");
        let toml = format!("[authorizer]\nidentity_sources = [\"{source}\"]");
        let sentence = format!(
            "{source:?} has a prefix: write only the name of the header, \"Authorization\""
        );
        assert_ends_with(&toml, &sentence);
        let toml = format!("[authorizer]\nidentity_sources = [\"{prefix}.querystring.key\"]");
        assert_ends_with(&toml, "no other part of a request has credentials");
    }
}

#[test]
fn the_error_for_a_pattern_in_allow_names_the_valid_form() {
    let signin = |more: &str, entry: &str| {
        format!(
            "[[signin]]\ntype = \"oidc\"\nname = \"a\"\nissuer = \"https://a.example\"\n\
             client_id = \"c\"\n{more}allow = [\"{entry}\"]"
        )
    };
    for entry in ["example.com", "*@example.com"] {
        let sentence = "write \"@example.com\" for everyone with a verified address there. If it is \
                        the sub of a user, set a subject_prefix, and write it before the sub";
        assert_ends_with(&signin("", entry), sentence);
        let sentence = "write \"idp|\" and the sub of the user, or \"@example.com\" for everyone \
                        with a verified address there";
        assert_ends_with(&signin("subject_prefix = \"idp|\"\n", entry), sentence);
    }
    let sentence = "is not a user id of this sign-in: write the sub of the user, or \"@\" and a domain \
                    for everyone with a verified address there";
    assert_ends_with(&signin("", "key_1"), sentence);
    accepted(&signin("subject_prefix = \"idp|\"\n", "idp|ada@example.com"));
}

#[test]
fn the_url_of_the_metadata_is_no_issuer() {
    let metadata = "https://idp.example/.well-known/openid-configuration";
    let sentence = format!(
        "issuer is {metadata:?}, which is the URL of its metadata: write \"https://idp.example\""
    );
    let provider =
        format!("[[provider]]\ntype = \"oidc\"\nissuer = \"{metadata}\"\naudience = \"a\"");
    let signin = format!(
        "[[signin]]\ntype = \"oidc\"\nname = \"a\"\nissuer = \"{metadata}\"\nclient_id = \"c\"\n\
         allow = []"
    );
    assert_ends_with(&provider, &sentence);
    assert_ends_with(&signin, &sentence);
}

#[test]
fn an_id_that_no_caller_can_have_is_not_a_member_of_the_gate() {
    for list in ["allowed_users", "denied_users"] {
        let user = "usr_01h455vb4pex5vsknk084sn02q";
        let (before, after) = (format!(" {user}"), format!("{user} "));
        for id in [
            "",
            "key_x",
            "usr_1",
            "agt_",
            "github|octocat",
            "github|",
            "Github|5",
            "*",
            "octocat",
            "ada@example.com",
            "@example.com",
            "idp|ada",
            &before,
            &after,
        ] {
            let sentence = format!(
                "{id:?} is not the id of a caller: write the user_id that GET /v1/auth/whoami shows, such as usr_ and 26 characters, github| and a number, or that of a configured issuer"
            );
            assert_ends_with(&format!("[gate]\n{list} = [\"github|7\", \"{id}\"]"), &sentence);
        }
        for id in ["github|7", user, "key_01h455vb4pex5vsknk084sn02q"] {
            accepted(&format!("[gate]\n{list} = [\"{id}\"]"));
        }
        // An issuer gives the ids that it likes.
        let issuer =
            "[[provider]]\ntype = \"oidc\"\nissuer = \"https://idp.example\"\naudience = \"api\"";
        for (prefix, id) in [("", "ada@example.com"), ("idp|", "idp|ada")] {
            accepted(&format!(
                "[gate]\n{list} = [\"{id}\"]\n{issuer}\nsubject_prefix = \"{prefix}\""
            ));
        }
    }
}

#[test]
fn a_provider_without_members_is_listed_once() {
    for kind in ["access_token", "api_key", "session", "service_token", "runner"] {
        let table = format!("[[provider]]\ntype = \"{kind}\"\n");
        accepted(&table);
        assert_ends_with(&table.repeat(2), &format!("{kind:?} is listed twice: remove one"));
    }
}

#[test]
fn each_fault_of_a_client_has_its_sentence() {
    let client = |id: &str, name: &str| format!("[[client]]\nid = \"{id}\"\nname = \"{name}\"\n");
    for (toml, sentence) in [
        (client("a", "A").repeat(2), "the client \"a\": it is listed twice: remove one"),
        (client("A", "A"), "its id must be 1 to 32 characters from a-z, 0-9, _ and -"),
        (
            client("agt_a", "A"),
            "its id is like that of an agent, whose client id it would be: choose another",
        ),
        (client("password", "A"), "its id is reserved for logins with a password: choose another"),
        (client("a", ""), "the client \"a\": its name must be 1 to 100 visible characters"),
    ] {
        assert_ends_with(&toml, sentence);
    }
}

#[test]
fn the_error_for_a_lifetime_names_the_one_that_limits_it() {
    for (toml, sentence) in [
        (
            "refresh_idle = 100000\nrefresh_absolute = 50000",
            "lifetimes.refresh_absolute is 50000; it must be at least refresh_idle, which is 100000",
        ),
        (
            "refresh_idle = 600",
            "lifetimes.refresh_idle is 600; it must be at least access_token, which is 3600",
        ),
        ("revocation_staleness = 60", "lifetimes.revocation_staleness is 60; only 0 is supported"),
    ] {
        assert_ends_with(&format!("[lifetimes]\n{toml}"), sentence);
    }
    // It ends unused sessions too.
    accepted("[lifetimes]\nsession_absolute = 600");
}

#[test]
fn a_public_key_is_pem() {
    let toml = "[[provider]]\ntype = \"jwt\"\nalgorithm = \"ES256\"\npublic_key = \"abc\"\n\
                issuer = \"i\"\naudience = \"a\"";
    let sentence =
        "it is malformed: write the PEM text, which begins with -----BEGIN PUBLIC KEY-----";
    assert_ends_with(toml, sentence);
}
