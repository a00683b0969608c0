// How often a request is sent to the authorization server, how long that takes, and what of its
// response is used.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { send, type Attempts } from "../src/http.js";
import { Session } from "../src/index.js";
import { runtimeWith, type Runtime } from "../src/runtime.js";
import { METADATA, scripted, tokens, world } from "./world.js";

/** A network in which each attempt takes some seconds; returns when the attempts began. */
function network(outcomes: (Response | Error | "lost")[], seconds = 0) {
  let now = 0;
  const began: number[] = [];
  const runtime = runtimeWith({
    elapsed: () => now,
    sleep: async (ms) => {
      now += ms;
    },
    random: () => 0.5,
    fetch: async () => {
      began.push(now);
      now += seconds * 1000;
      const outcome = outcomes[began.length - 1] ?? "lost";
      if (outcome === "lost") throw new DOMException("timeout", "TimeoutError");
      if (outcome instanceof Error) throw outcome;
      return outcome;
    },
  });
  return { runtime, began };
}

const URL_OF_SERVER = "https://auth.example.com/token?secret";
const refusedConnection = () =>
  new TypeError("fetch failed", {
    cause: Object.assign(new Error("refused"), { code: "ECONNREFUSED" }),
  });
const reset = () =>
  new TypeError("fetch failed", {
    cause: Object.assign(new Error("reset"), { code: "ECONNRESET" }),
  });
const busy = (seconds: string) =>
  new Response(null, { status: 429, headers: { "retry-after": seconds } });
const status = (code: number) => new Response(null, { status: code });

async function attempts(outcomes: (Response | Error | "lost")[], kind: Attempts, seconds = 0) {
  const { runtime, began } = network(outcomes, seconds);
  const ended = await send(runtime, URL_OF_SERVER, {}, kind).then(
    ({ status: code }) => code,
    (error: { code: string }) => error.code,
  );
  return { ended, began };
}

test("no attempt begins later than six seconds after the first, so all end within nine", async () => {
  assert.deepEqual(await attempts([], "several", 3), {
    ended: "server_unavailable",
    began: [0, 3200],
  });
  assert.deepEqual(await attempts([], "several", 2.6), {
    ended: "server_unavailable",
    began: [0, 2800, 5900],
  });
  assert.deepEqual(await attempts([], "several", 0.1), {
    ended: "server_unavailable",
    began: [0, 300, 900],
  });
  assert.deepEqual(await attempts([busy("3"), busy("3"), status(200)], "several", 0.1), {
    ended: "server_unavailable",
    began: [0, 3100],
  });
});

test("a code is repeated only if nothing of it was sent", async () => {
  for (const outcome of [
    "lost",
    reset(),
    status(500),
    status(502),
    status(503),
    busy("4"),
  ] as const) {
    assert.deepEqual(
      (await attempts([outcome, status(200)], "unsent")).ended,
      "server_unavailable",
    );
  }
  for (const outcome of [refusedConnection(), busy("3")])
    assert.equal((await attempts([outcome, status(200)], "unsent")).ended, 200);
});

test("everything else is repeated after lost responses and 5xx", async () => {
  for (const outcome of [
    "lost",
    reset(),
    refusedConnection(),
    status(500),
    status(503),
    busy("0"),
  ] as const) {
    assert.deepEqual((await attempts([outcome, status(200)], "several")).ended, 200);
    assert.deepEqual((await attempts([outcome, status(200)], "once")).ended, "server_unavailable");
  }
  for (const code of [302, 400, 401, 404])
    assert.deepEqual((await attempts([status(code)], "several")).ended, code);
});

test("the query of a URL is not in an error", async () => {
  const { runtime } = network([]);
  await assert.rejects(send(runtime, URL_OF_SERVER, {}), {
    message:
      "https://auth.example.com/token cannot be used: it did not answer in time. Try again later.",
  });
});

/** Sends a response bit by bit. */
const trickle =
  (head: string): Parameters<typeof scripted>[1][string] =>
  () =>
  (response) => {
    response.socket?.write(head);
    const timer = setInterval(
      () => response.socket?.write(head.endsWith("\r\n\r\n") ? " " : "X-More: 1\r\n"),
      200,
    );
    response.socket?.on("close", () => clearInterval(timer));
  };

test(
  "an attempt ends after three seconds, although headers or body arrive bit by bit",
  { timeout: 20_000 },
  async (t) => {
    for (const head of ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"]) {
      const { url } = await scripted(t, { "/slow": trickle(head) });
      const begin = performance.now();
      await assert.rejects(send(runtimeWith(), `${url}/slow`, {}, "once"), {
        code: "server_unavailable",
        message: /did not answer in time/,
      });
      const took = performance.now() - begin;
      assert.ok(took > 2_900 && took < 4_000, `${took} ms`);
    }
  },
);

test("a response of more than 1 MiB is not read", async (t) => {
  const { url, count } = await scripted(t, {
    "/long": () => ({ body: "x".repeat(2 << 20) }),
    "/whole": () => ({ body: "x".repeat(1 << 19) }),
  });
  await assert.rejects(send(runtimeWith(), `${url}/long`, {}), {
    code: "invalid_response",
    message: /1 MiB/,
  });
  assert.equal((await send(runtimeWith(), `${url}/whole`, {})).status, 200);
  assert.equal(count("/long"), 1);
});

