"""What a person does in a browser, by the real pages: sign in, approve a device, allow an app."""

import html
import http.client
import re
import urllib.parse


class Browser:
    """Sends requests as a browser does, with the cookies that it has received. Follows no redirects."""

    def __init__(self, origin):
        self.origin = origin
        self.host = urllib.parse.urlsplit(origin).netloc
        self.headers = {"Accept": "text/html", "Origin": origin}
        self.csrf = None

    def send(self, method, target, fields=None):
        """Returns the status, the `Location` and the text of the answer."""
        headers, body = dict(self.headers), None
        if fields is not None:
            body = urllib.parse.urlencode(fields)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            connection.request(method, target, body=body, headers=headers)
            answer = connection.getresponse()
            if cookie := answer.getheader("set-cookie"):
                self.headers["Cookie"] = cookie.split(";")[0]
            return answer.status, answer.getheader("location"), answer.read().decode()
        finally:
            connection.close()

    def sign_in(self, user, page):
        status, _, text = self.send("POST", "/login", {**user, "next": page})
        # Before the page of an app, there is a page that continues to it.
        if status not in (200, 303) or "Cookie" not in self.headers:
            raise RuntimeError(f"the sign-in was answered with {status}: {text[:200]}")


def hidden_fields(text):
    """Returns the hidden fields of a form."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', text)
    return [(name, html.unescape(value)) for name, value in found]


def shown_device(browser, user, code):
    """Returns the fields of the form that asks about a device. Signs the user in if the browser has no session."""
    for _ in range(2):
        if browser.csrf is None:
            browser.sign_in(user, "/device")
            browser.csrf = re.search(r'name="csrf" value="([^"]*)"', browser.send("GET", "/device")[2])[1]
        fields = {"csrf": browser.csrf, "user_code": code}
        text = browser.send("POST", "/device", fields)[2]
        if shown := re.search(r'name="shown_scope" value="([^"]*)"', text):
            return {**fields, "shown_scope": html.unescape(shown[1])}
        browser.csrf = None
    raise RuntimeError(f"the code was not accepted: {text[:200]}")


def decide_about_device(browser, user, code, decision):
    """Decides about a device: `approve` or `deny`."""
    fields = shown_device(browser, user, code)
    status, _, text = browser.send("POST", "/device", {**fields, "decision": decision})
    if status != 303:
        raise RuntimeError(f"the decision was answered with {status}: {text[:200]}")


def decide_about_app(origin, user, address, decision):
    """Opens the URL of an app, signs the user in and decides: `allow` or `deny`. Returns where the browser is sent."""
    browser = Browser(origin)
    parts = urllib.parse.urlsplit(address)
    status, location, text = browser.send("GET", f"{parts.path}?{parts.query}")
    if location is None:
        raise RuntimeError(f"the authorization request was answered with {status}: {text[:200]}")
    page = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query)).get("next")
    if page is None:
        return location
    browser.sign_in(user, page)
    status, location, text = browser.send("GET", page)
    if location is not None:
        return location
    form = text.split('action="/v1/auth/authorize"')[1]
    return browser.send("POST", "/v1/auth/authorize", [*hidden_fields(form), ("decision", decision)])[1]
