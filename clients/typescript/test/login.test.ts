// The server to which the browser returns, and what a login leaves if it fails.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, readFileSync, readdirSync, statSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { loginWithBrowser, loginWithDevice, type BrowserLoginOptions } from "../src/index.js";
import { scripted, tokens, world, type Script } from "./world.js";

/** What the browser would open: where it returns, and with which state. */
interface Opened {
  port: number;
  callback: URL;
}

/** Starts a login; `visit` is the browser. */
async function login(
  t: TestContext,
  visit: (opened: Opened) => unknown,
  script: Record<string, Script> = {},
  options: BrowserLoginOptions = {},
) {
  const own = world(t);
  const server = await scripted(t, {
    "/token": () => tokens("a", { refresh_token: "rt" }),
    ...script,
  });
  const open = (url: string) => {
    const { searchParams } = new URL(url);
    const callback = new URL(searchParams.get("redirect_uri") ?? "");
    callback.search = new URLSearchParams({
      code: "c",
      state: searchParams.get("state") ?? "",
    }).toString();
    void visit({ port: Number(callback.port), callback });
  };
  const session = loginWithBrowser({
    issuer: server.url,
    clientId: "tool",
    open,
    ...options,
    runtime: { ...own.runtime, ...options.runtime },
  });
  return { ...own, ...server, session };
}

/** Sends a request as it is, and returns the status. */
async function send(
  port: number,
  path: string,
  headers: Record<string, string> = {},
): Promise<number | undefined> {
  const request = httpRequest({ host: "127.0.0.1", port, path, headers, setHost: false }).end();
  const [response] = await once(request, "response");
  response.resume();
  return response.statusCode;
}

const modeOf = (path: string) => statSync(path).mode & 0o777;

test("no request to the loopback server ends the program or the login", async (t) => {
  const statuses: (number | undefined)[] = [];
  const { session } = await login(t, async ({ port, callback }) => {
    const host = `127.0.0.1:${port}`;
    for (const path of ["//", "http://x:y", "/", "/callback/", "/favicon.ico"])
      statuses.push(await send(port, path, { host }));
    await fetch(callback);
  });
  assert.equal((await (await session).accessToken()).value, "a");
  assert.deepEqual(statuses, [404, 404, 404, 404, 404]);
});

test("a request for another host is refused, also with the state", async (t) => {
  const statuses: (number | undefined)[] = [];
  const { session, count } = await login(t, async ({ port, callback }) => {
    const path = callback.pathname + callback.search;
    for (const host of ["evil.example", `evil.example:${port}`, "127.0.0.1", "127.0.0.1:1", ""])
      statuses.push(await send(port, path, { host }));
    assert.equal(count("/token"), 0);
    assert.equal(await send(port, path, { host: `localhost:${port}` }), 200);
  });
  await session;
  assert.deepEqual(statuses, [400, 400, 400, 400, 400]);
});

test("a code is redeemed once, however often the browser returns", async (t) => {
  const pages: Promise<Response>[] = [];
  const { session, count } = await login(t, ({ callback }) => {
    for (let times = 0; times < 5; times += 1) pages.push(fetch(callback));
  });
  await session;
  const shown = await Promise.all(pages.map(async (page) => (await page).text()));
  for (const text of shown) assert.match(text, /You are logged in/);
  assert.equal(count("/token"), 1);
});

test(
  "a login ends, although the browser does not wait for its page",
  { timeout: 20_000 },
  async (t) => {
    const { session, file } = await login(
      t,
      ({ port, callback }) => {
        const socket = connect(port, "127.0.0.1");
        socket.end(
          `GET ${callback.pathname}${callback.search} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`,
          () => socket.destroy(),
        );
      },
      {
        "/token": async () => {
          await new Promise((resolve) => setTimeout(resolve, 100));
          return tokens("a");
        },
      },
    );
    await session;
    assert.ok(readFileSync(file, "utf8"));
  },
);

