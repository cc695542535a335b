//! The environments table: which environment an API key opens, and until when; and which key has which name as a signer of public
//! tokens.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use oncekey_wire::EnvironmentId;
use serde::{Deserialize, Serialize};

use super::Store;
use super::conditional::written;
use super::expression::{moment, text};
use crate::clock::Timestamp;
use crate::error::Error;

/// The item that holds the secret of sessions: no sha256 in hex is like it.
const SESSIONS: &str = "sessions";

/// What is known of an API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    /// sha256 of the key, in hex: all that is kept of it, but for the hint.
    #[serde(rename = "pk")]
    pub hash: String,
    /// The environment it opens.
    pub environment: EnvironmentId,
    /// Its beginning and its last four characters, for people to tell keys apart.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From this moment on it opens nothing, if it was rotated out or revoked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid_until: Option<Timestamp>,
    /// Its [name as a signer](crate::public_token::signer_id), if it signs public tokens.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signer: Option<String>,
}

/// The key of the item that leads from a signer's name to its API key.
fn signer_key(signer: &str) -> String {
    format!("signer#{signer}")
}

fn read(item: HashMap<String, AttributeValue>) -> Result<ApiKeyRecord, Error> {
    serde_dynamo::from_item(item).map_err(|error| Error::unreadable("an API key's item", error))
}

impl Store {
    /// Looks an API key up by its hash, strongly consistent.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn api_key(&self, hash: &str) -> Result<Option<ApiKeyRecord>, Error> {
        self.environments_item(hash).await?.map(read).transpose()
    }

    async fn environments_item(&self, pk: &str) -> Result<Option<HashMap<String, AttributeValue>>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.tables.environments)
            .key("pk", text(pk))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("dynamodb:GetItem"))?;
        Ok(answer.item)
    }

    /// The hash of the API key that has this name as a signer.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn signer(&self, signer: &str) -> Result<Option<String>, Error> {
        let hash = self.environments_item(&signer_key(signer)).await?.and_then(|mut item| item.remove("hash"));
        Ok(hash.and_then(|hash| hash.as_s().ok().cloned()))
    }

    /// Lets a new API key open its environment. One that is there stays as it is.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn put_api_key(&self, record: &ApiKeyRecord) -> Result<(), Error> {
        if let Some(signer) = &record.signer {
            // Before the key, which says that it is there. It has no environment, so nobody takes it for a key.
            let put = self.client.put_item().table_name(&self.tables.environments);
            let put = put.item("pk", text(signer_key(signer))).item("hash", text(&record.hash));
            put.send().await.map_err(Error::aws("dynamodb:PutItem"))?;
        }
        let item = serde_dynamo::to_item(record).map_err(|error| Error::unreadable("an API key", error))?;
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.environments)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        written("dynamodb:PutItem", put).map(drop)
    }

    /// Ends an API key at `until`, unless it ends sooner.
    ///
    /// # Errors
    /// [`Error::Aws`].
    pub async fn end_api_key(&self, hash: &str, until: Timestamp) -> Result<(), Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.environments)
            .key("pk", text(hash))
            .update_expression("SET valid_until = :until")
            .condition_expression(
                "attribute_exists(pk) AND (attribute_not_exists(valid_until) OR valid_until > :until)",
            )
            .expression_attribute_values(":until", moment(until))
            .send()
            .await;
        written("dynamodb:UpdateItem", update).map(drop)
    }

    /// The secret that signs the dashboard's sessions, which all its processes share: `fresh` if there was none.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn session_secret(&self, fresh: &str) -> Result<String, Error> {
        if let Some(secret) = self.stored_secret().await? {
            return Ok(secret);
        }
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.environments)
            .item("pk", text(SESSIONS))
            .item("secret", text(fresh))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        if written("dynamodb:PutItem", put)?.is_done() {
            return Ok(fresh.to_owned());
        }
        let stored = self.stored_secret().await?;
        stored.ok_or_else(|| Error::unreadable("the secret of sessions", "it was deleted just now"))
    }

    async fn stored_secret(&self) -> Result<Option<String>, Error> {
        let secret = self.environments_item(SESSIONS).await?.and_then(|mut item| item.remove("secret"));
        Ok(secret.and_then(|secret| secret.as_s().ok().cloned()))
    }

    /// Every API key, by a scan: for what is rare, and not for each request.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`].
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyRecord>, Error> {
        let scan = self.client.scan().table_name(&self.tables.environments).consistent_read(true);
        let keys_alone = scan.filter_expression("attribute_exists(environment)");
        let mut pages = keys_alone.into_paginator().items().send();
        let mut records = Vec::new();
        while let Some(item) = pages.next().await {
            records.push(read(item.map_err(Error::aws("dynamodb:Scan"))?)?);
        }
        records.sort_by(|a, b| (&a.environment, a.created_at, &a.hash).cmp(&(&b.environment, b.created_at, &b.hash)));
        Ok(records)
    }
}
