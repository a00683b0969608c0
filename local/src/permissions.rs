//! The permissions of each function as a page, read from the template's policies.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    Error,
    template::{Function, Template},
};

const HEAD: &str = "# What each function is allowed to do

Generated from `template.yaml` by `cargo run -p local -- permissions`. A test compares them. A
change to this page is a change to the security design: an attacker who takes over a function can do
what its rows list, and nothing else.

SAM also allows every role to write traces, and log lines to any log group of the account
(`AWSXrayWriteOnlyAccess`, `AWSLambdaBasicExecutionRole`). An attacker who takes over a function can
write false entries there, but cannot read any data of Postern. `e2e/run template` checks that the
transformed template contains these permissions and the ones below, and no others.

*Records* are the ids that the policy's condition on `dynamodb:LeadingKeys` allows, or the
attributes to which it limits what is read.

| function | action | resource | records |
|---|---|---|---|
";

/// The bus of the template's parameter, the only resource outside of the stack.
const EVENT_BUS: &str =
    "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/${EventBusName}";

/// A permission of a function.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    action: String,
    resource: String,
    records: String,
}

/// Returns the page.
///
/// # Errors
/// [`Error::Template`] if a policy is not a list of plain statements.
pub fn markdown(template: &Template) -> Result<String, Error> {
    let mut page = HEAD.to_owned();
    let mut functions: Vec<_> = template.functions.iter().collect();
    functions.sort_by(|a, b| a.binary.cmp(&b.binary));
    for function in functions {
        for Permission { action, resource, records } in of(function)? {
            page += &format!("| `{}` | `{action}` | {resource} | {records} |\n", function.binary);
        }
    }
    Ok(page)
}

fn of(function: &Function) -> Result<BTreeSet<Permission>, Error> {
    let wrong =
        |what: &str| Error::Template(format!("the policy of {}: {what}", function.logical_id));
    let mut permissions = BTreeSet::new();
    for policy in function.properties["Policies"].as_array().into_iter().flatten() {
        let statements =
            policy["Statement"].as_array().ok_or_else(|| wrong("it has no inline statements"))?;
        for statement in statements {
            if statement["Effect"] != "Allow" {
                return Err(wrong("a statement that is not an Allow"));
            }
            let resource = resource(&statement["Resource"])
                .ok_or_else(|| wrong("a resource outside of the stack"))?;
            let records =
                statement.pointer("/Condition/ForAllValues:StringLike/dynamodb:LeadingKeys");
            let attributes = attributes(&statement["Condition"]);
            let records = match (statement.get("Condition"), records.map(texts)) {
                (None, _) => "all".to_owned(),
                (Some(_), None) if attributes.is_some() => {
                    format!("all, but only {}", attributes.unwrap_or_default())
                }
                (Some(_), Some(Some(ids))) => {
                    ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(" ")
                }
                (Some(_), _) => return Err(wrong("a condition that this page cannot show")),
            };
            for action in texts(&statement["Action"])
                .ok_or_else(|| wrong("actions that are not a list of strings"))?
            {
                let records =
                    if action.starts_with("dynamodb:") { records.clone() } else { String::new() };
                permissions.insert(Permission {
                    action: action.to_owned(),
                    resource: resource.clone(),
                    records,
                });
            }
        }
    }
    Ok(permissions)
}

/// Returns the attributes to which a condition limits what is read, if it is nothing else.
fn attributes(condition: &Value) -> Option<String> {
    let names = texts(&condition["ForAllValues:StringEquals"]["dynamodb:Attributes"])?;
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    let is_enforced = condition["StringEquals"]["dynamodb:Select"] == "SPECIFIC_ATTRIBUTES";
    (is_enforced && condition.as_object()?.len() == 2).then(|| names.join(" "))
}

/// Returns a list of strings, if all items are strings.
fn texts(list: &Value) -> Option<Vec<&str>> {
    list.as_array()?.iter().map(Value::as_str).collect()
}

/// Returns the name of a resource, such as `SigningSecret`, `Keys`, or
/// ``Keys, index `by_organization` ``.
fn resource(value: &Value) -> Option<String> {
    let (kind, name) = value.as_object()?.iter().next()?;
    let name = name.as_str()?.to_owned();
    match kind.as_str() {
        "!Ref" => Some(name),
        "!GetAtt" => match name.split_once('.')? {
            (table, "Arn") => Some(table.to_owned()),
            (table, "StreamArn") => Some(format!("{table}, stream")),
            (_, _) => None,
        },
        "!Sub" if name == EVENT_BUS => Some("the event bus `EventBusName`".to_owned()),
        "!Sub" => {
            let (table, index) = name.strip_prefix("${")?.split_once(".Arn}/index/")?;
            Some(format!("{table}, index `{index}`"))
        }
        _ => None,
    }
}