async function agent(
  t: TestContext,
  script: Parameters<typeof scripted>[1],
  members = {},
  changes: Partial<Runtime> = {},
) {
  const own = world(t);
  const server = await scripted(t, script, members);
  const session = Session.clientCredentials({
    issuer: server.url,
    clientId: "agent",
    clientSecret: "s",
    runtime: { ...own.runtime, ...changes },
  });
  return { ...own, ...server, session };
}

test("a token lives from the beginning of the attempt that was answered", async (t) => {
  const own = world(t);
  const server = await scripted(t, {
    "/token": (_, count) => {
      own.advance(2);
      return count === 1 ? { status: 503 } : tokens("a", { expires_in: 100 });
    },
  });
  const session = Session.clientCredentials({
    issuer: server.url,
    clientId: "agent",
    clientSecret: "s",
    runtime: { ...own.runtime, random: () => 0.5 },
  });
  const before = (own.runtime.now as () => number)();
  const { expiresAt } = await session.accessToken();
  const life = ((expiresAt?.getTime() ?? 0) - before) / 1000;
  // The first attempt took 2 s, and the wait 0.2 s.
  assert.ok(life >= 102.2 && life < 103.5, `${life} s`);
});

test("many callers share the outcome of a request, also if it fails", async (t) => {
  const { session, count } = await agent(t, { "/token": () => ({ status: 503 }) });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 20 }, () => session.accessToken()),
  );
  assert.deepEqual(
    new Set(
      outcomes.map(
        (outcome) => outcome.status === "rejected" && (outcome.reason as { code: string }).code,
      ),
    ),
    new Set(["server_unavailable"]),
  );
  assert.equal(count("/token"), 3);
});

test("who refused a token does not get it from a renewal that began before", async (t) => {
  const { session, advance, count } = await agent(t, {
    "/token": (_, times) => tokens(times === 3 ? "second" : "first", { expires_in: 100 }),
  });
  await session.accessToken();
  advance(90);
  const [due, refused] = await Promise.all([
    session.accessToken(),
    session.accessToken({ refused: "first" }),
  ]);
  assert.deepEqual([due.value, refused.value, count("/token")], ["first", "second", 3]);
});

test("the metadata is used for an hour, and fetched once for many callers", async (t) => {
  const { session, advance, count } = await agent(t, {
    "/token": (_, times) => tokens(`${times}`),
  });
  const ask = (scope: string) => session.accessToken({ scope });
  await Promise.all(["a", "b", "c"].map(ask));
  advance(3599);
  await ask("d");
  assert.equal(count(METADATA), 1);
  advance(2);
  await ask("e");
  assert.equal(count(METADATA), 2);
});

test("a scope that the server does not say is the requested one, or unknown", async (t) => {
  const { session } = await agent(t, { "/token": () => tokens("a") });
  assert.equal((await session.accessToken()).scope, undefined);
  assert.equal((await session.accessToken({ scope: "b" })).scope, "b");
});

test("a source whose tokens are used once serves one request at a time", async (t) => {
  const { home, runtime } = world(t);
  const tokenFile = join(home, "token");
  writeFileSync(tokenFile, "first");
  let running = 0;
  let most = 0;
  const server = await scripted(t, {
    "/token": async ({ form }) => {
      most = Math.max(most, (running += 1));
      await new Promise((resolve) => setTimeout(resolve, 50));
      running -= 1;
      return tokens(`for ${form["assertion"]}`);
    },
  });
  const session = Session.federation({ issuer: server.url, from: "file", tokenFile, runtime });
  const outcomes = await Promise.allSettled(
    ["a", "b"].map((resource) => session.accessToken({ resource })),
  );
  const shown = outcomes.map((outcome) =>
    outcome.status === "fulfilled"
      ? outcome.value.value
      : (outcome.reason as { code: string }).code,
  );
  assert.deepEqual(
    [shown, most, server.count("/token")],
    [["for first", "workload_token_unavailable"], 1, 1],
  );
  writeFileSync(tokenFile, "second");
  assert.equal((await session.accessToken({ resource: "b" })).value, "for second");
});

test("a token is used to its end if the workload has no other", async (t) => {
  const { home, runtime, advance } = world(t);
  const tokenFile = join(home, "token");
  writeFileSync(tokenFile, "first");
  const server = await scripted(t, { "/token": () => tokens("a", { expires_in: 100 }) });
  const session = Session.federation({ issuer: server.url, from: "file", tokenFile, runtime });
  await session.accessToken();
  advance(90);
  assert.equal((await session.accessToken()).value, "a");
  advance(11);
  await assert.rejects(session.accessToken(), {
    code: "workload_token_unavailable",
    message: /has been exchanged/,
  });
});

test("options of a workload with which no token is found are refused at once", () => {
  const issuer = "https://auth.example.com";
  assert.throws(() => Session.federation({ issuer, from: "circleci" as "github" }), TypeError);
  assert.throws(() => Session.federation({ issuer, from: "file" }), TypeError);
});
