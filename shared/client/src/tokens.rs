//! Wait tokens: create, read, list and complete.

use std::collections::VecDeque;

use futures_util::stream::{Stream, try_unfold};
use oncekey_wire::{CompletedToken, CreatedToken, Token, TokenOptions, TokensPage};
use reqwest::Method;
use serde::Serialize;

use crate::client::{Client, Content};
use crate::error::Error;

impl Client {
    /// Wait tokens.
    #[must_use]
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens { client: self }
    }
}

/// Calls about wait tokens: [`Client::tokens`].
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    client: &'a Client,
}

impl Tokens<'_> {
    /// Makes a token, or gives the one that there is of its key. Without a key, a call whose answer was lost and that is made
    /// again makes another token.
    ///
    /// ```
    /// # use oncekey_client::{Client, TokenOptions};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// let token = client.tokens().create(&TokenOptions::new().key("order-42")).await?;
    /// assert!(!token.is_cached);
    /// client.tokens().complete(&token.id, &serde_json::json!({ "approved": true })).await?;
    /// let done = client.tokens().retrieve(&token.id).await?;
    /// assert_eq!(done.output.as_deref(), Some(r#"{"approved":true}"#));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with 400 naming what no token can be made of, and others.
    pub async fn create(&self, options: &TokenOptions) -> Result<CreatedToken, Error> {
        self.client.call(Method::POST, &["api", "v1", "waitpoints", "tokens"], &[], Content::json(options)?).await
    }

    /// A token, with what it was completed with.
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when this environment has no such token, and others.
    pub async fn retrieve(&self, id: impl AsRef<str>) -> Result<Token, Error> {
        let path = ["api", "v1", "waitpoints", "tokens", id.as_ref()];
        self.client.call(Method::GET, &path, &[], Content::None).await
    }

    /// Completes a token with up to 128 KB of JSON. One that has ended stays as it is, and that is no error: the first end stands.
    ///
    /// # Errors
    /// As [`Tokens::retrieve`], and [`Error::Refused`] with 413.
    pub async fn complete(&self, id: impl AsRef<str>, data: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        let path = ["api", "v1", "waitpoints", "tokens", id.as_ref(), "complete"];
        let body = Content::json(&Completion { data })?;
        let _: CompletedToken = self.client.call(Method::POST, &path, &[], body).await?;
        Ok(())
    }

    /// Lists tokens, newest first, without what they were completed with.
    ///
    /// ```
    /// # use oncekey_client::{Client, TokenOptions};
    /// use futures_util::TryStreamExt;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// for order in ["a", "b", "c"] {
    ///     client.tokens().create(&TokenOptions::new().tag(order)).await?;
    /// }
    /// let all: Vec<_> = client.tokens().list().page_size(2).stream().try_collect().await?;
    /// assert_eq!(all.len(), 3);
    /// let of_b = client.tokens().list().filter("tags", "b").page().await?;
    /// assert_eq!(of_b.data.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self) -> ListTokens {
        ListTokens { client: self.client.clone(), query: Vec::new() }
    }
}

/// What a token is completed with, to the last digit of its numbers.
#[derive(Serialize)]
struct Completion<'a, T: ?Sized> {
    data: &'a T,
}

/// A list of tokens.
#[derive(Clone, Debug)]
#[must_use = "a list is asked for with page() or stream()"]
pub struct ListTokens {
    client: Client,
    query: Vec<(String, String)>,
}

impl ListTokens {
    /// Tokens a page, 1 to 100; 25 by default.
    pub fn page_size(self, size: usize) -> Self {
        self.with("page[size]".to_owned(), size.to_string())
    }

    /// Only those of which this holds: `status`, `idempotencyKey` or `tags`, of which several have commas between.
    pub fn filter(self, name: &str, value: &str) -> Self {
        self.with(format!("filter[{name}]"), value.to_owned())
    }

    /// The page after this cursor.
    pub fn after(self, cursor: &str) -> Self {
        self.with("page[after]".to_owned(), cursor.to_owned())
    }

    fn with(mut self, name: String, value: String) -> Self {
        self.query.retain(|(there, _)| *there != name);
        self.query.push((name, value));
        self
    }

    /// One page. With a filter it may have fewer tokens than its size, and others follow.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn page(&self) -> Result<TokensPage, Error> {
        self.client.call(Method::GET, &["api", "v1", "waitpoints", "tokens"], &self.query, Content::None).await
    }

    /// This page and all that follow, as they are asked for.
    pub fn stream(self) -> impl Stream<Item = Result<Token, Error>> {
        let start = (VecDeque::new(), Some(self));
        try_unfold(start, |(mut tokens, mut next): (VecDeque<Token>, Option<ListTokens>)| async move {
            loop {
                if let Some(token) = tokens.pop_front() {
                    return Ok(Some((token, (tokens, next))));
                }
                let Some(list) = next else { return Ok(None) };
                let page = list.page().await?;
                tokens = page.data.into();
                next = page.pagination.next.map(|cursor| list.after(&cursor));
            }
        })
    }
}
