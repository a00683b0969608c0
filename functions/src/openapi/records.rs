//! The records of an organization: API keys, agents, services, runners, CLI tokens.

use postern::{
    core::{
        id,
        permission::Permission::{
            AgentsManage, AgentsRead, KeysManage, KeysRead, RunnersManage, RunnersRead,
            ServicesManage,
        },
        schema::IdOf,
    },
    grant::leak_report::{LeakFeedback, LeakMatch},
    resource::{
        api_key::{ApiKeyView, CreatedApiKey, NewApiKey, RotateApiKey, RotatedApiKey},
        change::{CredentialChange, RunnerChange},
        cli_token::{CliTokenView, CreatedCliToken, NewCliToken},
        runner::{CreatedRunner, NewRunner, RunnerView},
        service_account::{
            AgentView, NewAgent, NewAgentKeys, NewServiceAccount, RenewAgentSecret, ServiceView,
        },
    },
};
use serde_json::json;

use super::{access::Access, document::Document, operation::Operation};
use crate::{
    agents::{CreatedAgent, RenewedAgentSecret},
    heartbeat::{HeartbeatReceived, HeartbeatRequest},
    revoke::LeakedToken,
    runners::RenewedRunnerToken,
    services::CreatedService,
};

const DELETED: &str = "It is deleted.";
/// What a change does.
const CHANGED: &str = "Members that are not sent stay as they are. Scopes and expiry can only be narrowed. Whoever enables it, or lets it be used from other networks, needs what creating it needs.";
/// The codes of a change.
const CHANGE_CODES: [&str; 2] = ["conflict", "invalid_scope"];

/// Adds the routes.
pub(super) fn add(document: &mut Document) {
    add_keys(document);
    add_leak_report(document);
    add_agents(document);
    add_services(document);
    add_runners(document);
    add_runner_use(document);
    add_cli_tokens(document);
}

fn add_keys(document: &mut Document) {
    const TAG: &str = "API keys";
    let id = document.request::<IdOf<id::ApiKey>>("ApiKeyId");
    let new = document.request::<NewApiKey>("NewApiKey");
    let created = document.response::<CreatedApiKey>("CreatedApiKey");
    let key = document.response::<ApiKeyView>("ApiKey");
    let list = document.list::<ApiKeyView>("ApiKeyList", &key);
    let rotate = document.request::<RotateApiKey>("RotateApiKey");
    let rotated = document.response::<RotatedApiKey>("RotatedApiKey");
    let leaked = document.request::<LeakedToken>("LeakedToken");
    let change = document.request::<CredentialChange>("CredentialChange");
    for operation in [
        Operation::new("POST /v1/keys", TAG, "Create an API key")
            .access(Access::Scope(KeysManage))
            .json(&new, &json!({"name": "deploy", "scopes": ["data:read"]}))
            .answer(201, "The key, with its secret, which is shown once.", &created)
            .codes(&["invalid_scope"]),
        Operation::new("GET /v1/keys", TAG, "List the API keys")
            .access(Access::Scope(KeysRead))
            .paged_credentials()
            .answer(200, "A page of keys.", &list),
        Operation::new("GET /v1/keys/{id}", TAG, "Show an API key")
            .access(Access::Scope(KeysRead))
            .id(&id)
            .answer(200, "The key.", &key),
        Operation::new("PATCH /v1/keys/{id}", TAG, "Change an API key")
            .described(CHANGED)
            .access(Access::Scope(KeysManage))
            .id(&id)
            .json(&change, &json!({"allowed_networks": ["192.0.2.0/24"]}))
            .answer(200, "The key.", &key)
            .codes(&CHANGE_CODES),
        Operation::new("DELETE /v1/keys/{id}", TAG, "Delete an API key")
            .access(Access::Scope(KeysManage))
            .id(&id)
            .empty(204, DELETED),
        Operation::new("POST /v1/keys/{id}/rotate", TAG, "Rotate an API key")
            .described("The key keeps its id and gets a new secret.")
            .access(Access::Scope(KeysManage))
            .id(&id)
            .optional_json(&rotate, &json!({"overlap_s": 3600}))
            .answer(200, "The new secret, which is shown once.", &rotated)
            .codes(&["conflict"]),
        Operation::new("POST /v1/keys/revoke-leaked", TAG, "Revoke a leaked credential")
            .described("Whoever has a credential of any kind can end it.")
            .json(&leaked, &json!({"token": "pst_ak_…"}))
            .empty(202, "The credential ends, if there is such a one."),
    ] {
        document.add(&operation);
    }
}

