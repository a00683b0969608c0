//! A worker of `clients/conformance/shared_session.py`: renews the stored session, again and again.

use std::{
    error::Error,
    fs::{self, File},
    io::Write as _,
};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use postern_client::{
    AccessToken, Context, ErrorCode, ExposeSecret as _, Home, Session, TokenRequest,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, renewals, log] = arguments.as_slice() else {
        return Err("usage: worker RENEWALS LOG".into());
    };
    let context = Context::new()?;
    let profile = Home::from_environment(&context)?.profile(&context, None)?;
    let session = Session::open(&context, &profile).await?;
    let mut log = File::options().create(true).append(true).open(log)?;
    for _ in 0..renewals.parse::<usize>()? {
        let refused = session.access_token(&TokenRequest::default()).await?;
        if is_without_lock() {
            drop(fs::remove_file(profile.session_file.with_extension("lock")));
        }
        let token = renew(&session, &refused).await?;
        let digest = digest(&SHA256, token.value.expose_secret().as_bytes());
        log.write_all(format!("{}\n", HEXLOWER.encode(digest.as_ref())).as_bytes())?;
    }
    Ok(())
}

/// Renews the token, however often the server cannot be reached.
async fn renew(session: &Session, refused: &AccessToken) -> postern_client::Result<AccessToken> {
    loop {
        match session.renew(&TokenRequest::default(), refused).await {
            Err(error) if error.code() == ErrorCode::ServerUnavailable => {}
            outcome => return outcome,
        }
    }
}

/// Whether to show what the lock is for: without its file, nobody waits for anybody.
#[expect(clippy::disallowed_methods, reason = "a setting of the test")]
fn is_without_lock() -> bool {
    std::env::var("WORKER_WITHOUT_LOCK").is_ok()
}
