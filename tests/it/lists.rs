//! Lists of credentials: their order, the questions that they answer, and what a page costs.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use jiff::Timestamp;
use local::{engine::Engine, template::Template};
use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{Answer, StoreFault, World};
use tokio::net::TcpListener;

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

/// A kind of credential that has a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Agents,
    CliTokens,
    Keys,
    Runners,
    Services,
}

const KINDS: [Kind; 5] = [Kind::Agents, Kind::CliTokens, Kind::Keys, Kind::Runners, Kind::Services];

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::Agents => "/v1/agents",
            Self::CliTokens => "/v1/auth/cli-tokens",
            Self::Keys => "/v1/keys",
            Self::Runners => "/v1/runners",
            Self::Services => "/v1/services",
        }
    }

    fn body(self, name: &str) -> Value {
        match self {
            Self::Agents | Self::Keys | Self::Services => {
                json!({"name": name, "scopes": ["read"]})
            }
            Self::CliTokens => {
                json!({"name": name, "scopes": ["scans:read"], "all_repositories": true})
            }
            Self::Runners => json!({"name": name}),
        }
    }
}

/// A world with a user who has CLI tokens.
struct Lists {
    world: World,
    session: String,
}

impl Lists {
    async fn new() -> Self {
        let world = World::new().await;
        let session = world.sign_in("ada", Role::User).await;
        Self { world, session }
    }

    fn call(&self, method: &str, kind: Kind, rest: &str) -> tests::Call<'_> {
        let call = self.world.call(method, &format!("{}{rest}", kind.path()));
        match kind {
            Kind::CliTokens => call.header("X-Postern-Session", &self.session),
            Kind::Agents | Kind::Keys | Kind::Runners | Kind::Services => {
                call.key(&self.world.api_key)
            }
        }
    }

    /// Creates a credential, and returns the response.
    async fn create(&self, kind: Kind, name: &str) -> Answer {
        self.world.advance_ms(1);
        self.call("POST", kind, "").json(kind.body(name)).send().await.expect(201)
    }

    async fn create_id(&self, kind: Kind, name: &str) -> String {
        self.create(kind, name).await.member("id")
    }

    /// Creates a credential that expires: what an expiring credential creates expires with it.
    async fn create_until(&self, kind: Kind, name: &str, expires_at: &str) -> String {
        let mut body = kind.body(name);
        let call = match kind {
            Kind::CliTokens | Kind::Keys => {
                body["expires_at"] = expires_at.into();
                self.call("POST", kind, "")
            }
            Kind::Agents | Kind::Runners | Kind::Services => {
                let creator = json!({"name": "creator", "scopes": ["*"], "expires_at": expires_at});
                let creator = self.world.post("/v1/keys", creator).send().await.expect(201);
                self.world.call("POST", kind.path()).key(&creator.member("key"))
            }
        };
        call.json(body).send().await.expect(201).member("id")
    }

    async fn delete(&self, kind: Kind, id: &str) {
        self.call("DELETE", kind, &format!("/{id}")).send().await.expect(204);
    }

    /// Asks for one page.
    async fn ask(&self, kind: Kind, query: &str) -> Answer {
        self.call("GET", kind, &format!("?{query}")).send().await
    }

    /// Returns the ids of all pages, which have at most `limit` records.
    async fn pages(&self, kind: Kind, query: &str, limit: usize) -> Vec<String> {
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let after = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
            let page = self.ask(kind, &format!("{query}&limit={limit}{after}")).await.expect(200);
            let ids = ids(&page.body);
            assert!(ids.len() <= limit);
            found.extend(ids);
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return found,
            }
        }
    }

    /// Returns the names of all records that answer a question.
    async fn names(&self, kind: Kind, query: &str) -> Vec<String> {
        let page = self.ask(kind, query).await.expect(200).body;
        assert_eq!(page["next_cursor"], json!(null));
        members(&page, "name")
    }

    /// Sets an attribute of a record.
    async fn set(&self, id: &str, attribute: &str, value: &str) {
        let text = |text: &str| AttributeValue::S(text.into());
        let update = self.client().update_item().table_name("Keys").key("pk", text(id));
        let update = update.update_expression("SET #name = :value");
        let update = update.expression_attribute_names("#name", attribute);
        update.expression_attribute_values(":value", text(value)).send().await.unwrap();
    }

    fn client(&self) -> Client {
        Client::new(&self.world.engine.sdk(None))
    }
}

