//! A resolver for hosts that callers name. Only addresses that it returns are connected to, so a
//! second answer of a name server, with an address of our network, is checked as the first
//! ("DNS rebinding").

use std::{io, net::SocketAddr, pin::Pin, sync::Arc};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::core::network::Destinations;

type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Resolves hosts to those of their addresses that are allowed.
#[derive(Clone)]
pub(super) struct PublicResolver {
    destinations: Destinations,
    look_up: Arc<dyn Fn(String) -> Lookup + Send + Sync>,
}

impl PublicResolver {
    /// Creates a resolver that asks the operating system.
    pub(super) fn new(destinations: Destinations) -> Self {
        Self::over(destinations, |host| {
            Box::pin(async move {
                // The port is replaced by that of the URL.
                Ok(tokio::net::lookup_host((host, 0)).await?.collect())
            })
        })
    }

    fn over(
        destinations: Destinations,
        look_up: impl Fn(String) -> Lookup + Send + Sync + 'static,
    ) -> Self {
        Self { destinations, look_up: Arc::new(look_up) }
    }
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.look_up)(name.as_str().to_owned());
        let destinations = self.destinations;
        Box::pin(async move {
            let mut allowed = found.await?;
            allowed.retain(|address| destinations.allows(address.ip()));
            if allowed.is_empty() {
                return Err("its host has no public address".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Mutex};

    use super::*;

    /// Returns a resolver whose name server gives these answers, one after the other.
    fn resolver(destinations: Destinations, answers: &[&[&str]]) -> PublicResolver {
        let parse = |address: &&str| SocketAddr::new(address.parse().unwrap(), 0);
        let answers: Vec<Vec<_>> =
            answers.iter().rev().map(|one| one.iter().map(parse).collect()).collect();
        let answers = Mutex::new(answers);
        PublicResolver::over(destinations, move |_| {
            let answer = answers.lock().unwrap().pop().unwrap();
            Box::pin(async move { Ok(answer) })
        })
    }

    async fn resolve(resolver: &PublicResolver) -> Result<Vec<IpAddr>, String> {
        let found = resolver.resolve("app.example.com".parse().unwrap()).await;
        found.map(|all| all.map(|one| one.ip()).collect()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn only_the_public_addresses_of_a_host_are_connected_to() {
        let refused = Err("its host has no public address".to_owned());
        for (answer, expected) in [
            (&["1.1.1.1"][..], Ok(vec!["1.1.1.1"])),
            (&["10.0.0.1", "1.1.1.1", "::1"], Ok(vec!["1.1.1.1"])),
            (&["127.0.0.1"], refused.clone()),
            (&["169.254.169.254", "fd00:ec2::254"], refused.clone()),
            (&["::ffff:1.1.1.1", "64:ff9b::101:101"], refused.clone()),
            (&[], refused),
        ] {
            let expected = expected
                .map(|all| all.iter().map(|one| one.parse().unwrap()).collect::<Vec<IpAddr>>());
            let found = resolve(&resolver(Destinations::Public, &[answer])).await;
            assert_eq!(found, expected, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_second_answer_is_checked_as_the_first() {
        let rebinding = resolver(Destinations::Public, &[&["1.1.1.1"], &["127.0.0.1"]]);
        resolve(&rebinding).await.unwrap();
        resolve(&rebinding).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_request_never_reaches_a_host_that_resolves_to_this_machine() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let resolver = resolver(Destinations::Public, &[&["127.0.0.1"], &["127.0.0.1"]]);
        let client = super::super::builder().dns_resolver(resolver).build().unwrap();
        let sent = client.get(format!("http://app.example.com:{port}/")).send().await;
        assert!(sent.unwrap_err().is_connect());
    }
}
