//! Password hashes: Argon2id with OWASP's parameters (19 MiB, 2 passes, 1 lane). Passwords are the
//! only secrets here that are weak enough to need it. They are hashed in their normal form.

use std::fmt;

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version, password_hash,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::core::{entropy::Entropy, error::Fault, secret::Secret, text};

/// Memory in KiB, passes and lanes: OWASP Password Storage Cheat Sheet, Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A dummy hash, verified for unknown users so that response times do not reveal which accounts
/// exist.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbA$XK0KjRVEErJpzHGuQVFlPsVKVEVyfxTVMjpsZVj3vIw";

/// How many passwords are hashed at once in one process. Each hash takes 19 MiB, and anyone can
/// call the login.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// A password's hash with its salt and parameters, as a PHC string.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Hashes `password` off the serving thread: it takes some 20 ms of a whole core.
    ///
    /// # Errors
    /// A fault of the generator or the library.
    pub async fn hash(password: Secret, entropy: &Entropy) -> Result<Self, Fault> {
        let salt = entropy.bytes::<16>()?;
        run_blocking(move || {
            let password = normalized(password);
            let hash = hasher()?.hash_password_with_salt(password.expose().as_bytes(), &salt);
            hash.map(|hash| Self(hash.to_string()))
                .map_err(|error| failed("hash a password", error))
        })
        .await
    }

    /// Reports whether `password` matches `hash`. Without a hash it does not, after the same time.
    ///
    /// # Errors
    /// A fault if the hash is not one that we made.
    pub async fn verify(hash: Option<Self>, password: Secret) -> Result<bool, Fault> {
        run_blocking(move || {
            let is_somebody = hash.is_some();
            let hash = hash.map_or_else(|| DUMMY_HASH.to_owned(), |hash| hash.0);
            let password = normalized(password);
            match hasher()?.verify_password(password.expose().as_bytes(), hash.as_str()) {
                Ok(()) => Ok(is_somebody),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(failed("compare a password", error)),
            }
        })
        .await
    }
}

/// Returns the password in its normal form; as it is, if it has none, and then it is nobody's.
fn normalized(password: Secret) -> Secret {
    text::password(password.expose()).map_or(password, Secret::new)
}

fn hasher() -> Result<Argon2<'static>, Fault> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| failed("set the parameters of Argon2", error))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Returns the fault of an error that is only a text.
fn failed(operation: &'static str, error: impl std::fmt::Display) -> Fault {
    Fault::crypto(operation)(error.to_string())
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let _place =
        AT_ONCE.acquire().await.map_err(Fault::crypto("wait for a place to hash a password"))?;
    tokio::task::spawn_blocking(work).await.map_err(Fault::crypto("hash a password"))?
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_hash_admits_its_password_alone_and_names_owasps_parameters() {
        let hash = PasswordHash::hash(secret("correct horse"), &Entropy::system()).await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        assert!(PasswordHash::verify(Some(hash.clone()), secret("correct horse")).await.unwrap());
        for wrong in ["", "correct hors", "Correct horse", "correct horse "] {
            assert!(
                !PasswordHash::verify(Some(hash.clone()), secret(wrong)).await.unwrap(),
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn two_hashes_of_one_password_differ() {
        let (one, other) = (
            PasswordHash::hash(secret("same"), &Entropy::system()).await.unwrap(),
            PasswordHash::hash(secret("same"), &Entropy::system()).await.unwrap(),
        );
        assert_ne!(one.0, other.0);
    }

    #[tokio::test]
    async fn the_hash_of_nobody_can_be_compared_and_admits_nobody() {
        assert!(!PasswordHash::verify(None, secret("")).await.unwrap());
        assert!(!PasswordHash::verify(None, secret("nobody")).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_no_hash_is_our_failure() {
        assert!(
            PasswordHash::verify(Some(PasswordHash("plain".into())), secret("plain"))
                .await
                .is_err()
        );
    }
}
