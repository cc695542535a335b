//! Batches of a task in a child: created in one call, filled in another.

use axum::body::Bytes;
use axum::http::StatusCode;
use oncekey_core::request::parse_json;
use oncekey_core::run::TriggerFunction;
use oncekey_core::{BatchId, Error, RequestId};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::call::{Answer, CallError, Wording};
use crate::family::{Started, Wanted};
use crate::host::verbs::call::{Answered, Calling, Refused, ok, own_options, refuse, wanted};
use crate::host::verbs::state::{Batch, Verbs};
use crate::invocation::lock;

impl<'a> Verbs<'a> {
    pub(super) async fn create_batch(&self, body: &Bytes, call: &Calling) -> Answered {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Create {
            run_count: u32,
            #[serde(default)]
            task_identifiers: Vec<String>,
            #[serde(default)]
            idempotency_key: Option<String>,
            #[serde(rename = "idempotencyKeyTTL", default)]
            idempotency_key_ttl: Option<String>,
            #[serde(default)]
            resume_parent_on_completion: bool,
        }
        let create: Create = parse_json(body)?;
        if create.run_count > oncekey_core::runs::batch::MAX_ITEMS {
            return refuse(StatusCode::BAD_REQUEST, "runCount: a batch has at most 1000 items");
        }
        let verb = if create.resume_parent_on_completion { "batch trigger and wait" } else { "batch trigger" };
        let what = format!("{verb} {} of {}", create.run_count, create.task_identifiers.join(", "));
        let key = create.idempotency_key.filter(|key| !key.is_empty());
        let begun = self.begin(Wording::new(&what).under(key.as_deref()), call).await?;
        let id = self.batch_id(begun.number)?;
        let known = begun.before.answer.clone();
        let count = create.run_count;
        if let Some(answer) = known {
            // Its items have come before: the client does not send them again.
            let waits = create.resume_parent_on_completion;
            let started = self.inv.trigger(begun, Vec::new(), TriggerFunction::BatchTrigger).await?;
            let (Answer::Children(_) | Answer::Partly { .. }) =
                answer.map_err(|refusal| Refused::from(Error::from(refusal)))?
            else {
                return refuse(StatusCode::CONFLICT, "the batch was no batch before");
            };
            self.keep_batch(&id, Vec::new(), started, waits).await?;
            return Ok((StatusCode::ACCEPTED, json!({ "id": id, "runCount": count, "isCached": true })));
        }
        let batch =
            Batch { call: begun, waits: create.resume_parent_on_completion, key, ttl: create.idempotency_key_ttl };
        lock(&self.state).created.insert(id.clone(), batch);
        Ok((StatusCode::ACCEPTED, json!({ "id": id, "runCount": count, "isCached": false })))
    }

    /// The id of the batch that a call makes: the same on a resume.
    fn batch_id(&self, number: u32) -> Result<String, Refused> {
        let name = RequestId::from_caller(&self.inv.request(number, 0)).map_err(Error::from)?;
        Ok(BatchId::named(&self.inv.run.spec.environment, &name).to_string())
    }

    pub(super) async fn add_items(&self, id: &str, body: &Bytes, call: &Calling) -> Answered {
        let Some(batch) = lock(&self.state).created.remove(id) else {
            return refuse(StatusCode::NOT_FOUND, format!("there is no batch {id:?} whose items have not come"));
        };
        let mut lines: Vec<(u64, String, Map<String, Value>)> = Vec::new();
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let mut item: Map<String, Value> = parse_json(line)?;
            let index = item.remove("index").and_then(|index| index.as_u64()).unwrap_or(lines.len() as u64);
            let task = item.remove("task").and_then(|task| Some(task.as_str()?.to_owned())).unwrap_or_default();
            own_options(&mut item);
            call.say_of_keys(&mut item);
            self.unpack(&mut item);
            batch.name_item(&mut item, index);
            lines.push((index, task, item));
        }
        lines.sort_by_key(|(index, ..)| *index);
        let tasks: Vec<String> = lines.iter().map(|(_, task, _)| task.clone()).collect();
        let count = lines.len();
        let child = |(_, task, body): (_, String, _)| {
            wanted(task.clone(), body).unwrap_or_else(|why| Wanted::refused(task, why))
        };
        let wanted = lines.into_iter().map(child).collect();
        let function = if batch.waits { TriggerFunction::BatchTriggerAndWait } else { TriggerFunction::BatchTrigger };
        let waits = batch.waits;
        let started = self.inv.trigger(batch.call, wanted, function).await?;
        self.keep_batch(id, tasks, started, waits).await?;
        ok(json!({ "id": id, "itemsAccepted": count, "itemsDeduplicated": 0, "sealed": true }))
    }

    async fn keep_batch(
        &self,
        id: &str,
        tasks: Vec<String>,
        started: Started<'a>,
        waits: bool,
    ) -> Result<(), CallError> {
        if waits {
            lock(&self.state).batches.insert(id.to_owned(), (tasks, started));
        } else {
            for (index, refusal) in &started.refused {
                let (run_id, why) = (&self.inv.run.id, Error::from(refusal.clone()));
                tracing::warn!(%run_id, batch_id = id, index, %why, "an item of a batch was refused");
            }
            // The client does not ask what became of each.
            if let Err(error @ CallError::OtherCall { .. }) = self.inv.handles_of(started).await {
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// Gives an item without a key the one that the batch's key stands for.
    fn name_item(&self, item: &mut Map<String, Value>, index: u64) {
        let Some(key) = &self.key else { return };
        let options = item.entry("options").or_insert_with(|| json!({}));
        let Some(options) = options.as_object_mut() else { return };
        let has_one = options.get("idempotencyKey").is_some_and(|key| key.as_str().is_none_or(|key| !key.is_empty()));
        if has_one {
            return;
        }
        options.insert("idempotencyKey".to_owned(), json!(format!("{key}-{index}")));
        if let Some(ttl) = &self.ttl {
            options.entry("idempotencyKeyTTL").or_insert_with(|| json!(ttl));
        }
    }
}
