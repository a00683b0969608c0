// Every credential in every state, at real servers of both frameworks, and the real local program
// behind them.
import assert from "node:assert/strict";
import test, { after, before, describe } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { startDeployment, type Ends } from "./harness.js";
import {
  agentToken,
  bearer,
  call,
  createKey,
  expectInvalid,
  FRAMEWORKS,
  type Deployment,
} from "./servers.js";

const ends: (() => void | Promise<void>)[] = [];
const suite: Ends = { after: (end) => void ends.push(end) };
let here: Deployment;
let there: Deployment;

before(async () => {
  [here, there] = await Promise.all([startDeployment(suite), startDeployment(suite)]);
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** How to get a credential, to send it, and to end it. */
interface Credential {
  kind: string;
  get(deployment: Deployment): Promise<string>;
  headers(value: string): Record<string, string>;
  end(value: string): Promise<unknown>;
  /** For access tokens only, which are for one API: gets one for another. */
  getFor?: (resource: "tools" | undefined) => Promise<string>;
  /** Gets one that is about to expire, if there are any. */
  getExpiring?: () => Promise<string>;
}

async function post(
  path: string,
  body: Record<string, unknown>,
  headers: Record<string, string> = {},
  deployment = here,
) {
  const init = {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  };
  const answer = await fetch(deployment.upstream + path, init);
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return (answer.status === 202 ? {} : await answer.json().catch(() => ({}))) as Record<
    string,
    string
  >;
}

const revoke = (token: string) => post("/v1/auth/revoke", { token });
const reportLeak = (token: string) => post("/v1/keys/revoke-leaked", { token });

async function userToken(
  deployment: Deployment,
  scope = "orders:read",
  resource: string | null = deployment.resources.orders,
): Promise<string> {
  return (await deployment.order({ tokens: { scope, resource } }))["tokens"].access_token;
}

async function cliToken(deployment: Deployment): Promise<string> {
  const { access_token: token = "" } = await post(
    "/v1/auth/login",
    deployment.user,
    {},
    deployment,
  );
  const { token: created } = await post(
    "/v1/auth/cli-tokens",
    { name: "laptop", scopes: ["orders:read"], all_repositories: true },
    bearer(token),
    deployment,
  );
  return created ?? "";
}

const apiKey: Credential = {
  kind: "api_key",
  get: async (deployment) => (await createKey(deployment)).key,
  headers: bearer,
  end: reportLeak,
  getExpiring: async () =>
    (
      await createKey(here, {
        expires_at: new Date(Date.now() + 1500).toISOString().replace(/\.\d+Z/, "Z"),
      })
    ).key,
};

const CREDENTIALS: Record<string, Credential> = {
  "the access token of an agent": {
    kind: "agent",
    get: (deployment) => agentToken(deployment, deployment.resources.orders),
    headers: bearer,
    end: revoke,
    getFor: (resource) =>
      resource
        ? agentToken(here, here.resources[resource], "tools:read")
        : agentToken(here, here.issuer),
  },
  "the access token of a user": {
    kind: "user",
    get: (deployment) => userToken(deployment),
    headers: bearer,
    end: revoke,
    getFor: (resource) =>
      resource
        ? userToken(here, "tools:read", here.resources[resource])
        : userToken(here, "orders:read", null),
  },
  "an API key": apiKey,
  "an API key in X-API-Key": { ...apiKey, headers: (value) => ({ "x-api-key": value }) },
  "a CLI token": { kind: "cli_token", get: cliToken, headers: bearer, end: reportLeak },
};

/** Changes one character, which is neither in the checksum nor at the end. */
const damaged = (token: string) =>
  token.slice(0, -10) + (token.at(-10) === "A" ? "B" : "A") + token.slice(-9);

for (const [framework, start] of Object.entries(FRAMEWORKS)) {
  describe(framework, () => {
    let url: string;
    before(async () => {
      url = await start(here, suite);
    });

    for (const [name, { kind, get, headers, end, getFor, getExpiring }] of Object.entries(
      CREDENTIALS,
    )) {
      const isJwt = getFor !== undefined;

      test(`${name} is accepted, for its scopes`, async () => {
        const value = headers(await get(here));
        for (const path of ["/local", "/asking"]) {
          const { status, body } = await call(url + path, value);
          assert.deepEqual([status, body["scopes"]], [200, ["orders:read"]]);
          // A token that is verified by its signature does not say what kind of caller has it.
          assert.equal(body["kind"], isJwt && path === "/local" ? undefined : kind);
        }
        assert.equal((await call(`${url}/local/read`, value)).status, 200);
        assert.equal((await call(`${url}/local/write`, value, { method: "POST" })).status, 403);
      });

      test(`${name} that is wrong is refused`, async () => {
        const value = headers(damaged(await get(here)));
        for (const path of ["/local", "/asking"]) await expectInvalid(url + path, value);
      });

      test(`${name} that is revoked is refused${isJwt ? ", where the server is asked" : ""}`, async () => {
        const value = await get(here);
        assert.equal((await call(`${url}/local`, headers(value))).status, 200);
        await end(value);
        await expectInvalid(`${url}/asking`, headers(value));
        if (isJwt) assert.equal((await call(`${url}/local`, headers(value))).status, 200);
        else await expectInvalid(`${url}/local`, headers(value));
      });

      test(`${name} of another deployment is refused`, async () => {
        const value = headers(await get(there));
        for (const path of ["/local", "/asking"]) await expectInvalid(url + path, value);
      });

      if (getExpiring !== undefined) {
        test(`${name} that has expired is refused`, async () => {
          const value = await getExpiring();
          while (
            (await fetch(`${here.upstream}/v1/auth/whoami`, { headers: { "x-api-key": value } }))
              .status === 200
          )
            await pause(50);
          for (const path of ["/local", "/asking"]) await expectInvalid(url + path, headers(value));
        });
      }

      if (getFor !== undefined) {
        test(`${name} that has expired is refused`, async () => {
          await expectInvalid(`${url}/later`, headers(await get(here)));
        });

        test(`${name} for another API, or for the deployment itself, is refused`, async () => {
          for (const resource of ["tools", undefined] as const) {
            const value = headers(await getFor(resource));
            for (const path of ["/local", "/asking"]) await expectInvalid(url + path, value);
          }
        });
      }
    }
  });
}
