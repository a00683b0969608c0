//! Responses, as callers see them.

use std::borrow::Borrow;

use http::HeaderMap;
use serde_json::{Value, json};

/// Status, headers and body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
    /// The body as JSON, or null if it is not JSON.
    pub body: Value,
}

impl Answer {
    /// Reads the gateway's response.
    pub fn new(response: http::Response<bytes::Bytes>) -> Self {
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let is_json = !text.is_empty()
            && parts.headers.get("content-type").is_some_and(|kind| kind == "application/json");
        let body = if is_json { serde_json::from_str(&text).unwrap() } else { Value::Null };
        Self { status: parts.status.as_u16(), headers: parts.headers, text, body }
    }

    /// Returns a text member of the body.
    #[track_caller]
    pub fn member(&self, name: &str) -> String {
        self.body[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {} {}", self.status, self.text))
            .to_owned()
    }

    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the value of a cookie that the response sets.
    #[track_caller]
    pub fn cookie(&self, name: &str) -> String {
        let set = self.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
        let mut values = set
            .filter_map(|cookie| cookie.strip_prefix(name)?.strip_prefix('=')?.split(';').next());
        values
            .next_back()
            .unwrap_or_else(|| panic!("no cookie {name} in {:?}", self.headers))
            .to_owned()
    }

    /// Returns the token of a page's forms.
    #[track_caller]
    pub fn csrf_token(&self) -> String {
        let rest = self.text.split("name=\"csrf\" value=\"").nth(1);
        let rest = rest.unwrap_or_else(|| panic!("no form in {}", self.text));
        rest.split('"').next().unwrap().to_owned()
    }

    /// Returns the hidden fields of the form that sends its fields to `action`.
    #[track_caller]
    pub fn hidden_fields(&self, action: &str) -> Vec<(String, String)> {
        let form = self.text.split(&format!("action=\"{action}\"")).nth(1);
        let form = form.unwrap_or_else(|| panic!("no form in {}", self.text));
        let inputs = form.split("</form>").next().unwrap().split("<input type=\"hidden\" ").skip(1);
        let attribute = |input: &str, name: &str| {
            let value = input.split(&format!("{name}=\"")).nth(1).unwrap();
            let value = value.split('"').next().unwrap();
            value.replace("&#60;", "<").replace("&#62;", ">").replace("&#38;", "&")
        };
        inputs.map(|input| (attribute(input, "name"), attribute(input, "value"))).collect()
    }

    /// Returns the secret that a page shows, if it shows one.
    pub fn shown_secret(&self) -> Option<String> {
        let shown = self.text.split("<code id=\"secret\"").nth(1)?;
        Some(shown.split(['>', '<']).nth(1).unwrap().to_owned())
    }

    /// Asserts the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Asserts an error in the common form.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status, self.body["error"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        let members: Vec<_> = self.body.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["error", "error_description", "request_id"]);
        let sentence = self.member("error_description");
        // RFC 6749 §5.2: printable ASCII without quotes and backslashes.
        let is_plain =
            sentence.bytes().all(|byte| matches!(byte, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        assert!(sentence.ends_with('.') && is_plain, "{}", self.text);
        assert!(self.body["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{}", self.text);
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(
            self.header("www-authenticate").is_some(),
            status == 401 || code == "insufficient_scope"
        );
        self
    }

    /// Returns everything that the caller sees, except for the request's id.
    pub fn fingerprint(&self) -> Value {
        let mut body = self.body.clone();
        if let Some(body) = body.as_object_mut() {
            body.remove("request_id");
        }
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        json!({"status": self.status, "headers": headers, "body": body})
    }
}

/// Asserts a whole refusal: status, code, sentence and challenge.
#[track_caller]
pub fn expect_refusal(answer: impl Borrow<Answer>, status: u16, code: &str, sentence: &str) {
    let answer = answer.borrow().clone().expect_error(status, code);
    assert_eq!(answer.member("error_description"), sentence);
    let challenge = match (status, code) {
        (401, "auth_required") => Some(r#"Bearer realm="postern""#.to_owned()),
        (401, "invalid_client") => Some(r#"Basic realm="postern", charset="UTF-8""#.to_owned()),
        (401, _) => Some(format!(
            r#"Bearer realm="postern", error="{code}", error_description="{sentence}""#
        )),
        _ => return,
    };
    assert_eq!(answer.header("www-authenticate").map(str::to_owned), challenge);
}
