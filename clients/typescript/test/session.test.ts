// Sessions, logins and requests, beyond what the cases of clients/conformance say.
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, openSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import test, { after, before, type TestContext } from "node:test";
import { inspect } from "node:util";
import { tryLock } from "fs-native-extensions";
import { folder } from "../src/folder.js";
import { Session, loginWithBrowser, loginWithDevice } from "../src/index.js";
import { createManagementClient } from "../src/management.js";
import { runtimeWith } from "../src/runtime.js";
import { serve, startDeployment } from "./harness.js";
import { world } from "./world.js";

const ends: (() => void | Promise<void>)[] = [];
let deployment: Awaited<ReturnType<typeof startDeployment>>;

before(async () => {
  deployment = await startDeployment({ after: (end) => ends.push(end) });
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

async function stored(t: TestContext, options: Record<string, unknown> = {}) {
  const own = world(t);
  await deployment.order({ reset: true, session: { home: own.home, ...options } });
  return { ...own, session: await Session.open({ runtime: own.runtime }) };
}

const lose = (path: string) =>
  deployment.order({ faults: [{ path, fault: "refuse", times: null }] });
const refreshes = async () => (await deployment.state()).counts["refresh_token"] ?? 0;

/** An API that accepts every token but the first, and returns what it received. */
async function picky(t: TestContext) {
  const seen: { token: string; body: string }[] = [];
  const url = await serve({ after: (end) => t.after(end) }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      seen.push({
        token: request.headers.authorization ?? "",
        body: Buffer.concat(chunks).toString(),
      });
      const isRefused = seen[0]?.token === request.headers.authorization;
      response
        .writeHead(
          isRefused ? 401 : 200,
          isRefused ? { "www-authenticate": 'Bearer error="invalid_token"' } : {},
        )
        .end("{}");
    });
  });
  return { url, seen };
}

test("many callers at once cause one refresh", async (t) => {
  const { session } = await stored(t, { expired: true });
  const tokens = await Promise.all(Array.from({ length: 20 }, () => session.accessToken()));
  assert.equal(new Set(tokens.map(({ value }) => value)).size, 1);
  assert.equal(await refreshes(), 1);
});

test("a refused token is renewed once, and the request is repeated with its body", async (t) => {
  const { session } = await stored(t);
  const { url, seen } = await picky(t);
  const answer = await session.fetch(url, { method: "POST", body: "the body" });
  assert.equal(answer.status, 200);
  assert.deepEqual(
    seen.map(({ body }) => body),
    ["the body", "the body"],
  );
  assert.equal(await refreshes(), 1);
});

test("a Request without a body is repeated as well", async (t) => {
  const { session } = await stored(t);
  const { url, seen } = await picky(t);
  assert.equal((await session.fetch(new Request(url))).status, 200);
  assert.equal(seen.length, 2);
});

test("a stream is not repeated, also as the body of a Request", async (t) => {
  const { session } = await stored(t);
  for (const inRequest of [false, true]) {
    const { url, seen } = await picky(t);
    const init = {
      method: "POST",
      body: new Blob(["the body"]).stream(),
      duplex: "half",
    } as RequestInit;
    const response = await (inRequest
      ? session.fetch(new Request(url, init))
      : session.fetch(url, init));
    assert.equal(response.status, 401);
    assert.deepEqual(
      seen.map(({ body }) => body),
      ["the body"],
    );
  }
});

test("a redirect sends neither the token nor the signature to another host", async (t) => {
  const requests: unknown[] = [];
  const other = await serve({ after: (end) => t.after(end) }, (request, response) => {
    requests.push(request.headers);
    response.end();
  });
  for (const status of [302, 307, 308]) {
    const url = await serve({ after: (end) => t.after(end) }, (_, response) => {
      response.writeHead(status, { location: `${other}/orders` }).end();
    });
    const session = Session.apiKey("pst_ak_secret", { sign: true });
    for (const redirect of ["follow", "manual"] as const) {
      assert.equal(
        (await session.fetch(url, { method: "POST", body: "secret", redirect })).status,
        status,
      );
      assert.equal(
        (await fetch(await session.authorize(new Request(url, { redirect })))).status,
        status,
      );
    }
  }
  assert.deepEqual(requests, []);
});

