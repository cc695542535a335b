//! The query of a list of runs: `page[…]` and `filter[…]`, parsed at the door.

use oncekey_core::cron::ScheduleId;
use oncekey_core::runs::list::{Cursor, Filter, MAX_PAGE, PageStart, statuses};
use oncekey_core::{BatchId, Error, KeyHash, TaskId, Timestamp, span};

/// How much is on a numbered page where that is not said.
const NUMBERED_SIZE: usize = 20;
/// The last page that is asked for.
const LAST_PAGE: usize = 1_000_000;
/// How much is on one at most.
const MAX_SIZE: usize = 100;

/// A page's size unless it is asked for.
pub(crate) const DEFAULT_SIZE: usize = 25;

/// What a list was asked for.
#[derive(Debug)]
pub(crate) struct ListQuery {
    /// Which runs.
    pub filter: Filter,
    /// Where the page begins.
    pub from: PageStart,
    /// How many, 1 to 100.
    pub size: usize,
}

impl ListQuery {
    /// Reads a query string. A filter that we do not have is refused by name: ignoring it would answer another question.
    pub(crate) fn parse(query: &str, now: Timestamp) -> Result<Self, Error> {
        let mut asked = Self { filter: Filter::default(), from: PageStart::default(), size: DEFAULT_SIZE };
        for (name, value) in form_pairs(query) {
            asked.take(&name, &value, now)?;
        }
        Ok(asked)
    }

    fn take(&mut self, name: &str, value: &str, now: Timestamp) -> Result<(), Error> {
        let list = || value.split(',').filter(|part| !part.is_empty());
        let filter = &mut self.filter;
        match name {
            "page[size]" => self.size = size(value)?,
            "page[after]" => self.from = PageStart::After(Cursor::parse(name, value)?),
            "page[before]" => self.from = PageStart::Before(Cursor::parse(name, value)?),
            "filter[status]" => filter.statuses = Some(statuses(name, list())?),
            "filter[taskIdentifier]" => filter.tasks = list().map(TaskId::parse).collect::<Result<_, _>>()?,
            "filter[tag]" => filter.tags = list().map(str::to_owned).collect(),
            "filter[queue]" => filter.queues = list().map(str::to_owned).collect(),
            "filter[batch]" => filter.batches = list().map(BatchId::parse).collect::<Result<_, _>>()?,
            "filter[schedule]" => filter.schedules = list().map(ScheduleId::parse).collect::<Result<_, _>>()?,
            "filter[idempotencyKey]" => filter.key = Some(KeyHash::from_wire(name, value)?),
            "filter[isTest]" => filter.is_test = Some(value.parse().map_err(|_| wrong(name, "give true or false"))?),
            "filter[createdAt][from]" => filter.from = Some(moment(name, value)?),
            "filter[createdAt][to]" => filter.to = Some(moment(name, value)?),
            "filter[createdAt][period]" => {
                let period =
                    span::parse(value).ok_or_else(|| wrong(name, "give a span like \"7d\" (w, d, h, m, s)"))?;
                let back = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
                filter.from = Some(Timestamp::from_millis(now.millis().saturating_sub(back)));
            }
            _ if name.starts_with("filter[") => return Err(wrong(name, "there is no such filter: leave it out")),
            _ => {}
        }
        Ok(())
    }
}

fn wrong(field: &str, message: &str) -> Error {
    Error::invalid(field, message)
}

pub(crate) fn size(value: &str) -> Result<usize, Error> {
    let size = value.parse().ok().filter(|size| (1..=MAX_PAGE).contains(size));
    size.ok_or_else(|| wrong("page[size]", "give a whole number from 1 to 100"))
}

pub(crate) fn moment(name: &str, value: &str) -> Result<Timestamp, Error> {
    let moment = value.parse().ok().map(Timestamp::from_millis).or_else(|| Timestamp::parse(value).ok());
    moment.ok_or_else(|| wrong(name, "give milliseconds since 1970, or a date like \"2026-01-31T09:30:00Z\""))
}

/// The pairs of a query string, percent-decoded.
pub(crate) fn form_pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// The number of a page and how much is on it, as `page` and `perPage` say.
///
/// # Errors
/// [`Error::Invalid`].
pub(crate) fn page(query: &str) -> Result<(usize, usize), Error> {
    let number = |name: &str, value: &str, most: usize| {
        let number = value.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| Error::invalid(name, format!("give a whole number from 1 to {most}")))
    };
    let (mut page, mut size) = (1, NUMBERED_SIZE);
    for (name, value) in form_pairs(query) {
        match name.as_str() {
            "page" => page = number(&name, &value, LAST_PAGE)?,
            "perPage" => size = number(&name, &value, MAX_SIZE)?,
            _ => {}
        }
    }
    Ok((page, size))
}

#[cfg(test)]
mod tests {
    use oncekey_core::RunStatus;

    use super::*;

    fn parse(query: &str) -> Result<ListQuery, Error> {
        ListQuery::parse(query, Timestamp::from_millis(1_000_000))
    }

    #[test]
    fn the_clients_spelling_is_read() {
        let list = parse("filter%5Bstatus%5D=COMPLETED%2Cfailed&page%5Bsize%5D=10&filter[createdAt][period]=1m")
            .expect("query");
        assert_eq!(list.filter.statuses, Some(vec![RunStatus::Completed, RunStatus::Failed]));
        assert_eq!(list.size, 10);
        assert_eq!(list.filter.from, Some(Timestamp::from_millis(940_000)));
    }

    #[test]
    fn a_status_that_no_run_is_in_matches_none() {
        assert_eq!(parse("filter[status]=DEQUEUED").expect("query").filter.statuses, Some(Vec::new()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (query, field) in [
            ("page[size]=0", "page[size]"),
            ("page[size]=101", "page[size]"),
            ("page[after]=x", "page[after]"),
            ("filter[status]=DONE", "filter[status]"),
            ("filter[version]=1", "filter[version]"),
            ("filter[isTest]=maybe", "filter[isTest]"),
            ("filter[createdAt][from]=soon", "filter[createdAt][from]"),
        ] {
            let error = parse(query).expect_err(query).to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
