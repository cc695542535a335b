//! Metadata: a run's own data about itself, changed by operations, so that several who change it at once lose nothing.

use oncekey_wire::{EnvironmentId, RunId};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use crate::app::App;
use crate::error::Error;
use crate::request::parse_json;
use crate::request::values::{MAX_METADATA_BYTES, check_numbers};
use crate::run::Run;
use crate::runs::find::find;

/// How often operations are applied while others apply theirs.
const ROUNDS: u32 = 20;
/// Most operations of one request, over all runs.
const MAX_OPERATIONS: usize = 1_000;

/// One change.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Operation {
    /// The field has this value.
    Set {
        /// The field: a name, or a path like `$.a.b`.
        key: String,
        /// The value.
        value: Value,
    },
    /// The field is not there.
    Delete {
        /// The field.
        key: String,
    },
    /// The list in the field ends with this.
    Append {
        /// The field.
        key: String,
        /// The new last item.
        value: Value,
    },
    /// The list in the field does not have this.
    Remove {
        /// The field.
        key: String,
        /// The item.
        value: Value,
    },
    /// The number in the field is larger by this, or smaller.
    Increment {
        /// The field.
        key: String,
        /// By how much.
        #[cfg_attr(feature = "openapi", schema(value_type = f64))]
        value: Number,
    },
    /// This is all that there is.
    Update {
        /// Everything.
        value: Map<String, Value>,
    },
}

/// Changes of a run and of its relatives.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// What the run's metadata shall be, before the operations.
    #[serde(default)]
    pub metadata: Option<Map<String, Value>>,
    /// Changes of the run's own.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// Changes of its parent's; of its own if it has none.
    #[serde(default)]
    pub parent_operations: Vec<Operation>,
    /// Changes of the first run's of its family; of its own if it is that.
    #[serde(default)]
    pub root_operations: Vec<Operation>,
}

impl Changes {
    /// Those that a body says.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field that is wrong, or a number that would come back as another.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let changes = parse_json(body)?;
        // It is JSON, so it is UTF-8.
        check_numbers("metadata", std::str::from_utf8(body).unwrap_or_default())?;
        Ok(changes)
    }
}

/// Applies operations, one after another.
pub fn apply(metadata: &mut Map<String, Value>, operations: &[Operation]) {
    for operation in operations {
        match operation {
            Operation::Update { value } => *metadata = value.clone(),
            Operation::Set { key, value } => {
                if let Some(field) = field(metadata, key) {
                    *field = value.clone();
                }
            }
            Operation::Delete { key } => delete(metadata, key),
            Operation::Append { key, value } => {
                if let Some(field) = field(metadata, key) {
                    match field {
                        Value::Array(list) => list.push(value.clone()),
                        Value::Null => *field = Value::Array(vec![value.clone()]),
                        one => *one = Value::Array(vec![one.take(), value.clone()]),
                    }
                }
            }
            Operation::Remove { key, value } => {
                if let Some(Value::Array(list)) = there(metadata, key) {
                    list.retain(|item| item != value);
                }
            }
            Operation::Increment { key, value } => {
                if let Some(field) = field(metadata, key) {
                    *field = sum(field, value);
                }
            }
        }
    }
}

/// Exact where both are whole numbers, and so is the sum in 64 bits.
fn sum(field: &Value, by: &Number) -> Value {
    let exact = || field.as_number().map_or(Some(0), Number::as_i128)?.checked_add(by.as_i128()?);
    let exact = exact()
        .and_then(|sum| i64::try_from(sum).map(Number::from).or_else(|_| u64::try_from(sum).map(Number::from)).ok());
    exact.map_or_else(|| number(field.as_f64().unwrap_or_default() + by.as_f64().unwrap_or_default()), Value::from)
}

/// As an integer, if it is one.
fn number(sum: f64) -> Value {
    if sum.fract() == 0.0 && sum.abs() < 9e15 { Value::from(sum as i64) } else { Value::from(sum) }
}

/// The names that a key leads through: `$.a.b` is a path, anything else is one name.
fn path(key: &str) -> Vec<&str> {
    match key.strip_prefix("$.") {
        Some(path) => path.split('.').collect(),
        None => vec![key],
    }
}

/// The field, made if it is not there. `None` where the path leads through what is not an object.
fn field<'a>(metadata: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Value> {
    let path = path(key);
    let (last, above) = path.split_last()?;
    let mut object = metadata;
    for name in above {
        let next = object.entry((*name).to_owned()).or_insert_with(|| Value::Object(Map::new()));
        object = next.as_object_mut()?;
    }
    Some(object.entry((*last).to_owned()).or_insert(Value::Null))
}

