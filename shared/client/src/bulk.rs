//! Bulk actions: many runs cancelled or replayed by one call.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{Stream, try_unfold};
use oncekey_wire::{
    BulkAction, BulkActionHandle, BulkActionId, BulkActionStatus, BulkActionType, BulkActionsPage, BulkSelection,
};
use reqwest::Method;
use serde::Serialize;

use crate::client::{Client, Content};
use crate::error::Error;

/// How long [`BulkActions::poll`] pauses at first, and at most.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Client {
    /// Bulk actions.
    #[must_use]
    pub fn bulk_actions(&self) -> BulkActions<'_> {
        BulkActions { client: self }
    }
}

/// Calls about bulk actions: [`Client::bulk_actions`].
#[derive(Clone, Copy, Debug)]
pub struct BulkActions<'a> {
    client: &'a Client,
}

/// The body that asks for one.
#[derive(Serialize)]
struct Asked<'a> {
    action: &'static str,
    #[serde(flatten)]
    selection: &'a BulkSelection,
}

impl BulkActions<'_> {
    /// Cancels many runs; a filter passes over those that have ended. It is done page by page after this answer.
    ///
    /// ```
    /// # use oncekey_client::{BulkActionStatus, BulkSelection, Client};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stack = oncekey::Stack::start(oncekey::Options::in_memory()).await?;
    /// # let client = Client::new(&stack.url(), "tr_dev_local")?;
    /// for n in 0..3 {
    ///     client.trigger("echo", &n).delay("1h").tags(["report"]).await?;
    /// }
    /// # tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    /// let id = client.bulk_actions().cancel(&BulkSelection::filter().tag("report").called("stop reports")).await?;
    /// let end = client.bulk_actions().poll(&id).await?;
    /// assert_eq!(end.status, BulkActionStatus::Completed);
    /// assert_eq!((end.counts.total, end.counts.success), (3, 3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with 400 naming what it cannot be, and others.
    pub async fn cancel(&self, selection: &BulkSelection) -> Result<BulkActionId, Error> {
        self.create(BulkActionType::Cancel, selection).await
    }

    /// Triggers the tasks of many runs again, with what those were given and without their keys.
    ///
    /// ```
    /// # use oncekey_client::BulkSelection;
    /// # async fn call(client: oncekey_client::Client) -> Result<(), oncekey_client::Error> {
    /// let failed = BulkSelection::filter().status("FAILED").task("send-email").period("1d");
    /// let id = client.bulk_actions().replay(&failed).await?;
    /// println!("{:?}", client.bulk_actions().poll(&id).await?.counts);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`BulkActions::cancel`].
    pub async fn replay(&self, selection: &BulkSelection) -> Result<BulkActionId, Error> {
        self.create(BulkActionType::Replay, selection).await
    }

    /// The same, whichever is to be done.
    ///
    /// # Errors
    /// As [`BulkActions::cancel`].
    pub async fn create(&self, kind: BulkActionType, selection: &BulkSelection) -> Result<BulkActionId, Error> {
        let body = Content::json(&Asked { action: kind.verb(), selection })?;
        let made: BulkActionHandle = self.client.call(Method::POST, &["api", "v1", "bulk-actions"], &[], body).await?;
        Ok(made.id)
    }

    /// An action, with its counts.
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when this environment has no such action, and others.
    pub async fn retrieve(&self, id: impl AsRef<str>) -> Result<BulkAction, Error> {
        self.client.call(Method::GET, &["api", "v1", "bulk-actions", id.as_ref()], &[], Content::None).await
    }

    /// Stops an action: no page of runs is begun any more, and what was done stays. One that has ended stays as it is.
    ///
    /// # Errors
    /// As [`BulkActions::retrieve`].
    pub async fn abort(&self, id: impl AsRef<str>) -> Result<(), Error> {
        let path = ["api", "v1", "bulk-actions", id.as_ref(), "abort"];
        let _: BulkActionHandle = self.client.call(Method::POST, &path, &[], Content::None).await?;
        Ok(())
    }

    /// An action once it has ended or was stopped, however long that takes: put a timeout around it.
    ///
    /// # Errors
    /// As [`BulkActions::retrieve`].
    pub async fn poll(&self, id: impl AsRef<str>) -> Result<BulkAction, Error> {
        let (mut pause, longest) = POLL;
        loop {
            let action = self.retrieve(id.as_ref()).await?;
            if action.status != BulkActionStatus::Pending {
                return Ok(action);
            }
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    /// Lists actions, newest first.
    pub fn list(&self) -> ListBulkActions {
        ListBulkActions { client: self.client.clone(), query: Vec::new() }
    }
}

/// A list of bulk actions.
#[derive(Clone, Debug)]
#[must_use = "a list is asked for with page() or stream()"]
pub struct ListBulkActions {
    client: Client,
    query: Vec<(&'static str, String)>,
}

impl ListBulkActions {
    /// Actions a page, 1 to 100; 25 by default.
    pub fn page_size(self, size: usize) -> Self {
        self.with("page[size]", size.to_string())
    }

    /// The page after this cursor.
    pub fn after(self, cursor: &str) -> Self {
        self.with("page[after]", cursor.to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.query.retain(|(there, _)| *there != name);
        self.query.push((name, value));
        self
    }

    /// One page.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn page(&self) -> Result<BulkActionsPage, Error> {
        let query: Vec<_> = self.query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.client.call(Method::GET, &["api", "v1", "bulk-actions"], &query, Content::None).await
    }

    /// This page and all that follow, as they are asked for.
    pub fn stream(self) -> impl Stream<Item = Result<BulkAction, Error>> {
        let start = (VecDeque::new(), Some(self));
        try_unfold(start, |(mut actions, mut next): (VecDeque<BulkAction>, Option<ListBulkActions>)| async move {
            loop {
                if let Some(action) = actions.pop_front() {
                    return Ok(Some((action, (actions, next))));
                }
                let Some(list) = next else { return Ok(None) };
                let page = list.page().await?;
                actions = page.data.into();
                next = page.pagination.next.map(|cursor| list.after(&cursor));
            }
        })
    }
}