fn add_leak_report(document: &mut Document) {
    let matches = document.request::<Vec<LeakMatch>>("LeakReport");
    let feedback = document.response::<Vec<LeakFeedback>>("LeakFeedback");
    let example = json!([{
        "token": "pst_ak_…",
        "type": "postern_api_key",
        "url": "https://github.com/octocat/hello-world/blob/main/config.txt",
        "source": "content",
    }]);
    document.add(
        &Operation::new(
            "POST /v1/keys/revoke-leaked/github",
            "API keys",
            "Revoke leaked credentials that GitHub found",
        )
        .described(
            "GitHub's secret scanning signs the body. The route exists if `[leaks]` enables it.",
        )
        .json(&matches, &example)
        .answer(200, "What the matches are.", &feedback)
        .codes(&["invalid_signature", "not_found"]),
    );
}

fn add_agents(document: &mut Document) {
    const TAG: &str = "Agents";
    let id = document.request::<IdOf<id::Agent>>("AgentId");
    let new = document.request::<NewAgent>("NewAgent");
    let keys = document.request::<NewAgentKeys>("NewAgentKeys");
    let created = document.response::<CreatedAgent>("CreatedAgent");
    let agent = document.response::<AgentView>("Agent");
    let list = document.list::<AgentView>("AgentList", &agent);
    let renew = document.request::<RenewAgentSecret>("RenewAgentSecret");
    let renewed = document.response::<RenewedAgentSecret>("RenewedAgentSecret");
    let change = document.request::<CredentialChange>("CredentialChange");
    for operation in [
        Operation::new("POST /v1/agents", TAG, "Create an agent")
            .access(Access::Scope(AgentsManage))
            .json(&new, &json!({"name": "crawler", "scopes": ["data:read"]}))
            .answer(
                201,
                "The agent, with its secret, which is shown once, unless it has keys.",
                &created,
            )
            .codes(&["invalid_scope"]),
        Operation::new("GET /v1/agents", TAG, "List the agents")
            .access(Access::Scope(AgentsRead))
            .paged_credentials()
            .answer(200, "A page of agents.", &list),
        Operation::new("GET /v1/agents/{id}", TAG, "Show an agent")
            .access(Access::Scope(AgentsRead))
            .id(&id)
            .answer(200, "The agent.", &agent),
        Operation::new("PATCH /v1/agents/{id}", TAG, "Change an agent")
            .described(CHANGED)
            .access(Access::Scope(AgentsManage))
            .id(&id)
            .json(&change, &json!({"disabled": true}))
            .answer(200, "The agent.", &agent)
            .codes(&CHANGE_CODES),
        Operation::new("DELETE /v1/agents/{id}", TAG, "Delete an agent")
            .described("Its tokens end too.")
            .access(Access::Scope(AgentsManage))
            .id(&id)
            .empty(204, DELETED),
        Operation::new("PUT /v1/agents/{id}/jwks", TAG, "Replace the keys of an agent")
            .described("An agent with keys has no secret.")
            .access(Access::Scope(AgentsManage))
            .id(&id)
            .json(&keys, &json!({"jwks_uri": "https://agents.example.com/jwks.json"}))
            .answer(200, "The agent.", &agent)
            .codes(&["conflict"]),
        Operation::new("POST /v1/agents/{id}/secret", TAG, "Renew the secret of an agent")
            .access(Access::Scope(AgentsManage))
            .id(&id)
            .optional_json(&renew, &json!({"end_tokens": false}))
            .answer(200, "The new secret, which is shown once.", &renewed)
            .codes(&["conflict"]),
    ] {
        document.add(&operation);
    }
}

fn add_services(document: &mut Document) {
    const TAG: &str = "Services";
    let id = document.request::<IdOf<id::Service>>("ServiceId");
    let new = document.request::<NewServiceAccount>("NewServiceAccount");
    let created = document.response::<CreatedService>("CreatedService");
    let service = document.response::<ServiceView>("Service");
    let list = document.list::<ServiceView>("ServiceList", &service);
    let change = document.request::<CredentialChange>("CredentialChange");
    for operation in [
        Operation::new("POST /v1/services", TAG, "Create a service")
            .access(Access::Scope(ServicesManage))
            .json(&new, &json!({"name": "billing", "scopes": ["orders:read"]}))
            .answer(201, "The service, with its key, which is shown once.", &created)
            .codes(&["invalid_scope"]),
        Operation::new("GET /v1/services", TAG, "List the services")
            .access(Access::Scope(ServicesManage))
            .paged_credentials()
            .answer(200, "A page of services.", &list),
        Operation::new("PATCH /v1/services/{id}", TAG, "Change a service")
            .described(CHANGED)
            .access(Access::Scope(ServicesManage))
            .id(&id)
            .json(&change, &json!({"metadata": {"team": "billing"}}))
            .answer(200, "The service.", &service)
            .codes(&CHANGE_CODES),
        Operation::new("DELETE /v1/services/{id}", TAG, "Delete a service")
            .access(Access::Scope(ServicesManage))
            .id(&id)
            .empty(204, DELETED),
    ] {
        document.add(&operation);
    }
}

