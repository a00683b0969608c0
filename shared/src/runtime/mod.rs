//! The runtime of a handler, in Lambda and locally: the execution environment, the ingress, and the
//! connection to AWS.

pub mod environment;
pub mod ingress;
pub mod lambda;
pub mod sdk;
