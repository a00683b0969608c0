//! The portal. Its forms work only on its pages: each contains a token of its session.

use postern::core::{id, schema::IdOf};
use serde_json::{Value, json};

use super::{access::Access, document::Document, operation::Operation, tokens::form_of};

const TAG: &str = "Portal";

/// A kind of record that has a page.
struct RecordPage {
    id: fn(&mut Document) -> Value,
    list: (&'static str, &'static str),
    create: (&'static str, &'static str),
    delete: (&'static str, &'static str),
    renew: Option<(&'static str, &'static str)>,
}

const RECORDS: [RecordPage; 5] = [
    RecordPage {
        id: |document| document.request::<IdOf<id::ApiKey>>("ApiKeyId"),
        list: ("GET /keys", "Page of the API keys"),
        create: ("POST /keys", "Create an API key on its page"),
        delete: ("POST /keys/{id}/delete", "Delete an API key on its page"),
        renew: Some(("POST /keys/{id}/renew", "Rotate an API key on its page")),
    },
    RecordPage {
        id: |document| document.request::<IdOf<id::CliToken>>("CliTokenId"),
        list: ("GET /tokens", "Page of one's own CLI tokens"),
        create: ("POST /tokens", "Create a CLI token on its page"),
        delete: ("POST /tokens/{id}/delete", "Delete a CLI token on its page"),
        renew: None,
    },
    RecordPage {
        id: |document| document.request::<IdOf<id::Agent>>("AgentId"),
        list: ("GET /agents", "Page of the agents"),
        create: ("POST /agents", "Create an agent on its page"),
        delete: ("POST /agents/{id}/delete", "Delete an agent on its page"),
        renew: Some(("POST /agents/{id}/renew", "Renew the secret of an agent on its page")),
    },
    RecordPage {
        id: |document| document.request::<IdOf<id::Service>>("ServiceId"),
        list: ("GET /services", "Page of the services"),
        create: ("POST /services", "Create a service on its page"),
        delete: ("POST /services/{id}/delete", "Delete a service on its page"),
        renew: None,
    },
    RecordPage {
        id: |document| document.request::<IdOf<id::Runner>>("RunnerId"),
        list: ("GET /runners", "Page of the runners"),
        create: ("POST /runners", "Create a runner on its page"),
        delete: ("POST /runners/{id}/delete", "Delete a runner on its page"),
        renew: Some(("POST /runners/{id}/renew", "Renew the token of a runner on its page")),
    },
];

/// Adds the routes.
pub(super) fn add(document: &mut Document) {
    add_records(document);
    add_sign_in(document);
    add_lists(document);
    add_people(document);
    let name = json!({"enum": ["icon.svg", "portal.css", "portal.js"]});
    let asset = || json!({"type": "string"});
    document.add(
        &Operation::new("GET /assets/{name}", TAG, "Asset of the pages")
            .for_browsers()
            .in_path("name", &name)
            .content(200, "The style sheet, script or icon.", "text/css; charset=utf-8", &asset())
            .content(200, "", "text/javascript; charset=utf-8", &asset())
            .content(200, "", "image/svg+xml", &asset())
            .with_header(200, "Cache-Control", "Cacheable"),
    );
}

/// Returns an operation of a signed-in user.
fn of_user((route, summary): (&'static str, &'static str)) -> Operation {
    Operation::new(route, TAG, summary).access(Access::Page).for_browsers()
}

