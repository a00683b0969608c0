//! Changing the record of a credential: one conditional write.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, Update, builders::UpdateBuilder},
};

use super::{
    Record, Store,
    conditional::Conditional,
    item::{Item, attribute, text},
    key,
    record::item_of_record,
    transaction,
};
use crate::core::{allowed_networks::AllowedNetworks, error::Fault, event::Event};

/// The attributes that decide who may change a record, and what is narrower than before. A change
/// that was judged by other values than those that are stored is not written: two changes at once
/// could otherwise widen what each of them narrowed.
const DECIDING: [&str; 5] = ["allowed_networks", "disabled", "expires_at", "org_id", "scopes"];

/// The outcome of changing a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// The record is changed, or there was nothing to change.
    Changed,
    /// Another request changed it since it was read.
    Conflict,
    /// There is no such record any more.
    Unknown,
}

/// A write of some attributes of an item, under a condition.
#[derive(Debug, Default)]
struct ConditionalUpdate {
    set: Vec<String>,
    remove: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl ConditionalUpdate {
    /// Returns the write that makes `new` of `old`.
    fn between(old: &Item, new: &Item) -> Self {
        let mut update = Self::default();
        for name in DECIDING {
            update.require(name, old.get(name));
        }
        for (name, value) in new.iter().filter(|(name, value)| old.get(*name) != Some(*value)) {
            let (name, value) = (update.name(name), update.value(value));
            update.set.push(format!("{name} = {value}"));
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            let name = update.name(name);
            update.remove.push(name);
        }
        update
    }

    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    fn require(&mut self, name: &str, value: Option<&AttributeValue>) {
        let name = self.name(name);
        let condition = match value {
            Some(value) => format!("{name} = {}", self.value(value)),
            None => format!("attribute_not_exists({name})"),
        };
        self.conditions.push(condition);
    }

    /// Returns the placeholder of an attribute: some names are reserved words of DynamoDB.
    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, value: &AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value.clone());
        placeholder
    }

    fn expression(&self) -> String {
        let clause = |word: &str, parts: &[String]| {
            if parts.is_empty() { String::new() } else { format!("{word} {}", parts.join(", ")) }
        };
        format!("{} {}", clause("SET", &self.set), clause("REMOVE", &self.remove)).trim().to_owned()
    }

    fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }
}

/// An update that takes a condition: on its own, or in a transaction.
pub(super) trait ConditionalBuilder: Sized {
    /// Adds the condition.
    fn condition(self, condition: String) -> Self;
    /// Adds a value that the condition names.
    fn value(self, placeholder: &str, value: AttributeValue) -> Self;
}

macro_rules! conditional_builders {
    ($($builder:ty)*) => {$(
        impl ConditionalBuilder for $builder {
            fn condition(self, condition: String) -> Self {
                self.condition_expression(condition)
            }

            fn value(self, placeholder: &str, value: AttributeValue) -> Self {
                self.expression_attribute_values(placeholder, value)
            }
        }
    )*};
}

conditional_builders!(UpdateBuilder UpdateItemFluentBuilder);

/// Adds to a write the condition `when`, and that a credential can still be used from `networks`.
pub(super) fn while_allowed_from<B: ConditionalBuilder>(
    networks: Option<&AllowedNetworks>,
    when: &str,
    update: B,
) -> Result<B, Fault> {
    Ok(match networks {
        None => update.condition(format!("{when} AND attribute_not_exists(allowed_networks)")),
        Some(networks) => update
            .condition(format!("{when} AND allowed_networks = :networks"))
            .value(":networks", attribute(networks)?),
    })
}

impl Store {
    /// Makes `new` of the record `old`, if it is still what was read, by a write of the attributes
    /// that differ, and stores the events that report it.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn change_record<R: Record>(
        &self,
        old: &R,
        new: &R,
        events: &[Event],
    ) -> Result<ChangeOutcome, Fault> {
        let (old_item, new_item) = (item_of_record(old)?, item_of_record(new)?);
        let update = ConditionalUpdate::between(&old_item, &new_item);
        if update.is_empty() {
            return Ok(ChangeOutcome::Changed);
        }
        let change = Update::builder()
            .table_name(&self.tables.keys)
            .key(key::PK, text(&old.meta().id))
            .update_expression(update.expression())
            .condition_expression(update.condition())
            .set_expression_attribute_names(Some(update.names))
            .set_expression_attribute_values(Some(update.values));
        let mut writes = vec![transaction::update(change)?];
        for event in events {
            writes.push(self.event_write(event)?);
        }
        Ok(match self.transact(writes, "change a record").await? {
            Conditional::Met(()) => ChangeOutcome::Changed,
            Conditional::NotMet(None) => ChangeOutcome::Unknown,
            Conditional::NotMet(Some(_)) => ChangeOutcome::Conflict,
        })
    }
}
