//! Keys, tokens, agents, services and runners: each a list, a form for a new one, and what can be done with one.

use postern::{
    App, Error, Refusal,
    core::clock,
    http::{Form, Request, Response, page},
    runtime::ingress::Inner,
    telemetry,
};
use serde_json::{Map, Value, json};

use crate::portal::{
    inner,
    kinds::Collection,
    view::{Collected, Frame, Given, Moment, Row, ShownOnce},
    visitor::{self, Visitor, text},
};

/// What a page tells besides its list.
#[derive(Default)]
struct Told {
    given: Given,
    error: Option<Error>,
    shown: Option<ShownOnce>,
    done: Option<&'static str>,
}

/// `GET`: the list.
pub(crate) async fn list(app: &App, request: &Request, of: &Collection) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    let is_deleted = request.query("done")?.is_some_and(|done| done == "deleted");
    let done = is_deleted.then_some("Deleted. It opens nothing any more.");
    show(app, request, &visitor, of, Told { done, ..Told::default() }).await
}

async fn show(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    of: &Collection,
    told: Told,
) -> Result<Response, Error> {
    let cursor = if request.method() == "GET" { request.query("cursor")? } else { None };
    let query = form_urlencoded::Serializer::new(String::from("limit=50&"))
        .extend_pairs(cursor.iter().map(|cursor| ("cursor", cursor)))
        .finish();
    let listed = inner::ask(
        app,
        request,
        Inner { query: query.trim_end_matches('&'), ..inner_request(visitor, "GET", of.api) },
    );
    // A secret that was just made is shown, whatever becomes of the list: nobody could ever show it again.
    let listed = match listed.await {
        Err(Error::Failed(fault)) if told.shown.is_some() => {
            telemetry::failed(fault.public().status, &fault);
            Value::Null
        }
        listed => listed?,
    };
    let view = Collected {
        frame: Frame::new(visitor, of.path),
        of,
        may_manage: of.manages.is_none_or(|permission| visitor.may(permission)),
        rows: listed["items"].as_array().into_iter().flatten().map(Row::of).collect(),
        next_cursor: listed["next_cursor"].as_str().map(str::to_owned),
        is_first_page: cursor.is_none(),
        scopes: choices(visitor),
        error: told.error.as_ref().map(|error| error.description().to_owned()),
        given: told.given,
        shown: told.shown,
        done: told.done,
    };
    let response = page::show(200, &view)?;
    Ok(match told.error {
        Some(error) => response.because(error),
        None => response,
    })
}

/// Scopes to choose from, where the visitor's own can be listed; else they are typed.
fn choices(visitor: &Visitor) -> Vec<String> {
    let held = visitor.principal.scopes.to_string();
    if held.contains('*') {
        Vec::new()
    } else {
        held.split_whitespace().map(str::to_owned).collect()
    }
}

/// `POST`: a new one.
pub(crate) async fn create(
    app: &App,
    request: &Request,
    of: &Collection,
) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    let form = visitor::form(app, request, &visitor)?;
    let made = async {
        let body = body(app, of, &form)?;
        inner::ask(
            app,
            request,
            Inner { body: Some(&body), ..inner_request(&visitor, "POST", of.api) },
        )
        .await
    };
    let told = match made.await {
        Ok(made) => Told { shown: Some(shown(of, &made, text(&form, "name"))), ..Told::default() },
        Err(Error::Failed(fault)) => return Err(fault.into()),
        Err(error) => Told { given: given(&form), error: Some(error), ..Told::default() },
    };
    show(app, request, &visitor, of, told).await
}

fn shown(of: &Collection, made: &Value, name: &str) -> ShownOnce {
    let member = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    let overlap = made["previous_expires_at"].as_str().and_then(|time| time.parse().ok());
    ShownOnce {
        what: if name.is_empty() { of.one.to_owned() } else { format!("{} “{name}”", of.one) },
        secret: member(of.secret),
        id: member("id"),
        overlap: overlap.map(|time| Moment::new(time).text),
    }
}

