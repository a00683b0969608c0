//! The HTTP server of this program, and the signal that stops it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    extract::{ConnectInfo, Request},
    middleware::{self, Next},
    response::Response,
};
use http::{HeaderValue, StatusCode, Version, header, uri::Authority};
use http_body_util::{BodyExt as _, Limited};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown, service::TowerToHyperService};
use tokio::{net::TcpListener, sync::watch};

use crate::{Error, gateway::error_response};

/// How long running requests can take after the signal to stop.
const DRAIN: Duration = Duration::from_secs(3);
/// How long to wait before accepting again, if no connection can be accepted, for example because
/// too many files are open.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);
/// How much of a body is read, and for how long, that nobody needs. API Gateway accepts none
/// larger.
const UNUSED_BODY: usize = 10 * 1024 * 1024;
const UNUSED_BODY_TIME: Duration = Duration::from_secs(1);

/// Listens on `address`, which the command line sets with `option`; returns the listener and its
/// URL.
///
/// # Errors
/// [`Error::Invalid`] if the address is in use, [`Error::Io`] for other failures.
pub async fn bind(address: SocketAddr, option: &str) -> Result<(TcpListener, String), Error> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            Error::Invalid(format!(
                "listening on {address}: the address is in use; choose another port with {option}"
            ))
        } else {
            Error::io(format!("listening on {address}"))(error)
        }
    })?;
    let address = listener.local_addr().map_err(Error::io("the address of a listener"))?;
    Ok((listener, format!("http://{}", reachable(address))))
}

/// Returns the address at which a browser on this machine reaches a listener: one that listens on
/// all addresses has a loopback address too.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// Serves `router` on `listener` until `stop`, and finishes running requests. A client that closes
/// its half of the connection after the request gets its response.
pub(crate) async fn run(listener: TcpListener, router: Router, stop: Shutdown) {
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.half_close(true);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.clone().wait() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                drop(stream.set_nodelay(true));
                let service =
                    TowerToHyperService::new(router.clone().layer(Extension(ConnectInfo(peer))));
                let connection = http.serve_connection(TokioIo::new(stream), service);
                let connection = connections.watch(connection);
                // A failed connection is the business of its client.
                tokio::spawn(async move { drop(connection.await) });
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
    drop(listener);
    // An incomplete request would otherwise be awaited forever.
    tokio::select! {
        () = connections.shutdown() => {}
        () = tokio::time::sleep(DRAIN) => {}
    }
}

/// Returns `router`, which refuses requests without exactly one valid `Host` (RFC 9112 §3.2), as
/// API Gateway does.
pub(crate) fn requiring_host(router: Router) -> Router {
    router.layer(middleware::from_fn(require_host))
}

/// Reads the body of a request that `response` answers without it. The connection would otherwise
/// be closed after a response that does not say so, and a client that uses it again would get
/// nothing. If the body is too large or too slow, or its client waits to be asked for it, the
/// response says that the connection is closed.
pub(crate) async fn discard(body: Body, is_awaited: bool, response: &mut Response) {
    let mut body = Limited::new(body, UNUSED_BODY);
    let read = async {
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        true
    };
    let is_read =
        !is_awaited && tokio::time::timeout(UNUSED_BODY_TIME, read).await.unwrap_or(false);
    if !is_read {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

async fn require_host(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_valid = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    };
    if is_valid {
        next.run(request).await
    } else {
        error_response(StatusCode::BAD_REQUEST, "Bad Request").map(Body::from)
    }
}

/// Reports whether a value is a host, with a port if there is one, or empty.
fn is_host(value: &[u8]) -> bool {
    let is_sound = |authority: Authority| {
        let has_user_info = authority.as_str().contains('@');
        let port = authority.as_str().strip_prefix(authority.host());
        let has_port = !matches!(port, Some("" | ":"));
        !has_user_info && (!has_port || authority.port_u16().is_some())
    };
    value.is_empty() || Authority::try_from(value).is_ok_and(is_sound)
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A signal to stop.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Stops at Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// [`Error::Io`] if signals cannot be received.
    pub fn on_signal() -> Result<Self, Error> {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .map_err(Error::io("listening to SIGTERM"))?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            stop.send_replace(true);
        });
        Ok(Self(stopped))
    }

    /// Stops when the returned sender sends `true` or is dropped.
    pub fn manual() -> (watch::Sender<bool>, Self) {
        let (stop, stopped) = watch::channel(false);
        (stop, Self(stopped))
    }

    /// Waits until it is time to stop.
    pub async fn wait(mut self) {
        drop(self.0.wait_for(|stop| *stop).await);
    }
}
