//! Oncekey's tables, as the deployment template declares them for AWS.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, DisplayErrorContext};
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};
use oncekey_core::store::TableNames;
use oncekey_core::store::schema::{self, Schema};

use crate::error::StackError;

/// The tables' names.
pub(crate) fn names(prefix: &str) -> TableNames {
    let name = |end| format!("{prefix}-{end}");
    TableNames { keys: name("keys"), runs: name("runs"), environments: name("environments") }
}

/// Makes the tables that are not there yet.
pub(crate) async fn create(client: &Client, names: &TableNames) -> Result<(), StackError> {
    let tables =
        [(&names.keys, schema::KEYS), (&names.runs, schema::RUNS), (&names.environments, schema::ENVIRONMENTS)];
    for (name, schema) in tables {
        let create = table(client, name, &schema).map_err(|error| StackError::Tables(error.to_string()))?;
        if let (true, Some(attribute)) = (create_unless_there(create).await?, schema.expires_at) {
            expire(client, name, attribute).await?;
        }
    }
    Ok(())
}

fn table(client: &Client, name: &str, schema: &Schema) -> Result<CreateTableFluentBuilder, BuildError> {
    let mut create = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(key_schema(schema.key)?));
    for name in schema.attributes() {
        let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        create = create.attribute_definitions(definition.build()?);
    }
    let Some((name, key)) = schema.index else { return Ok(create) };
    let index = GlobalSecondaryIndex::builder()
        .index_name(name)
        .set_key_schema(Some(key_schema(&key)?))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build());
    Ok(create.global_secondary_indexes(index.build()?))
}

fn key_schema(key: &[&str]) -> Result<Vec<KeySchemaElement>, BuildError> {
    let kinds = [KeyType::Hash, KeyType::Range];
    let element =
        |(name, kind): (&&str, KeyType)| KeySchemaElement::builder().attribute_name(*name).key_type(kind).build();
    key.iter().zip(kinds).map(element).collect()
}

/// Whether the table was made now.
async fn create_unless_there(create: CreateTableFluentBuilder) -> Result<bool, StackError> {
    match create.send().await {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => Ok(false),
        Err(error) => Err(StackError::Tables(DisplayErrorContext(error).to_string())),
    }
}

async fn expire(client: &Client, name: &str, attribute: &str) -> Result<(), StackError> {
    let failed = |error: &dyn std::fmt::Display| StackError::Tables(error.to_string());
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name(attribute).build();
    client
        .update_time_to_live()
        .table_name(name)
        .time_to_live_specification(ttl.map_err(|error| failed(&error))?)
        .send()
        .await
        .map_err(|error| failed(&DisplayErrorContext(error)))?;
    Ok(())
}
