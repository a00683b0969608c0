// Credentials of every kind at real servers with the middlewares, and the real local program behind them.
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import test, { after, before, describe } from "node:test";
import { serve as serveHono } from "@hono/node-server";
import express from "express";
import { Hono } from "hono";
import * as oauth from "oauth4webapi";
import { protect as protectExpress, principalOf } from "../src/express.js";
import { protect as protectHono } from "../src/hono.js";
import { Session } from "../src/index.js";
import type { McpOptions } from "../src/mcp.js";
import { Verifier, type Principal, type VerifierOptions } from "../src/server.js";
import { startDeployment } from "./harness.js";

const ends: (() => void | Promise<void>)[] = [];
const suite = { after: (end: () => void | Promise<void>) => void ends.push(end) };
let here: Awaited<ReturnType<typeof startDeployment>>;
let there: Awaited<ReturnType<typeof startDeployment>>;

before(async () => { [here, there] = await Promise.all([startDeployment(suite), startDeployment(suite)]); });
after(async () => { for (const end of ends.reverse()) await end(); });

/** The verifiers of the routes: what is verified locally, what is asked about, an hour later, and at a server that cannot be reached. */
function verifiers(changes: Partial<VerifierOptions> = {}) {
  const base: VerifierOptions = {
    issuer: here.issuer, audience: here.resources.orders, introspection: { clientSecret: here.resource_secret },
    resourceMetadata: "https://api.example.com/.well-known/oauth-protected-resource/orders", ...changes,
  };
  return {
    local: new Verifier(base),
    asking: new Verifier({ ...base, introspectJwts: true }),
    later: new Verifier({ ...base, runtime: { now: () => Date.now() + 2 * 3600_000 } }),
    "no-introspection": new Verifier({ issuer: base.issuer, audience: base.audience }),
    wrong: new Verifier({ ...base, introspection: { clientSecret: "not the secret" }, onFailure: () => {} }),
  };
}

const TOOLS: McpOptions = { tools: { "delete_*": ["orders:write"] } };

const shown = ({ userId, scopes, expiresAt, kind, resources }: Principal) => ({ userId, scopes, expires: expiresAt !== undefined, kind, resources });