test("an API that does not answer is named, and an abort stays one", async () => {
  const session = Session.apiKey("pst_ak_secret");
  await assert.rejects(session.fetch("http://127.0.0.1:9/orders?secret"), {
    code: "server_unavailable",
    message: /^http:\/\/127\.0\.0\.1:9\/orders cannot/,
  });
  await assert.rejects(session.fetch("http://127.0.0.1:9/", { signal: AbortSignal.abort() }), {
    name: "AbortError",
  });
});

test("the management client repeats a request with its body", async (t) => {
  const { session } = await stored(t);
  const { url, seen } = await picky(t);
  const { response } = await createManagementClient(session, { baseUrl: url }).POST("/v1/runners", {
    body: { name: "build-1" },
  });
  assert.equal(response.status, 200);
  assert.deepEqual(
    seen.map(({ body }) => body),
    ['{"name":"build-1"}', '{"name":"build-1"}'],
  );
});

test("a token is not sent over http to another machine", async (t) => {
  const { session } = await stored(t);
  await assert.rejects(session.fetch("http://api.example.com/orders"), { code: "insecure_issuer" });
  for (const host of ["127.0.0.1.example.com", "api.localhost", "127.0.0.2"]) {
    await assert.rejects(session.fetch(`http://${host}/`), {
      code: "insecure_issuer",
      message: new RegExp(host),
    });
    await assert.rejects(session.authorize(new Request(`http://${host}/`)), {
      code: "insecure_issuer",
    });
  }
});

test("what is printed or serialized shows no token", async (t) => {
  const { session, file } = await stored(t);
  const token = await session.accessToken();
  const { refresh_token: refresh } = JSON.parse(readFileSync(file, "utf8"));
  const key = Session.apiKey("pst_ak_secret");
  for (const text of [
    inspect(session, { depth: 9, showHidden: true }),
    JSON.stringify(session),
    inspect(token),
    JSON.stringify(token),
    inspect(key),
  ]) {
    assert.ok(
      !text.includes(token.value) && !text.includes(refresh) && !text.includes("pst_ak_secret"),
      text,
    );
  }
});

test("while the server cannot be reached, a token that is still valid is used, and it is asked again five seconds later", async (t) => {
  const { session, advance } = await stored(t);
  const token = await session.accessToken();
  advance(3550);
  await lose("/v1/auth/token");
  assert.equal((await session.accessToken()).value, token.value);
  const asked = await refreshes();
  assert.equal((await session.accessToken()).value, token.value);
  assert.equal(await refreshes(), asked);
  await deployment.order({ reset: true });
  advance(6);
  assert.notEqual((await session.accessToken()).value, token.value);
});

test("a refused token is not used while the server cannot be reached", async (t) => {
  const { session } = await stored(t);
  const { value: refused } = await session.accessToken();
  await lose("/v1/auth/token");
  await assert.rejects(session.accessToken({ refused }), { code: "server_unavailable" });
});

test("a lock that is not released is named", async (t) => {
  const { session, home } = await stored(t, { expired: true });
  const lock = join(home, "sessions", "default.lock");
  assert.ok(tryLock(openSync(lock, "a+")));
  await assert.rejects(
    session.accessToken(),
    (error: Error & { code: string }) =>
      error.code === "lock_timeout" && error.message.includes(lock),
  );
  assert.equal(await refreshes(), 0);
});

test("a lock or a folder that cannot be created is named", async (t) => {
  const { session, home } = await stored(t, { expired: true });
  mkdirSync(join(home, "sessions", "default.lock"));
  await assert.rejects(session.accessToken(), { code: "storage_failed", message: /default\.lock/ });
  const other = world(t);
  writeFileSync(join(other.home, "sessions"), "a file");
  const login = loginWithDevice({
    issuer: deployment.issuer,
    runtime: other.runtime,
    onPrompt: async ({ userCode }) => {
      await deployment.order({ device: { user_code: userCode, decision: "approve" } });
    },
  });
  await assert.rejects(login, { code: "storage_failed", message: /sessions/ });
});

