//! Deployments: what a worker was last said to have, and which schedules follow from that.

use std::collections::{BTreeMap, BTreeSet};

use oncekey_wire::{
    DeclaredCron, DeclaredQueue, DeployedTask, EnvironmentId, MAX_CONCURRENCY, Manifest, QueueLabel,
    ScheduleEnvironment, ScheduleId, TaskId, WorkerName,
};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::cron::{Cron, OnMissed, OnOverlap, Plan};
use crate::error::Error;
use crate::flow::Rate;

/// The most tasks that a worker has.
pub const MAX_TASKS: usize = 1_000;
/// The most queues that a worker declares.
const MAX_QUEUES: usize = 1_000;
/// The longest manifest, as JSON: it is one item, of 400 KB at most with the requests beside it.
const MAX_BYTES: usize = 256_000;
/// Requests of earlier deployments that are remembered, so that none of them counts when it comes again late.
const REMEMBERED: usize = 100;
/// The time zone of who names none.
const UTC: &str = "UTC";

/// A worker as it was deployed last, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDeployment {
    /// What the worker is called.
    pub worker: WorkerName,
    /// How many there have been, this one among them.
    pub number: u64,
    /// The request that it is of, and before that those of earlier ones, the latest last.
    pub requests: Vec<String>,
    /// What the worker has.
    pub manifest: Manifest,
    /// When it was written.
    pub deployed_at: Timestamp,
}

impl StoredDeployment {
    /// The one that follows `before`, by this request.
    #[must_use]
    pub fn after(
        before: Option<&Self>,
        worker: &WorkerName,
        manifest: &Manifest,
        request: &str,
        now: Timestamp,
    ) -> Self {
        let mut requests = before.map(|before| before.requests.clone()).unwrap_or_default();
        requests.push(request.to_owned());
        let beyond = requests.len().saturating_sub(REMEMBERED);
        requests.drain(..beyond);
        Self {
            worker: worker.clone(),
            number: before.map_or(1, |before| before.number + 1),
            requests,
            manifest: manifest.clone(),
            deployed_at: now,
        }
    }

    /// Whether it is of this request.
    #[must_use]
    pub fn is_of(&self, request: &str) -> bool {
        self.requests.last().is_some_and(|last| last == request)
    }

    /// Whether this request is its own, or that of an earlier one.
    #[must_use]
    pub fn has_seen(&self, request: &str) -> bool {
        self.requests.iter().any(|seen| seen == request)
    }
}

/// Refuses a manifest that could not be declared, wherever its schedules are meant to be.
///
/// # Errors
/// As [`declared`], and [`Error::Invalid`] for what is too large, or a time that never comes.
pub fn check(manifest: &Manifest, now: Timestamp) -> Result<(), Error> {
    let bytes = serde_json::to_vec(manifest).map(|text| text.len()).unwrap_or_default();
    if bytes > MAX_BYTES {
        let text = format!(
            "are {} KB of JSON with all that is said of them; the limit is {} KB",
            bytes / 1_000,
            MAX_BYTES / 1_000
        );
        return Err(Error::invalid("tasks", text));
    }
    if manifest.queues.len() > MAX_QUEUES {
        return Err(Error::invalid("queues", format!("are {}; the limit is {MAX_QUEUES}", manifest.queues.len())));
    }
    let mut seen = BTreeSet::new();
    for DeclaredQueue { name, concurrency_limit, rate_limit } in &manifest.queues {
        check_limit("queues", name, *concurrency_limit)?;
        rate_limit.as_ref().map(|rate| Rate::from_wire(name, rate)).transpose()?;
        if !seen.insert(name) {
            return Err(Error::invalid("queues", format!("has {name} twice: give it one limit")));
        }
    }
    let mut declaring = manifest.tasks.iter().filter_map(|task| Some((&task.id, task.cron.as_ref()?)));
    declaring.try_for_each(|(id, cron)| check_cron(id, cron, now))
}

/// Refuses a limit that no queue has.
///
/// # Errors
/// [`Error::Invalid`] naming the field and the queue.
pub fn check_limit(field: &str, queue: &QueueLabel, limit: Option<u32>) -> Result<(), Error> {
    match limit.filter(|limit| *limit > MAX_CONCURRENCY) {
        None => Ok(()),
        Some(limit) => {
            let text = format!("{queue}: {limit} is out of range: give a whole number from 0 to {MAX_CONCURRENCY}");
            Err(Error::invalid(field, text))
        }
    }
}

/// What the code of all workers says of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueDeclared {
    /// Its limit.
    pub limit: Option<u32>,
    /// How often attempts of it start.
    pub rate: Option<Rate>,
    /// The tasks whose runs are in it.
    pub tasks: BTreeSet<TaskId>,
}

