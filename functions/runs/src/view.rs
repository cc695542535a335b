//! A run as the API shows it. An absent field is left out, as the client refuses `null`.

use oncekey_core::run::ClaimedKey;
use oncekey_core::{Json, Run, RunId, RunStatus, Timestamp};
use oncekey_wire::{Env, Family, Generator, RelatedRun, RetrievedRun, RunFields, RunItem, RunSchedule};
use serde_json::Value;

/// A run in a list.
pub(crate) fn item(run: &Run, holds_key: bool, now: Timestamp) -> RunItem {
    RunItem::new(fields(run, Some(holds_key), now), env(run))
}

/// A run with all that is known of it. `payload` and `output` are shown unless they are in the bucket; `relatives` are those
/// of its parent, root and children that could be read.
pub(crate) fn retrieved(
    run: &Run,
    payload: Option<Json>,
    output: Option<Json>,
    holds_key: bool,
    relatives: &[Run],
    now: Timestamp,
) -> RetrievedRun {
    let relative = |id: Option<&RunId>| {
        let found = relatives.iter().find(|relative| Some(&relative.id) == id)?;
        Some(RelatedRun::new(fields(found, None, now), family(found)))
    };
    let lineage = run.spec.lineage.as_ref();
    let mut view = RetrievedRun::new(fields(run, Some(holds_key), now), env(run), family(run));
    view.attempt_count = if run.started_at.is_some() { run.turn.attempt } else { 0 };
    view.attempts = run.attempts();
    view.queue = run.queue();
    view.concurrency_key = run.spec.options.concurrency_key().map(str::to_owned);
    view.priority = run.spec.options.priority().cloned();
    view.related_runs.root = relative(lineage.map(|line| &line.root));
    view.related_runs.parent = relative(lineage.map(|line| &line.parent));
    view.related_runs.children = run.children.iter().filter_map(|child| relative(Some(child))).collect();
    view.schedule = run.spec.options.schedule.as_ref().map(|of| RunSchedule {
        id: of.id.clone(),
        external_id: of.external_id.clone(),
        deduplication_key: of.deduplication_key.clone(),
        generator: Generator::cron(of.cron.clone(), of.description.clone()),
    });
    view.payload = payload;
    view.output = output;
    view.error.clone_from(&run.error);
    view
}

fn env(run: &Run) -> Env {
    Env::new(run.spec.environment.clone())
}

fn family(run: &Run) -> Family {
    Family::new(run.spec.lineage.as_ref().map_or(0, |line| line.depth), run.spec.function)
}

/// `holds_key` is left out where nobody has looked.
fn fields(run: &Run, holds_key: Option<bool>, now: Timestamp) -> RunFields {
    let options = &run.spec.options;
    let key = |holds| run.spec.key.as_ref().filter(|_| holds_key == Some(holds));
    let shown = |claimed: &ClaimedKey| claimed.key.display_text().to_owned();
    let mut fields = RunFields::new(run.id.clone(), run.spec.task.clone(), run.status, run.spec.created_at);
    fields.is_test = options.test;
    fields.updated_at = run.updated_at;
    fields.tags = run.tags().cloned().collect();
    fields.duration_ms = duration_ms(run, now);
    fields.idempotency_key = key(true).map(shown);
    fields.idempotency_key_expires_at = key(true).map(|claimed| claimed.window_ends_at);
    fields.freed_idempotency_key = key(false).map(shown);
    fields.batch_id.clone_from(&run.spec.batch);
    fields.started_at = run.started_at;
    fields.finished_at = run.finished_at;
    fields.delayed_until = run.delayed_until();
    fields.ttl = options.ttl_ms.map(|ttl| format!("{}s", ttl / 1000));
    fields.expired_at = run.finished_at.filter(|_| run.status == RunStatus::Expired);
    fields.metadata = run.metadata().cloned();
    fields.replaced_by.clone_from(&run.replaced_by);
    fields.region = options.placement.get("region").and_then(Value::as_str).map(str::to_owned);
    fields
}

fn duration_ms(run: &Run, now: Timestamp) -> u64 {
    let millis = |started: Timestamp| run.finished_at.unwrap_or(now).since(started).as_millis();
    run.started_at.map_or(0, |started| u64::try_from(millis(started)).unwrap_or(u64::MAX))
}
