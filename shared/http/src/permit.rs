//! What a caller may do: with an API key everything in its environment, with a public token what its scopes cover (R68).

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use oncekey_core::protocol::trigger::Triggered;
use oncekey_core::public_token::{PublicToken, Signer, TokenUse, looks_like_one};
use oncekey_core::request::TriggerRequest;
use oncekey_core::runs::find::find;
use oncekey_core::runs::list::Filter;
use oncekey_core::{App, BatchId, EnvironmentId, Error, Run, RunId, TaskId, Timestamp, TokenId};
use serde_json::json;

use crate::error::ApiError;

/// The longest API key that is looked up, in bytes.
const MAX_KEY_BYTES: usize = 512;

/// What the client signs a public token with, beside its scopes.
const CLAIMS: HeaderName = HeaderName::from_static("x-trigger-jwt-claims");
/// A public token, for a client that has no key to sign one with.
const TOKEN: HeaderName = HeaderName::from_static("x-trigger-jwt");

/// A known caller, and what it may do. Only routes that take public tokens take this.
#[derive(Debug)]
pub struct Permit {
    environment: EnvironmentId,
    of: Of,
}

#[derive(Debug)]
enum Of {
    /// An API key, and itself as one that signs, if it does.
    Key(Option<Signer>),
    /// A run, by its host in this process.
    Task,
    Token(Box<PublicToken>),
}

impl FromRequestParts<App> for Permit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        // Put there by a host in this process, for a run of that environment. Nothing that comes over the wire gets here.
        if let Some(environment) = parts.extensions.get::<EnvironmentId>() {
            return Ok(Self { environment: environment.clone(), of: Of::Task });
        }
        let bearer = bearer(&parts.headers)?;
        if looks_like_one(bearer) {
            let token = app.environments.public_token(bearer).await?;
            return Ok(Self { environment: token.environment().clone(), of: Of::Token(Box::new(token)) });
        }
        let opened = app.environments.opened_by(bearer).await?;
        Ok(Self { environment: opened.environment, of: Of::Key(opened.signer) })
    }
}

/// The API key or public token that a request shows.
fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let header = all.next().and_then(|value| value.to_str().ok());
    if all.next().is_some() {
        return Err(Error::Unauthorized("send the header \"Authorization\" once"));
    }
    header
        .and_then(|header| header.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, bearer)| bearer.trim())
        .filter(|bearer| looks_like_one(bearer) || (1..=MAX_KEY_BYTES).contains(&bearer.len()))
        .ok_or(Error::Unauthorized("send the header \"Authorization: Bearer <API key>\""))
}

/// Whether a request shows what is meant to be a public token, good or not.
pub(crate) fn shows_public_token(headers: &HeaderMap) -> bool {
    bearer(headers).is_ok_and(looks_like_one)
}

impl Permit {
    /// Where.
    #[must_use]
    pub fn environment(&self) -> &EnvironmentId {
        &self.environment
    }

    fn token(&self) -> Option<&PublicToken> {
        match &self.of {
            Of::Token(token) => Some(token),
            Of::Key(_) | Of::Task => None,
        }
    }

    /// The public token, as what it makes remembers it.
    #[must_use]
    pub fn token_use(&self) -> Option<&TokenUse> {
        self.token().map(|token| &token.used)
    }

    /// Refuses a token without this scope for the thing of this name.
    fn needs(&self, kind: &str, name: &str) -> Result<(), Error> {
        match self.token() {
            Some(token) if !token.has_for(kind, name) => Err(token.lacks(&format!("{kind}:{name}"))),
            _ => Ok(()),
        }
    }

    /// The run of this id, for who may see it. Whether there is one is told to nobody else.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Aws`].
    pub async fn run(&self, app: &App, id: &RunId) -> Result<Run, Error> {
        let Some(token) = self.token() else { return find(app, &self.environment, id).await };
        if token.has("read:runs") || token.has_for("read:runs", id.as_str()) {
            return find(app, &self.environment, id).await;
        }
        let lacks = || token.lacks(&format!("read:runs:{id}"));
        if !["read:tags", "read:tasks", "read:batch"].iter().any(|kind| token.has_any(kind)) {
            return Err(lacks());
        }
        match find(app, &self.environment, id).await {
            Ok(run) if self.sees(&run) => Ok(run),
            Ok(_) | Err(Error::NotFound(_)) => Err(lacks()),
            Err(error) => Err(error),
        }
    }

