//! What a process is told by its environment variables: where the tables, the queues and the bucket are.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::queue::QueueUrls;
use crate::queue::name::QueueName;
use crate::queue::schedules::ScheduleGroup;
use crate::store::TableNames;

/// The variable with the name of the environments table; the command line reads it too.
pub const ENVIRONMENTS_TABLE: &str = "ONCEKEY_ENVIRONMENTS_TABLE";
/// The variable with the queues of other workers, as `ONCEKEY_RUNS_QUEUES`: may be left out.
pub const MORE_RUNS_QUEUES: &str = "ONCEKEY_MORE_RUNS_QUEUES";
const KEYS_TABLE: &str = "ONCEKEY_KEYS_TABLE";
const RUNS_TABLE: &str = "ONCEKEY_RUNS_TABLE";
/// `{"default": "https://…"}`.
const RUNS_QUEUES: &str = "ONCEKEY_RUNS_QUEUES";
/// `{"send-email": "email"}`: may be left out.
const TASK_QUEUES: &str = "ONCEKEY_TASK_QUEUES";
const RUNS_DEAD_LETTER_QUEUE: &str = "ONCEKEY_RUNS_DEAD_LETTER_QUEUE";
const TRIGGERS_QUEUE: &str = "ONCEKEY_TRIGGERS_QUEUE";
const TRIGGERS_DEAD_LETTER_QUEUE: &str = "ONCEKEY_TRIGGERS_DEAD_LETTER_QUEUE";
const COMPLETIONS_QUEUE: &str = "ONCEKEY_COMPLETIONS_QUEUE";
const COMPLETIONS_DEAD_LETTER_QUEUE: &str = "ONCEKEY_COMPLETIONS_DEAD_LETTER_QUEUE";
/// The group of the stack's schedules, and the role by which they send: both, or neither, and long delays go in hops.
const SCHEDULE_GROUP: &str = "ONCEKEY_SCHEDULE_GROUP";
const SCHEDULER_ROLE: &str = "ONCEKEY_SCHEDULER_ROLE";
const BUCKET: &str = "ONCEKEY_BUCKET";
/// `https://…`: may be left out, and then tasks make no wait tokens that have a URL.
pub const PUBLIC_URL: &str = "ONCEKEY_PUBLIC_URL";

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The tables.
    pub tables: TableNames,
    /// The queues.
    pub queues: QueueUrls,
    /// Where schedules are, if long delays are schedules.
    pub schedules: Option<ScheduleGroup>,
    /// The bucket's name.
    pub bucket: String,
    /// Where callers find the HTTP API.
    pub public_url: Option<String>,
}

impl Settings {
    /// As the variables of this process say.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming the variable that is missing or malformed.
    pub fn from_env() -> Result<Self, Error> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// As the variables say that `get` knows.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let given = |name: &str| {
            get(name).ok_or_else(|| Error::Configuration(format!("the environment variable {name} is not set")))
        };
        let or_empty = |name: &str| get(name).filter(|text| !text.is_empty()).unwrap_or_else(|| "{}".to_owned());
        let schedules = match [SCHEDULE_GROUP, SCHEDULER_ROLE].map(|name| get(name).filter(|text| !text.is_empty())) {
            [None, None] => None,
            _ => Some(ScheduleGroup { name: given(SCHEDULE_GROUP)?, role_arn: given(SCHEDULER_ROLE)? }),
        };
        let mut runs: BTreeMap<QueueName, String> = parsed(RUNS_QUEUES, &given(RUNS_QUEUES)?)?;
        runs.extend(parsed::<QueueName, String>(MORE_RUNS_QUEUES, &or_empty(MORE_RUNS_QUEUES))?);
        Ok(Self {
            tables: TableNames {
                keys: given(KEYS_TABLE)?,
                runs: given(RUNS_TABLE)?,
                environments: given(ENVIRONMENTS_TABLE)?,
            },
            queues: QueueUrls {
                runs,
                of_task: parsed(TASK_QUEUES, &or_empty(TASK_QUEUES))?,
                runs_dead_letter: given(RUNS_DEAD_LETTER_QUEUE)?,
                triggers: given(TRIGGERS_QUEUE)?,
                triggers_dead_letter: given(TRIGGERS_DEAD_LETTER_QUEUE)?,
                completions: given(COMPLETIONS_QUEUE)?,
                completions_dead_letter: given(COMPLETIONS_DEAD_LETTER_QUEUE)?,
            },
            schedules,
            bucket: given(BUCKET)?,
            public_url: get(PUBLIC_URL).filter(|url| !url.is_empty()),
        })
    }

    /// The variables that say so to another process.
    #[must_use]
    pub fn to_env(&self) -> Vec<(&'static str, String)> {
        let Self { tables, queues, schedules, bucket, public_url } = self;
        let mut variables = vec![
            (KEYS_TABLE, tables.keys.clone()),
            (RUNS_TABLE, tables.runs.clone()),
            (ENVIRONMENTS_TABLE, tables.environments.clone()),
            (RUNS_QUEUES, json(&queues.runs)),
            (TASK_QUEUES, json(&queues.of_task)),
            (RUNS_DEAD_LETTER_QUEUE, queues.runs_dead_letter.clone()),
            (TRIGGERS_QUEUE, queues.triggers.clone()),
            (TRIGGERS_DEAD_LETTER_QUEUE, queues.triggers_dead_letter.clone()),
            (COMPLETIONS_QUEUE, queues.completions.clone()),
            (COMPLETIONS_DEAD_LETTER_QUEUE, queues.completions_dead_letter.clone()),
            (BUCKET, bucket.clone()),
        ];
        if let Some(ScheduleGroup { name, role_arn }) = schedules {
            variables.extend([(SCHEDULE_GROUP, name.clone()), (SCHEDULER_ROLE, role_arn.clone())]);
        }
        variables.extend(public_url.clone().map(|url| (PUBLIC_URL, url)));
        variables
    }
}

