//! The limits of usage plans, as API Gateway applies them to the key that the authorizer returns.

use std::{collections::HashMap, sync::Mutex};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use postern::{
    App,
    config::{PlanLimits, QuotaPeriod},
};

/// Why a request is beyond a usage plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsageRefusal {
    /// There were too many at once, or per second.
    Throttled,
    /// The quota of the period is used up.
    QuotaExceeded,
    /// The key is in no plan.
    KeyUnknown,
}

/// What the requests of each key have used.
#[derive(Debug, Default)]
pub(super) struct UsageMeter {
    used: Mutex<HashMap<String, Usage>>,
}

/// What the requests of a key have used.
#[derive(Clone, Copy, Debug)]
struct Usage {
    /// The requests that can follow at once.
    burst_left: f64,
    /// When that was computed.
    at: Timestamp,
    /// The first day of the period.
    period: Date,
    /// The requests in it.
    count: u64,
}

impl UsageMeter {
    /// Counts a request with `key` at `now`.
    pub(super) fn count(&self, app: &App, key: &str, now: Timestamp) -> Result<(), UsageRefusal> {
        let name = app.usage_keys.plan_of(key).ok_or(UsageRefusal::KeyUnknown)?;
        let plan = app.context.config.plans.iter().find(|plan| plan.name == *name);
        let limits = plan.map(|plan| plan.limits).unwrap_or_default();
        let mut used = self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fresh = Usage { burst_left: burst(limits), at: now, period: Date::MIN, count: 0 };
        used.entry(key.to_owned()).or_insert(fresh).count(limits, now)
    }
}

impl Usage {
    /// Counts a request. One that is refused counts for nothing.
    fn count(&mut self, limits: PlanLimits, now: Timestamp) -> Result<(), UsageRefusal> {
        let rate = limits.rate.map_or(f64::INFINITY, |rate| f64::from(rate.get()));
        let passed = now.duration_since(self.at).max(SignedDuration::ZERO).as_secs_f64();
        let burst_left = burst(limits).min(self.burst_left + passed * rate);
        (self.burst_left, self.at) = (burst_left, now);
        let period = first_day(limits.period, now);
        if period != self.period {
            (self.period, self.count) = (period, 0);
        }
        if limits.rate.is_some() && burst_left < 1.0 {
            return Err(UsageRefusal::Throttled);
        }
        if limits.quota.is_some_and(|quota| self.count >= quota.get()) {
            return Err(UsageRefusal::QuotaExceeded);
        }
        self.burst_left -= 1.0;
        self.count += 1;
        Ok(())
    }
}

fn burst(limits: PlanLimits) -> f64 {
    limits.burst.or(limits.rate).map_or(0.0, |burst| f64::from(burst.get()))
}

/// Returns the first day of the period that contains `now`.
fn first_day(period: QuotaPeriod, now: Timestamp) -> Date {
    let today = now.to_zoned(TimeZone::UTC).date();
    match period {
        QuotaPeriod::Day => today,
        QuotaPeriod::Week => {
            let days = i64::from(today.weekday().to_sunday_zero_offset());
            today.saturating_sub(SignedDuration::from_hours(days * 24))
        }
        QuotaPeriod::Month => today.first_of_month(),
    }
}
