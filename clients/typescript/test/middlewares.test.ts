// The responses of real servers with the middlewares, and the real local program behind them.
// credentials.test.ts has every credential.
import assert from "node:assert/strict";
import test, { after, before, describe } from "node:test";
import { Hono } from "hono";
import * as oauth from "oauth4webapi";
import { protect as protectHono } from "../src/hono.js";
import { Verifier } from "../src/server.js";
import { startDeployment, type Ends } from "./harness.js";
import {
  agentToken,
  bearer,
  call as request,
  createKey,
  expectInvalid as expectRefused,
  FRAMEWORKS,
  METADATA,
  TOOLS,
  type Deployment,
} from "./servers.js";

const ends: (() => void | Promise<void>)[] = [];
const suite: Ends = { after: (end) => void ends.push(end) };
let here: Deployment;

before(async () => {
  here = await startDeployment(suite);
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** Requests a token that is bound to a key. */
async function boundToken(): Promise<string> {
  const insecure = { [oauth.allowInsecureRequests]: true };
  const issuer = new URL(here.issuer);
  const server = await oauth.processDiscoveryResponse(
    issuer,
    await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure }),
  );
  const client: oauth.Client = { client_id: here.agent.id };
  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
  const parameters = { scope: "orders:read", resource: here.resources.orders };
  const answer = await oauth.clientCredentialsGrantRequest(
    server,
    client,
    oauth.ClientSecretBasic(here.agent.secret),
    parameters,
    { DPoP, ...insecure },
  );
  return (await oauth.processClientCredentialsResponse(server, client, answer)).access_token;
}