/// The queues that these deployments declare, the latest last: it wins, of two that declare one queue or task.
#[must_use]
pub fn declared_queues(deployments: &[&StoredDeployment]) -> BTreeMap<QueueLabel, QueueDeclared> {
    let mut queues: BTreeMap<QueueLabel, QueueDeclared> = BTreeMap::new();
    let mut of_task = BTreeMap::new();
    for deployment in deployments {
        for DeclaredQueue { name, concurrency_limit, rate_limit } in &deployment.manifest.queues {
            let queue = queues.entry(name.clone()).or_default();
            queue.limit = *concurrency_limit;
            // One that cannot be read any more says nothing.
            queue.rate = rate_limit.as_ref().and_then(|rate| Rate::from_wire(name, rate).ok());
        }
        of_task.extend(deployment.manifest.tasks.iter().map(|task| (&task.id, &task.queue)));
    }
    for (task, queue) in of_task {
        if let Some(queue) = queue.as_ref().filter(|queue| **queue != QueueLabel::of_task(task)) {
            queues.entry(queue.clone()).or_default().tasks.insert(task.clone());
        }
    }
    queues
}

/// Refuses what a task cannot declare.
///
/// # Errors
/// As [`check`].
pub fn check_cron(task: &TaskId, cron: &DeclaredCron, now: Timestamp) -> Result<(), Error> {
    if plan(task, cron)?.cron.next_after(now).is_none() {
        return Err(Error::invalid("cron", format!("{task}: {:?} names a time that never comes", cron.pattern)));
    }
    Ok(())
}

/// The schedules that a manifest declares in an environment.
///
/// # Errors
/// [`Error::Invalid`] naming the task and its field, [`Error::Unprocessable`] for what Oncekey does not have.
pub fn declared(environment: &EnvironmentId, manifest: &Manifest) -> Result<BTreeMap<ScheduleId, Plan>, Error> {
    let kind = ScheduleEnvironment::new(environment.clone()).kind;
    let mut plans = BTreeMap::new();
    for DeployedTask { id, cron, .. } in &manifest.tasks {
        let Some(cron) = cron else { continue };
        // Read in every environment, so that a mistake is not found in production alone.
        let plan = plan(id, cron)?;
        if cron.environments.as_ref().is_none_or(|only| only.contains(&kind)) {
            plans.insert(ScheduleId::declared(environment, id), plan);
        }
    }
    Ok(plans)
}

fn plan(task: &TaskId, declared: &DeclaredCron) -> Result<Plan, Error> {
    if declared.window.is_some() {
        let text =
            format!("{task}: window is not supported: ticks come at their time, and are not spread; leave it out");
        return Err(Error::Unprocessable(text));
    }
    for environment in declared.environments.iter().flatten() {
        if !ScheduleEnvironment::KINDS.contains(&environment.as_str()) {
            let kinds = ScheduleEnvironment::KINDS.join(", ");
            let text = format!("{task}: {environment:?} is no type of environment: there are {kinds}");
            return Err(Error::invalid("environments", text));
        }
    }
    let cron =
        Cron::parse(&declared.pattern, declared.timezone.as_deref().unwrap_or(UTC)).map_err(|error| match error {
            Error::Invalid { field, message } => Error::Invalid { field, message: format!("{task}: {message}") },
            other => other,
        })?;
    Ok(Plan {
        task: task.clone(),
        cron,
        external_id: None,
        on_overlap: OnOverlap::default(),
        on_missed: OnMissed::default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(cron: serde_json::Value) -> Manifest {
        serde_json::from_value(json!({ "tasks": [{ "id": "digest", "cron": cron }] })).expect("a manifest")
    }

    #[test]
    fn a_schedule_is_there_in_the_environments_that_it_names() {
        let environments = ["acme/dev", "acme/staging", "acme/prod", "acme/pr-7"];
        let count = |cron: &serde_json::Value| {
            environments.map(|name| {
                let environment = EnvironmentId::parse(name).expect("an environment");
                declared(&environment, &manifest(cron.clone())).expect("plans").len()
            })
        };
        assert_eq!(count(&json!({ "pattern": "@daily" })), [1, 1, 1, 1]);
        assert_eq!(count(&json!({ "pattern": "@daily", "environments": ["PRODUCTION", "PREVIEW"] })), [0, 0, 1, 1]);
        assert_eq!(count(&json!({ "pattern": "@daily", "environments": [] })), [0; 4]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_task_wherever_it_is_declared() {
        let environment = EnvironmentId::parse("acme/dev").expect("an environment");
        for (cron, told) in [
            (json!({ "pattern": "every day" }), "cron: digest: \"every day\" is no cron expression"),
            (json!({ "pattern": "@daily", "timezone": "Berlin" }), "timezone: digest: \"Berlin\" is no time zone"),
            (json!({ "pattern": "@daily", "environments": ["PROD"] }), "environments: digest: \"PROD\" is no type"),
            (json!({ "pattern": "x", "environments": ["PRODUCTION"] }), "cron: digest: \"x\" is no cron expression"),
            (json!({ "pattern": "@daily", "window": { "minutes": 5 } }), "digest: window is not supported"),
        ] {
            let error = declared(&environment, &manifest(cron)).expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_latest_requests_are_remembered() {
        let worker = WorkerName::parse("w").expect("a name");
        let next = |before: Option<StoredDeployment>, n: usize| {
            let now = Timestamp::from_millis(0);
            Some(StoredDeployment::after(before.as_ref(), &worker, &Manifest::default(), &n.to_string(), now))
        };
        let last = (0..150).fold(None, next).expect("one");
        assert_eq!((last.number, last.requests.len()), (150, 100));
        assert!(last.is_of("149") && last.has_seen("50") && !last.has_seen("49") && !last.is_of("148"));
    }
}
