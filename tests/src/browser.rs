//! A browser without scripts on the pages of the portal.

use std::net::IpAddr;

use postern::core::principal::Role;

use crate::{Answer, Call, World};

/// The address and password with which [`Browser::of`] signs in.
pub const EMAIL: &str = "ada@example.com";
/// See [`EMAIL`].
pub const PASSWORD: &str = "correct horse battery";
/// The cookie of the portal's sessions.
pub const COOKIE: &str = "__Host-postern_session";

/// The cookie of a browser that is signing in at an identity provider.
pub const SIGN_IN_COOKIE: &str = "__Host-postern_signin";

/// A browser that is signed in.
#[derive(Clone, Debug)]
pub struct Browser<'w> {
    /// The deployment.
    pub world: &'w World,
    /// The session in its cookie.
    pub session: String,
    /// Its address.
    pub address: IpAddr,
}

impl<'w> Browser<'w> {
    /// Creates a user, and signs in with their password.
    pub async fn of(world: &'w World, role: Role) -> Self {
        world.create_user(EMAIL, PASSWORD, role).await;
        Self::with_session(world, world.sign_in_with_password(EMAIL, PASSWORD).await)
    }

    /// Returns a browser that has a session.
    pub fn with_session(world: &'w World, session: String) -> Self {
        Self { world, session, address: [192, 0, 2, 1].into() }
    }

    /// Signs in as the same user, in another browser.
    pub async fn another(&self) -> Self {
        let session = self.world.sign_in_with_password(EMAIL, PASSWORD).await;
        Self { session, ..self.clone() }
    }

    /// Starts a request.
    pub fn call(&self, method: &str, target: &str) -> Call<'w> {
        let call = self.world.call(method, target).header("Cookie", self.cookie());
        let origin = &self.world.app.context.config.deployment.public_url;
        let call = call.header("Accept", "text/html").header("Origin", origin);
        call.from(self.address)
    }

    /// Returns the value of its `Cookie` header.
    pub fn cookie(&self) -> String {
        format!("{COOKIE}={}", self.session)
    }

    /// Opens a page.
    pub async fn get(&self, target: &str) -> Answer {
        self.call("GET", target).send().await
    }

    /// Opens a page, and returns the token of its forms.
    pub async fn csrf_token(&self, page: &str) -> String {
        self.get(page).await.expect(200).csrf_token()
    }

    /// Sends a form, and does not follow the redirect.
    pub async fn send(&self, target: &str, csrf: &str, fields: &[(&str, &str)]) -> Answer {
        let form: Vec<_> = [("csrf", csrf)].into_iter().chain(fields.iter().copied()).collect();
        self.call("POST", target).form(&form).send().await
    }

    /// Sends a form from the overview, and follows a redirect, except to the sign-in.
    pub async fn post(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf_token("/").await;
        let answer = self.send(target, &csrf, fields).await;
        match answer.header("location") {
            Some(next) if !next.starts_with("/login") => self.get(next).await,
            _ => answer,
        }
    }

    /// Sends the form of a page that asks the user to allow a client.
    pub async fn decide(&self, page: &Answer, decision: &str) -> Answer {
        self.decide_with(page, &[("decision", decision)]).await
    }

    /// Sends that form with these fields in place of its own, or besides them. An empty value
    /// removes a field.
    pub async fn decide_with(&self, page: &Answer, changes: &[(&str, &str)]) -> Answer {
        self.decide_at("/v1/auth/authorize", page, changes).await
    }

    /// Sends that form if `action` is where the page sends it.
    pub async fn decide_at(&self, action: &str, page: &Answer, changes: &[(&str, &str)]) -> Answer {
        let own = page.hidden_fields(action);
        let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let is_kept = |name: &str| changes.iter().all(|(changed, _)| *changed != name);
        let mut fields: Vec<_> = own.filter(|(name, _)| is_kept(name)).collect();
        fields.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        self.call("POST", action).form(&fields).send().await
    }

    /// Opens the page on which the user allows an agent something.
    pub async fn ask_for_agent(&self, agent: &str, resource: &str, scope: &str) -> Answer {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let sent = [("client_id", agent), ("resource", resource), ("scope", scope)];
        query.extend_pairs(sent.iter().filter(|(_, value)| !value.is_empty()));
        self.get(&format!("/apps?{}", query.finish())).await
    }

    /// Allows an agent something.
    pub async fn allow_agent(&self, agent: &str, resource: &str, scope: &str) {
        let page = self.ask_for_agent(agent, resource, scope).await.expect(200);
        self.decide_at("/apps", &page, &[("decision", "allow")]).await.expect(303);
    }

    /// Follows a link with a user code.
    pub async fn follow_device_link(&self, user_code: &str) -> Answer {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("user_code", user_code)
            .finish();
        self.get(&format!("/device?{query}")).await
    }

    /// Enters a user code. The wire then has only the calls of that.
    pub async fn enter_user_code(&self, user_code: &str) -> Answer {
        let csrf = self.csrf_token("/device").await;
        self.world.wire.take();
        self.send("/device", &csrf, &[("user_code", user_code)]).await
    }

    /// Approves or denies a device.
    pub async fn decide_device(&self, user_code: &str, decision: &str) -> Answer {
        let csrf = self.csrf_token("/device").await;
        self.send_device_decision(&csrf, user_code, decision).await
    }

    /// Approves or denies a device with the form of an open page, and follows a redirect. Whatever
    /// the device asks for, its page has shown it.
    pub async fn send_device_decision(
        &self,
        csrf: &str,
        user_code: &str,
        decision: &str,
    ) -> Answer {
        let fields = [("user_code", user_code), ("shown_scope", "*"), ("decision", decision)];
        let answer = self.send("/device", csrf, &fields).await;
        match answer.status {
            303 => self.get(answer.header("location").unwrap()).await,
            _ => answer,
        }
    }
}
