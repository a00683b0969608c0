//! Scopes.

use postern::core::scope::{Scope, Scopes};
use proptest::prelude::*;

fn covers(held: &str, wanted: &str) -> bool {
    Scope::try_from(held.to_owned()).unwrap().covers(&Scope::try_from(wanted.to_owned()).unwrap())
}

#[test]
fn a_scope_covers_itself_and_what_its_wildcards_match() {
    let table = [
        ("*", "read", true),
        ("*", "runners:read", true),
        ("*", "*", true),
        ("runners:*", "runners:read", true),
        ("runners:*", "runners:read:all", true),
        ("runners:*", "runners:*", true),
        ("runners:*", "runners", false),
        ("runners:*", "*", false),
        ("runners:read", "runners:*", false),
        ("runners:read", "runners:read", true),
        ("runners:read", "runners:read:all", false),
        ("runners", "runners:read", false),
        ("*:read", "runners:read", true),
        ("*:read", "runners:manage", false),
        ("*:read", "runners:read:all", false),
        ("a:*:c", "a:b:c", true),
        ("a:*:c", "a:b:d", false),
        ("read", "reader", false),
    ];
    for (held, wanted, expected) in table {
        assert_eq!(covers(held, wanted), expected, "{held} on {wanted}");
    }
}

#[test]
fn the_documented_scope_list_works() {
    for scope in [
        "repos:read",
        "repos:write",
        "scans:read",
        "scans:trigger",
        "drifts:read",
        "drifts:write",
        "runners:read",
        "runners:manage",
        "read",
        "write",
        "delete",
        "admin",
        "transactions:rollback",
        "data:read",
        "admin:manage",
    ] {
        assert!(covers("*", scope) && covers(scope, scope));
    }
}

#[test]
fn a_scope_list_keeps_its_order_and_drops_duplicates() {
    let scopes = Scopes::parse(" write read  write ").unwrap();
    assert_eq!(scopes.to_string(), "write read");
    assert!(
        Scopes::parse(&(0..65).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ")).is_err()
    );
    assert!(Scopes::parse(&(0..64).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ")).is_ok());
    assert!(
        Scopes::parse(&(0..40).map(|n| format!("{n:060}")).collect::<Vec<_>>().join(" ")).is_err()
    );
}

fn scope() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof!["[a-b]", Just("*".to_owned())], 1..4)
        .prop_map(|parts| parts.join(":"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Covering is transitive, so no chain of created keys escalates.
    #[test]
    fn covering_is_transitive(first in scope(), second in scope(), third in scope()) {
        prop_assert!(covers(&first, &first));
        if covers(&first, &second) && covers(&second, &third) {
            prop_assert!(covers(&first, &third), "{first} {second} {third}");
        }
    }
}
