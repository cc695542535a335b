//! What a trigger answers, and why it answers that.

use oncekey_core::protocol::trigger::{KeyOutcome, Triggered};
use oncekey_wire::{Handle, Idempotency};

/// The answer to a trigger.
pub(crate) fn answer(Triggered { handle, task, key, .. }: Triggered) -> Handle {
    let mut answer = Handle::new(handle.id, handle.is_cached);
    let in_group = key.as_ref().is_some_and(|outcome| outcome.key.group.is_some());
    answer.task_identifier = in_group.then_some(task);
    answer.idempotency = key.map(idempotency);
    answer
}

fn idempotency(KeyOutcome { key, status, window_ends_at, first_triggered_at }: KeyOutcome) -> Idempotency {
    let shown = key.display_text().to_owned();
    let mut answer = Idempotency::new(shown, key.hash, status, first_triggered_at, window_ends_at);
    answer.scope = key.scope.map(Into::into);
    answer.group = key.group;
    answer
}
