//! Batches: up to a thousand triggers under one id, sent in pieces, each of which may be sent again.

use oncekey_wire::{BatchHandle, BatchReport, Json, KeyOptions, TriggerBody, TriggerOptions};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::{Client, Content};
use crate::error::Error;
use crate::key::Key;

/// Most items that one call carries.
const MAX_ITEMS: usize = 200;
/// Most bytes that one call carries; one item may be larger.
const MAX_BYTES: usize = 1024 * 1024;

/// One trigger of a batch.
#[derive(Clone, Debug)]
pub struct BatchItem {
    task: String,
    payload: Result<Json, String>,
    options: TriggerOptions,
}

/// A line of a call that brings items.
#[derive(Serialize)]
struct Line {
    index: usize,
    task: String,
    #[serde(flatten)]
    body: TriggerBody,
}

impl BatchItem {
    /// A trigger of a task with a payload, which is written as JSON.
    pub fn new(task: &str, payload: &impl Serialize) -> Self {
        let payload = Json::of(payload).map_err(|error| error.to_string());
        Self { task: task.to_owned(), payload, options: TriggerOptions::new() }
    }

    /// The key that makes this item happen once. An empty text is not a key.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<Key>) -> Self {
        let key = key.into();
        if key.is_empty() {
            return self;
        }
        let shown = key.text().map(|text| KeyOptions::new(text, key.get_scope()));
        self.with(|options| options.key(&key.hash(), shown.as_ref()))
    }

    /// How long the key holds: a whole number and `s`, `m`, `h` or `d`; 30 days by default.
    #[must_use]
    pub fn key_ttl(self, ttl: &str) -> Self {
        self.with(|options| options.key_ttl(ttl))
    }

    /// Makes the key of the payload: of what these JSON pointers name in it, or, for `[]`, of the whole of it.
    #[must_use]
    pub fn idempotency_key_from<const N: usize>(self, pointers: [&str; N]) -> Self {
        self.with(|options| options.key_from(&pointers))
    }

    /// Any other option of a trigger, by its name on the wire.
    #[must_use]
    pub fn option(self, name: &str, value: impl Serialize) -> Self {
        self.with(|options| options.option(name, value))
    }

    /// Any options of a trigger: `item.with(|options| options.delay("1h").queue("mail"))`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(TriggerOptions) -> TriggerOptions) -> Self {
        self.options = change(self.options);
        self
    }

    pub(crate) fn into_body(self) -> Result<(String, TriggerBody), Error> {
        use serde::ser::Error as _;
        let source = serde_json::Error::custom;
        let payload = self.payload.map_err(|why| Error::Json { what: "the payload", source: source(why) })?;
        let mut body = TriggerBody::new(payload);
        body.options = self.options;
        Ok((self.task, body))
    }
}

impl Client {
    /// Triggers up to a thousand items as one batch and tells what became of each.
    ///
    /// ```
    /// # use oncekey_client::{BatchItem, BatchStatus, Client};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// let orders = ["a", "b", "a"].map(|order| BatchItem::new("echo", &order).idempotency_key(order));
    /// let report = client.batch(orders).await?;
    /// assert_eq!(report.status, BatchStatus::Completed);
    /// assert_eq!(report.runs[0], report.runs[2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`]; an item that cannot be triggered is not an error, but stands in the report.
    pub async fn batch<I>(&self, items: I) -> Result<BatchReport, Error>
    where
        I: IntoIterator<Item = BatchItem, IntoIter: ExactSizeIterator>,
    {
        let items = items.into_iter();
        let batch = self.create_batch(items.len(), None).await?;
        self.send_items(&batch.id, items.enumerate(), |_| ()).await?;
        self.batch_report(&batch.id).await
    }

    /// Creates a batch of `count` items, 1 to 1,000. The key stands for those of its items: one without a key of its own has
    /// `{key}-{index}`, so that the same items in another batch of this key are the same runs.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_batch(&self, count: usize, key: Option<&Key>) -> Result<BatchHandle, Error> {
        let mut body = json!({ "runCount": count });
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            body["idempotencyKey"] = json!(key.hash());
            if let Some(text) = key.text() {
                body["idempotencyKeyOptions"] = json!({ "key": text, "scope": key.get_scope().as_str() });
            }
        }
        self.call(Method::POST, &["api", "v3", "batches"], &[], Content::json(&body)?).await
    }

    /// Sends items of a batch with their indexes, in pieces, as the iterator gives them; `sent` is told how many went with
    /// each piece. Items that the batch has are not triggered again.
    ///
    /// # Errors
    /// [`Error`]; then some may have been sent, and all can be sent again.
    pub async fn send_items(
        &self,
        batch: impl AsRef<str>,
        items: impl IntoIterator<Item = (usize, BatchItem)>,
        mut sent: impl FnMut(usize),
    ) -> Result<(), Error> {
        let (mut lines, mut count) = (String::new(), 0);
        for (index, item) in items {
            let (task, body) = item.into_body()?;
            let line = serde_json::to_string(&Line { index, task, body });
            let line = line.map_err(|source| Error::Json { what: "an item", source })?;
            if count == MAX_ITEMS || (count > 0 && lines.len() + line.len() > MAX_BYTES) {
                self.send_lines(batch.as_ref(), std::mem::take(&mut lines)).await?;
                sent(std::mem::take(&mut count));
            }
            lines.push_str(&line);
            lines.push('\n');
            count += 1;
        }
        if count > 0 {
            self.send_lines(batch.as_ref(), lines).await?;
            sent(count);
        }
        Ok(())
    }

    async fn send_lines(&self, batch: &str, lines: String) -> Result<(), Error> {
        let path = ["api", "v3", "batches", batch, "items"];
        let _: Value = self.call(Method::POST, &path, &[], Content::Lines(lines)).await?;
        Ok(())
    }

    /// What became of a batch.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn batch_report(&self, batch: impl AsRef<str>) -> Result<BatchReport, Error> {
        self.call(Method::GET, &["api", "v2", "batches", batch.as_ref()], &[], Content::None).await
    }
}
