//! What is planned of cron schedules: the deployments that declare some, and the calls that make and stop one.

use fastrand::Rng;
use oncekey_core::cron::{Cron, OnMissed, OnOverlap, Plan, ScheduleId};
use oncekey_core::{EnvironmentId, RequestId, TaskId, Timestamp, WorkerName};
use oncekey_wire::Manifest;
use serde_json::json;

/// The expressions that there are.
const CRONS: [&str; 3] = ["* * * * *", "*/2 * * * *", "0 */6 * * *"];
/// How often something is asked for that fails.
pub(super) const TRIES: u32 = 6;

/// Whether there are cron schedules in the schedule of this seed.
fn has_crons(seed: u64) -> bool {
    seed % 8 == 2
}

/// A deployment that was asked for.
pub(super) struct Deployment {
    pub(super) request: RequestId,
    pub(super) manifest: Manifest,
    pub(super) tries: u32,
    pub(super) is_answered: bool,
}

/// The cron schedules of a schedule.
pub(super) struct Crons {
    pub(super) seed: u64,
    pub(super) environment: EnvironmentId,
    pub(super) worker: WorkerName,
    pub(super) deployments: Vec<Deployment>,
    /// How many more there will be, and how many calls beside them.
    pub(super) to_come: u32,
    pub(super) calls: u32,
    /// What the latest of these calls asked for: a plan, or that the schedule stops.
    pub(super) call: Option<Option<Plan>>,
    /// The times that were noted: of which schedule, in which of its generations, and the task.
    pub(super) noted: Vec<(ScheduleId, String, Timestamp)>,
    /// Whether it was looked at what is there, now that nothing fails; and whether all was stopped.
    pub(super) is_checked: bool,
    pub(super) is_stopped: bool,
}

impl Crons {
    pub(super) fn of(seed: u64) -> Option<Self> {
        let mut random = Rng::with_seed(seed);
        has_crons(seed).then(|| Self {
            seed,
            environment: EnvironmentId::parse(&format!("s{seed}/dev")).expect("an environment"),
            worker: WorkerName::parse("worker").expect("a name"),
            deployments: Vec::new(),
            to_come: random.u32(4..=12),
            calls: random.u32(2..=8),
            call: None,
            noted: Vec::new(),
            is_checked: false,
            is_stopped: false,
        })
    }

    pub(super) fn deploy(&mut self, manifest: Manifest) {
        let request = format!("s{}-deployment{}", self.seed, self.deployments.len());
        let request = RequestId::from_caller(&request).expect("a request id");
        self.deployments.push(Deployment { request, manifest, tries: TRIES, is_answered: false });
    }
}

/// A manifest that declares any of two tasks, or none, which is most likely to go wrong.
pub(super) fn manifest(random: &mut Rng) -> Manifest {
    let is_empty = random.bool();
    let tasks = ["ok", "fail"].into_iter().filter(|_| !is_empty && random.bool()).collect::<Vec<_>>();
    let task = |task| json!({ "id": task, "cron": { "pattern": CRONS[random.usize(..CRONS.len())] } });
    let told = json!({ "tasks": tasks.into_iter().map(task).collect::<Vec<_>>() });
    serde_json::from_value(told).expect("a manifest")
}

pub(super) fn plan(random: &mut Rng) -> Plan {
    Plan {
        task: TaskId::parse("ok").expect("a task"),
        cron: Cron::parse(CRONS[random.usize(..CRONS.len())], "UTC").expect("an expression"),
        external_id: None,
        on_overlap: OnOverlap::default(),
        on_missed: OnMissed::default(),
    }
}