fn add_records(document: &mut Document) {
    let optional = ["scopes", "repositories", "labels", "expires_in_days", "expires_on"];
    let create = document.schema("NewRecordForm", form_of(&["csrf", "name"], &optional));
    let renew = document.schema("RenewalForm", form_of(&["csrf"], &["name", "overlap_s"]));
    let delete = document.schema("DeletionForm", form_of(&["csrf"], &["confirm"]));
    for record in RECORDS {
        let id = (record.id)(document);
        document.add(
            &of_user(record.list)
                .query("cursor?", &json!({"type": "string"}), "The cursor of the previous page.")
                .page("The page.")
                .redirect("The sign-in page."),
        );
        document.add(
            &of_user(record.create)
                .form(&create, &json!({"csrf": "…", "name": "deploy", "scopes": "data:read"}))
                .page("The page, with what is wrong in the form.")
                .redirect("The page, which shows the secret once.")
                .codes(&["conflict", "invalid_scope", "not_found"]),
        );
        if let Some(route) = record.renew {
            document.add(
                &of_user(route)
                    .id(&id)
                    .form(&renew, &json!({"csrf": "…"}))
                    .redirect("The page, which shows the secret once.")
                    .codes(&["conflict"]),
            );
        }
        document.add(
            &of_user(record.delete)
                .id(&id)
                .form(&delete, &json!({"csrf": "…"}))
                .redirect("The page.")
                .codes(&["conflict"]),
        );
    }
}

fn add_sign_in(document: &mut Document) {
    let mut login = form_of(&["email", "password"], &["next", "organization"]);
    login["properties"]["email"]["format"] = "idn-email".into();
    let login = document.schema("LoginForm", login);
    let form = document.schema("PageForm", form_of(&["csrf"], &[]));
    document.add(
        &Operation::new("GET /login", TAG, "Page for signing in")
            .query("next?", &json!({"type": "string"}), "The path of the page to return to.")
            .page("The page.")
            .redirect("The page to return to, if the user is signed in."),
    );
    document.add(
        &Operation::new("POST /login", TAG, "Sign in with a password on a page")
            .form(&login, &json!({"email": "ada@example.com", "password": "correct horse battery"}))
            .page("A page that leads on to an app, with the session's cookie.")
            .with_header(200, "Set-Cookie", "SetCookie")
            .redirect("The page to return to, with the session's cookie.")
            .codes(&[
                "forbidden_origin",
                "forbidden_user",
                "invalid_credentials",
                "too_many_requests",
            ]),
    );
    document.add(
        &of_user(("POST /logout", "Sign out on a page"))
            .form(&form, &json!({"csrf": "…"}))
            .redirect("The sign-in page.")
            .codes(&["not_found"]),
    );
}

fn add_lists(document: &mut Document) {
    let form = document.schema("PageForm", form_of(&["csrf"], &[]));
    let device = document
        .schema("DeviceForm", form_of(&["csrf", "user_code"], &["decision", "shown_scope"]));
    document.add(&of_user(("GET /", "Overview")).page("The page.").redirect("The sign-in page."));
    document.add(
        &of_user(("GET /device", "Page for approving a device"))
            .query("user_code?", &json!({"type": "string"}), "The code that the device shows.")
            .page("The page.")
            .redirect("The sign-in page."),
    );
    document.add(
        &of_user(("POST /device", "Approve a device, or deny it"))
            .form(&device, &json!({"csrf": "…", "user_code": "BCDF-GHJK", "decision": "approve"}))
            .page("The page.")
            .redirect("The page.")
            .codes(&["too_many_requests"]),
    );
    add_agent_consent(document);
    document.add(
        &of_user(("POST /sessions", "End the sessions in all other browsers"))
            .form(&form, &json!({"csrf": "…"}))
            .redirect("The page."),
    );
    for (id, page, end) in [
        (
            document.request::<IdOf<id::Consent>>("ConsentId"),
            ("GET /apps", "Page of the apps that act for the user"),
            ("POST /apps/{id}/end", "Disconnect an app on its page"),
        ),
        (
            document.request::<IdOf<id::Family>>("FamilyId"),
            ("GET /devices", "Page of the tools that were approved"),
            ("POST /devices/{id}/end", "Disconnect a tool on its page"),
        ),
        (
            document.request::<IdOf<id::Session>>("SessionId"),
            ("GET /sessions", "Page of the sessions"),
            ("POST /sessions/{id}/end", "End a session on its page"),
        ),
    ] {
        let list = of_user(page).page("The page.").redirect("The sign-in page.");
        document.add(&if page.0 == "GET /apps" { with_agent_request(list) } else { list });
        document.add(
            &of_user(end)
                .id(&id)
                .form(&form, &json!({"csrf": "…"}))
                .redirect("The page.")
                .codes(&["conflict"]),
        );
    }
}