test("a session whose refresh token is in the keyring says so", async (t) => {
  const { session } = await stored(t, {
    expired: true,
    members: { storage: "keyring", refresh_token: null },
  });
  await assert.rejects(session.accessToken(), {
    code: "session_invalid",
    message: /keyring.*--storage file/,
  });
});

test("profiles come from the configuration and the environment", async (t) => {
  const { home, runtime } = world(t, { POSTERN_ISSUER: "http://127.0.0.1:9100" });
  assert.equal((await Session.open({ runtime })).issuer, "http://127.0.0.1:9100");
  writeFileSync(
    join(home, "config.json"),
    JSON.stringify({
      default_profile: "work",
      profiles: { work: { issuer: "https://auth.example.com" } },
    }),
  );
  assert.equal((await Session.open({ runtime })).issuer, "https://auth.example.com");
  await assert.rejects((await Session.open({ runtime })).accessToken(), {
    code: "login_required",
    message: /postern login --profile work/,
  });
  for (const profile of ["../work", "", "Work", "a".repeat(65)])
    await assert.rejects(Session.open({ profile, runtime }), { code: "session_invalid" });
  writeFileSync(join(home, "config.json"), "{");
  await assert.rejects(Session.open({ runtime }), {
    code: "session_invalid",
    message: /config\.json/,
  });
  chmodSync(join(home, "config.json"), 0o666);
  await assert.rejects(Session.open({ runtime }), {
    code: "storage_failed",
    message: /chmod go-w '.*config\.json'/,
  });
});

test("an empty variable is absent, and a relative folder of XDG is ignored", async (t) => {
  const { home } = world(t);
  const at = (env: Record<string, string>, platform: NodeJS.Platform = "linux") =>
    folder(runtimeWith({ env }), platform);
  assert.equal(
    at({ POSTERN_HOME: "", XDG_CONFIG_HOME: "", HOME: home }),
    join(home, ".config", "postern"),
  );
  assert.equal(at({ XDG_CONFIG_HOME: "relative", HOME: home }), join(home, ".config", "postern"));
  assert.equal(at({ XDG_CONFIG_HOME: home, HOME: "/other" }), join(home, "postern"));
  assert.equal(at({ HOME: "" }), join(userInfo().homedir, ".config", "postern"));
  assert.equal(at({ APPDATA: home, XDG_CONFIG_HOME: "/other" }, "win32"), join(home, "postern"));
  const runtime = { env: { POSTERN_HOME: home, POSTERN_PROFILE: "", POSTERN_ISSUER: "" } };
  assert.equal((await Session.open({ runtime })).issuer, "http://127.0.0.1:9000");
});

test("a login that is cancelled stores nothing", async (t) => {
  for (const login of [
    (options: object) =>
      loginWithDevice({ issuer: deployment.issuer, onPrompt: () => {}, ...options }),
    (options: object) =>
      loginWithBrowser({ issuer: deployment.issuer, open: () => {}, ...options }),
  ]) {
    const { home, runtime } = world(t);
    const controller = new AbortController();
    const cancelling = login({
      signal: controller.signal,
      runtime: { ...runtime, sleep: async () => controller.abort() },
    });
    setTimeout(() => controller.abort(), 100);
    await assert.rejects(cancelling, { code: "cancelled" });
    assert.deepEqual(readdirSync(home, { recursive: true }).sort(), [
      "sessions",
      "sessions/default.lock",
    ]);
  }
});

test("a key that requires signatures is accepted only with them", async () => {
  const { key } = await deployment.api("/v1/keys", {
    name: "signer",
    scopes: ["runners:manage", "runners:read"],
    require_signature: true,
  });
  const session = Session.apiKey(key, { sign: true });
  const request = { method: "POST", headers: { "content-type": "application/json" } };
  const created = await session.fetch(`${deployment.upstream}/v1/runners`, {
    ...request,
    body: '{"name": "build-ü"}',
  });
  assert.equal(created.status, 201);
  assert.equal((await session.fetch(`${deployment.upstream}/v1/runners?limit=1`)).status, 200);
  const unsigned = await session.fetch(`${deployment.upstream}/v1/runners?limit=1`, {
    sign: false,
  });
  assert.deepEqual(
    [unsigned.status, ((await unsigned.json()) as { error: string }).error],
    [401, "invalid_signature"],
  );
});

