//! The folder of profiles and sessions, which the packages of all languages share.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{CLIENT_ID, Context, Error, ErrorCode, Issuer, Login, Result, Storage, files};

/// The issuer of the local program.
const LOCAL_ISSUER: &str = "http://127.0.0.1:9000";
const DEFAULT_PROFILE: &str = "default";
const CONFIG: &str = "config.json";
const SESSIONS: &str = "sessions";
const LONGEST_NAME: usize = 64;

/// The folder of profiles and sessions: `$POSTERN_HOME`, else `$XDG_CONFIG_HOME/postern`, else
/// `~/.config/postern`; on Windows `%APPDATA%\postern`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    folder: PathBuf,
}

/// The name of a profile: 1 to 64 of `a-z`, `0-9`, `.`, `_` and `-`, of which the first is a letter
/// or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(String);

/// A deployment that a user logs in to, and where the session is.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The name.
    pub name: ProfileName,
    /// The authorization server.
    pub issuer: Issuer,
    /// The id of the client.
    pub client_id: String,
    /// The file of the session.
    pub session_file: PathBuf,
}

/// The file `config.json`. Unknown members are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// The profile where none is named.
    #[serde(default = "ProfileName::usual")]
    pub default_profile: ProfileName,
    /// All profiles.
    #[serde(default)]
    pub profiles: BTreeMap<ProfileName, ProfileConfig>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A profile in `config.json`. Unknown members are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProfileConfig {
    /// The issuer of the authorization server.
    pub issuer: String,
    /// The id of the client.
    #[serde(default = "default_client_id")]
    pub client_id: String,
    /// The scopes that a login asks for, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The API that a login asks for tokens for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Where a login stores the refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Home {
    /// Finds the folder by the environment.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if the environment does not name a home folder.
    pub fn from_environment(context: &Context) -> Result<Self> {
        let variable = |name: &str| context.system.variable(name).map(PathBuf::from);
        if let Some(folder) = variable("POSTERN_HOME") {
            return Ok(Self { folder });
        }
        let base = if cfg!(windows) {
            variable("APPDATA")
        } else {
            let configured = variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
            configured.or_else(|| variable("HOME").map(|home| home.join(".config")))
        };
        let folder = base.map(|base| base.join("postern"));
        folder.map(|folder| Self { folder }).ok_or_else(|| {
            let message = "There is no home folder for sessions. Set POSTERN_HOME to a folder.";
            Error::new(ErrorCode::StorageFailed, message)
        })
    }

    /// Uses another folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the file of a profile's session.
    pub fn session_file(&self, name: &ProfileName) -> PathBuf {
        self.folder.join(SESSIONS).join(format!("{name}.json"))
    }

    /// Returns the profiles that have a session, in alphabetical order.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if the folder cannot be read.
    pub fn sessions(&self) -> Result<Vec<ProfileName>> {
        let folder = self.folder.join(SESSIONS);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(files::cannot("read", &folder, error)),
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            let file = entry.ok()?.file_name();
            file.to_str()?.strip_suffix(".json")?.parse::<ProfileName>().ok()
        };
        let mut names: Vec<_> = entries.filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// Reads `config.json`. Without one, there are no profiles.
    ///
    /// # Errors
    /// [`ErrorCode::SessionInvalid`] if it cannot be parsed, and [`ErrorCode::StorageFailed`] if it
    /// cannot be read, or if other users can change it.
    pub fn config(&self) -> Result<Config> {
        let path = self.folder.join(CONFIG);
        let Some(text) = files::read(&path)? else { return Ok(Config::default()) };
        serde_json::from_slice(&text).map_err(|error| {
            let message =
                format!("{} cannot be parsed: {error}. Correct it, or delete it.", path.display());
            Error::new(ErrorCode::SessionInvalid, message)
        })
    }

    /// Replaces `config.json`.
    ///
    /// # Errors
    /// [`ErrorCode::StorageFailed`] if it cannot be written.
    pub fn save_config(&self, config: &Config) -> Result<()> {
        let path = self.folder.join(CONFIG);
        let mut text = serde_json::to_vec_pretty(config)
            .map_err(|error| files::cannot("write", &path, error.into()))?;
        text.push(b'\n');
        files::Replacement::prepare(&path)?.write(&text)
    }

    /// Returns a profile: the one that `name` names, else `$POSTERN_PROFILE`, else the default. A
    /// profile that `config.json` does not have is of `$POSTERN_ISSUER`, else of the local program.
    ///
    /// # Errors
    /// As [`Self::config`]; [`ErrorCode::SessionInvalid`] if the name is not valid, and
    /// [`ErrorCode::InsecureIssuer`] if the issuer is not.
    pub fn profile(&self, context: &Context, name: Option<&ProfileName>) -> Result<Profile> {
        let config = self.config()?;
        let named = context.system.variable("POSTERN_PROFILE");
        let name = match (name, named) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => name.parse()?,
            (None, None) => config.default_profile.clone(),
        };
        let known = config.profiles.get(&name);
        let issuer = match known {
            Some(known) => known.issuer.clone(),
            None => {
                let named = context.system.variable("POSTERN_ISSUER");
                named.unwrap_or_else(|| LOCAL_ISSUER.to_owned())
            }
        };
        let client_id = known.map_or_else(default_client_id, |known| known.client_id.clone());
        let session_file = self.session_file(&name);
        Ok(Profile { name, issuer: issuer.parse()?, client_id, session_file })
    }
}

impl Default for Config {
    fn default() -> Self {
        let default_profile = ProfileName::usual();
        Self { default_profile, profiles: BTreeMap::new(), other: Map::new() }
    }
}

impl ProfileConfig {
    /// Creates a profile.
    pub fn new(issuer: &Issuer, client_id: impl Into<String>) -> Self {
        let (issuer, client_id) = (issuer.to_string(), client_id.into());
        let (scope, resource, storage) = (None, None, None);
        Self { issuer, client_id, scope, resource, storage, other: Map::new() }
    }

    /// Returns what a login of this profile asks for.
    pub fn login(&self) -> Login {
        let Self { scope, resource, storage, .. } = self;
        Login { scope: scope.clone(), resource: resource.clone(), storage: *storage }
    }
}

impl ProfileName {
    fn usual() -> Self {
        Self(DEFAULT_PROFILE.to_owned())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProfileName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_name = (1..=LONGEST_NAME).contains(&text.len())
            && text.starts_with(is_plain)
            && text.chars().all(|c| is_plain(c) || "._-".contains(c));
        if is_name {
            return Ok(Self(text.to_owned()));
        }
        let message = format!(
            "The name of a profile is not valid. Use 1 to 64 lowercase letters, digits, dots, \
             hyphens and underscores, beginning with a letter or a digit, in place of {text:?}."
        );
        Err(Error::new(ErrorCode::SessionInvalid, message))
    }
}

impl TryFrom<String> for ProfileName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.0
    }
}

fn default_client_id() -> String {
    CLIENT_ID.to_owned()
}