fn add_runners(document: &mut Document) {
    const TAG: &str = "Runners";
    let id = document.request::<IdOf<id::Runner>>("RunnerId");
    let new = document.request::<NewRunner>("NewRunner");
    let created = document.response::<CreatedRunner>("CreatedRunner");
    let runner = document.response::<RunnerView>("Runner");
    let list = document.list::<RunnerView>("RunnerList", &runner);
    let renewed = document.response::<RenewedRunnerToken>("RenewedRunnerToken");
    let nothing = super::document::no_members();
    let change = document.request::<RunnerChange>("RunnerChange");
    for operation in [
        Operation::new("POST /v1/runners", TAG, "Create a runner")
            .access(Access::Scope(RunnersManage))
            .json(&new, &json!({"name": "build-1", "labels": ["linux"]}))
            .answer(201, "The runner, with its token, which is shown once.", &created),
        Operation::new("GET /v1/runners", TAG, "List the runners")
            .access(Access::Scope(RunnersRead))
            .paged_credentials()
            .answer(200, "A page of runners.", &list),
        Operation::new("GET /v1/runners/{id}", TAG, "Show a runner")
            .access(Access::Scope(RunnersRead))
            .id(&id)
            .answer(200, "The runner.", &runner),
        Operation::new("PATCH /v1/runners/{id}", TAG, "Change a runner")
            .described(CHANGED)
            .access(Access::Scope(RunnersManage))
            .id(&id)
            .json(&change, &json!({"name": "build-2"}))
            .answer(200, "The runner.", &runner)
            .codes(&["conflict"]),
        Operation::new("DELETE /v1/runners/{id}", TAG, "Delete a runner")
            .access(Access::Scope(RunnersManage))
            .id(&id)
            .empty(204, DELETED),
        Operation::new("POST /v1/runners/{id}/token", TAG, "Renew the token of a runner")
            .access(Access::Scope(RunnersManage))
            .id(&id)
            .optional_json(&nothing, &json!({}))
            .answer(200, "The new token, which is shown once.", &renewed)
            .codes(&["conflict"]),
    ] {
        document.add(&operation);
    }
}

/// Adds what a runner itself calls.
fn add_runner_use(document: &mut Document) {
    const TAG: &str = "Runners";
    let id = document.request::<IdOf<id::Runner>>("RunnerId");
    let beat = document.request::<HeartbeatRequest>("Heartbeat");
    let received = document.response::<HeartbeatReceived>("HeartbeatReceived");
    document.add(
        &Operation::new("POST /v1/runners/heartbeat", TAG, "Report that a runner is there")
            .access(Access::RunnerToken)
            .json(&beat, &json!({"status": "online", "version": "1.4.0"}))
            .answer(200, "When it was received.", &received)
            .codes(&["conflict"]),
    );
    let script = json!({"type": "string", "pattern": "^#!"});
    document.add(
        &Operation::new(
            "GET /v1/runners/{id}/install.sh",
            TAG,
            "Download the script that installs a runner",
        )
        .described("The download token needs the scope `runners:read`. The token of the runner itself, in `X-Runner-Token`, is accepted too.")
        .access(Access::DownloadToken)
        .id(&id)
        .content(200, "A shell script.", "text/x-shellscript; charset=utf-8", &script),
    );
}

fn add_cli_tokens(document: &mut Document) {
    const TAG: &str = "CLI tokens";
    let id = document.request::<IdOf<id::CliToken>>("CliTokenId");
    let new = document.request::<NewCliToken>("NewCliToken");
    let created = document.response::<CreatedCliToken>("CreatedCliToken");
    let token = document.response::<CliTokenView>("CliToken");
    let list = document.list::<CliTokenView>("CliTokenList", &token);
    let change = document.request::<CredentialChange>("CredentialChange");
    for operation in [
        Operation::new("POST /v1/auth/cli-tokens", TAG, "Create a CLI token")
            .described("Either `all_repositories` is true, or `repositories` lists some. Tools cannot create CLI tokens.")
            .access(Access::User)
            .json(&new, &json!({"name": "laptop", "scopes": ["scans:read"], "repositories": ["acme/site"]}))
            .answer(201, "The token, with its secret, which is shown once.", &created)
            .codes(&["invalid_scope"]),
        Operation::new("GET /v1/auth/cli-tokens", TAG, "List one's own CLI tokens")
            .access(Access::User)
            .paged_credentials()
            .answer(200, "A page of the caller's own tokens.", &list),
        Operation::new("PATCH /v1/auth/cli-tokens/{id}", TAG, "Change one's own CLI token")
            .described(CHANGED)
            .access(Access::User)
            .id(&id)
            .json(&change, &json!({"expires_at": "2099-01-31T12:00:00Z"}))
            .answer(200, "The token.", &token)
            .codes(&CHANGE_CODES),
        Operation::new("DELETE /v1/auth/cli-tokens/{id}", TAG, "Delete one's own CLI token")
            .access(Access::User)
            .id(&id)
            .empty(204, DELETED),
    ] {
        document.add(&operation);
    }
}