/// The field, if it is there.
fn there<'a>(metadata: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Value> {
    let path = path(key);
    let (last, above) = path.split_last()?;
    let mut object = metadata;
    for name in above {
        object = object.get_mut(*name)?.as_object_mut()?;
    }
    object.get_mut(*last)
}

fn delete(metadata: &mut Map<String, Value>, key: &str) {
    let path = path(key);
    let Some((last, above)) = path.split_last() else { return };
    let mut object = metadata;
    for name in above {
        match object.get_mut(*name).and_then(Value::as_object_mut) {
            Some(next) => object = next,
            None => return,
        }
    }
    object.remove(*last);
}

/// Changes a run's metadata and that of its relatives. The run's own, as it now is.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] for too many operations, [`Error::TooLarge`] beyond 32 KB, [`Error::Aws`],
/// [`Error::Contended`].
pub async fn change(
    app: &App,
    environment: &EnvironmentId,
    id: &RunId,
    changes: Changes,
) -> Result<Map<String, Value>, Error> {
    let run = find(app, environment, id).await?;
    let Changes { metadata, mut operations, parent_operations, root_operations } = changes;
    if operations.len() + parent_operations.len() + root_operations.len() > MAX_OPERATIONS {
        return Err(Error::invalid("operations", format!("give at most {MAX_OPERATIONS} at once")));
    }
    let lineage = run.spec.lineage.clone();
    for (relative, theirs) in [
        (lineage.as_ref().map(|lineage| &lineage.parent), parent_operations),
        (lineage.as_ref().map(|lineage| &lineage.root), root_operations),
    ] {
        match relative.filter(|relative| *relative != id) {
            None => operations.extend(theirs),
            Some(_) if theirs.is_empty() => {}
            // A relative that is not there any more has no metadata to change.
            Some(relative) => match find(app, environment, relative).await {
                Ok(relative) => drop(write(app, relative, None, &theirs).await?),
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            },
        }
    }
    write(app, run, metadata, &operations).await
}

async fn write(
    app: &App,
    mut run: Run,
    all: Option<Map<String, Value>>,
    operations: &[Operation],
) -> Result<Map<String, Value>, Error> {
    for _ in 0..ROUNDS {
        if run.changed_metadata.is_none() {
            app.store.read_metadata(std::slice::from_mut(&mut run)).await?;
        }
        let mut metadata = match &all {
            Some(all) => all.clone(),
            None => run.metadata().and_then(Value::as_object).cloned().unwrap_or_default(),
        };
        apply(&mut metadata, operations);
        if all.is_none() && operations.is_empty() {
            return Ok(metadata);
        }
        let text = Value::Object(metadata.clone()).to_string();
        if text.len() > MAX_METADATA_BYTES {
            let size = text.len();
            return Err(Error::TooLarge(format!(
                "metadata: {size} bytes of JSON; the limit is {MAX_METADATA_BYTES} (32 KB)"
            )));
        }
        if app.store.put_metadata(&run, &text).await? {
            return Ok(metadata);
        }
        run = find(app, &run.spec.environment, &run.id).await?;
    }
    Err(Error::Contended(run.id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn applied(metadata: Value, operations: Value) -> Value {
        let mut metadata = metadata.as_object().expect("an object").clone();
        apply(&mut metadata, &serde_json::from_value::<Vec<Operation>>(operations).expect("operations"));
        Value::Object(metadata)
    }

    #[test]
    fn operations_are_applied_one_after_another() {
        let operations = json!([
            { "type": "set", "key": "a", "value": 1 },
            { "type": "increment", "key": "a", "value": 2 },
            { "type": "increment", "key": "b", "value": -0.5 },
            { "type": "append", "key": "list", "value": "x" },
            { "type": "append", "key": "list", "value": "y" },
            { "type": "append", "key": "one", "value": 2 },
            { "type": "remove", "key": "list", "value": "x" },
            { "type": "delete", "key": "old" },
            { "type": "set", "key": "$.deep.er", "value": true },
        ]);
        let after = applied(json!({ "old": 1, "one": 1 }), operations);
        assert_eq!(after, json!({ "one": [1, 2], "a": 3, "b": -0.5, "list": ["y"], "deep": { "er": true } }));
    }

    #[test]
    fn what_leads_nowhere_changes_nothing() {
        let operations = json!([
            { "type": "set", "key": "$.a.b", "value": 1 },
            { "type": "remove", "key": "none", "value": 1 },
            { "type": "delete", "key": "$.none.at" },
        ]);
        assert_eq!(applied(json!({ "a": 5 }), operations), json!({ "a": 5 }));
        assert_eq!(applied(json!({ "a": 5 }), json!([{ "type": "update", "value": { "b": 1 } }])), json!({ "b": 1 }));
    }
}
