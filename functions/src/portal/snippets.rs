//! What to do with a new secret: lines to paste, for exactly this credential. The secret is only in
//! those that set the environment, so that it is neither in code nor on a command line.

use postern::{App, core::secret::Secret};

use crate::portal::credential_pages::PageKind;

/// Lines to paste.
pub(crate) struct Snippet {
    pub(crate) title: &'static str,
    pub(crate) text: String,
    /// What else to know, if anything.
    pub(crate) note: &'static str,
}

/// A snippet with placeholders.
struct Template {
    title: &'static str,
    text: &'static str,
    note: &'static str,
}

/// Returns the snippets of a new credential. The environment comes first: the others read it.
pub(crate) fn snippets(app: &App, kind: PageKind, id: &str, secret: &Secret) -> Vec<Snippet> {
    let deployment = &app.context.config.deployment;
    let fill = |template: &Template| Snippet {
        title: template.title,
        text: template
            .text
            .replace("@URL@", &deployment.public_url)
            .replace("@ISSUER@", &deployment.issuer)
            .replace("@ID@", id)
            .replace("@SECRET@", secret.expose()),
        note: template.note,
    };
    of_kind(kind).iter().map(fill).collect()
}

fn of_kind(kind: PageKind) -> &'static [Template] {
    match kind {
        PageKind::Agents => &AGENT,
        PageKind::ApiKeys | PageKind::CliTokens => &KEY,
        PageKind::Runners => &RUNNER,
        PageKind::Services => &SERVICE,
    }
}

const ENVIRONMENT: &str = "Environment";
const STORE_SECRET: &str = "Store the secret under this name in the settings of the repository. A job that gets its tokens by a rule about workloads needs no stored secret.";
const OWN_API: &str = "Replace the URL by that of your API.";

const KEY: [Template; 6] = [
    Template {
        title: ENVIRONMENT,
        text: "export POSTERN_ISSUER='@ISSUER@'\nexport POSTERN_API_KEY='@SECRET@'",
        note: "The other examples read these variables.",
    },
    Template {
        title: "curl",
        text: "curl --fail-with-body '@URL@/v1/auth/whoami' --header \"X-API-Key: $POSTERN_API_KEY\"",
        note: OWN_API,
    },
    Template {
        title: "Python",
        text: r#"import os

from postern_client import Session

with Session.api_key(os.environ["POSTERN_API_KEY"]) as session:
    print(session.get("@URL@/v1/auth/whoami").json())"#,
        note: OWN_API,
    },
    Template {
        title: "TypeScript",
        text: r#"import { Session } from "@postern/client";

const session = Session.apiKey(process.env.POSTERN_API_KEY ?? "");
const response = await session.fetch("@URL@/v1/auth/whoami");
console.log(await response.json());"#,
        note: OWN_API,
    },
    Template {
        title: "Command postern",
        text: "postern whoami\npostern curl '@URL@/v1/auth/whoami'",
        note: "",
    },
    Template {
        title: "GitHub Actions",
        text: r#"- run: |
    curl --fail-with-body '@URL@/v1/auth/whoami' --header "X-API-Key: $POSTERN_API_KEY"
  env:
    POSTERN_API_KEY: ${{ secrets.POSTERN_API_KEY }}"#,
        note: STORE_SECRET,
    },
];

const AGENT: [Template; 6] = [
    Template {
        title: ENVIRONMENT,
        text: "export POSTERN_ISSUER='@ISSUER@'\nexport POSTERN_AGENT_ID='@ID@'\nexport POSTERN_AGENT_SECRET='@SECRET@'",
        note: "The other examples read these variables.",
    },
    Template {
        title: "curl",
        text: "curl --fail-with-body '@URL@/v1/auth/token' --user \"$POSTERN_AGENT_ID:$POSTERN_AGENT_SECRET\" --data grant_type=client_credentials",
        note: "The response has an access token, which your API gets as Authorization: Bearer.",
    },
    Template {
        title: "Python",
        text: r#"import os

from postern_client import Session

agent, secret = os.environ["POSTERN_AGENT_ID"], os.environ["POSTERN_AGENT_SECRET"]
with Session.client_credentials(agent, secret, issuer=os.environ["POSTERN_ISSUER"]) as session:
    print(session.get("@URL@/v1/auth/whoami").json())"#,
        note: OWN_API,
    },
    Template {
        title: "TypeScript",
        text: r#"import { Session } from "@postern/client";

const session = Session.clientCredentials({
  issuer: process.env.POSTERN_ISSUER ?? "",
  clientId: process.env.POSTERN_AGENT_ID ?? "",
  clientSecret: process.env.POSTERN_AGENT_SECRET ?? "",
});
const response = await session.fetch("@URL@/v1/auth/whoami");
console.log(await response.json());"#,
        note: OWN_API,
    },
    Template {
        title: "Command postern",
        text: "postern whoami\npostern curl '@URL@/v1/auth/whoami'",
        note: "",
    },
    Template {
        title: "GitHub Actions",
        text: r#"- run: |
    curl --fail-with-body '@URL@/v1/auth/token' --user "$POSTERN_AGENT_ID:$POSTERN_AGENT_SECRET" --data grant_type=client_credentials
  env:
    POSTERN_AGENT_ID: @ID@
    POSTERN_AGENT_SECRET: ${{ secrets.POSTERN_AGENT_SECRET }}"#,
        note: STORE_SECRET,
    },
];

const SERVICE: [Template; 4] = [
    Template {
        title: ENVIRONMENT,
        text: "export POSTERN_SERVICE_KEY='@SECRET@'",
        note: "The other examples read this variable.",
    },
    Template {
        title: "curl",
        text: "curl --fail-with-body --request POST '@URL@/v1/auth/service-token' --header \"X-Service-Key: $POSTERN_SERVICE_KEY\"",
        note: "The response has a token for five minutes, which the service sends to others.",
    },
    Template {
        title: "Python",
        text: r#"import os

import httpx

headers = {"X-Service-Key": os.environ["POSTERN_SERVICE_KEY"]}
response = httpx.post("@URL@/v1/auth/service-token", headers=headers)
print(response.raise_for_status().json()["expires_in"])"#,
        note: "",
    },
    Template {
        title: "TypeScript",
        text: r#"const response = await fetch("@URL@/v1/auth/service-token", {
  method: "POST",
  headers: { "x-service-key": process.env.POSTERN_SERVICE_KEY ?? "" },
});
if (!response.ok) throw new Error(await response.text());
console.log((await response.json()).expires_in);"#,
        note: "",
    },
];

const RUNNER: [Template; 3] = [
    Template {
        title: ENVIRONMENT,
        text: "export RUNNER_TOKEN='@SECRET@'",
        note: "The other examples read this variable.",
    },
    Template {
        title: "Install",
        text: "curl --fail --silent --show-error '@URL@/v1/runners/@ID@/install.sh' --header \"X-Runner-Token: $RUNNER_TOKEN\" | sh",
        note: "It stores the token in a file that only this user can read, sends the first heartbeat, and says how to stay online.",
    },
    Template {
        title: "curl",
        text: "curl --fail-with-body '@URL@/v1/runners/heartbeat' --header \"X-Runner-Token: $RUNNER_TOKEN\" --header 'Content-Type: application/json' --data '{\"status\": \"online\", \"version\": \"1.0.0\"}'",
        note: "A heartbeat: send one every 30 seconds.",
    },
];