test("the management client is typed and authenticated", async (t) => {
  const session = Session.apiKey(deployment.api_key);
  const client = createManagementClient(session, { baseUrl: deployment.issuer });
  const { data: created, error } = await client.POST("/v1/runners", { body: { name: "build-1" } });
  assert.equal(error, undefined);
  assert.match(created?.token ?? "", /^pst_rn_/);
  const { data: list } = await client.GET("/v1/runners", { params: { query: { limit: 100 } } });
  assert.ok(list?.items.some(({ id }) => id === created?.id));
  const { response, error: refused } = await createManagementClient(
    Session.apiKey("pst_ak_wrong"),
    { baseUrl: deployment.issuer },
  ).GET("/v1/runners");
  assert.deepEqual([response.status, (refused as { error: string }).error], [401, "invalid_token"]);
  assert.throws(() => createManagementClient(session), TypeError);
  assert.ok(createManagementClient((await stored(t)).session));
});

test("a logout of a program's session revokes its tokens", async () => {
  const { issuer, agent } = deployment;
  const session = Session.clientCredentials({
    issuer,
    clientId: agent.id,
    clientSecret: agent.secret,
  });
  const { value } = await session.accessToken();
  const whoami = async () =>
    (
      await fetch(`${deployment.upstream}/v1/auth/whoami`, {
        headers: { authorization: `Bearer ${value}` },
      })
    ).status;
  assert.equal(await whoami(), 200);
  assert.deepEqual(await session.logout(), { revoked: true });
  assert.equal(await whoami(), 401);
});

test("a role of AWS gets a token with the SDK", async (t) => {
  const variables = {
    ...deployment.workload.aws,
    AWS_ACCESS_KEY_ID: "a",
    AWS_SECRET_ACCESS_KEY: "b",
    AWS_REGION: "eu-west-1",
  };
  Object.assign(process.env, variables);
  t.after(() => {
    for (const name of Object.keys(variables)) delete process.env[name];
  });
  const session = Session.federation({
    issuer: deployment.issuer,
    from: "aws",
    audience: deployment.workload.audience,
  });
  assert.equal((await session.accessToken()).scope, "orders:read scans:read");
  const wrong = Session.federation({
    issuer: deployment.issuer,
    from: "aws",
    audience: "https://other.example.com",
  });
  await assert.rejects(wrong.accessToken(), { code: "access_denied" });
});

test("any server of the RFCs will do", async (t) => {
  const { runtime, file } = world(t);
  const requests: string[] = [];
  const url = await serve({ after: (end) => t.after(end) }, (request, response) => {
    requests.push(request.url ?? "");
    const answers: Record<string, unknown> = {
      "/tenant/.well-known/openid-configuration": {
        issuer: `${url}/tenant`,
        token_endpoint: `${url}/t`,
        device_authorization_endpoint: `${url}/d`,
      },
      "/d": { device_code: "d", user_code: "U", verification_uri: `${url}/v`, expires_in: 60 },
      "/t": { access_token: "opaque", token_type: "bearer", expires_in: "120" },
    };
    const body = answers[request.url ?? ""];
    response
      .writeHead(body ? 200 : 404, { "content-type": "application/json" })
      .end(JSON.stringify(body ?? {}));
  });
  const session = await loginWithDevice({
    issuer: `${url}/tenant`,
    clientId: "tool",
    scope: "a b",
    onPrompt: () => {},
    runtime,
  });
  const token = await session.accessToken();
  assert.deepEqual([token.value, token.tokenType, token.scope], ["opaque", "Bearer", "a b"]);
  assert.deepEqual(requests, [
    "/.well-known/oauth-authorization-server/tenant",
    "/tenant/.well-known/openid-configuration",
    "/d",
    "/t",
  ]);
  assert.equal(JSON.parse(readFileSync(file, "utf8")).refresh_token, undefined);
  const { revoked, warning } = await session.logout();
  assert.equal(revoked, false);
  assert.match(warning ?? "", /revocation_endpoint/);
  assert.throws(() => readFileSync(file));
});
