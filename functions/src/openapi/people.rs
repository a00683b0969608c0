//! Organizations and users.

use postern::{
    core::{id, permission::Permission::UsersManage, schema::IdOf},
    resource::{
        api_key::{CreatedApiKey, NewApiKey},
        key_import::{ImportReport, NewImport},
        organization::{CreatedOrganization, NewOrganization, OrganizationView},
        usage_plan::PlanOfKey,
        user::{CreatedUser, NewUser, UserToUpdate, UserView},
        user_access::UserToChange,
    },
};
use serde_json::json;

use super::{access::Access, document::Document, operation::Operation};
use crate::{
    login::{LoggedIn, LoginRequest, LogoutRequest},
    users::{AcceptInvitation, ChangePassword, InvitedUser},
};

/// The user of examples.
const USER: &str = "usr_01h455vb4pex5vsknk084sn02q";
/// The organization of examples.
const ORGANIZATION: &str = "org_01h455vb4pex5vsknk084sn02q";
/// The digest of examples.
const SHA256: &str = "b3c0e1d5a86a4d2b9e0b6a7a4f5f6f1a2c3d4e5f60718293a4b5c6d7e8f90a1b";
/// The password of examples.
const PASSWORD: &str = "correct horse battery";

/// Adds the routes.
pub(super) fn add(document: &mut Document) {
    add_organizations(document);
    add_users(document);
    add_access(document);
    add_login(document);
    add_passwords(document);
}

fn add_organizations(document: &mut Document) {
    const TAG: &str = "Organizations";
    let new = document.request::<NewOrganization>("NewOrganization");
    let created = document.response::<CreatedOrganization>("CreatedOrganization");
    let organization = document.response::<OrganizationView>("Organization");
    let id = document.request::<IdOf<id::Organization>>("OrganizationId");
    let new_key = document.request::<NewApiKey>("NewApiKey");
    let created_key = document.response::<CreatedApiKey>("CreatedApiKey");
    let new_import = document.request::<NewImport>("NewImport");
    let key_id = document.request::<IdOf<id::ApiKey>>("ApiKeyId");
    let plan = document.request::<PlanOfKey>("PlanOfKey");
    let report = document.response::<ImportReport>("ImportReport");
    for operation in [
        Operation::new("POST /v1/organizations", TAG, "Create an organization")
            .access(Access::OperatorOrPublic)
            .json(&new, &json!({"name": "Acme"}))
            .answer(201, "The organization, with its first API key, which is shown once.", &created)
            .codes(&["too_many_requests"]),
        Operation::new(
            "POST /v1/organizations/{id}/keys",
            TAG,
            "Issue an API key for an organization",
        )
        .access(Access::Operator)
        .id(&id)
        .json(&new_key, &json!({"name": "recovery", "scopes": ["*"]}))
        .answer(201, "The key, with its secret, which is shown once.", &created_key)
        .codes(&["insufficient_scope", "invalid_scope"]),
        Operation::new("POST /v1/keys/import", TAG, "Import API keys of another system")
            .described("By their SHA-256, so that they keep working. Each key is decided for itself. To import a key again changes nothing.")
            .access(Access::Operator)
            .json(&new_import, &json!({"org_id": ORGANIZATION, "keys": [
                {"sha256": SHA256, "prefix": "sk_live_", "last_four": "uvwx", "name": "deploy", "scopes": ["data:read"]},
            ]}))
            .answer(200, "What became of each key, in their order.", &report)
            .codes(&["not_found"]),
        Operation::new("PUT /v1/keys/{id}/plan", TAG, "Give an API key a usage plan")
            .access(Access::Operator)
            .id(&key_id)
            .json(&plan, &json!({"plan": "pro"}))
            .empty(204, "The next response of the authorizer has the plan."),
        Operation::new("GET /v1/organizations/current", TAG, "Show one's own organization")
            .access(Access::Any)
            .answer(200, "The caller's organization.", &organization)
            .codes(&["insufficient_scope", "not_found"]),
    ] {
        document.add(&operation);
    }
}

