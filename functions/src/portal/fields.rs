//! The fields of the forms for credentials.

use jiff::{SignedDuration, Timestamp};
use postern::{App, Error, Refusal, core::clock, http::Form};

use crate::portal::{
    form::{SCOPE, field},
    view::FormValues,
};

/// Returns the expiry that was selected.
pub(crate) fn expiry(app: &App, form: &Form) -> Result<Option<Timestamp>, Error> {
    let days = number(form, "expires_in_days", 1..=3660)?;
    Ok(days
        .map(|days| clock::after(app.context.clock.now(), SignedDuration::from_hours(24 * days))))
}

/// Parses a whole number. Returns `None` if nothing was selected.
pub(crate) fn number(
    form: &Form,
    name: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<i64>, Error> {
    let typed = field(form, name);
    if typed.is_empty() {
        return Ok(None);
    }
    let number = typed.parse().ok().filter(|number| range.contains(number));
    if number.is_none() {
        let detail = format!(
            "The field {name} must be a whole number from {} to {}.",
            range.start(),
            range.end()
        );
        return Err(Error::with_detail(Refusal::RequestMalformed, detail));
    }
    Ok(number)
}

/// Splits a field into words.
pub(crate) fn split_list(form: &Form, name: &str) -> Vec<String> {
    field(form, name)
        .split([' ', ',', '\n', '\r'])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Returns the scopes of the form: those that were checked, and those that were typed.
pub(crate) fn scopes(form: &Form) -> Vec<String> {
    let checked = form.keys().filter_map(|name| name.strip_prefix(SCOPE)).map(str::to_owned);
    let typed = field(form, "scopes").split([' ', ',']).filter(|word| !word.is_empty());
    checked.chain(typed.map(str::to_owned)).collect()
}

/// Returns what was entered, for a form that is shown again.
pub(crate) fn values(form: &Form) -> FormValues {
    FormValues {
        name: field(form, "name").to_owned(),
        scopes: scopes(form).join(" "),
        labels: field(form, "labels").to_owned(),
        repositories: field(form, "repositories").to_owned(),
        expires_in_days: field(form, "expires_in_days").to_owned(),
        is_open: true,
    }
}