test("the page says that the user is logged in only if the session is stored", async (t) => {
  let page = Promise.resolve("");
  const { home } = world(t);
  const path = join(home, "sessions", "default.json");
  const { session } = await login(
    t,
    ({ callback }) => {
      page = fetch(callback).then((response) => response.text());
    },
    {
      "/token": () => {
        mkdirSync(path);
        return tokens("a");
      },
    },
    { path },
  );
  await assert.rejects(session, { code: "storage_failed" });
  assert.match(await page, /did not work \(storage_failed\)/);
});

test("a login that nobody finishes ends after five minutes", async (t) => {
  const limits: number[] = [];
  const timeout = (ms: number) => {
    limits.push(ms);
    return ms === 300_000 ? AbortSignal.abort() : AbortSignal.timeout(ms);
  };
  const { session, file } = await login(t, () => {}, {}, { runtime: { timeout } });
  await assert.rejects(session, { code: "expired_token" });
  assert.ok(limits.includes(300_000));
  assert.throws(() => readFileSync(file));
});

test("a login asks nobody if its session cannot be stored", async (t) => {
  let opened = 0;
  const { session, seen } = await login(
    t,
    () => {
      opened += 1;
    },
    {},
    { path: `/tmp/${"a".repeat(250)}/${"b".repeat(250)}.json` },
  );
  await assert.rejects(session, { code: "storage_failed" });
  const own = world(t);
  const server = await scripted(t, {});
  const path = join(own.home, `${"a".repeat(250)}.json`);
  const device = loginWithDevice({
    issuer: server.url,
    path,
    onPrompt: () => {
      opened += 1;
    },
    runtime: own.runtime,
  });
  await assert.rejects(device, { code: "storage_failed", message: /cannot be written/ });
  assert.equal(opened, 0);
  assert.deepEqual(
    [...seen, ...server.seen].map(({ method }) => method),
    ["GET", "GET"],
  );
});

test("each folder that a login creates is for its user only", async (t) => {
  const before = process.umask(0);
  t.after(() => process.umask(before));
  const { home } = world(t);
  const { session } = await login(
    t,
    ({ callback }) => fetch(callback),
    {},
    { path: join(home, "a", "b", "default.json") },
  );
  await session;
  for (const path of ["a", "a/b"]) assert.equal(modeOf(join(home, path)), 0o700);
  assert.deepEqual(
    readdirSync(join(home, "a", "b"))
      .sort()
      .map((name) => [name, modeOf(join(home, "a", "b", name))]),
    [
      ["default.json", 0o600],
      ["default.lock", 0o600],
    ],
  );
});

test("what controls a terminal is not shown to the user", async (t) => {
  const good = {
    device_code: "d",
    user_code: "ABCD",
    verification_uri: "https://auth.example.com/device",
    expires_in: 60,
  };
  for (const member of ["user_code", "verification_uri", "verification_uri_complete"]) {
    for (const character of ["\u001b[2J", "\n", "\u009b", "\u202e"]) {
      const server = await scripted(t, {
        "/device": () => ({ body: { ...good, [member]: `https://auth.example.com/${character}` } }),
      });
      const shown: unknown[] = [];
      const result = loginWithDevice({
        issuer: server.url,
        onPrompt: (prompt) => void shown.push(prompt),
        runtime: world(t).runtime,
      });
      await assert.rejects(
        result,
        (error: Error & { code: string }) =>
          error.code === "invalid_response" && !error.message.includes(character),
      );
      assert.deepEqual(shown, []);
    }
  }
});

test("an error of the callback is shown without control characters and long words", async (t) => {
  const { session } = await login(t, ({ callback }) => {
    callback.searchParams.delete("code");
    callback.searchParams.set("error", "access_denied");
    callback.searchParams.set("error_description", `Not\u001b[2J allowed ${"x".repeat(61)}`);
    return fetch(callback);
  });
  await assert.rejects(session, {
    code: "access_denied",
    message: /answered access_denied\. Not\[2J allowed …$/,
  });
});