fn parsed<K: DeserializeOwned + Ord, V: DeserializeOwned>(name: &str, text: &str) -> Result<BTreeMap<K, V>, Error> {
    serde_json::from_str(text).map_err(|error| {
        Error::Configuration(format!("the environment variable {name} is not a JSON object of texts: {error}"))
    })
}

fn json(texts: &impl Serialize) -> String {
    // An object of texts cannot fail.
    serde_json::to_string(texts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;
    use crate::TaskId;

    fn settings() -> Settings {
        let text = str::to_owned;
        let email = QueueName::parse("email").expect("a name");
        let task = TaskId::parse("t").expect("a task");
        Settings {
            tables: TableNames { keys: text("k"), runs: text("r"), environments: text("e") },
            queues: QueueUrls {
                runs: BTreeMap::from([(QueueName::default(), text("d")), (email.clone(), text("m"))]),
                of_task: BTreeMap::from([(task, email)]),
                runs_dead_letter: text("rd"),
                triggers: text("t"),
                triggers_dead_letter: text("td"),
                completions: text("c"),
                completions_dead_letter: text("cd"),
            },
            schedules: Some(ScheduleGroup { name: text("g"), role_arn: text("ra") }),
            bucket: text("b"),
            public_url: Some(text("https://o.example")),
        }
    }

    #[test]
    fn what_is_told_to_another_process_is_what_it_reads() {
        let (told, asked) = (settings().to_env(), RefCell::new(BTreeSet::new()));
        let read = Settings::read(|name| {
            asked.borrow_mut().insert(name.to_owned());
            told.iter().find(|(told, _)| *told == name).map(|(_, value)| value.clone())
        });
        assert_eq!(read.expect("settings"), settings());
        let told = told.iter().map(|(name, _)| (*name).to_owned()).chain([MORE_RUNS_QUEUES.to_owned()]);
        assert_eq!(asked.into_inner(), told.collect());
    }

    #[test]
    fn a_variable_that_is_missing_or_malformed_is_named() {
        for (name, value) in [
            (KEYS_TABLE, None),
            (SCHEDULER_ROLE, None),
            (RUNS_QUEUES, Some("[]")),
            (TASK_QUEUES, Some(r#"{"a b": "c"}"#)),
        ] {
            let told: BTreeMap<_, _> = settings().to_env().into_iter().collect();
            let get = |asked: &str| if asked == name { value.map(str::to_owned) } else { told.get(asked).cloned() };
            let error = Settings::read(get).expect_err(name).to_string();
            assert!(error.starts_with(&format!("the environment variable {name} is not")), "{error}");
        }
    }
}
