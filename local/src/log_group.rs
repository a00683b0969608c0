//! The log of a stack in AWS, which CloudWatch Logs Insights searches.

use std::{fmt, time::Duration};

use aws_config::BehaviorVersion;
use aws_sdk_cloudwatchlogs::{
    Client,
    error::DisplayErrorContext,
    types::{QueryStatus, ResultField},
};
use postern::core::clock::Clock;

use crate::Error;

/// How long the search may take.
const LONGEST_SEARCH: Duration = Duration::from_secs(60);
/// The time between two questions whether the search is complete.
const INTERVAL: Duration = Duration::from_millis(500);

/// The last hours of a log group.
#[derive(Clone, Debug)]
pub struct LogGroup {
    /// The name.
    pub name: String,
    /// How many hours are searched.
    pub hours: u16,
}

impl fmt::Display for LogGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log group {}, searched for the last {} hours,", self.name, self.hours)
    }
}

impl LogGroup {
    /// Returns the lines of a request, oldest first. `request_id` contains nothing that has a
    /// meaning in a query.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the search fails, which says why, or takes too long.
    pub async fn lines(&self, request_id: &str) -> Result<String, Error> {
        let search = self.search(request_id);
        match tokio::time::timeout(LONGEST_SEARCH, search).await {
            Ok(found) => found,
            Err(_) => Err(self.failed(&"it takes longer than a minute: name fewer hours")),
        }
    }

    async fn search(&self, request_id: &str) -> Result<String, Error> {
        let sdk = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let client = Client::new(&sdk);
        let now = Clock::system().now().as_second();
        let query = format!(
            "fields @message | filter request_id = \"{request_id}\" | sort @timestamp asc | limit 100"
        );
        let started = client
            .start_query()
            .log_group_name(&self.name)
            .start_time(now - i64::from(self.hours) * 3600)
            .end_time(now + 1) // whole seconds, and the line may be of this one
            .query_string(query)
            .send()
            .await
            .map_err(|error| self.failed(&DisplayErrorContext(error)))?;
        let id = started.query_id.unwrap_or_default();
        loop {
            let found = client.get_query_results().query_id(&id).send().await;
            let found = found.map_err(|error| self.failed(&DisplayErrorContext(error)))?;
            match found.status {
                Some(QueryStatus::Complete) => return Ok(messages(found.results())),
                Some(QueryStatus::Running | QueryStatus::Scheduled) => {
                    tokio::time::sleep(INTERVAL).await;
                }
                other => {
                    let status =
                        other.map_or_else(|| "unknown".into(), |status| status.to_string());
                    return Err(self.failed(&format!("its status is {status}")));
                }
            }
        }
    }

    fn failed(&self, reason: &dyn fmt::Display) -> Error {
        Error::Invalid(format!("searching the log group {} failed: {reason}", self.name))
    }
}

/// Returns the messages of what was found, a line each.
fn messages(results: &[Vec<ResultField>]) -> String {
    let fields = results.iter().flatten().filter(|field| field.field() == Some("@message"));
    fields
        .filter_map(ResultField::value)
        .fold(String::new(), |lines, line| lines + line.trim() + "\n")
}