fn members(page: &Value, member: &str) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

fn ids(page: &Value) -> Vec<String> {
    members(page, "id")
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn every_list_is_newest_first() {
    let lists = Lists::new().await;
    for kind in KINDS {
        let mut made = Vec::new();
        for index in 0..5 {
            made.insert(0, lists.create_id(kind, &format!("x{index}")).await);
        }
        for limit in [1, 2, 5, 100] {
            let found = lists.pages(kind, "", limit).await;
            assert_eq!(found[..5], made, "{kind:?}");
        }
    }
}

/// Names in five scripts, and the beginnings by which people search for them.
const NAMES: [(&str, &[&str]); 6] = [
    ("Deploy Straße", &["deploy", "DEPLOY S", "deploy strasse", "Deploy Straße"]),
    ("Сборка 7", &["сборка", "СБОРКА 7", "Сб"]),
    ("ΣΊΣΥΦΟΣ", &["σίσυφος", "ΣΊΣ", "σίσ"]),
    ("배포 서버", &["배포", "\u{1107}\u{1162}"]),
    ("مفتاح النشر", &["مفتاح", "مفتاح النشر"]),
    ("デプロイ", &["デプ", "ﾃﾞﾌﾟﾛｲ"]),
];

#[tokio::test]
async fn a_name_is_found_by_its_beginning_in_any_script_and_case() {
    let lists = Lists::new().await;
    for kind in KINDS {
        for (name, _) in NAMES {
            lists.create(kind, name).await;
        }
        for (name, beginnings) in NAMES {
            for beginning in beginnings {
                let query = format!("name={}", encoded(beginning));
                assert_eq!(lists.names(kind, &query).await, [name], "{kind:?} {beginning}");
            }
        }
        assert_eq!(lists.names(kind, "name=eploy").await, [""; 0], "not the middle of a name");
        assert_eq!(lists.names(kind, "name=deploy+strassen").await, [""; 0]);
    }
}

#[tokio::test]
async fn names_are_listed_in_their_order_and_equal_ones_once() {
    let lists = Lists::new().await;
    for kind in KINDS {
        let mut made = BTreeSet::new();
        for name in ["b", "B", "ba", "c", "b", "a", "b", "B", "b"] {
            let id = lists.create_id(kind, name).await;
            if name.to_lowercase().starts_with('b') {
                made.insert(id);
            }
        }
        let names = lists.names(kind, "name=b").await;
        assert!(names.iter().map(|name| name.to_lowercase()).is_sorted(), "{names:?}");
        for limit in [1, 2, 3, 7] {
            let found = lists.pages(kind, "name=b", limit).await;
            assert_eq!((found.len(), BTreeSet::from_iter(found)), (7, made.clone()), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn what_expires_soon_is_listed_in_the_order_of_its_expiry() {
    let lists = Lists::new().await;
    for kind in KINDS {
        lists.create(kind, "never").await;
        for day in ["20", "03", "11"] {
            lists.create_until(kind, day, &format!("2026-01-{day}T12:00:00Z")).await;
        }
        let names = async |before: &str| {
            let query = format!("expires_before={before}");
            let ids = lists.pages(kind, &query, 1).await;
            let page = lists.ask(kind, &query).await.expect(200).body;
            assert_eq!(ids, self::ids(&page));
            // The keys that created others expire with them.
            let names = members(&page, "name").into_iter();
            names.filter(|name| name != "creator").collect::<Vec<_>>()
        };
        assert_eq!(names("2027-01-01T00:00:00Z").await, ["03", "11", "20"], "{kind:?}");
        assert_eq!(names("2026-01-11T12:00:01Z").await, ["03", "11"], "{kind:?}");
        assert_eq!(names("2026-01-11T12:00:00.5Z").await, ["03", "11"], "{kind:?}");
        assert_eq!(names("2026-01-11T12:00:00Z").await, ["03"], "{kind:?}");
        assert_eq!(names("2026-01-11T12:00:00%2B01:00").await, ["03"], "{kind:?}");
        assert_eq!(names("9999-12-31T23:59:59Z").await, ["03", "11", "20"], "{kind:?}");
        assert_eq!(names("2026-01-01T00:00:00Z").await, [""; 0], "{kind:?}");
        assert_eq!(names("1970-01-01T00:00:00Z").await, [""; 0], "{kind:?}");
    }
}

#[tokio::test]
async fn what_has_expired_answers_no_question() {
    let lists = Lists::new().await;
    for (name, expires_at) in [("x1", "2026-01-02T00:00:00Z"), ("x2", "2026-01-03T00:00:00Z")] {
        lists.create_until(Kind::Keys, name, expires_at).await;
    }
    let id = lists.create_until(Kind::Keys, "x3", "2026-01-04T00:00:00Z").await;
    for key in ["x1", "x2", "x3"] {
        let all = lists.pages(Kind::Keys, &format!("name={key}"), 9).await;
        lists.set(&all[0], "external_id", "same").await;
    }
    let first = lists.ask(Kind::Keys, "expires_before=2026-02-01T00:00:00Z&limit=1").await;
    lists.world.advance_s(2 * DAY_S);
    for query in ["name=x", "expires_before=2026-02-01T00:00:00Z", "external_id=same"] {
        assert_eq!(lists.pages(Kind::Keys, query, 1).await, [id.as_str()], "{query}");
    }
    // The record after which the page begins has expired since the page before it.
    let cursor = first.expect(200).member("next_cursor");
    let query = format!("expires_before=2026-02-01T00:00:00Z&cursor={cursor}");
    assert_eq!(ids(&lists.ask(Kind::Keys, &query).await.expect(200).body), [id]);
    assert_eq!(lists.names(Kind::Keys, "unused_since=2026-01-03T00:00:00Z").await, ["x3"]);
}

#[tokio::test]
async fn an_external_id_finds_the_records_that_have_it() {
    let lists = Lists::new().await;
    for kind in KINDS {
        let mut made = BTreeSet::new();
        for (name, external_id) in
            [("a", "cust-42"), ("b", "cust-4"), ("c", "cust-42"), ("d", "Cust-42")]
        {
            let id = lists.create_id(kind, name).await;
            lists.set(&id, "external_id", external_id).await;
            if external_id == "cust-42" {
                made.insert(id);
            }
        }
        for limit in [1, 2, 50] {
            let found = lists.pages(kind, "external_id=cust-42", limit).await;
            assert_eq!((found.len(), BTreeSet::from_iter(found)), (2, made.clone()), "{kind:?}");
        }
        assert_eq!(lists.pages(kind, "external_id=cust", 9).await, [""; 0]);
    }
}

/// Uses a new credential of any kind, as its owner does.
async fn use_it(lists: &Lists, kind: Kind, created: &Answer) {
    let whoami = || lists.world.call("GET", "/v1/auth/whoami");
    let call = match kind {
        Kind::Agents => {
            let agent =
                json!({"agent_id": created.member("id"), "secret": created.member("secret")});
            lists.world.call("POST", "/v1/auth/token").json(agent)
        }
        Kind::CliTokens => whoami().bearer(&created.member("token")),
        Kind::Keys => whoami().key(&created.member("key")),
        Kind::Runners => whoami().header("X-Runner-Token", created.member("token")),
        Kind::Services => {
            let call = lists.world.call("POST", "/v1/auth/service-token");
            call.header("X-Service-Key", created.member("key"))
        }
    };
    call.send().await.expect(200);
}

#[tokio::test]
async fn what_was_not_used_since_a_time_is_listed_from_its_creation_on() {
    for kind in KINDS {
        let lists = Lists::new().await;
        let old = lists.create(kind, "old").await; // 1 January
        lists.create(kind, "never used").await;
        lists.world.advance_s(5 * DAY_S + 12 * HOUR_S);
        let used = lists.create(kind, "used").await;
        use_it(&lists, kind, &used).await; // 6 January, 12:00
        lists.world.advance_s(2 * DAY_S);
        use_it(&lists, kind, &old).await; // 8 January, 12:00
        lists.create(kind, "new").await;
        lists.world.advance_s(DAY_S);
        let unused = async |since: &str| {
            let query = format!("unused_since={since}");
            let (all, names) =
                (lists.pages(kind, &query, 1).await, lists.names(kind, &query).await);
            assert_eq!(all.len(), names.len());
            names
        };
        assert_eq!(unused("2026-01-09T12:00:00Z").await, ["never used", "used", "old", "new"]);
        assert_eq!(unused("2026-01-08T12:59:59Z").await, ["never used", "used"], "{kind:?}");
        assert_eq!(unused("2026-01-06T13:00:00Z").await, ["never used", "used"], "{kind:?}");
        // A use is known by its hour, so it can have been later than this.
        assert_eq!(unused("2026-01-06T12:59:59Z").await, ["never used"], "{kind:?}");
        assert_eq!(unused("2026-01-06T12:00:00Z").await, ["never used"], "{kind:?}");
        assert_eq!(unused("2026-01-01T01:00:00Z").await, ["never used"], "{kind:?}");
        assert_eq!(unused("2026-01-01T00:00:00Z").await, [""; 0], "{kind:?}");
        assert_eq!(unused("1970-01-01T00:00:00Z").await, [""; 0], "{kind:?}");
    }
}

#[tokio::test]
async fn the_last_use_of_any_secret_of_a_key_counts() {
    let lists = Lists::new().await;
    let created = lists.create(Kind::Keys, "rotated").await;
    let rotate = format!("/v1/keys/{}/rotate", created.member("id"));
    lists.world.advance_s(DAY_S);
    lists.world.post(&rotate, json!({"overlap_s": 86_400})).send().await.expect(200);
    use_it(&lists, Kind::Keys, &created).await;
    lists.world.advance_s(DAY_S);
    let unused = async |since: &str| {
        let names = lists.names(Kind::Keys, &format!("unused_since={since}")).await;
        names.contains(&"rotated".to_owned())
    };
    assert!(!unused("2026-01-02T00:00:00Z").await);
    assert!(unused("2026-01-02T01:00:00Z").await);
}

#[tokio::test]
async fn a_runner_with_heartbeats_is_in_use() {
    let lists = Lists::new().await;
    let runner = lists.create(Kind::Runners, "build").await;
    lists.world.advance_s(5 * DAY_S);
    let beat = lists.world.call("POST", "/v1/runners/heartbeat");
    let beat = beat.header("X-Runner-Token", runner.member("token"));
    beat.json(json!({"status": "online", "version": "1"})).send().await.expect(200);
    lists.world.advance_s(DAY_S);
    let unused = async |since: &str| lists.names(Kind::Runners, since).await;
    assert_eq!(unused("unused_since=2026-01-06T00:00:00Z").await, [""; 0]);
    assert_eq!(unused("unused_since=2026-01-06T01:00:00Z").await, ["build"]);
}

#[tokio::test]
async fn a_page_of_an_answer_takes_two_round_trips() {
    let lists = Lists::new().await;
    for index in 0..60 {
        let name = format!("x{index}");
        let id = lists.create_until(Kind::Keys, &name, "2026-01-02T00:00:00Z").await;
        lists.set(&id, "external_id", "same").await;
    }
    lists.world.advance_s(HOUR_S);
    lists.world.get("/v1/auth/whoami").send().await.expect(200);
    for query in [
        "",
        "name=x",
        "expires_before=2026-02-01T00:00:00Z",
        "external_id=same",
        "unused_since=2026-01-01T01:00:00Z",
    ] {
        for (limit, batches) in [(1, 1), (50, 1), (100, 2)] {
            lists.world.wire.take();
            lists.ask(Kind::Keys, &format!("{query}&limit={limit}")).await.expect(200);
            let names = lists.world.wire.names();
            let batches = if query.is_empty() { 1 } else { batches };
            let expected = [&["GetItem", "Query"][..], &["BatchGetItem"].repeat(batches)].concat();
            assert_eq!(names, expected, "{query}&limit={limit}");
        }
    }
    // Nothing is found: there is nothing to read.
    lists.world.wire.take();
    lists.ask(Kind::Keys, "name=z").await.expect(200);
    assert_eq!(lists.world.wire.names(), ["GetItem", "Query"]);
    lists.ask(Kind::Keys, "expires_before=2020-01-01T00:00:00Z").await.expect(200);
    assert_eq!(lists.world.wire.names(), ["GetItem"]);
}

#[tokio::test]
async fn two_questions_at_once_are_refused_by_their_names() {
    let lists = Lists::new().await;
    let time = "2026-01-01T00:00:00Z";
    for (one, other) in [
        (format!("name=a&unused_since={time}"), ("name", "unused_since")),
        (format!("unused_since={time}&name=a"), ("name", "unused_since")),
        (format!("expires_before={time}&external_id=a"), ("expires_before", "external_id")),
        ("name=&external_id=".to_owned(), ("external_id", "name")),
    ] {
        let (first, second) = other;
        for kind in KINDS {
            let answer = lists.ask(kind, &one).await.expect_error(400, "invalid_request");
            let sentence = format!(
                "A list answers one question at a time: send either '{first}' or '{second}'."
            );
            assert_eq!(answer.body["error_description"], sentence, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_question_that_is_not_valid_is_refused_with_its_rule() {
    const TIME: &str = "must be a date and time of RFC 3339, such as 2027-01-31T12:00:00Z.";
    const NAME: &str =
        "name must be the beginning of a name: 1 to 100 characters that people can see.";
    const EXTERNAL_ID: &str = "external_id must be 1 to 128 visible ASCII characters.";
    let lists = Lists::new().await;
    let expires_before = format!("expires_before {TIME}");
    let unused_since = format!("unused_since {TIME}");
    let with_space = format!("{unused_since} In a query, + is written as %2B.");
    for (query, sentence) in [
        ("expires_before=".to_owned(), expires_before.as_str()),
        ("expires_before=2026-01-31".to_owned(), &expires_before),
        ("expires_before=1801396800".to_owned(), &expires_before),
        ("unused_since=90d".to_owned(), &unused_since),
        ("unused_since=2026-01-01T00:00:00+01:00".to_owned(), &with_space),
        ("unused_since=2026-01-01T00:00:31Z".to_owned(), "unused_since must not be in the future."),
        ("unused_since=9999-12-31T23:59:59Z".to_owned(), "unused_since must not be in the future."),
        ("name=".to_owned(), NAME),
        ("name=%20".to_owned(), NAME),
        ("name=a%00".to_owned(), NAME),
        ("name=%E2%80%AE".to_owned(), NAME),
        (format!("name={}", "a".repeat(101)), NAME),
        ("external_id=".to_owned(), EXTERNAL_ID),
        ("external_id=a%0Ab".to_owned(), EXTERNAL_ID),
        ("external_id=caf%C3%A9".to_owned(), EXTERNAL_ID),
        (format!("external_id={}", "a".repeat(129)), EXTERNAL_ID),
        ("name=a&name=b".to_owned(), "The parameter 'name' was sent more than once: send it once."),
    ] {
        for kind in KINDS {
            let answer = lists.ask(kind, &query).await.expect_error(400, "invalid_request");
            assert_eq!(answer.body["error_description"], sentence, "{kind:?} {query}");
        }
    }
}

#[tokio::test]
async fn a_cursor_is_valid_for_its_question_only() {
    let lists = Lists::new().await;
    for name in ["a1", "a2", "b1", "b2"] {
        let id = lists.create_until(Kind::Keys, name, "2026-01-02T00:00:00Z").await;
        lists.set(&id, "external_id", &name[..1]).await;
    }
    lists.world.advance_s(HOUR_S);
    let questions = [
        "",
        "name=a",
        "name=b",
        "external_id=a",
        "external_id=b",
        "expires_before=2026-02-01T00:00:00Z",
        "expires_before=2026-01-01T12:00:00Z",
        "unused_since=2026-01-01T01:00:00Z",
        "unused_since=2025-12-31T01:00:00Z",
    ];
    let mut cursors = Vec::new();
    for question in questions {
        let page = lists.ask(Kind::Keys, &format!("{question}&limit=1")).await.expect(200);
        cursors.push(page.body["next_cursor"].as_str().map(str::to_owned));
    }
    for (question, cursor) in questions.iter().zip(&cursors) {
        let Some(cursor) = cursor else { continue };
        for other in questions {
            let answer = lists.ask(Kind::Keys, &format!("{other}&cursor={cursor}")).await;
            if *question == other {
                answer.expect(200);
            } else {
                let answer = answer.expect_error(400, "invalid_request");
                let sentence = answer.body["error_description"].as_str().unwrap().to_owned();
                assert!(sentence.starts_with("The cursor is invalid"), "{question} {other}");
            }
        }
        // The id in it is one of a key.
        if !question.is_empty() {
            let answer = lists.ask(Kind::Agents, &format!("{question}&cursor={cursor}")).await;
            answer.expect_error(400, "invalid_request");
        }
    }
}

#[tokio::test]
async fn no_question_finds_a_record_of_another_organization() {
    let lists = Lists::new().await;
    let theirs = lists.create_until(Kind::Keys, "same", "2026-01-02T00:00:00Z").await;
    lists.create(Kind::Keys, "same too").await;
    lists.set(&theirs, "external_id", "same").await;
    let (_, other) = lists.world.organization("Other").await;
    lists.world.advance_s(HOUR_S);
    for question in [
        "name=same",
        "external_id=same",
        "expires_before=2026-02-01T00:00:00Z",
        "unused_since=2026-01-01T01:00:00Z",
    ] {
        let page = lists.ask(Kind::Keys, &format!("{question}&limit=1")).await.expect(200);
        let cursor = page.body["next_cursor"].as_str().map(|it| format!("&cursor={it}"));
        for after in [None, cursor] {
            let target = format!("/v1/keys?{question}{}", after.unwrap_or_default());
            let page = lists.world.call("GET", &target).key(&other).send().await.expect(200);
            let found = ids(&page.body);
            assert!(found.len() <= 1 && !found.contains(&theirs), "{question} {found:?}");
        }
    }
}

/// Functions that authenticate can write to `Uses`, so it must not decide what a list shows.
#[tokio::test]
async fn a_false_item_of_uses_shows_no_record_of_another_organization() {
    let lists = Lists::new().await;
    let theirs = lists.create_id(Kind::Keys, "theirs").await;
    let (organization, other) = lists.world.organization("Other").await;
    let text = |text: &str| AttributeValue::S(text.into());
    for id in [&theirs, "key_01h455vb4pex5vsknk084sn02q", "agt_01h455vb4pex5vsknk084sn02q", "x"] {
        let put = lists.client().put_item().table_name("Uses").item("pk", text(id));
        let put = put.item("listing", text(&format!("{organization}#key")));
        put.item("used_on", text("2020-01-01")).send().await.unwrap();
    }
    let own = lists.world.call("POST", "/v1/keys").key(&other);
    own.json(Kind::Keys.body("mine")).send().await.expect(201);
    lists.world.advance_s(HOUR_S);
    let page = lists.world.call("GET", "/v1/keys?unused_since=2026-01-01T01:00:00Z").key(&other);
    assert_eq!(members(&page.send().await.expect(200).body, "name"), ["mine"]);
}

#[tokio::test]
async fn paging_loses_and_repeats_nothing_while_others_create_and_delete() {
    for query in [
        "",
        "name=x",
        "expires_before=2026-02-01T00:00:00Z",
        "external_id=same",
        "unused_since=2026-01-01T01:00:00Z",
    ] {
        let lists = Lists::new().await;
        let create = async |name: &str| {
            let id = lists.create_until(Kind::Keys, name, "2026-01-03T00:00:00Z").await;
            lists.set(&id, "external_id", "same").await;
            id
        };
        let (mut kept, mut deleted) = (BTreeSet::new(), Vec::new());
        for index in 0..12 {
            kept.insert(create(&format!("x{}", index % 3)).await);
            deleted.push(create(&format!("x{}", index % 5)).await);
        }
        lists.world.advance_s(HOUR_S);
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = lists.ask(Kind::Keys, &format!("{query}&limit=3{cursor}")).await.expect(200);
            found.extend(ids(&page.body));
            create("x0").await;
            create("x9").await;
            if let Some(id) = deleted.pop() {
                lists.delete(Kind::Keys, &id).await;
            }
            // The last record of the page is gone when the next page begins after it.
            if let Some(last) = found.last().filter(|last| deleted.contains(last)).cloned() {
                deleted.retain(|id| *id != last);
                lists.delete(Kind::Keys, &last).await;
            }
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            assert!(found.len() < 100, "new records do not keep a list from ending");
        }
        let different: BTreeSet<_> = found.iter().cloned().collect();
        assert_eq!(different.len(), found.len(), "{query}: nothing twice");
        assert!(kept.is_subset(&different), "{query}: nothing lost");
    }
}

#[tokio::test]
async fn a_credential_has_its_item_of_uses_from_creation_to_deletion() {
    let lists = Lists::new().await;
    for kind in KINDS {
        let id = lists.create_until(kind, "x", "2026-01-02T00:00:00Z").await;
        let item = lists.world.item("Uses", &id).await.unwrap();
        let names: Vec<_> = item.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["expires_at", "listing", "pk", "used_on"], "{kind:?}");
        let end: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(item[0].1, format!("N(\"{}\")", end.as_second()), "it ends with its record");
        assert_eq!(item[3].1, "S(\"2026-01-01\")");
        lists.delete(kind, &id).await;
        assert_eq!(lists.world.item("Uses", &id).await, None, "{kind:?}");
        let forever = lists.create_id(kind, "y").await;
        let item = lists.world.item("Uses", &forever).await.unwrap();
        assert!(item.iter().all(|(name, _)| name != "expires_at"), "{item:?}");
    }
}

#[tokio::test]
async fn whoever_deletes_a_credential_deletes_its_item_of_uses() {
    let lists = Lists::new().await;
    let leaked = lists.create(Kind::Agents, "leaked").await;
    let report = json!({"token": leaked.member("secret")});
    lists.world.call("POST", "/v1/keys/revoke-leaked").json(report).send().await.expect(202);
    let token = lists.create_id(Kind::CliTokens, "of a user").await;
    let out = lists.world.call("POST", "/v1/users/sign-out");
    let out = out.header("X-Postern-Session", &lists.session);
    out.json(json!({"user_id": "ada"})).send().await.expect(204);
    for id in [leaked.member("id"), token] {
        assert_eq!(lists.world.item("Keys", &id).await, None);
        assert_eq!(lists.world.item("Uses", &id).await, None);
    }
}

#[tokio::test]
async fn the_item_of_a_deleted_credential_stays_deleted() {
    use postern::{credential::ParsedApiKey, store::api_key::ApiKeyRecord};
    let lists = Lists::new().await;
    let created = lists.create(Kind::Keys, "x").await;
    let context = &lists.world.app.context;
    let key = ParsedApiKey::parse(&context.config.brand, &created.member("key")).unwrap();
    let (secret, now) = ((&key.digest).into(), lists.world.now());
    let read = context.store.record_and_use::<ApiKeyRecord>(&key.id, &secret, now).await.unwrap();
    let (_, unrecorded) = read.unwrap();
    lists.delete(Kind::Keys, &created.member("id")).await;
    context.store.record_use(&unrecorded.unwrap(), None).await.unwrap();
    assert_eq!(lists.world.item("Uses", &created.member("id")).await, None);
}

/// A credential of an earlier version, or of a table that was restored.
#[tokio::test]
async fn a_credential_without_an_item_of_uses_gets_one_with_its_next_use() {
    let lists = Lists::new().await;
    let created = lists.create(Kind::Keys, "x").await;
    let pk = AttributeValue::S(created.member("id"));
    lists.client().delete_item().table_name("Uses").key("pk", pk).send().await.unwrap();
    use_it(&lists, Kind::Keys, &created).await;
    lists.world.advance_s(HOUR_S);
    let names = lists.names(Kind::Keys, "unused_since=2026-01-01T01:00:00Z").await;
    assert!(names.contains(&"x".to_owned()), "{names:?}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_in_full_is_not_a_shorter_one() {
    let lists = Lists::new().await;
    lists.create(Kind::Keys, "x").await;
    for (operation, fault) in [
        ("Query", StoreFault::ServerError),
        ("BatchGetItem", StoreFault::ServerError),
        ("BatchGetItem", StoreFault::Unprocessed),
    ] {
        lists.world.wire.inject_into(operation, fault);
        let answer = lists.ask(Kind::Keys, "name=x").await;
        answer.expect_error(503, "temporarily_unavailable");
        lists.world.wire.clear_faults();
    }
}

#[tokio::test]
async fn a_local_store_of_an_earlier_version_gets_the_missing_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let start = async |template: &Template| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        Engine::start(Some(&path), listener, template).unwrap()
    };
    let is_earlier = |definition: &Value, name: &str| {
        ["pk", "listing", "by_organization", "by_person"].iter().any(|it| definition[name] == *it)
    };
    let mut earlier = Template::load().unwrap();
    earlier.tables.retain(|table| table.logical_id != "Events");
    for table in &mut earlier.tables {
        let properties = &mut table.resource["Properties"];
        for (list, name) in
            [("GlobalSecondaryIndexes", "IndexName"), ("AttributeDefinitions", "AttributeName")]
        {
            let list = properties[list].as_array_mut().into_iter();
            list.for_each(|list| list.retain(|definition| is_earlier(definition, name)));
        }
        if table.logical_id == "Uses" {
            let pk = json!([{"AttributeName": "pk", "AttributeType": "S"}]);
            let properties = table.resource["Properties"].as_object_mut().unwrap();
            properties.remove("GlobalSecondaryIndexes");
            properties.insert("AttributeDefinitions".into(), pk);
        }
    }
    let text = |text: &str| AttributeValue::S(text.into());
    let old = start(&earlier).await;
    let put = Client::new(&old.sdk(None)).put_item().table_name("Keys");
    let put = put.item("pk", text("key_1")).item("listing", text("org_1#key"));
    put.item("expires_at", AttributeValue::N("7".into())).send().await.unwrap();
    drop(old);
    for _ in 0..2 {
        let new = start(&Template::load().unwrap()).await;
        for (table, index, found) in [
            ("Keys", "by_expiry", 1),
            ("Keys", "by_external_id", 0),
            ("Keys", "by_name", 0),
            ("Uses", "by_use", 0),
        ] {
            let query = Client::new(&new.sdk(None)).query().table_name(table).index_name(index);
            let query = query.key_condition_expression("listing = :listing");
            let query = query.expression_attribute_values(":listing", text("org_1#key"));
            assert_eq!(query.send().await.unwrap().count(), found, "{index}");
        }
    }
}
