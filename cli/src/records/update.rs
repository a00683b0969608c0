//! `update`: changes a credential without a new secret.

use clap::{ArgGroup, Args};
use postern_client::Context;
use serde_json::{Map, Value, json};

use super::{
    Kind, RecordArgs, details,
    expiry::{Expiry, parse_expiry},
    scopes,
};
use crate::{api::Api, credentials::Caller, failure::Failure};

/// The properties of a credential.
#[derive(Args)]
pub(crate) struct PropertyArgs {
    /// What another system calls its owner, such as customer-42.
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// A member of its metadata, such as team=billing. A number, true and false are what they are
    /// in JSON; everything else is text. Can be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_member)]
    metadata: Vec<(String, Value)>,
    /// A network that it can be used from, such as 192.0.2.0/24. Can be repeated.
    #[arg(long = "allow-network", value_name = "NETWORK")]
    allow_networks: Vec<String>,
}

/// A credential, and what changes.
#[derive(Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    record: RecordArgs,
    /// A new name.
    #[arg(long, group = "change")]
    name: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// What changes besides the name.
#[derive(Args)]
struct ChangeArgs {
    /// An earlier expiry: a time such as 2099-01-31T12:00:00Z, or a duration such as 90d.
    #[arg(long, value_name = "TIME", value_parser = parse_expiry, allow_hyphen_values = true, group = "change")]
    expires: Option<Expiry>,
    /// Stop it, until it is enabled again.
    #[arg(long, group = "change")]
    disable: bool,
    /// Let it work again.
    #[arg(long, conflicts_with = "disable", group = "change")]
    enable: bool,
    /// What another system calls its owner, such as customer-42.
    #[arg(long, value_name = "ID", group = "change")]
    external_id: Option<String>,
    /// Remove the external id.
    #[arg(long, conflicts_with = "external_id", group = "change")]
    no_external_id: bool,
    /// A member of its metadata, such as team=billing, in place of all that it has. A number, true
    /// and false are what they are in JSON; everything else is text. Can be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_member, group = "change")]
    metadata: Vec<(String, Value)>,
    /// Remove all metadata.
    #[arg(long, conflicts_with = "metadata", group = "change")]
    no_metadata: bool,
    /// A network that it can be used from, such as 192.0.2.0/24, in place of those that it has. Can
    /// be repeated.
    #[arg(long = "allow-network", value_name = "NETWORK", group = "change")]
    allow_networks: Vec<String>,
    /// Let it be used from every network.
    #[arg(long, conflicts_with = "allow_networks", group = "change")]
    any_network: bool,
}

/// A credential with scopes, and what changes.
#[derive(Args)]
pub(crate) struct ScopedUpdateArgs {
    /// Fewer scopes, separated by spaces.
    #[arg(long, group = "change")]
    scope: Option<String>,
    #[command(flatten)]
    update: UpdateArgs,
}

impl PropertyArgs {
    /// Adds the properties to the body of a new credential.
    pub(super) fn add_to(self, body: &mut Value) {
        if let Some(id) = self.external_id {
            body["external_id"] = id.into();
        }
        if !self.metadata.is_empty() {
            body["metadata"] = Map::from_iter(self.metadata).into();
        }
        if !self.allow_networks.is_empty() {
            body["allowed_networks"] = self.allow_networks.into();
        }
    }
}

impl ChangeArgs {
    /// Returns the body that says what changes.
    fn body(self, context: &Context) -> Result<Value, Failure> {
        let Self { expires, disable, enable, no_external_id, no_metadata, any_network, .. } = self;
        let mut body = json!({});
        if let Some(expires) = expires {
            body["expires_at"] = expires.time(context)?.to_string().into();
        }
        if disable || enable {
            body["disabled"] = disable.into();
        }
        for (is_removed, member) in [
            (no_external_id, "external_id"),
            (no_metadata, "metadata"),
            (any_network, "allowed_networks"),
        ] {
            if is_removed {
                body[member] = Value::Null;
            }
        }
        let Self { external_id, metadata, allow_networks, .. } = self;
        PropertyArgs { external_id, metadata, allow_networks }.add_to(&mut body);
        Ok(body)
    }
}

impl Kind {
    /// Changes a credential, and shows it.
    pub(super) async fn update(
        &self,
        context: &Context,
        caller: &Caller,
        arguments: UpdateArgs,
        scope: Option<&str>,
    ) -> Result<(), Failure> {
        let UpdateArgs { record: RecordArgs { id, json }, name, change } = arguments;
        let mut body = change.body(context)?;
        if let Some(name) = name {
            body["name"] = name.into();
        }
        if let Some(scope) = scope {
            body["scopes"] = scopes(scope).into();
        }
        details(&Api::new(caller).patch(&self.of(&[&id]), &body).await?, json)
    }

    /// Changes a credential that has scopes, and shows it.
    pub(super) async fn update_scoped(
        &self,
        context: &Context,
        caller: &Caller,
        ScopedUpdateArgs { scope, update }: ScopedUpdateArgs,
    ) -> Result<(), Failure> {
        self.update(context, caller, update, scope.as_deref()).await
    }
}

/// Parses a member of metadata.
fn parse_member(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected a name and a value, such as team=billing")?;
    let value = match serde_json::from_str(value) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        Ok(_) | Err(_) => value.into(),
    };
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_text_numbers_and_truth_values() {
        for (text, value) in [
            ("a=b", json!("b")),
            ("a=", json!("")),
            ("a=b=c", json!("b=c")),
            ("a=12", json!(12)),
            ("a=012", json!("012")),
            ("a=true", json!(true)),
            ("a=null", json!("null")),
            ("a=[1]", json!("[1]")),
        ] {
            assert_eq!(parse_member(text), Ok(("a".to_owned(), value)));
        }
        for wrong in ["", "a", "=b"] {
            assert!(parse_member(wrong).is_err(), "{wrong}");
        }
    }
}
