//! What a task knows of the run it is in, and the verbs it has: keys, children, waits, steps.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use oncekey_core::key::{KeyHash, Scope};
use oncekey_core::protocol::trigger::RunHandle;
use oncekey_core::run::TriggerFunction;
use oncekey_core::store::KeyAddress;
use oncekey_core::{EnvironmentId, Error, RunId, TaskId, Timestamp, TokenId};
use oncekey_wire::{CreatedToken, TokenOptions, TriggerBody};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::{Answer, CallError, Refusal, Wording, typed};
use crate::child::Child;
use crate::error::TaskError;
use crate::family::{Wanted, only, wording};
use crate::invocation::Invocation;
use crate::key::Key;
use crate::token::{completed, wording_of_create, wording_of_wait};

/// A trigger as it goes by message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    environment: &'a EnvironmentId,
    task: TaskId,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(flatten)]
    body: TriggerBody,
}

/// The run that a task is executing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) inner: Arc<Invocation>,
}

impl Context {
    /// The run's id: the same on every attempt.
    #[must_use]
    pub fn run_id(&self) -> &RunId {
        &self.inner.run.id
    }

    /// The present attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.inner.run.turn.attempt
    }

    /// The environment the run belongs to.
    #[must_use]
    pub fn environment(&self) -> &EnvironmentId {
        &self.inner.run.spec.environment
    }

    /// The tags its trigger gave it.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.inner.run.spec.options.tags
    }

    /// The W3C trace context of whoever triggered the run, or of what its parent had, to hand on to what the task calls.
    ///
    /// ```
    /// # use oncekey_worker::{Context, TaskError};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// if let Some(traceparent) = ctx.traceparent() {
    ///     println!("traceparent: {traceparent}"); // a header of whatever the task calls
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.inner.run.spec.options.traceparent.as_deref()
    }

    /// A key for a trigger: `ctx.idempotency_key(["order", &id])`, of scope `run` unless told otherwise.
    ///
    /// ```
    /// # use oncekey_worker::{Context, TaskError};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// let a_run = ctx.idempotency_key(["receipt", "42"]);
    /// let an_attempt = ctx.idempotency_key("receipt").attempt();
    /// let whoever_triggers = ctx.idempotency_key("receipt").global();
    /// # let _ = (a_run, an_attempt, whoever_triggers);
    /// # Ok(())
    /// # }
    /// ```
    pub fn idempotency_key<const N: usize>(&self, parts: impl Into<Parts<N>>) -> Key {
        Key::new(parts.into().0)
    }

    /// Triggers a child and goes on. The same call on a resume gives the same child.
    ///
    /// ```
    /// # use oncekey_worker::{Child, Context, TaskError};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// let email = Child::new("send-email", "ada@example.com").idempotency_key(ctx.idempotency_key("welcome"));
    /// let handle = ctx.trigger(email).await?;
    /// println!("{} {}", handle.id, handle.is_cached);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn trigger(&self, child: Child) -> Result<RunHandle, CallError> {
        let started = self.inner.start_children("trigger", vec![child], TriggerFunction::Trigger).await?;
        only(&self.inner.handles_of(started).await?).cloned()
    }

    /// Triggers up to a thousand children and goes on. Their handles are in the order of the children.
    ///
    /// ```
    /// # use oncekey_worker::{Child, Context, TaskError};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// let emails = ["ada@example.com", "bob@example.com"].map(|to| Child::new("send-email", to));
    /// let handles = ctx.batch_trigger(emails.into()).await?;
    /// assert_eq!(handles.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError`] of the first child that could not be triggered; the others have been, unless something behind Oncekey
    /// failed.
    pub async fn batch_trigger(&self, children: Vec<Child>) -> Result<Vec<RunHandle>, CallError> {
        let started = self.inner.start_children("batch trigger", children, TriggerFunction::BatchTrigger).await?;
        self.inner.handles_of(started).await
    }

    /// Triggers a child, waits for its end without holding a worker, and returns its output.
    ///
    /// ```
    /// # use oncekey_worker::{Child, Context, TaskError};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// let rating: u32 = ctx.trigger_and_wait(Child::new("ask-for-rating", "ada@example.com")).await?;
    /// println!("{rating}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Child`] when the child ends otherwise than by success, and the others.
    pub async fn trigger_and_wait<O: DeserializeOwned>(&self, child: Child) -> Result<O, CallError> {
        let task = child.task.clone();
        let started =
            self.inner.start_children("trigger and wait", vec![child], TriggerFunction::TriggerAndWait).await?;
        let ended = self.inner.ends_of(started).await?;
        ended.output(&task, only(&ended.handles)?)
    }

    /// Triggers up to a thousand children, waits for all of them, and returns each one's output or error in its place: a child
    /// that is refused keeps none of the others from running.
    /// Children that share a key are one run, whose end stands at each of their places.
    ///
    /// ```
    /// # use oncekey_worker::{Child, Context, TaskError};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// let prices = ["apple", "pear"].map(|fruit| Child::new("fetch-price", fruit));
    /// for price in ctx.batch_trigger_and_wait::<u32>(prices.into()).await? {
    ///     match price {
    ///         Ok(price) => println!("{price}"),
    ///         Err(error) => println!("no price: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError`] when something behind Oncekey failed.
    pub async fn batch_trigger_and_wait<O: DeserializeOwned>(
        &self,
        children: Vec<Child>,
    ) -> Result<Vec<Result<O, CallError>>, CallError> {
        let tasks: Vec<String> = children.iter().map(|child| child.task.clone()).collect();
        let started =
            self.inner.start_children("batch trigger and wait", children, TriggerFunction::BatchTriggerAndWait).await?;
        let ended = self.inner.ends_of(started).await?;
        let output = |(task, place): (&String, Result<&RunHandle, &Refusal>)| match place {
            Ok(handle) => ended.output(task, handle),
            Err(refusal) => Err(Error::from(refusal.clone()).into()),
        };
        Ok(tasks.iter().zip(ended.places()).map(output).collect())
    }

    /// Asks for a child by a message on the `triggers` queue, for workers that may send to SQS and nothing else. There
    /// is no handle: the child is made when the message is read.
    ///
    /// ```
    /// # use oncekey_worker::{Child, Context, TaskError};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// ctx.enqueue_trigger(Child::new("audit", "order 42")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn enqueue_trigger(&self, child: Child) -> Result<(), CallError> {
        let call = self.inner.begin(wording("enqueue trigger", &[Wanted::of(&child, self.inner.parent())])).await?;
        let number = call.number;
        let make = async {
            let task = child.task_id()?;
            let mut body = child.body(child.hashed_key(self.inner.parent()).as_ref())?;
            body.options = body.options.option("parentRunId", self.run_id());
            let (environment, traceparent) = (self.environment(), self.traceparent());
            let message = Message { environment, task, request_id: self.inner.request(number, 0), traceparent, body };
            self.inner.app.queues.send_trigger(&message).await?;
            Ok(Answer::Done)
        };
        let sent = self.inner.answer(&call, make).await;
        self.inner.give(number, Some(call.pass)).await?;
        sent.map(drop)
    }

    /// Frees a key of a task in this environment, hashed with this run and attempt as a trigger here would hash it.
    /// Whether anybody held it.
    ///
    /// ```
    /// # use oncekey_worker::{Context, TaskError};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// let was_held = ctx.reset("send-email", ctx.idempotency_key("welcome")).await?;
    /// println!("{was_held}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn reset(&self, task: &str, key: impl Into<Key>) -> Result<bool, CallError> {
        let key = key.into().hashed(self.inner.parent());
        let wording = Wording::new(&format!("reset a key of {task}"));
        let call = self.inner.begin(wording.with(key.as_ref().map_or("", |key| key.hash.as_str()))).await?;
        let number = call.number;
        let make = async {
            let task = Child::new(task, ()).task_id()?;
            let Some(key) = key else { return Ok(Answer::Held(false)) };
            let address = KeyAddress { environment: self.environment(), place: key.place(&task), hash: &key.hash };
            match oncekey_core::protocol::reset::reset(&self.inner.app, address, key.display_text()).await {
                Ok(()) => Ok(Answer::Held(true)),
                Err(Error::NotFound(_)) => Ok(Answer::Held(false)),
                Err(error) => Err(error.into()),
            }
        };
        // Once: whoever holds the key after a suspension shall keep it.
        let held = self.inner.answer(&call, make).await;
        self.inner.give(number, Some(call.pass)).await?;
        Ok(held? != Answer::Held(false))
    }

    /// Waits without holding a worker, up to a year. Under five seconds it waits in place.
    ///
    /// ```
    /// # use oncekey_worker::{Context, TaskError};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// ctx.wait_for(std::time::Duration::from_secs(3 * 24 * 60 * 60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn wait_for(&self, duration: Duration) -> Result<(), CallError> {
        let wording = Wording::new("wait for a time").with(&format!("{duration:?}"));
        self.inner.wait_until(wording, |now| now.plus(duration)).await
    }

    /// Waits until a moment without holding a worker, up to a year. Under five seconds it waits in place.
    ///
    /// ```
    /// # use oncekey_worker::{Context, TaskError, Timestamp};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// let noon = Timestamp::from_millis(1_798_714_800_000);
    /// ctx.wait_until(noon).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn wait_until(&self, moment: Timestamp) -> Result<(), CallError> {
        let wording = Wording::new("wait until a time").with(&moment.millis().to_string());
        self.inner.wait_until(wording, |_| moment).await
    }

    /// Makes a wait token, which somebody outside completes: a person who approves, or a webhook, by its `url`. The same call on a
    /// resume gives the same token.
    ///
    /// ```
    /// # use oncekey_worker::{Child, Context, TaskError, TokenOptions};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// let token = ctx.create_token(&TokenOptions::new().timeout("7d").tag("order:42")).await?;
    /// ctx.trigger(Child::new("ask-for-approval", &token.url)).await?;
    /// let is_approved: bool = ctx.wait_for_token(&token.id).await?;
    /// println!("{is_approved}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create_token(&self, options: &TokenOptions) -> Result<CreatedToken, CallError> {
        let body = serde_json::to_vec(options).map_err(|error| Error::invalid("token", error.to_string()))?;
        let wording = wording_of_create(&body, options.key_text());
        let call = self.inner.begin(wording).await?;
        self.inner.create_token(call, &body).await
    }

    /// Waits, without holding a worker, until a token of this environment is completed, and returns what with. Several runs may
    /// wait for one token.
    ///
    /// ```
    /// # use oncekey_worker::{CallError, Context, TaskError, TokenId};
    /// # async fn task(ctx: Context, token: TokenId) -> Result<(), TaskError> {
    /// match ctx.wait_for_token::<serde_json::Value>(&token).await {
    ///     Ok(answer) => println!("{answer}"),
    ///     Err(CallError::TokenTimedOut { .. }) => println!("nobody answered"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::TokenTimedOut`] when its time was over first, and the others.
    pub async fn wait_for_token<O: DeserializeOwned>(&self, token: &TokenId) -> Result<O, CallError> {
        let call = self.inner.begin(wording_of_wait(token)).await?;
        completed(token, &self.inner.wait_for_token(call, token).await?)
    }

    /// Runs a side effect once per run: its result is recorded, and later attempts and resumes get that instead of
    /// running it again. Should the worker die after the side effect and before it is recorded, it runs again: pass
    /// [`Context::step_key`] to whatever it calls. A name stands for one step of the run.
    ///
    /// ```
    /// # use oncekey_worker::{Context, TaskError};
    /// # async fn task(ctx: Context) -> Result<(), TaskError> {
    /// let key = ctx.step_key("charge");
    /// let charge: String = ctx.step("charge", || async move { Ok(format!("charged under {key}")) }).await?;
    /// println!("{charge}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the side effect returned, and [`CallError`].
    pub async fn step<T, F>(&self, name: &str, effect: impl FnOnce() -> F) -> Result<T, TaskError>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, TaskError>>,
    {
        let _pass = self.inner.gate.pass().await;
        if let Some(earlier) = self.inner.finished_step(name).await? {
            return Ok(typed(&format!("the recorded result of step {name:?}"), &earlier)?);
        }
        self.inner.still_ours().await?;
        let result = Invocation::within_step(effect()).await?;
        let text = serde_json::to_string(&result)?;
        match self.inner.finish_step(name, text).await? {
            // Another invocation was first.
            Some(there) => Ok(typed(&format!("the recorded result of step {name:?}"), &there)?),
            None => Ok(result),
        }
    }

    /// A token that is the same on every attempt and resume of this run and differs from any other: the idempotency key
    /// to give an outside API for the step of this name.
    #[must_use]
    pub fn step_key(&self, name: &str) -> String {
        KeyHash::of(&["step", self.run_id().as_str(), name], Scope::Global, None).to_string()
    }
}

/// The parts of a key: one text, or an array of them.
#[derive(Debug)]
pub struct Parts<const N: usize>(Vec<String>);

impl From<&str> for Parts<1> {
    fn from(text: &str) -> Self {
        Self(vec![text.to_owned()])
    }
}

impl From<String> for Parts<1> {
    fn from(text: String) -> Self {
        Self(vec![text])
    }
}

impl<const N: usize> From<[&str; N]> for Parts<N> {
    fn from(parts: [&str; N]) -> Self {
        Self(parts.map(str::to_owned).into())
    }
}