/// Adds the pages that manage users and set passwords.
fn add_people(document: &mut Document) {
    let id = document.request::<IdOf<id::User>>("UserId");
    let page = document.schema("PageForm", form_of(&["csrf"], &[]));
    let invite = document.schema("InviteForm", form_of(&["csrf", "email"], &["role"]));
    let change = document.schema("PersonForm", form_of(&["csrf", "change"], &[]));
    let delete = document.schema("DeletionForm", form_of(&["csrf"], &["confirm"]));
    let password = form_of(&["csrf", "current_password", "password"], &[]);
    let password = document.schema("PasswordForm", password);
    let accept = document.schema("InvitationForm", form_of(&["invitation", "password"], &[]));
    let text = json!({"type": "string"});
    for operation in [
        of_user(("GET /people", "Page of the users"))
            .query("cursor?", &text, "The cursor of the previous page.")
            .page("The page."),
        of_user(("POST /people", "Invite a user on a page"))
            .form(&invite, &json!({"csrf": "…", "email": "ada@example.com", "role": "user"}))
            .page("The page, with what is wrong in the form.")
            .codes(&["conflict", "too_many_requests"]),
        of_user(("POST /people/{id}/change", "Change the role of a user, or disable them, on a page"))
            .id(&id)
            .form(&change, &json!({"csrf": "…", "change": "admin"}))
            .codes(&["conflict", "forbidden_user"]),
        of_user(("POST /people/{id}/delete", "Delete a user on a page"))
            .id(&id)
            .form(&delete, &json!({"csrf": "…"}))
            .codes(&["conflict", "forbidden_user"]),
        of_user(("POST /people/{id}/renew", "Make a link for a new password"))
            .id(&id)
            .form(&page, &json!({"csrf": "…"}))
            .codes(&["too_many_requests"]),
        of_user(("GET /account", "Page of the user's own account")).page("The page."),
        of_user(("POST /account", "Change one's own password on a page"))
            .form(&password, &json!({"csrf": "…", "current_password": "correct horse battery", "password": "another horse battery"}))
            .page("The page, with what is wrong in the form.")
            .codes(&["conflict", "invalid_credentials", "too_many_requests"]),
    ] {
        document.add(&operation.redirect("The page, or the sign-in page."));
    }
    document.add(
        &Operation::new("GET /invitation", TAG, "Page for setting a password with an invitation")
            .query("invitation?", &text, "The invitation.")
            .page("The page."),
    );
    document.add(
        &Operation::new("POST /invitation", TAG, "Set a password with an invitation on a page")
            .form(&accept, &json!({"invitation": "pst_iv_…", "password": "correct horse battery"}))
            .redirect("The sign-in page.")
            .codes(&["forbidden_origin", "forbidden_user", "invalid_grant"]),
    );
}

/// Adds the parameters with which an agent asks a user.
fn with_agent_request(list: Operation) -> Operation {
    let text = json!({"type": "string"});
    list.query("client_id?", &text, "An agent, for the page that asks whether it is allowed.")
        .query("resource?", &text, "The API at which it wants to act.")
        .query("scope?", &text, "The scopes, space-joined.")
        .codes(&["invalid_scope", "invalid_target"])
}

fn add_agent_consent(document: &mut Document) {
    let required = ["csrf", "client_id", "decision"];
    let optional = ["resource", "scope", "shown_client", "shown_scope"];
    let form = document.schema("AgentConsentForm", form_of(&required, &optional));
    let example = json!({
        "csrf": "…", "client_id": "agt_01h455vb4pex5vsknk084sn02q", "decision": "allow",
    });
    document.add(
        &of_user(("POST /apps", "Allow an agent to act for the user, or deny it"))
            .form(&form, &example)
            .page("The page again, if the agent has another name meanwhile.")
            .redirect("The list.")
            .codes(&["conflict", "invalid_scope", "invalid_target"]),
    );
}