for (const [framework, start] of Object.entries(FRAMEWORKS)) {
  describe(framework, () => {
    let url: string;
    before(async () => {
      url = await start(here, suite);
    });

    const call = (path: string, headers?: Record<string, string>, init?: RequestInit) =>
      request(url + path, headers, init);
    const expectInvalid = (path: string, headers: Record<string, string>) =>
      expectRefused(url + path, headers);

    test("without a credential the challenge has no error", async () => {
      const { status, challenge, body } = await call("/local");
      assert.deepEqual(
        [status, challenge, body["error"]],
        [401, `Bearer ${METADATA}`, "auth_required"],
      );
    });

    test("a token that is bound to a key is refused without its proof", async () => {
      const token = await boundToken();
      for (const path of ["/local", "/asking"]) {
        await expectInvalid(path, bearer(token));
        await expectInvalid(path, { authorization: `DPoP ${token}` });
      }
    });

    test("what a caller is depends on whether the server is asked", async () => {
      const token = await agentToken(here, here.resources.orders);
      const local = { userId: here.agent.id, scopes: ["orders:read"], expires: true };
      assert.deepEqual((await call("/local", bearer(token))).body, local);
      assert.deepEqual((await call("/no-introspection", bearer(token))).body, local);
      assert.deepEqual((await call("/asking", bearer(token))).body, {
        ...local,
        kind: "agent",
        resources: {},
      });
      const limited = await createKey(here, { resources: { shops: ["a"] } });
      const asked = {
        userId: limited.id,
        scopes: ["orders:read"],
        expires: false,
        kind: "api_key",
        resources: { shops: ["a"] },
      };
      assert.deepEqual((await call("/local", { "x-api-key": limited.key })).body, asked);
    });

    test("without introspection an API key is refused", async () => {
      const { key: value } = await createKey(here);
      assert.equal((await call("/no-introspection", { "x-api-key": value })).status, 401);
    });

    test("a refresh token, an agent's secret and what is not a credential are refused", async () => {
      const { tokens } = await here.order({
        tokens: { scope: "orders:read", resource: here.resources.orders },
      });
      assert.equal((await call("/local", bearer(tokens.access_token))).status, 200);
      await expectInvalid("/local", bearer(tokens.refresh_token));
      await expectInvalid("/local", bearer(here.agent.secret));
      for (const authorization of [
        "Basic YTpi",
        "Bearer",
        "Bearer a b",
        "Bearer a, Bearer b",
        tokens.access_token,
        "Bearer ä",
      ]) {
        await expectInvalid("/local", {
          authorization: Buffer.from(authorization).toString("latin1"),
        });
      }
      await expectInvalid("/local", { "x-api-key": "a b" });
    });

    test("two credentials are one too many", async () => {
      const { key: value } = await createKey(here);
      const { status, body } = await call("/local", { ...bearer(value), "x-api-key": value });
      assert.deepEqual([status, body["error"]], [400, "invalid_request"]);
    });

    test("a missing scope is named", async () => {
      const token = await agentToken(here, here.resources.orders);
      assert.equal((await call("/local/read", bearer(token))).status, 200);
      const { status, challenge, body } = await call("/local/write", bearer(token), {
        method: "POST",
      });
      const description = "The credential lacks the scope that is required: orders:write.";
      assert.deepEqual(
        [status, body],
        [403, { error: "insufficient_scope", error_description: description }],
      );
      assert.equal(
        challenge,
        `Bearer error="insufficient_scope", error_description="${description}", scope="orders:write", ${METADATA}`,
      );
      assert.equal(
        (
          await call(
            "/local/write",
            bearer((await createKey(here, { scopes: ["orders:*"] })).key),
            { method: "POST" },
          )
        ).status,
        200,
      );
    });

    test("an introspection that is refused is our failure", async () => {
      const { key: value } = await createKey(here);
      const { status, body, answer } = await call("/wrong", { "x-api-key": value });
      assert.deepEqual(
        [status, body["error"], answer.headers.get("retry-after")],
        [503, "temporarily_unavailable", "5"],
      );
      assert.equal(answer.headers.get("www-authenticate"), null);
    });

    describe("tools of an MCP server", () => {
      const post = (token: string, body: unknown, headers: Record<string, string> = {}) =>
        call(
          "/local/mcp",
          { ...bearer(token), "content-type": "application/json", ...headers },
          { method: "POST", body: JSON.stringify(body) },
        );
      const use = (name: unknown) => ({
        jsonrpc: "2.0",
        id: 1,
        method: "tools/call",
        params: { name },
      });
      let reader: string, writer: string;
      before(async () => {
        reader = await agentToken(here, here.resources.orders);
        writer = await agentToken(here, here.resources.orders, "orders:read orders:write");
      });

      test("a tool needs its scope, and the server reads the body", async () => {
        assert.deepEqual(
          await post(reader, use("list_orders")).then(({ status, body }) => [status, body]),
          [200, use("list_orders")],
        );
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
        assert.equal(
          (
            await post(reader, use("list_orders"), {
              "mcp-method": "tools/call",
              "mcp-name": "list_orders",
            })
          ).status,
          200,
        );
        for (const headers of [{ "mcp-name": "list_orders" }, { "mcp-method": "tools/list" }]) {
          assert.equal(
            (await post(writer, use("delete_order"), headers as Record<string, string>)).status,
            400,
          );
        }
      });

      test("a header can have an encoded name", async () => {
        const cases: [string, string, number][] = [
          ["=?base64?bGlzdF9jYWbDqQ==?=", "list_cafe", 400],
          ["=?base64?bGlzdF9jYWbDqQ==?=", "list_caf\u00e9", 200],
          ["=?base64?ZGVsZXRlX29yZGVy?=", "delete_order", 200],
          ["=?base64?ZGVsZXRlX29yZGVy?=", "list_orders", 400],
          ["=?base64?bGlzdF9jYWbDqQ?=", "list_caf\u00e9", 400], // without its padding
          ["=?base64?bGlzdF9jYWbDqR==?=", "list_caf\u00e9", 400], // with other bits at its end
          ["=?base64?gA==?=", "\u0080", 400], // not UTF-8
          ["=?base64?%%?=", "=?base64?%%?=", 200],
          ["=?BASE64?ZGVsZXRlX29yZGVy?=", "delete_order", 400],
        ];
        for (const [header, name, expected] of cases) {
          const { status } = await post(writer, use(name), { "mcp-name": header });
          assert.equal(status, expected, `${header} ${name}`);
        }
      });

      test("a body that is no message is refused", async () => {
        for (const body of [[], 1, "text", null, {}, use(undefined), use({})]) {
          const headers = { ...bearer(writer), "content-type": "application/json" };
          const { status } = await fetch(`${url}/local/mcp`, {
            method: "POST",
            headers,
            body: JSON.stringify(body),
          });
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
      .post(
        "/read-before",
        async (c, next) => {
          await c.req.json();
          return next();
        },
        scopes,
        async (c) => c.json(await c.req.json()),
      )
      .post("/", scopes, async (c) => c.json(await c.req.json()));
  };
  const post = async (path: string, body: BodyInit) =>
    app().request(path, {
      method: "POST",
      body,
      headers: bearer(await agentToken(here, here.resources.orders)),
      ...(body instanceof ReadableStream && { duplex: "half" }),
    } as RequestInit);
  const message = (name: string) =>
    JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name } });

  test("can have been read by a middleware before", async () => {
    assert.equal((await post("/read-before", message("list_orders"))).status, 200);
    assert.equal((await post("/read-before", message("delete_order"))).status, 403);
  });

  test("is not read beyond 1 MiB", { timeout: 20_000 }, async () => {
    assert.equal((await post("/", message("a".repeat(1_000_000)))).status, 200);
    const response = await post("/", message("a".repeat(1 << 20)));
    assert.deepEqual(
      [response.status, await response.json()],
      [400, { error: "invalid_request", error_description: "The body is too long." }],
    );
    let pulled = 0;
    const endless = new ReadableStream({
      pull: (controller) => {
        pulled += 1;
        controller.enqueue(new Uint8Array(1 << 16));
      },
    });
    assert.equal((await post("/", endless)).status, 400);
    assert.ok(pulled < 30, `${pulled}`);
  });
});

test("while the server cannot be reached, keys get 503 and access tokens are verified with the keys that are known", async (t) => {
  const failures: Error[] = [];
  const own = await startDeployment({ after: (end) => t.after(end) });
  const options = {
    issuer: own.issuer,
    audience: own.resources.orders,
    introspection: { clientSecret: own.resource_secret },
    onFailure: (error: Error) => failures.push(error),
  };
  const verifier = new Verifier(options);
  const token = await agentToken(own, own.resources.orders);
  const { key: value } = await createKey(own);
  await verifier.verify({ authorization: `Bearer ${token}` });
  await own.order({ stop: true });
  assert.equal((await verifier.verify({ authorization: `Bearer ${token}` })).userId, own.agent.id);
  await assert.rejects(verifier.verify({ apiKey: value }), {
    status: 503,
    code: "temporarily_unavailable",
  });
  await assert.rejects(new Verifier(options).verify({ authorization: `Bearer ${token}` }), {
    status: 503,
  });
  assert.equal(failures.length, 2);
  for (const { message } of failures)
    assert.ok(!message.includes(value) && !message.includes(token));
});

test("keys are fetched once for many tokens, and at most once a minute for an unknown one", async () => {
  await here.order({ reset: true });
  const verifier = new Verifier({ issuer: here.issuer, audience: here.resources.orders });
  const token = await agentToken(here, here.resources.orders);
  const [, payload, signature] = token.split(".");
  const unknown = [
    Buffer.from(JSON.stringify({ alg: "ES256", typ: "at+jwt", kid: "unknown" })).toString(
      "base64url",
    ),
    payload,
    signature,
  ].join(".");
  await Promise.all(
    Array.from({ length: 20 }, () => verifier.verify({ authorization: `Bearer ${token}` })),
  );
  for (let count = 0; count < 5; count += 1)
    await assert.rejects(verifier.verify({ authorization: `Bearer ${unknown}` }), { status: 401 });
  assert.equal((await here.state()).counts["/.well-known/jwks.json"], 1);
});

test("other algorithms are refused, also those of the key", async () => {
  const token = await agentToken(here, here.resources.orders);
  const verifier = new Verifier({
    issuer: here.issuer,
    audience: here.resources.orders,
    algorithms: ["RS256"],
  });
  await assert.rejects(verifier.verify({ authorization: `Bearer ${token}` }), { status: 401 });
  const [, payload] = token.split(".");
  const none = `${Buffer.from(JSON.stringify({ alg: "none", typ: "at+jwt" })).toString("base64url")}.${payload}.`;
  await assert.rejects(verifier.verify({ authorization: `Bearer ${none}` }), { status: 401 });
});

test("an issuer without https is refused", () => {
  assert.throws(() => new Verifier({ issuer: "http://auth.example.com", audience: "a" }), {
    code: "insecure_issuer",
  });
});
