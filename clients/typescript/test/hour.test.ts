// An hour of a process that calls an API, with tokens of the shortest lifetime. The clock is not
// real.
import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { Session } from "../src/index.js";
import { Refusal, Verifier } from "../src/server.js";
import { serve } from "./harness.js";
import { scripted, world, writeSession } from "./world.js";

const SECONDS = 3600;
/** The shortest lifetime that a deployment accepts, in seconds. */
const LIFETIME = 30;
/** A token is renewed after four fifths of its life. */
const RENEWAL_INTERVAL = (LIFETIME * 4) / 5;
const REQUESTS_PER_SECOND = Number(process.env["POSTERN_TEST_REQUESTS_PER_SECOND"] ?? 1);
const START = Date.UTC(2026, 0, 1);
const AUDIENCE = "https://api.example.com/orders";

/** An issuer whose refresh tokens can be used once. */
async function issuer(t: TestContext, now: () => number) {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: "first", alg: "ES256", use: "sig" };
  let refreshToken = "rt0";
  const server = await scripted(t, {
    "/jwks": () => ({ body: { keys: [jwk] } }),
    "/token": async ({ form }, count) => {
      if (form["refresh_token"] !== refreshToken)
        return { status: 400, body: { error: "invalid_grant" } };
      refreshToken = `rt${count}`;
      const iat = Math.floor(now() / 1000);
      const claims = {
        iss: server.url,
        aud: AUDIENCE,
        sub: "usr_1",
        scope: "orders:read",
        iat,
        exp: iat + LIFETIME,
      };
      const token = await new SignJWT(claims)
        .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: "first" })
        .sign(privateKey);
      return {
        body: {
          access_token: token,
          token_type: "Bearer",
          expires_in: LIFETIME,
          refresh_token: refreshToken,
        },
      };
    },
  });
  return server;
}

/**
 * Starts an API that verifies each token, and refuses an expired one also within the leeway of
 * clocks. It sends no challenge, so the session does not repeat a request that is refused.
 */
async function api(t: TestContext, verifier: Verifier, now: () => number): Promise<string> {
  const statusOf = async (authorization: string | undefined) => {
    try {
      const { expiresAt } = await verifier.verify({ authorization }, ["orders:read"]);
      return (expiresAt?.getTime() ?? 0) > now() ? 200 : 401;
    } catch (error) {
      return (error as Refusal).status;
    }
  };
  return serve({ after: (end) => t.after(end) }, async ({ headers }, response) => {
    response.writeHead(await statusOf(headers.authorization)).end();
  });
}

test("a process of an hour never sees a 401", { timeout: 600_000 }, async (t) => {
  const { file, ...own } = world(t);
  let elapsed = 0;
  const now = () => START + elapsed;
  const runtime = { ...own.runtime, now, elapsed: () => elapsed };
  const server = await issuer(t, now);
  writeSession(file, server.url, { refresh_token: "rt0" });
  const url = await api(t, new Verifier({ issuer: server.url, audience: AUDIENCE, runtime }), now);
  const session = await Session.open({ runtime });
  for (let second = 0; second < SECONDS; second += 1) {
    const responses = await Promise.all(
      Array.from({ length: REQUESTS_PER_SECOND }, () => session.fetch(url)),
    );
    const statuses = await Promise.all(
      responses.map(async (response) => {
        await response.arrayBuffer();
        return response.status;
      }),
    );
    assert.deepEqual(new Set(statuses), new Set([200]), `${second} s`);
    elapsed += 1000;
  }
  assert.equal(
    server.count("/token"),
    Math.ceil(SECONDS / RENEWAL_INTERVAL),
    "one refresh for each token",
  );
});
