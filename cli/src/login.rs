//! `postern login` and `postern logout`.

use std::path::Path;

use postern_client::{
    Context, DevicePrompt, Issuer, Login, Logout, Profile, ProfileConfig, Session, Storage,
    reqwest::Url,
};

use crate::{
    arguments::LoginArgs,
    failure::Failure,
    invocation::Invocation,
    output::{emphasized, say},
    words,
};

/// Where a user logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    AnotherDevice,
    Browser,
}

/// Logs the user in, and keeps in the profile what was given.
pub(crate) async fn log_in(invocation: &Invocation, arguments: LoginArgs) -> Result<(), Failure> {
    let context = &invocation.context;
    let place = place(context, &arguments);
    let is_remembered = invocation.profile_name.is_some() || arguments.has_settings();
    let mut profile = invocation.profile()?;
    let known = invocation.config()?.profiles.remove(&profile.name);
    let settings = arguments.settings(&profile, known)?;
    profile.issuer = settings.issuer.parse()?;
    profile.client_id.clone_from(&settings.client_id);

    let login = settings.login();
    let session = tokio::select! {
        session = new_session(context, &profile, &login, place) => session?,
        _ = tokio::signal::ctrl_c() => {
            return Err(Failure::interrupted("The login was interrupted. Nothing is stored."));
        }
    };
    if is_remembered {
        let mut config = invocation.config()?;
        config.profiles.insert(profile.name.clone(), settings);
        invocation.home()?.save_config(&config)?;
    }
    say(&format!("Logged in at {} ({}).", profile.issuer, profile.name));
    if let Some(status) = session.status().await? {
        say(&format!("The session is {}.", stored(status.storage, &profile.session_file)));
    }
    Ok(())
}

/// Ends the session of a profile.
pub(crate) async fn log_out(context: &Context, profile: &Profile) -> Result<(), Failure> {
    if !profile.session_file.exists() {
        say(&format!("Nobody was logged in ({}).", profile.name));
        return Ok(());
    }
    match Session::open(context, profile).await?.logout().await? {
        Logout::Complete => say(&format!("Logged out ({}).", profile.name)),
        Logout::OnlyHere(warning) => say(&warning.to_string()),
    }
    Ok(())
}

/// Returns where the refresh token is, after the word "is".
pub(crate) fn stored(storage: Storage, session_file: &Path) -> String {
    let file = session_file.display();
    match storage {
        Storage::Keyring => "in the keyring of the operating system".to_owned(),
        Storage::File if is_readable_by_others(session_file) => {
            format!("in a file that other users can read, {file}. Run: chmod 600 {file}")
        }
        Storage::File => format!("in a file that only you can read, {file}"),
    }
}

#[cfg(unix)]
fn is_readable_by_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

/// A file in the folder of a user is not shared with others.
#[cfg(not(unix))]
fn is_readable_by_others(_: &Path) -> bool {
    false
}

async fn new_session(
    context: &Context,
    profile: &Profile,
    login: &Login,
    place: Place,
) -> Result<Session, Failure> {
    let session = match place {
        Place::AnotherDevice => {
            Session::login_with_device(context, profile, login, show_code).await?
        }
        Place::Browser => {
            let open = |url: &Url| open_browser(&profile.issuer, url);
            Session::login_with_browser(context, profile, login, open).await?
        }
    };
    Ok(session)
}

fn show_code(prompt: &DevicePrompt) {
    let url = prompt.verification_uri_complete.as_ref().unwrap_or(&prompt.verification_uri);
    say("Open this page on any device, log in, and compare the code:");
    say(&format!("\n  {}\n  {}\n", url, emphasized(&prompt.user_code)));
    let lifetime = words::duration(prompt.expires_in);
    say(&format!("Waiting for your approval. The code is valid for {lifetime}. Ctrl-C ends this."));
}

fn open_browser(issuer: &Issuer, url: &Url) {
    say(&format!("Log in at {issuer} in your browser. If it does not open, open this page:"));
    say(&format!("\n  {url}\n"));
    say(
        "Waiting for the browser. Ctrl-C ends this. Without a browser here: postern login --device",
    );
    let url = url.to_string();
    // A browser in the terminal ends only when the user has logged in.
    std::thread::spawn(move || {
        if let Err(error) = webbrowser::open(&url) {
            say(&format!("The browser does not open ({error})."));
        }
    });
}

/// A browser that this program opens must be where the user is.
fn place(context: &Context, arguments: &LoginArgs) -> Place {
    let has = |name| context.variable(name).is_some();
    let is_remote = has("SSH_CONNECTION") || has("SSH_TTY");
    let has_display = cfg!(any(windows, target_os = "macos"))
        || ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "WSL_DISTRO_NAME"].into_iter().any(has);
    match (arguments.device, arguments.browser) {
        (true, _) => Place::AnotherDevice,
        (false, true) => Place::Browser,
        (false, false) if is_remote || !has_display => Place::AnotherDevice,
        (false, false) => Place::Browser,
    }
}

impl LoginArgs {
    /// Reports whether something is given that the next login should ask for too.
    fn has_settings(&self) -> bool {
        let Self { issuer, client_id, scope, resource, storage, device: _, browser: _ } = self;
        let texts = [client_id, scope, resource];
        issuer.is_some() || storage.is_some() || texts.iter().any(|text| text.is_some())
    }

    /// Returns the settings of the profile with what is given. Scopes and the API of another
    /// server mean nothing.
    fn settings(
        &self,
        profile: &Profile,
        known: Option<ProfileConfig>,
    ) -> Result<ProfileConfig, Failure> {
        let issuer = self.issuer.as_ref().unwrap_or(&profile.issuer);
        let same_server = known.filter(|known| known.issuer == issuer.as_str());
        let mut settings =
            same_server.unwrap_or_else(|| ProfileConfig::new(issuer, &profile.client_id));
        if let Some(client_id) = &self.client_id {
            settings.client_id.clone_from(client_id);
        }
        settings.scope = self.scope.clone().or(settings.scope);
        settings.resource = self.resource.clone().or(settings.resource);
        settings.storage = self.storage.map(Storage::from).or(settings.storage);
        Ok(settings)
    }
}