async function startHono(t: typeof suite): Promise<string> {
  const app = new Hono();
  for (const [name, verifier] of Object.entries(verifiers())) {
    app.get(`/${name}`, protectHono(verifier), (c) => c.json(shown(c.var.principal)));
    app.get(`/${name}/read`, protectHono(verifier), protectHono(verifier, { scopes: ["orders:read"] }), (c) => c.json(shown(c.var.principal)));
    app.post(`/${name}/write`, protectHono(verifier, { scopes: ["orders:write"] }), (c) => c.json(shown(c.var.principal)));
    app.all(`/${name}/mcp`, protectHono(verifier, { scopes: ["orders:read"], mcp: TOOLS }), async (c) =>
      c.json(c.req.method === "POST" ? await c.req.json() : {}));
  }
  const server = serveHono({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" });
  await once(server, "listening");
  t.after(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function startExpress(t: typeof suite): Promise<string> {
  const app = express().set("env", "test");
  for (const [name, verifier] of Object.entries(verifiers())) {
    app.get(`/${name}`, protectExpress(verifier), (request, response) => void response.json(shown(principalOf(request))));
    app.get(`/${name}/read`, protectExpress(verifier), protectExpress(verifier, { scopes: ["orders:read"] }), (request, response) =>
      void response.json(shown(principalOf(request))));
    app.post(`/${name}/write`, protectExpress(verifier, { scopes: ["orders:write"] }), (request, response) =>
      void response.json(shown(principalOf(request))));
    app.all(`/${name}/mcp`, express.json(), protectExpress(verifier, { scopes: ["orders:read"], mcp: TOOLS }), (request, response) =>
      void response.json(request.body ?? {}));
  }
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const agentToken = async (deployment: typeof here, resource: string, scope = "orders:read") => {
  const { issuer, agent } = deployment;
  return (await Session.clientCredentials({ issuer, clientId: agent.id, clientSecret: agent.secret }).accessToken({ resource, scope })).value;
};

const key = async (deployment: typeof here, scopes: string[], more = {}) =>
  (await deployment.api("/v1/keys", { name: "caller", scopes, ...more })) as { id: string; key: string };

/** Requests a token that is bound to a key. */
async function boundToken(): Promise<string> {
  const insecure = { [oauth.allowInsecureRequests]: true };
  const issuer = new URL(here.issuer);
  const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure }));
  const client: oauth.Client = { client_id: here.agent.id };
  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
  const parameters = { scope: "orders:read", resource: here.resources.orders };
  const answer = await oauth.clientCredentialsGrantRequest(server, client, oauth.ClientSecretBasic(here.agent.secret), parameters, { DPoP, ...insecure });
  return (await oauth.processClientCredentialsResponse(server, client, answer)).access_token;
}

/** Waits until the server no longer accepts a key. */
async function expired(value: string): Promise<void> {
  while ((await fetch(`${here.upstream}/v1/auth/whoami`, { headers: { "x-api-key": value } })).status === 200) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const flipped = (token: string) => token.slice(0, -5) + (token.at(-5) === "A" ? "B" : "A") + token.slice(-4);

const METADATA = 'resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/orders"';
const SAYS = "The credential is not valid: it may have expired or been revoked, or be for another API. Get another one.";

for (const [framework, start] of Object.entries({ hono: startHono, express: startExpress })) {
  describe(framework, () => {
    let url: string;
    before(async () => { url = await start(suite); });

    const call = async (path: string, headers: Record<string, string> = {}, init: RequestInit = {}) => {
      const answer = await fetch(url + path, { ...init, headers: { ...headers, ...(init.headers as Record<string, string>) } });
      return { status: answer.status, challenge: answer.headers.get("www-authenticate"), body: (await answer.json()) as Record<string, any>, answer };
    };
    const expectInvalid = async (path: string, headers: Record<string, string>) => {
      const { status, challenge, body, answer } = await call(path, headers);
      assert.deepEqual([status, body], [401, { error: "invalid_token", error_description: SAYS }]);
      assert.equal(challenge, `Bearer error="invalid_token", error_description="${SAYS}", ${METADATA}`);
      assert.equal(answer.headers.get("cache-control"), "no-store");
    };

    test("without a credential the challenge has no error", async () => {
      const { status, challenge, body } = await call("/local");
      assert.deepEqual([status, challenge, body["error"]], [401, `Bearer ${METADATA}`, "auth_required"]);
    });

    test("an access token is verified locally, and revoked only where the server is asked", async () => {
      const token = await agentToken(here, here.resources.orders);
      const { status, body } = await call("/local", bearer(token));
      assert.deepEqual([status, body], [200, { userId: here.agent.id, scopes: ["orders:read"], expires: true }]);
      assert.deepEqual((await call("/asking", bearer(token))).body["kind"], "agent");
      assert.equal((await call("/no-introspection", bearer(token))).status, 200);
      await fetch(`${here.upstream}/v1/auth/revoke`, { method: "POST", body: new URLSearchParams({ token }) });
      assert.equal((await call("/local", bearer(token))).status, 200);
      await expectInvalid("/asking", bearer(token));
    });

    test("an access token that is wrong, expired, for another API or of another deployment is refused", async () => {
      const token = await agentToken(here, here.resources.orders);
      for (const path of ["/local", "/asking"]) await expectInvalid(path, bearer(flipped(token)));
      await expectInvalid("/later", bearer(token));
      for (const path of ["/local", "/asking"]) {
        await expectInvalid(path, bearer(await agentToken(here, here.resources.tools, "tools:read")));
        await expectInvalid(path, bearer(await agentToken(here, here.issuer)));
        await expectInvalid(path, bearer(await agentToken(there, there.resources.orders)));
      }
    });

    test("a token that is bound to a key is refused without its proof", async () => {
      const token = await boundToken();
      for (const path of ["/local", "/asking"]) {
        await expectInvalid(path, bearer(token));
        await expectInvalid(path, { authorization: `DPoP ${token}` });
      }
    });

    test("an API key is asked about, in both headers", async () => {
      const good = await key(here, ["orders:read"], { resources: { shops: ["a"] } });
      for (const headers of [bearer(good.key), { "x-api-key": good.key }]) {
        const { status, body } = await call("/local", headers);
        assert.deepEqual([status, body], [200, { userId: good.id, scopes: ["orders:read"], expires: false, kind: "api_key", resources: { shops: ["a"] } }]);
      }
      await here.api(`/v1/keys/${good.id}`, undefined, "DELETE");
      await expectInvalid("/local", bearer(good.key));
    });

    test("an API key that is wrong, expired or of another deployment is refused", async () => {
      const soon = await key(here, ["orders:read"], { expires_at: new Date(Date.now() + 1500).toISOString().replace(/\.\d+Z/, "Z") });
      await expectInvalid("/local", bearer(flipped(soon.key)));
      await expectInvalid("/local", bearer((await key(there, ["orders:read"])).key));
      await expired(soon.key);
      await expectInvalid("/local", bearer(soon.key));
    });

    test("without introspection an API key is refused", async () => {
      const { key: value } = await key(here, ["orders:read"]);
      assert.equal((await call("/no-introspection", { "x-api-key": value })).status, 401);
    });

    test("a refresh token, an agent's secret and what is no credential are refused", async () => {
      const { tokens } = await here.order({ tokens: { scope: "orders:read", resource: here.resources.orders } });
      assert.equal((await call("/local", bearer(tokens.access_token))).status, 200);
      await expectInvalid("/local", bearer(tokens.refresh_token));
      await expectInvalid("/local", bearer(here.agent.secret));
      for (const authorization of ["Basic YTpi", "Bearer", "Bearer a b", "Bearer a, Bearer b", tokens.access_token, "Bearer ä"]) {
        await expectInvalid("/local", { authorization: Buffer.from(authorization).toString("latin1") });
      }
      await expectInvalid("/local", { "x-api-key": "a b" });
    });

    test("two credentials are one too many", async () => {
      const { key: value } = await key(here, ["orders:read"]);
      const { status, body } = await call("/local", { ...bearer(value), "x-api-key": value });
      assert.deepEqual([status, body["error"]], [400, "invalid_request"]);
    });

    test("a missing scope is named", async () => {
      const token = await agentToken(here, here.resources.orders);
      assert.equal((await call("/local/read", bearer(token))).status, 200);
      const { status, challenge, body } = await call("/local/write", bearer(token), { method: "POST" });
      const description = "The credential lacks the scope that is required: orders:write.";
      assert.deepEqual([status, body], [403, { error: "insufficient_scope", error_description: description }]);
      assert.equal(challenge, `Bearer error="insufficient_scope", error_description="${description}", scope="orders:write", ${METADATA}`);
      assert.equal((await call("/local/write", bearer((await key(here, ["orders:*"])).key), { method: "POST" })).status, 200);
    });

    test("an introspection that is refused is our failure", async () => {
      const { key: value } = await key(here, ["orders:read"]);
      const { status, body, answer } = await call("/wrong", { "x-api-key": value });
      assert.deepEqual([status, body["error"], answer.headers.get("retry-after")], [503, "temporarily_unavailable", "5"]);
      assert.equal(answer.headers.get("www-authenticate"), null);
    });

    describe("tools of an MCP server", () => {
      const post = (token: string, body: unknown, headers: Record<string, string> = {}) =>
        call("/local/mcp", { ...bearer(token), "content-type": "application/json", ...headers }, { method: "POST", body: JSON.stringify(body) });
      const use = (name: unknown) => ({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name } });
      let reader: string, writer: string;
      before(async () => {
        reader = await agentToken(here, here.resources.orders);
        writer = await agentToken(here, here.resources.orders, "orders:read orders:write");
      });

      test("a tool needs its scope, and the server reads the body", async () => {
        assert.deepEqual(await post(reader, use("list_orders")).then(({ status, body }) => [status, body]), [200, use("list_orders")]);
        const { status, challenge } = await post(reader, use("delete_order"));
        assert.equal(status, 403);
        assert.match(challenge ?? "", /scope="orders:read orders:write"/);
        assert.equal((await post(writer, use("delete_order"))).status, 200);
      });

      test("a batch needs the scopes of all its calls", async () => {
        assert.equal((await post(reader, [use("list_orders"), use("delete_order")])).status, 403);
        assert.equal((await post(reader, [use("list_orders")])).status, 200);
      });

      test("headers that differ from the body are refused", async () => {
        assert.equal((await post(reader, use("list_orders"), { "mcp-method": "tools/call", "mcp-name": "list_orders" })).status, 200);
        for (const headers of [{ "mcp-name": "list_orders" }, { "mcp-method": "tools/list" }]) {
          assert.equal((await post(writer, use("delete_order"), headers as Record<string, string>)).status, 400);
        }
      });

      test("a body that is no message is refused", async () => {
        for (const body of [[], 1, "text", null, {}, use(undefined), use({})]) {
          const headers = { ...bearer(writer), "content-type": "application/json" };
          const { status } = await fetch(`${url}/local/mcp`, { method: "POST", headers, body: JSON.stringify(body) });
          assert.equal(status, 400, JSON.stringify(body));
        }
      });

      test("other methods need the scopes of the route", async () => {
        assert.equal((await call("/local/mcp", bearer(reader))).status, 200);
        assert.equal((await call("/local/mcp")).status, 401);
      });
    });
  });
}

describe("the body of a message to an MCP server with Hono", () => {
  const app = () => {
    const verifier = new Verifier({ issuer: here.issuer, audience: here.resources.orders });
    const scopes = protectHono(verifier, { scopes: ["orders:read"], mcp: TOOLS });
    return new Hono()
      .post("/read-before", async (c, next) => { await c.req.json(); return next(); }, scopes, async (c) => c.json(await c.req.json()))
      .post("/", scopes, async (c) => c.json(await c.req.json()));
  };
  const post = async (path: string, body: BodyInit) => app().request(path, {
    method: "POST", body, headers: bearer(await agentToken(here, here.resources.orders)), ...(body instanceof ReadableStream && { duplex: "half" }),
  } as RequestInit);
  const message = (name: string) => JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name } });

  test("can have been read by a middleware before", async () => {
    assert.equal((await post("/read-before", message("list_orders"))).status, 200);
    assert.equal((await post("/read-before", message("delete_order"))).status, 403);
  });

  test("is not read beyond 1 MiB", { timeout: 20_000 }, async () => {
    assert.equal((await post("/", message("a".repeat(1_000_000)))).status, 200);
    const response = await post("/", message("a".repeat(1 << 20)));
    assert.deepEqual([response.status, await response.json()], [400, { error: "invalid_request", error_description: "The body is too long." }]);
    let pulled = 0;
    const endless = new ReadableStream({ pull: (controller) => { pulled += 1; controller.enqueue(new Uint8Array(1 << 16)); } });
    assert.equal((await post("/", endless)).status, 400);
    assert.ok(pulled < 30, `${pulled}`);
  });
});

