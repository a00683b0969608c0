//! A browser without scripts on the pages of the portal.

use postern::core::principal::Role;

use crate::{Answer, Call, World};

/// The address and password with which [`Browser::of`] signs in.
pub const EMAIL: &str = "ada@example.com";
/// See [`EMAIL`].
pub const PASSWORD: &str = "correct horse battery";
/// The cookie of the portal's sessions.
pub const COOKIE: &str = "__Host-postern_session";

/// A browser that is signed in.
#[derive(Clone, Debug)]
pub struct Browser<'w> {
    /// The deployment.
    pub world: &'w World,
    /// The session in its cookie.
    pub session: String,
}

impl<'w> Browser<'w> {
    /// Creates a user, and signs in with their password.
    pub async fn of(world: &'w World, role: Role) -> Self {
        world.create_user(EMAIL, PASSWORD, role).await;
        Self { world, session: world.sign_in_with_password(EMAIL, PASSWORD).await }
    }

    /// Signs in as the same user, in another browser.
    pub async fn another(&self) -> Self {
        let session = self.world.sign_in_with_password(EMAIL, PASSWORD).await;
        Self { world: self.world, session }
    }

    /// Starts a request.
    pub fn call(&self, method: &str, target: &str) -> Call<'w> {
        let cookie = format!("{COOKIE}={}", self.session);
        let call = self.world.call(method, target).header("Cookie", cookie);
        call.header("Accept", "text/html").header("Origin", "https://auth.example.com")
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
}
