//! The agents that act for a user (RFC 8693 §4.1).

use serde::{Deserialize, Serialize};

use crate::core::{error::Refusal, id::AgentId};

/// The most agents in one token. A chain that grows further is a loop rather than a delegation.
const MOST: usize = 3;

/// The agent that acts, and those that acted before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The agent.
    pub sub: AgentId,
    /// The agent that acted before it. It is there to be read by people: no decision depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    act: Option<Box<Self>>,
}

impl Actor {
    /// Returns the actor `agent`, which got the token of `before`, if that had an actor.
    ///
    /// # Errors
    /// [`Refusal::ActorsTooMany`]
    pub fn new(agent: AgentId, before: Option<Self>) -> Result<Self, Refusal> {
        let actor = Self { sub: agent, act: before.map(Box::new) };
        let agents = std::iter::successors(Some(&actor), |actor| actor.act.as_deref());
        if agents.count() > MOST { Err(Refusal::ActorsTooMany) } else { Ok(actor) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Actor;
    use crate::core::error::Refusal;

    #[test]
    fn the_agent_that_acts_comes_first() {
        let ids = ["agt_01h455vb4pex5vsknk084sn02q", "agt_01h455vb4pex5vsknk084sn02r"];
        let [first, second] = ids.map(|id| id.parse().unwrap());
        let chain = Actor::new(second, Some(Actor::new(first, None).unwrap())).unwrap();
        let expected = json!({"sub": ids[1], "act": {"sub": ids[0]}});
        assert_eq!(serde_json::to_value(&chain).unwrap(), expected);
        assert_eq!(serde_json::from_value::<Actor>(expected).unwrap(), chain);
        let third = Actor::new(first, Some(chain)).unwrap();
        assert_eq!(Actor::new(second, Some(third)), Err(Refusal::ActorsTooMany));
    }
}