    /// Whether a run may be seen.
    #[must_use]
    pub fn sees(&self, run: &Run) -> bool {
        let Some(token) = self.token() else { return true };
        token.has("read:runs")
            || token.has_for("read:runs", run.id.as_str())
            || token.has_for("read:tasks", run.spec.task.as_str())
            || run.tags().any(|tag| token.has_for("read:tags", tag))
            || run.spec.batch.as_ref().is_some_and(|batch| token.has_for("read:batch", batch.as_str()))
    }

    /// Whether everything in the environment may be seen.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.token().is_none()
    }

    /// Refuses a list that may hold runs which are not to be seen.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn may_list(&self, filter: &Filter) -> Result<(), Error> {
        let Some(token) = self.token() else { return Ok(()) };
        let tags: Vec<&str> = filter.tags.iter().map(String::as_str).collect();
        let tasks: Vec<&str> = filter.tasks.iter().map(TaskId::as_str).collect();
        let batches: Vec<&str> = filter.batches.iter().map(BatchId::as_str).collect();
        let narrowed = [("read:tags", tags), ("read:tasks", tasks), ("read:batch", batches)];
        // A run of the list has one of the tags, so each of them must be covered.
        let covers =
            |(kind, names): &(&str, Vec<&str>)| !names.is_empty() && names.iter().all(|name| token.has_for(kind, name));
        if token.has("read:runs") || narrowed.iter().any(covers) {
            return Ok(());
        }
        Err(token.lacks("read:runs, or a filter by tags, tasks or batches all of which it covers"))
    }

    /// Refuses who may not see a batch.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn may_see_batch(&self, id: &BatchId) -> Result<(), Error> {
        self.needs("read:batch", id.as_str())
    }

    /// Refuses who may not trigger a task.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn may_trigger(&self, task: &TaskId) -> Result<(), Error> {
        self.needs("trigger:tasks", task.as_str())
    }

    /// Refuses who may not trigger one of these tasks in a batch; or who does not say which, and may not trigger all.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn may_batch<'a>(&self, tasks: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let mut tasks = tasks.into_iter().peekable();
        if let (Some(token), None) = (self.token(), tasks.peek()) {
            return Err(token.lacks("batchTrigger:tasks for each of the batch's taskIdentifiers, which names none"));
        }
        tasks.try_for_each(|task| self.needs("batchTrigger:tasks", task))
    }

    /// Refuses who may not complete a wait token.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn may_complete(&self, id: &TokenId) -> Result<(), Error> {
        self.needs("write:waitpoints", id.as_str())
    }

    /// A trigger, if its caller may ask for all that it does.
    ///
    /// # Errors
    /// [`Error::Forbidden`] naming the option.
    pub fn admit(&self, request: TriggerRequest) -> Result<TriggerRequest, Error> {
        match self.token_use() {
            Some(token) => request.by_token(token.clone()),
            None => Ok(request),
        }
    }

    /// Whether a run was triggered by this caller, and not by somebody else under the same key.
    #[must_use]
    pub fn has_made(&self, triggered: &Triggered) -> bool {
        self.token_use().is_none_or(|token| triggered.by_token.as_ref() == Some(&token.digest))
    }

    /// The claims that its public tokens must have.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] when it has no API key, or one that signs none.
    pub fn claims(&self) -> Result<serde_json::Value, Error> {
        match &self.of {
            Of::Key(Some(signer)) => Ok(signer.claims()),
            Of::Key(None) => Err(Error::Unprocessable(self.signs_none())),
            Of::Task | Of::Token(_) => {
                let text =
                    "a task has no API key to sign public tokens with: make them in your backend, or give a task one";
                Err(Error::Unprocessable(text.to_owned()))
            }
        }
    }

    fn signs_none(&self) -> String {
        let environment = &self.environment;
        format!("this API key is too short to sign public tokens: make another with `oncekey env rotate {environment}`")
    }

    /// The headers by which the client has a public token for what it has made, with this scope: it signs one with the API key; a
    /// caller with a public token is given one, and if `scope` is none, one that opens nothing.
    #[must_use]
    pub fn handle_headers(&self, scope: Option<String>, now: Timestamp) -> HeaderMap {
        let (name, text) = match &self.of {
            Of::Key(Some(signer)) => (CLAIMS, signer.claims().to_string()),
            Of::Key(None) => {
                (CLAIMS, json!({ "sub": self.environment, "pub": true, "why": self.signs_none() }).to_string())
            }
            Of::Token(token) => (TOKEN, token.signer.sign(&scope.into_iter().collect::<Vec<_>>(), now)),
            Of::Task => return HeaderMap::new(),
        };
        HeaderValue::from_str(&text).ok().map(|value| (name, value)).into_iter().collect()
    }
}