/// The form, as our own route wants it.
fn body(app: &App, of: &Collection, form: &Form) -> Result<Value, Refusal> {
    let words = |name: &str| -> Vec<String> {
        text(form, name)
            .split([' ', ',', '\n', '\r'])
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut body = Map::from_iter([("name".to_owned(), json!(text(form, "name")))]);
    if of.asks_for_scopes() {
        body.insert("scopes".into(), scopes(form).into());
    }
    if of.asks_for_labels() {
        body.insert("labels".into(), words("labels").into());
    }
    if of.asks_for_repositories() {
        match words("repositories") {
            names if names.is_empty() => body.insert("all_repositories".into(), true.into()),
            names => body.insert("repositories".into(), names.into()),
        };
    }
    if let Some(days) = whole(form, "expires_in_days", 1..=3660)? {
        let end = clock::after(app.context.clock.now(), days * 24 * 3600);
        body.insert("expires_at".into(), end.to_string().into());
    }
    Ok(body.into())
}

/// A number in a form; none where nothing was chosen.
fn whole(
    form: &Form,
    name: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<i64>, Refusal> {
    match text(form, name) {
        "" => Ok(None),
        given => given
            .parse()
            .ok()
            .filter(|number| range.contains(number))
            .map(Some)
            .ok_or(Refusal::RequestMalformed),
    }
}

/// Ticked boxes, and what was typed.
fn scopes(form: &Form) -> Vec<String> {
    let ticked = form.keys().filter_map(|name| name.strip_prefix("scope.")).map(str::to_owned);
    ticked
        .chain(
            text(form, "scopes")
                .split([' ', ','])
                .filter(|word| !word.is_empty())
                .map(str::to_owned),
        )
        .collect()
}

fn given(form: &Form) -> Given {
    Given {
        name: text(form, "name").to_owned(),
        scopes: scopes(form).join(" "),
        labels: text(form, "labels").to_owned(),
        repositories: text(form, "repositories").to_owned(),
        is_open: true,
    }
}

/// `POST …/renew`: a new secret for one.
pub(crate) async fn renew(
    app: &App,
    request: &Request,
    of: &Collection,
) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    let form = visitor::form(app, request, &visitor)?;
    let renewal = of.renewal.as_ref().ok_or(Refusal::RouteUnknown)?;
    let renewed = async {
        let overlap_s = whole(&form, "overlap_s", 0..=i64::MAX)?.unwrap_or(0);
        let body = if renewal.can_overlap { json!({"overlap_s": overlap_s}) } else { json!({}) };
        let id = request.path_parameter("id");
        let asked = Inner { id, body: Some(&body), ..inner_request(&visitor, "POST", renewal.api) };
        inner::ask(app, request, asked).await
    };
    let told = match renewed.await {
        Ok(made) => Told { shown: Some(shown(of, &made, text(&form, "name"))), ..Told::default() },
        Err(Error::Failed(fault)) => return Err(fault.into()),
        Err(error) => Told { error: Some(error), ..Told::default() },
    };
    show(app, request, &visitor, of, told).await
}

/// `POST …/delete`: the end of one, told on a page that can be loaded again.
pub(crate) async fn delete(
    app: &App,
    request: &Request,
    of: &Collection,
) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    visitor::form(app, request, &visitor)?;
    let asked =
        Inner { id: request.path_parameter("id"), ..inner_request(&visitor, "DELETE", of.api_one) };
    match inner::ask(app, request, asked).await {
        Ok(_) => Ok(Response::see_other(format!("{}?done=deleted", of.path))),
        Err(Error::Failed(fault)) => Err(fault.into()),
        Err(error) => {
            show(app, request, &visitor, of, Told { error: Some(error), ..Told::default() }).await
        }
    }
}

/// A request for one of our own routes, in the visitor's name.
fn inner_request<'a>(visitor: &'a Visitor, method: &'static str, path: &'static str) -> Inner<'a> {
    Inner { method, path, id: None, query: "", body: None, session: &visitor.session }
}
