//! The scopes that a visitor can choose from, with what they mean.

use postern::{
    App,
    core::{
        permission::Permission,
        scope::{Scope, Scopes},
    },
};

use crate::portal::view::{self, FormValues};

/// A list of scopes with a heading.
pub(crate) struct ScopeGroup {
    pub(crate) title: &'static str,
    pub(crate) choices: Vec<ScopeChoice>,
}

/// A scope, as a checkbox.
pub(crate) struct ScopeChoice {
    pub(crate) scope: String,
    pub(crate) description: Option<String>,
    pub(crate) is_checked: bool,
}

/// What a visitor can grant.
pub(crate) struct ScopePicker {
    pub(crate) groups: Vec<ScopeGroup>,
    /// Whether there are scopes besides those that are listed, which can be typed.
    pub(crate) can_type: bool,
}

/// Returns what a user with the scopes `own` can grant: the scopes that the configuration
/// describes, those of the user, and the permissions of Postern itself.
pub(crate) fn picker(app: &App, own: &Scopes, values: &FormValues) -> ScopePicker {
    let described = app.context.config.scopes.iter();
    let described =
        described.map(|known| (known.name.to_string(), Some(known.description.clone())));
    let permissions: Vec<_> = Permission::ALL.into_iter().map(Scope::from).collect();
    let is_permission = |scope: &str| permissions.iter().any(|known| known.to_string() == scope);
    let of_user = view::scope_list(own).into_iter().filter(|scope| scope != "*");
    let mut of_apis: Vec<(String, Option<String>)> = Vec::new();
    for (scope, description) in described.chain(of_user.map(|scope| (scope, None))) {
        if !is_permission(&scope) && of_apis.iter().all(|(known, _)| *known != scope) {
            of_apis.push((scope, description));
        }
    }
    let of_postern = Permission::ALL
        .into_iter()
        .map(|permission| (permission.as_str().to_owned(), Some(description(permission).into())))
        .collect();
    let everything =
        vec![("*".to_owned(), Some("Everything that you can do, now and later".into()))];
    let group = |title, scopes: Vec<(String, Option<String>)>| ScopeGroup {
        title,
        choices: scopes
            .into_iter()
            .filter(|(scope, _)| can_grant(own, scope))
            .map(|(scope, description)| ScopeChoice {
                is_checked: values.has(&scope),
                scope,
                description,
            })
            .collect(),
    };
    let groups = [
        group("Your APIs", of_apis),
        group("Postern", of_postern),
        group("Everything", everything),
    ];
    ScopePicker {
        groups: groups.into_iter().filter(|group| !group.choices.is_empty()).collect(),
        can_type: own.to_string().contains('*'),
    }
}

fn can_grant(own: &Scopes, scope: &str) -> bool {
    Scope::try_from(scope.to_owned()).is_ok_and(|scope| own.allows(&scope))
}

/// Returns what a permission allows.
fn description(permission: Permission) -> &'static str {
    match permission {
        Permission::AgentsManage => "Create, renew and delete agents",
        Permission::AgentsRead => "See agents",
        Permission::EventsRead => "See what happened to the organization's credentials and users",
        Permission::KeysManage => "Create, rotate and delete API keys",
        Permission::KeysRead => "See API keys",
        Permission::RunnersManage => "Create, renew and delete runners",
        Permission::RunnersRead => "See runners, and download their install script",
        Permission::ServicesManage => "See, create and delete services",
        Permission::TokensIntrospect => "Ask what a credential of the organization is",
        Permission::UsersManage => "See, invite and delete users",
    }
}
