//! Oncekey's tables, as the deployment template declares them for AWS.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, DisplayErrorContext};
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};
use oncekey_core::store::{RUNS_INDEX, TableNames};

use crate::error::StackError;

/// The tables' names.
pub(crate) fn names(prefix: &str) -> TableNames {
    let name = |end| format!("{prefix}-{end}");
    TableNames { keys: name("keys"), runs: name("runs"), environments: name("environments") }
}

/// Makes the tables that are not there yet.
pub(crate) async fn create(client: &Client, names: &TableNames) -> Result<(), StackError> {
    let build = |error: BuildError| StackError::Tables(error.to_string());
    let keys = table(client, &names.keys, &[("pk", KeyType::Hash)], &[]).map_err(build)?;
    let runs_key = [("run_id", KeyType::Hash), ("item", KeyType::Range)];
    let list_key = [("list_pk", KeyType::Hash), ("list_sk", KeyType::Range)];
    let runs = table(client, &names.runs, &runs_key, &["list_pk", "list_sk"]).map_err(build)?;
    let newest = GlobalSecondaryIndex::builder()
        .index_name(RUNS_INDEX)
        .set_key_schema(Some(schema(&list_key).map_err(build)?))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .map_err(build)?;
    let runs = runs.global_secondary_indexes(newest);
    let environments = table(client, &names.environments, &[("pk", KeyType::Hash)], &[]).map_err(build)?;
    for (create, name, has_ttl) in
        [(keys, &names.keys, true), (runs, &names.runs, true), (environments, &names.environments, false)]
    {
        if create_unless_there(create).await? && has_ttl {
            expire(client, name).await?;
        }
    }
    Ok(())
}

fn table(
    client: &Client,
    name: &str,
    key: &[(&str, KeyType)],
    others: &[&str],
) -> Result<CreateTableFluentBuilder, BuildError> {
    let mut create = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(schema(key)?));
    for name in key.iter().map(|(name, _)| name).chain(others) {
        let definition = AttributeDefinition::builder().attribute_name(*name).attribute_type(ScalarAttributeType::S);
        create = create.attribute_definitions(definition.build()?);
    }
    Ok(create)
}

fn schema(key: &[(&str, KeyType)]) -> Result<Vec<KeySchemaElement>, BuildError> {
    let element = |(name, kind): &(&str, KeyType)| {
        KeySchemaElement::builder().attribute_name(*name).key_type(kind.clone()).build()
    };
    key.iter().map(element).collect()
}

/// Whether the table was made now.
async fn create_unless_there(create: CreateTableFluentBuilder) -> Result<bool, StackError> {
    match create.send().await {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => Ok(false),
        Err(error) => Err(StackError::Tables(DisplayErrorContext(error).to_string())),
    }
}

async fn expire(client: &Client, name: &str) -> Result<(), StackError> {
    let failed = |error: &dyn std::fmt::Display| StackError::Tables(error.to_string());
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("expires_at").build();
    client
        .update_time_to_live()
        .table_name(name)
        .time_to_live_specification(ttl.map_err(|error| failed(&error))?)
        .send()
        .await
        .map_err(|error| failed(&DisplayErrorContext(error)))?;
    Ok(())
}
