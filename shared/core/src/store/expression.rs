//! Update expressions, built part by part. Every attribute name goes through a placeholder, as many are reserved words.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::clock::Timestamp;

/// A number attribute.
pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A moment, in milliseconds.
pub(super) fn moment(value: Timestamp) -> AttributeValue {
    number(value.millis())
}

/// A text attribute.
pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// `SET …, … REMOVE …` with the names and values it uses.
#[derive(Default)]
pub(super) struct Expression {
    set: Vec<String>,
    remove: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    pub(super) fn set(&mut self, name: &str, value: AttributeValue) {
        let (n, v) = (self.name(name), self.value(value));
        self.set.push(format!("{n} = {v}"));
    }

    /// Whether something is to happen to this attribute.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains_key(&format!("#{name}"))
    }

    /// Sets what a path of placeholders leads to.
    pub(super) fn set_path(&mut self, path: &str, value: AttributeValue) {
        let value = self.value(value);
        self.set.push(format!("{path} = {value}"));
    }

    /// Removes what a path of placeholders leads to.
    pub(super) fn remove_path(&mut self, path: String) {
        self.remove.push(path);
    }

    /// A placeholder for a name that is none of a placeholder's.
    pub(super) fn name_as(&mut self, placeholder: &str, name: &str) -> String {
        let placeholder = format!("#{placeholder}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    pub(super) fn set_if_absent(&mut self, name: &str, value: AttributeValue) {
        let (n, v) = (self.name(name), self.value(value));
        self.set.push(format!("{n} = if_not_exists({n}, {v})"));
    }

    pub(super) fn add(&mut self, name: &str, by: u32) {
        let (n, v) = (self.name(name), self.value(number(by)));
        self.set.push(format!("{n} = {n} + {v}"));
    }

    /// Adds one to a number, which may be absent.
    pub(super) fn count(&mut self, name: &str) {
        let (n, none, one) = (self.name(name), self.value(number(0)), self.value(number(1)));
        self.set.push(format!("{n} = if_not_exists({n}, {none}) + {one}"));
    }

    /// Adds to the end of a list, which may be absent.
    pub(super) fn append(&mut self, name: &str, value: AttributeValue) {
        let (n, v) = (self.name(name), self.value(AttributeValue::L(vec![value])));
        let none = self.value(AttributeValue::L(Vec::new()));
        self.set.push(format!("{n} = list_append(if_not_exists({n}, {none}), {v})"));
    }

    pub(super) fn remove(&mut self, name: &str) {
        let n = self.name(name);
        self.remove.push(n);
    }

    /// A placeholder for an attribute's name.
    pub(super) fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    /// A placeholder for a value.
    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    /// The update expression, the names and the values.
    pub(super) fn finish(self) -> (String, HashMap<String, String>, HashMap<String, AttributeValue>) {
        let mut text = format!("SET {}", self.set.join(", "));
        if !self.remove.is_empty() {
            text = format!("{text} REMOVE {}", self.remove.join(", "));
        }
        (text, self.names, self.values)
    }
}
