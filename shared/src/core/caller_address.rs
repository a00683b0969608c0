//! What is known about the network address of a caller.

/// The network address of a caller, on which a decision depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerAddress<'a> {
    /// The address.
    Known(&'a str),
    /// A gateway would use the response for callers at other addresses: it caches responses, and
    /// not by the address.
    NotIdentitySource,
    /// Nobody says it.
    Unknown,
}

impl<'a> From<Option<&'a str>> for CallerAddress<'a> {
    fn from(address: Option<&'a str>) -> Self {
        address.filter(|address| !address.is_empty()).map_or(Self::Unknown, Self::Known)
    }
}
