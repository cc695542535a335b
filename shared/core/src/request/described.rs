//! Shapes that are parsed by hand, for the description of the API alone.

use serde::Serialize;
use utoipa::ToSchema;

/// `{"name": "…"}`.
#[derive(ToSchema)]
pub(super) struct QueueSchema {
    /// The queue's name.
    #[expect(dead_code, reason = "described, never made")]
    name: String,
}

#[derive(Serialize, ToSchema)]
#[expect(dead_code, reason = "described, never made")]
#[serde(untagged)]
pub(super) enum TtlSchema {
    Seconds(u32),
    Span(String),
}

/// A tag, or up to 10 of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TagsSchema {
    /// A tag.
    One(String),
    /// Up to 10 of them.
    Several(Vec<String>),
}

#[derive(Serialize, ToSchema)]
#[expect(dead_code, reason = "described, never made")]
#[serde(untagged)]
pub(super) enum KeySourceSchema {
    Payload(String),
    Pointers(Vec<String>),
}

/// A text, or up to 100 of them.
#[derive(Serialize, ToSchema)]
#[expect(dead_code, reason = "described, never made")]
#[serde(untagged)]
pub(super) enum TextsSchema {
    One(String),
    Several(Vec<String>),
}

/// A queue, or up to 100 of them.
#[derive(Serialize, ToSchema)]
#[expect(dead_code, reason = "described, never made")]
#[serde(untagged)]
pub(super) enum QueuesSchema {
    One(TypedQueueSchema),
    Several(Vec<TypedQueueSchema>),
}

/// A queue's name; `task` is for that of a task's own.
#[derive(Serialize, ToSchema)]
pub(super) struct TypedQueueSchema {
    /// `task` or `custom`.
    #[serde(rename = "type")]
    kind: String,
    /// The name.
    name: String,
}

/// A date, or milliseconds since 1970.
#[derive(Serialize, ToSchema)]
#[expect(dead_code, reason = "described, never made")]
#[serde(untagged)]
pub(super) enum MomentSchema {
    Millis(i64),
    Date(String),
}