fn add_users(document: &mut Document) {
    const TAG: &str = "Users";
    let id = document.request::<IdOf<id::User>>("UserId");
    let new = document.request::<NewUser>("NewUser");
    let created = document.response::<CreatedUser>("CreatedUser");
    let user = document.response::<UserView>("User");
    let list = document.list::<UserView>("UserList", &user);
    let invited = document.response::<InvitedUser>("InvitedUser");
    let change = document.request::<UserToUpdate>("UserToUpdate");
    for operation in [
        Operation::new("POST /v1/users", TAG, "Create a user")
            .described("Either with a password, or with `invite`, for an invitation with which the user sets one.")
            .access(Access::Scope(UsersManage))
            .json(&new, &json!({"email": "ada@example.com", "invite": true}))
            .answer(201, "The user, with an invitation if there is no password yet.", &created)
            .codes(&["conflict", "too_many_requests"]),
        Operation::new("GET /v1/users", TAG, "List the users")
            .access(Access::Scope(UsersManage))
            .paged()
            .answer(200, "A page of users.", &list),
        Operation::new("GET /v1/users/{id}", TAG, "Show a user")
            .access(Access::Scope(UsersManage))
            .id(&id)
            .answer(200, "The user.", &user),
        Operation::new("PATCH /v1/users/{id}", TAG, "Change the role of a user")
            .described("What the user had beyond a lesser role ends with the next request.")
            .access(Access::Scope(UsersManage))
            .id(&id)
            .json(&change, &json!({"role": "admin"}))
            .answer(200, "The user.", &user)
            .codes(&["conflict"]),
        Operation::new("DELETE /v1/users/{id}", TAG, "Delete a user")
            .access(Access::Scope(UsersManage))
            .id(&id)
            .empty(204, "The user is deleted."),
        Operation::new("POST /v1/users/{id}/invitation", TAG, "Invite a user again")
            .access(Access::Scope(UsersManage))
            .id(&id)
            .optional_json(&super::document::no_members(), &json!({}))
            .answer(200, "The invitation, which is shown once.", &invited)
            .codes(&["too_many_requests"]),
    ] {
        document.add(&operation);
    }
}

/// Adds what decides whether a user of any kind gets in.
fn add_access(document: &mut Document) {
    let user = document.request::<UserToChange>("UserToChange");
    for (route, summary, description, access) in [
        (
            "POST /v1/users/disable",
            "Disable a user",
            "All credentials of the user end, and the user gets no new ones.",
            Access::OperatorOr(UsersManage),
        ),
        (
            "POST /v1/users/enable",
            "Enable a user",
            "The user can sign in again.",
            Access::OperatorOr(UsersManage),
        ),
        (
            "POST /v1/users/sign-out",
            "Sign a user out everywhere",
            "All sessions, tools and tokens of the user end.",
            Access::OperatorOrAny,
        ),
    ] {
        document.add(
            &Operation::new(route, "Users", summary)
                .described(description)
                .access(access)
                .json(&user, &json!({"user_id": USER}))
                .empty(204, "It is done.")
                .codes(&["not_found"]),
        );
    }
}

fn add_login(document: &mut Document) {
    let login = document.request::<LoginRequest>("LoginRequest");
    let logged_in = document.response::<LoggedIn>("LoggedIn");
    let logout = document.request::<LogoutRequest>("LogoutRequest");
    document.add(
        &Operation::new("POST /v1/auth/login", "Users", "Log in with a password")
            .with_proof()
            .json(&login, &json!({"email": "ada@example.com", "password": PASSWORD}))
            .answer(200, "Tokens, and the user.", &logged_in)
            .codes(&["forbidden_user", "invalid_credentials", "too_many_requests"]),
    );
    document.add(
        &Operation::new("POST /v1/auth/logout", "Users", "Log out")
            .described(
                "Ends the session in the header or cookie, and the family of a refresh token.",
            )
            .access(Access::SessionOrRefreshToken)
            .optional_json(&logout, &json!({"refresh_token": "pst_rt_…"}))
            .empty(204, "They have ended.")
            .with_header(204, "Set-Cookie", "SetCookie"),
    );
}

fn add_passwords(document: &mut Document) {
    let change = document.request::<ChangePassword>("ChangePassword");
    let accept = document.request::<AcceptInvitation>("AcceptInvitation");
    let example = json!({"current_password": PASSWORD, "password": "another horse battery"});
    document.add(
        &Operation::new("POST /v1/auth/password", "Users", "Change one's own password")
            .described("All other sessions, tools and tokens of the user end.")
            .access(Access::User)
            .json(&change, &example)
            .empty(204, "The password is changed.")
            .codes(&["conflict", "invalid_credentials", "too_many_requests"]),
    );
    document.add(
        &Operation::new("POST /v1/auth/invitation", "Users", "Accept an invitation")
            .json(&accept, &json!({"invitation": "pst_…", "password": PASSWORD}))
            .empty(204, "The password is set.")
            .codes(&["forbidden_user", "invalid_grant"]),
    );
}
