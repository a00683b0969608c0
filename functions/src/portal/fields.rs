//! The fields of the forms for credentials.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use postern::{
    App, Error, Refusal,
    core::{
        clock,
        scope::{Scope, Scopes},
    },
    http::Form,
};

use crate::portal::{
    form::{SCOPE, field},
    form_error::{Field, FormError},
    view::FormValues,
};

/// The field with the choice of an expiry, and its choices besides numbers of days.
const EXPIRY: &str = "expires_in_days";
const NEVER: &str = "never";
const ON_DATE: &str = "date";
/// The longest part of what was entered that a sentence repeats, in characters.
const LONGEST_QUOTED: usize = 64;
/// The choice that a new form has.
pub(crate) const DEFAULT_EXPIRY: &str = "90";
/// The choices of an expiry: the value, and the text.
pub(crate) const EXPIRIES: [(&str, &str); 6] = [
    ("7", "in 7 days"),
    ("30", "in 30 days"),
    (DEFAULT_EXPIRY, "in 90 days"),
    ("365", "in a year"),
    (ON_DATE, "on a date"),
    (NEVER, "never"),
];

/// Returns the expiry that was selected.
pub(crate) fn expiry(app: &App, form: &Form) -> Result<Option<Timestamp>, FormError> {
    match field(form, EXPIRY) {
        NEVER => Ok(None),
        ON_DATE => end_of_day(field(form, "expires_on")).map(Some),
        _ => {
            let days = number(form, EXPIRY, 1..=3660)
                .map_err(|error| FormError::from(error).at(Field::Expiry))?;
            let after =
                |days| clock::after(app.context.clock.now(), SignedDuration::from_hours(24 * days));
            Ok(days.map(after))
        }
    }
}

/// Returns the end of a day in UTC.
fn end_of_day(date: &str) -> Result<Timestamp, FormError> {
    let end = date.parse::<Date>().and_then(|date| date.tomorrow()?.to_zoned(TimeZone::UTC));
    end.map(|end| end.timestamp()).map_err(|_| {
        let sentence = "Choose the date, such as 2027-01-31.";
        FormError::of_field(Field::Expiry, Refusal::RequestMalformed, sentence.into())
    })
}

/// Returns tomorrow in UTC, such as `2027-01-31`: the first day that is an expiry.
pub(crate) fn tomorrow(app: &App) -> String {
    let tomorrow = clock::after(app.context.clock.now(), SignedDuration::from_hours(24));
    tomorrow.strftime("%Y-%m-%d").to_string()
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
///
/// # Errors
/// Names the first one that is not a scope, or that a user with the scopes `own` cannot grant.
pub(crate) fn scopes(form: &Form, own: &Scopes) -> Result<Vec<String>, FormError> {
    let wanted: Vec<_> = checked(form).chain(split_list(form, "scopes")).collect();
    for text in &wanted {
        let refused = |refusal, sentence| FormError::of_field(Field::Scopes, refusal, sentence);
        let scope = Scope::try_from(text.clone()).map_err(|refusal| {
            let text: String = text.chars().take(LONGEST_QUOTED).collect();
            let sentence = format!(
                "“{text}” is not a scope: use parts of a-z, 0-9, _ and -, or *, joined by colons, such as data:read; at most 64 characters."
            );
            refused(refusal, sentence)
        })?;
        if !own.allows(&scope) {
            let sentence = format!("You cannot grant “{text}”, because you do not have it.");
            return Err(refused(Refusal::ScopeEscalation, sentence));
        }
    }
    if wanted.is_empty() {
        let sentence = "Choose at least one scope.";
        return Err(FormError::of_field(Field::Scopes, Refusal::ScopesEmpty, sentence.into()));
    }
    Ok(wanted)
}

fn checked(form: &Form) -> impl Iterator<Item = String> {
    form.keys().filter_map(|name| name.strip_prefix(SCOPE)).map(str::to_owned)
}

/// Returns what was entered, for a form that is shown again.
pub(crate) fn values(form: &Form) -> FormValues {
    FormValues {
        name: field(form, "name").to_owned(),
        checked: checked(form).collect(),
        scopes: field(form, "scopes").to_owned(),
        labels: field(form, "labels").to_owned(),
        repositories: field(form, "repositories").to_owned(),
        expires_in_days: field(form, EXPIRY).to_owned(),
        expires_on: field(form, "expires_on").to_owned(),
        is_open: true,
    }
}
