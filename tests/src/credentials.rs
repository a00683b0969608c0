//! One credential of each kind that an organization or a user has, and every way to use it.

use postern::core::principal::Role;
use serde_json::{Value, json};

use crate::{Agent, Answer, Call, Tokens, World};

/// The kinds, by the paths of their lists.
pub const KINDS: [&str; 5] =
    ["/v1/keys", "/v1/agents", "/v1/services", "/v1/runners", "/v1/auth/cli-tokens"];

/// A credential that was created.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The path of the list.
    pub kind: &'static str,
    /// What creating it returned, without the secret.
    pub view: Value,
    /// The secret.
    pub secret: String,
    /// The session of its user, if it is that of a user.
    pub session: Option<String>,
}

impl Credential {
    /// Creates a credential of this kind, with these members besides those that it needs.
    pub async fn create(world: &World, kind: &'static str, more: Value) -> Self {
        let mut body = match kind {
            "/v1/runners" => json!({"name": "made"}),
            "/v1/auth/cli-tokens" => {
                json!({"name": "made", "scopes": ["scans:read"], "all_repositories": true})
            }
            _ => json!({"name": "made", "scopes": ["scans:read", "data:read"]}),
        };
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let session = match kind {
            "/v1/auth/cli-tokens" => Some(world.sign_in("github|7", Role::User).await),
            _ => None,
        };
        let call = authenticated(world.call("POST", kind), world, session.as_deref());
        let mut view = call.json(body).send().await.expect(201).body;
        let members = view.as_object_mut().unwrap();
        let secret = ["key", "secret", "token"].into_iter().find_map(|name| members.remove(name));
        let secret = secret.unwrap().as_str().unwrap().to_owned();
        Self { kind, view, secret, session }
    }

    /// Returns the id.
    pub fn id(&self) -> &str {
        self.view["id"].as_str().unwrap()
    }

    /// Returns the path.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind, self.id())
    }

    /// Starts a request of whoever manages it.
    pub fn manage<'w>(&self, world: &'w World, method: &str) -> Call<'w> {
        authenticated(world.call(method, &self.path()), world, self.session.as_deref())
    }

    /// Changes it.
    pub async fn change(&self, world: &World, change: Value) -> Answer {
        self.manage(world, "PATCH").json(change).send().await
    }

    /// Returns it as the list shows it.
    pub async fn listed(&self, world: &World) -> Value {
        let call = authenticated(world.call("GET", self.kind), world, self.session.as_deref());
        let list = call.send().await.expect(200).body;
        let mut items = list["items"].as_array().unwrap().iter();
        items.find(|item| item["id"] == self.view["id"]).unwrap().clone()
    }
}

fn authenticated<'w>(call: Call<'w>, world: &World, session: Option<&str>) -> Call<'w> {
    match session {
        Some(session) => call.header("X-Postern-Session", session),
        None => call.key(&world.api_key),
    }
}

/// A way to use a credential.
#[derive(Clone, Debug)]
pub struct Use {
    /// What is used.
    pub what: &'static str,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
    form: Vec<(&'static str, String)>,
    /// The status and code if it is refused.
    pub refusal: (u16, &'static str),
}

impl Use {
    /// Starts the request.
    pub fn call<'w>(&self, world: &'w World) -> Call<'w> {
        let call = world.call(self.method, self.path);
        let call = self.headers.iter().fold(call, |call, (name, value)| call.header(name, value));
        if let Some(body) = &self.body {
            return call.json(body.clone());
        }
        let form: Vec<_> = self.form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if form.is_empty() { call } else { call.form(&form) }
    }
}

fn whoami(what: &'static str, header: &'static str, value: String) -> Use {
    Use {
        what,
        method: "GET",
        path: "/v1/auth/whoami",
        headers: vec![(header, value)],
        body: None,
        form: Vec::new(),
        refusal: (401, "invalid_token"),
    }
}

fn token(
    what: &'static str,
    form: Vec<(&'static str, String)>,
    refusal: (u16, &'static str),
) -> Use {
    let (method, path) = ("POST", "/v1/auth/token");
    Use { what, method, path, headers: Vec::new(), body: None, form, refusal }
}

/// Returns every way to use a credential, and the tokens that were made from it. Those can be used
/// several times.
pub async fn uses(world: &World, credential: &Credential) -> Vec<Use> {
    let secret = credential.secret.clone();
    let bearer = format!("Bearer {secret}");
    match credential.kind {
        "/v1/keys" => {
            let mut uses = exchanged(world, &secret).await;
            uses.push(whoami("API key", "X-API-Key", secret));
            uses.push(whoami("API key as a bearer token", "Authorization", bearer));
            uses
        }
        "/v1/auth/cli-tokens" => {
            let mut uses = exchanged(world, &secret).await;
            uses.push(whoami("CLI token", "Authorization", bearer));
            uses
        }
        "/v1/agents" => of_agent(world, credential).await,
        "/v1/services" => {
            let made = world.service_token(&secret).await;
            let key = Use {
                method: "POST",
                path: "/v1/auth/service-token",
                ..whoami("service key", "X-Service-Key", secret)
            };
            vec![key, whoami("service token", "X-Service-Token", made)]
        }
        _ => {
            let beat = Use {
                method: "POST",
                path: "/v1/runners/heartbeat",
                body: Some(json!({"status": "online", "version": "1"})),
                ..whoami("heartbeat", "X-Runner-Token", secret.clone())
            };
            vec![beat, whoami("runner token", "X-Runner-Token", secret)]
        }
    }
}

async fn exchanged(world: &World, key: &str) -> Vec<Use> {
    let form = vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange".to_owned()),
        ("subject_token", key.to_owned()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token".to_owned()),
    ];
    let exchange = token("exchange of the key", form, (400, "invalid_request"));
    let made = exchange.call(world).send().await.expect(200).member("access_token");
    vec![exchange, whoami("token of the key", "Authorization", format!("Bearer {made}"))]
}

async fn of_agent(world: &World, credential: &Credential) -> Vec<Use> {
    let (id, secret) = (credential.id().to_owned(), credential.secret.clone());
    let agent = Agent { id: id.clone(), secret: secret.clone() };
    let Tokens { access, .. } = world.exchange(&agent).await;
    let lone = world.client_credentials(&agent, &[]).await.expect(200).member("access_token");
    let client = vec![("client_id", id.clone()), ("client_secret", secret.clone())];
    let grant = vec![("grant_type", "client_credentials".to_owned())];
    let json_form = Use {
        body: Some(json!({"agent_id": id, "secret": secret})),
        ..token("agent secret as JSON", Vec::new(), (401, "invalid_client"))
    };
    vec![
        token("agent secret", [grant, client].concat(), (401, "invalid_client")),
        json_form,
        whoami("access token of a family", "Authorization", format!("Bearer {access}")),
        whoami("access token without a family", "Authorization", format!("Bearer {lone}")),
    ]
}
