//! What runs a handler in Lambda, and locally: the execution environment, the ingress, and how AWS
//! is reached.

pub mod environment;
pub mod ingress;
pub mod lambda;
pub mod sdk;