test("while the server cannot be reached, keys get 503 and access tokens are verified with the keys that are known", async (t) => {
  const failures: Error[] = [];
  const own = await startDeployment({ after: (end) => t.after(end) });
  const options = {
    issuer: own.issuer, audience: own.resources.orders, introspection: { clientSecret: own.resource_secret }, onFailure: (error: Error) => failures.push(error),
  };
  const verifier = new Verifier(options);
  const token = await agentToken(own, own.resources.orders);
  const { key: value } = await key(own, ["orders:read"]);
  await verifier.verify({ authorization: `Bearer ${token}` });
  await own.order({ stop: true });
  assert.equal((await verifier.verify({ authorization: `Bearer ${token}` })).userId, own.agent.id);
  await assert.rejects(verifier.verify({ apiKey: value }), { status: 503, code: "temporarily_unavailable" });
  await assert.rejects(new Verifier(options).verify({ authorization: `Bearer ${token}` }), { status: 503 });
  assert.equal(failures.length, 2);
  for (const { message } of failures) assert.ok(!message.includes(value) && !message.includes(token));
});

test("keys are fetched once for many tokens, and at most once a minute for an unknown one", async () => {
  await here.order({ reset: true });
  const verifier = new Verifier({ issuer: here.issuer, audience: here.resources.orders });
  const token = await agentToken(here, here.resources.orders);
  const [, payload, signature] = token.split(".");
  const unknown = [Buffer.from(JSON.stringify({ alg: "ES256", typ: "at+jwt", kid: "unknown" })).toString("base64url"), payload, signature].join(".");
  await Promise.all(Array.from({ length: 20 }, () => verifier.verify({ authorization: `Bearer ${token}` })));
  for (let count = 0; count < 5; count += 1) await assert.rejects(verifier.verify({ authorization: `Bearer ${unknown}` }), { status: 401 });
  assert.equal((await here.state()).counts["/.well-known/jwks.json"], 1);
});

test("other algorithms are refused, also those of the key", async () => {
  const token = await agentToken(here, here.resources.orders);
  const verifier = new Verifier({ issuer: here.issuer, audience: here.resources.orders, algorithms: ["RS256"] });
  await assert.rejects(verifier.verify({ authorization: `Bearer ${token}` }), { status: 401 });
  const [, payload] = token.split(".");
  const none = `${Buffer.from(JSON.stringify({ alg: "none", typ: "at+jwt" })).toString("base64url")}.${payload}.`;
  await assert.rejects(verifier.verify({ authorization: `Bearer ${none}` }), { status: 401 });
});

test("an issuer without https is refused", () => {
  assert.throws(() => new Verifier({ issuer: "http://auth.example.com", audience: "a" }), { code: "insecure_issuer" });
});
