// Real servers with the middlewares, and what the tests send to them.
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { serve as serveHono } from "@hono/node-server";
import express from "express";
import { Hono } from "hono";
import { protect as protectExpress, principalOf } from "../src/express.js";
import { protect as protectHono } from "../src/hono.js";
import { Session } from "../src/index.js";
import type { McpOptions } from "../src/mcp.js";
import { Verifier, type Principal, type VerifierOptions } from "../src/server.js";
import type { Ends, startDeployment } from "./harness.js";

export type Deployment = Awaited<ReturnType<typeof startDeployment>>;

/**
 * The verifiers of the routes: what is verified locally, what is asked about, two hours later,
 * without introspection, and with a wrong secret.
 */
function verifiers(here: Deployment) {
  const base: VerifierOptions = {
    issuer: here.issuer,
    audience: here.resources.orders,
    introspection: { clientSecret: here.resource_secret },
    resourceMetadata: "https://api.example.com/.well-known/oauth-protected-resource/orders",
  };
  return {
    local: new Verifier(base),
    asking: new Verifier({ ...base, introspectJwts: true }),
    later: new Verifier({ ...base, runtime: { now: () => Date.now() + 2 * 3600_000 } }),
    "no-introspection": new Verifier({ issuer: base.issuer, audience: base.audience }),
    wrong: new Verifier({
      ...base,
      introspection: { clientSecret: "not the secret" },
      onFailure: () => {},
    }),
  };
}

export const TOOLS: McpOptions = { tools: { "delete_*": ["orders:write"] } };

const shown = ({ userId, scopes, expiresAt, kind, resources }: Principal) => ({
  userId,
  scopes,
  expires: expiresAt !== undefined,
  kind,
  resources,
});

async function startHono(here: Deployment, t: Ends): Promise<string> {
  const app = new Hono();
  for (const [name, verifier] of Object.entries(verifiers(here))) {
    app.get(`/${name}`, protectHono(verifier), (c) => c.json(shown(c.var.principal)));
    app.get(
      `/${name}/read`,
      protectHono(verifier),
      protectHono(verifier, { scopes: ["orders:read"] }),
      (c) => c.json(shown(c.var.principal)),
    );
    app.post(`/${name}/write`, protectHono(verifier, { scopes: ["orders:write"] }), (c) =>
      c.json(shown(c.var.principal)),
    );
    app.all(
      `/${name}/mcp`,
      protectHono(verifier, { scopes: ["orders:read"], mcp: TOOLS }),
      async (c) => c.json(c.req.method === "POST" ? await c.req.json() : {}),
    );
  }
  const server = serveHono({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" });
  await once(server, "listening");
  t.after(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function startExpress(here: Deployment, t: Ends): Promise<string> {
  const app = express().set("env", "test");
  for (const [name, verifier] of Object.entries(verifiers(here))) {
    app.get(
      `/${name}`,
      protectExpress(verifier),
      (request, response) => void response.json(shown(principalOf(request))),
    );
    app.get(
      `/${name}/read`,
      protectExpress(verifier),
      protectExpress(verifier, { scopes: ["orders:read"] }),
      (request, response) => void response.json(shown(principalOf(request))),
    );
    app.post(
      `/${name}/write`,
      protectExpress(verifier, { scopes: ["orders:write"] }),
      (request, response) => void response.json(shown(principalOf(request))),
    );
    app.all(
      `/${name}/mcp`,
      express.json(),
      protectExpress(verifier, { scopes: ["orders:read"], mcp: TOOLS }),
      (request, response) => void response.json(request.body ?? {}),
    );
  }
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** How to start a server of each framework; it returns its URL. */
export const FRAMEWORKS = { hono: startHono, express: startExpress };

export const METADATA =
  'resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/orders"';
const SAYS =
  "The credential is not valid: it may have expired or been revoked, or be for another API or organization. Get another one.";

export async function call(
  url: string,
  headers: Record<string, string> = {},
  init: RequestInit = {},
) {
  const answer = await fetch(url, {
    ...init,
    headers: { ...headers, ...(init.headers as Record<string, string>) },
  });
  return {
    status: answer.status,
    challenge: answer.headers.get("www-authenticate"),
    body: (await answer.json()) as Record<string, any>,
    answer,
  };
}

/** Sends a credential that is not valid, and compares the whole response. */
export async function expectInvalid(url: string, headers: Record<string, string>) {
  const { status, challenge, body, answer } = await call(url, headers);
  assert.deepEqual([status, body], [401, { error: "invalid_token", error_description: SAYS }]);
  assert.equal(challenge, `Bearer error="invalid_token", error_description="${SAYS}", ${METADATA}`);
  assert.equal(answer.headers.get("cache-control"), "no-store");
}

export async function agentToken(
  { issuer, agent }: Deployment,
  resource: string,
  scope = "orders:read",
): Promise<string> {
  return (
    await Session.clientCredentials({
      issuer,
      clientId: agent.id,
      clientSecret: agent.secret,
    }).accessToken({ resource, scope })
  ).value;
}

export async function createKey(deployment: Deployment, more: Record<string, unknown> = {}) {
  return (await deployment.api("/v1/keys", {
    name: "caller",
    scopes: ["orders:read"],
    ...more,
  })) as { id: string; key: string };
}

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
