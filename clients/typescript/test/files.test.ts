// The file of a session: whose refresh token goes where, and what is refused before one is sent.
import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { tryLock } from "fs-native-extensions";
import { Session, type PosternError } from "../src/index.js";
import { METADATA, scripted, tokens, world, writeSession, type Script } from "./world.js";

/** A session whose token has expired, at a server that issues tokens one after the other. */
async function stored(t: TestContext, script: Record<string, Script> = {}) {
  const own = world(t);
  const server = await scripted(t, {
    "/token": (_, count) => tokens(`a${count}`, { refresh_token: `rt${count}` }),
    ...script,
  });
  writeSession(own.file, server.url);
  const open = (changes = {}) => Session.open({ runtime: { ...own.runtime, ...changes } });
  return {
    ...own,
    ...server,
    open,
    session: await open(),
    lock: join(own.home, "sessions", "default.lock"),
  };
}

/** Another issuer, to which the same profile logs in. */
const other = (t: TestContext) => scripted(t, { "/token": () => tokens("b") });

const refreshes = (server: { seen: { form: Record<string, string> }[] }) =>
  server.seen.map(({ form }) => form["refresh_token"]).filter(Boolean);

test("a login at another issuer while the lock is awaited keeps its refresh token there", async (t) => {
  const here = await stored(t);
  const there = await other(t);
  const holder = openSync(here.lock, "a+");
  assert.ok(tryLock(holder));
  const session = await here.open({
    sleep: async (ms: number) => {
      here.advance(ms / 1000);
      writeSession(here.file, there.url, { client_id: "other", refresh_token: "rtB" });
      release(holder);
    },
  });
  assert.equal((await session.accessToken()).value, "b");
  assert.deepEqual([refreshes(here), refreshes(there)], [[], ["rtB"]]);
  assert.deepEqual(there.seen.at(-1)?.form["client_id"], "other");
});

test("a login at another issuer during a refusal keeps its refresh token there", async (t) => {
  const there = await other(t);
  const here = await stored(t, {
    "/token": () => {
      writeSession(here.file, there.url, { refresh_token: "rtB" });
      return { status: 400, body: { error: "invalid_grant" } };
    },
  });
  assert.equal((await here.session.accessToken()).value, "b");
  assert.deepEqual([refreshes(here), refreshes(there)], [["rt"], ["rtB"]]);
});

test("logins that keep replacing the session end the renewal", async (t) => {
  const here = await stored(t);
  const issuers = [await other(t), await other(t)];
  const script: Script = (_, count) => {
    writeSession(here.file, issuers[count % 2]?.url ?? "", { client_id: `c${count}` });
    return { status: 400, body: { error: "invalid_grant" } };
  };
  const moving = await scripted(t, { "/token": script });
  writeSession(here.file, moving.url);
  await here.session.accessToken();
  let count = 0;
  const session = await here.open({
    fetch: async (url: string, init: RequestInit) => {
      if (url.includes("well-known"))
        writeSession(here.file, here.url, { client_id: `c${count++}` });
      return fetch(url, init);
    },
  });
  writeSession(here.file, here.url);
  await assert.rejects(session.accessToken(), {
    code: "login_required",
    message: /keep replacing/,
  });
  assert.deepEqual([count, refreshes(here)], [3, []]);
});

test("a logout sends the tokens of a session to its own issuer only", async (t) => {
  const here = await stored(t);
  const there = await other(t);
  writeSession(here.file, there.url, { refresh_token: "rtB" });
  assert.deepEqual(await here.session.logout(), { revoked: true });
  assert.deepEqual(
    [here.count("/revoke"), there.seen.at(-1)?.form],
    [0, { client_id: "tool", token: "rtB" }],
  );
});

test("a login at another issuer during a logout is logged out there", async (t) => {
  const here = await stored(t);
  const there = await other(t);
  const session = await here.open({
    fetch: async (url: string, init: RequestInit) => {
      if (url.startsWith(here.url)) writeSession(here.file, there.url, { refresh_token: "rtB" });
      return fetch(url, init);
    },
  });
  assert.deepEqual(await session.logout(), { revoked: true });
  assert.deepEqual(
    [here.count("/revoke"), there.count("/revoke"), there.seen.at(-1)?.form["token"]],
    [0, 1, "rtB"],
  );
  assert.throws(() => readFileSync(here.file));
});

test("a file that cannot be deleted is named, and whether the session has ended", async (t) => {
  for (const [status, hasEnded] of [
    [200, true],
    [400, false],
  ] as const) {
    const here = await stored(t, {
      "/revoke": () => {
        rmSync(here.file);
        mkdirSync(here.file);
        return { status };
      },
    });
    await assert.rejects(here.session.logout(), ({ code, message }: PosternError) => {
      assert.deepEqual([code, message.includes(here.file)], ["storage_failed", true]);
      return message.startsWith("The server has ended the session. ") === hasEnded;
    });
  }
});

test("no refresh token is sent if the session cannot be written", async (t) => {
  const { home, url, runtime, count } = await stored(t);
  const file = join(home, "sessions", `${"a".repeat(250)}.json`);
  writeSession(file, url);
  await assert.rejects((await Session.open({ path: file, runtime })).accessToken(), {
    code: "storage_failed",
    message: /cannot be written/,
  });
  assert.equal(count("/token"), 0);
});

test("a file or folder that others can change is refused with the command to run", async (t) => {
  for (const [path, mode] of [
    ["sessions", 0o770],
    ["sessions", 0o702],
    ["sessions/default.json", 0o620],
    ["sessions/default.json", 0o602],
  ] as const) {
    const { home, session, seen } = await stored(t);
    chmodSync(join(home, path), mode);
    await assert.rejects(session.accessToken(), {
      code: "storage_failed",
      message: new RegExp(`chmod go-w '${join(home, path)}'`),
    });
    assert.deepEqual(seen, []);
  }
});

test(
  "a file or folder of another user is refused",
  { skip: process.getuid?.() !== 0 },
  async (t) => {
    for (const path of ["sessions", "sessions/default.json"]) {
      const { home, session, seen } = await stored(t);
      chownSync(join(home, path), 1234, 1234);
      await assert.rejects(session.accessToken(), {
        code: "storage_failed",
        message: new RegExp(`${join(home, path)} belongs to another user`),
      });
      assert.deepEqual(seen, []);
    }
  },
);

test(
  "a file that cannot be read is not called invalid",
  { skip: process.getuid?.() === 0 },
  async (t) => {
    const { file, session } = await stored(t);
    chmodSync(file, 0o000);
    await assert.rejects(session.accessToken(), {
      code: "storage_failed",
      message: /cannot be read/,
    });
  },
);

test("a path must end in .json, as its lock is named after it", async (t) => {
  const { home, runtime } = world(t);
  await assert.rejects(Session.open({ path: join(home, "session.txt"), runtime }), {
    code: "session_invalid",
    message: /\.json/,
  });
});

test("metadata is fetched before the lock is taken", async (t) => {
  const here = await stored(t, {
    [METADATA]: () => {
      const file = openSync(here.lock, "a+");
      isFree = tryLock(file);
      release(file);
      return {
        body: {
          issuer: here.url,
          token_endpoint: `${here.url}/token`,
          revocation_endpoint: `${here.url}/revoke`,
        },
      };
    },
  });
  let isFree = false;
  await here.session.accessToken();
  assert.ok(isFree);
  isFree = false;
  await (await here.open()).logout();
  assert.ok(isFree);
});

test("waiting for the lock ends after 30 seconds, also if the clock is set back", async (t) => {
  const { lock, open, advance } = await stored(t);
  const holder = openSync(lock, "a+");
  assert.ok(tryLock(holder));
  let waited = 0;
  const session = await open({
    elapsed: () => waited,
    sleep: async (ms: number) => {
      waited += ms;
      advance(-60);
    },
  });
  await assert.rejects(session.accessToken(), { code: "lock_timeout" });
  assert.ok(waited >= 30_000 && waited < 31_000, `${waited}`);
  release(holder);
});

test("a file that cannot be understood is deleted by a logout, with a warning", async (t) => {
  const token = { value: "a", token_type: "Bearer", obtained_at: 1767225600 };
  for (const content of [
    "",
    "{",
    "[]",
    "\ufffd",
    JSON.stringify({ version: 2 }),
    JSON.stringify({ version: 1, access_tokens: [{ ...token, expires_at: 1e15 }] }),
  ]) {
    const { file, open, seen } = await stored(t);
    writeFileSync(file, content);
    const { revoked, warning } = await (await open()).logout();
    assert.deepEqual([revoked, seen, readdirSync(join(file, ".."))], [false, [], ["default.lock"]]);
    assert.match(warning ?? "", /could not be understood/);
  }
});

test("the warning of a logout names what the server may still accept", async (t) => {
  const token = { value: "a", obtained_at: 1767225600, expires_at: 1767229200 };
  const cases: [Record<string, unknown>, RegExp][] = [
    [
      { access_tokens: [token] },
      /accept its access tokens until 2026-01-01T01:00:00Z, and its refresh token until that expires\. /,
    ],
    [{ access_tokens: [] }, /accept its refresh token until that expires\. /],
    [
      { access_tokens: [token], refresh_token: null },
      /accept its access tokens until 2026-01-01T01:00:00Z\. /,
    ],
  ];
  for (const [members, expected] of cases) {
    const { file, url, session } = await stored(t, { "/revoke": () => ({ status: 503 }) });
    writeSession(file, url, members);
    const { revoked, warning } = await session.logout();
    assert.equal(revoked, false);
    assert.match(warning ?? "", expected);
  }
});

test("a logout says that the refresh token is in the keyring", async (t) => {
  const { file, url, session, seen } = await stored(t);
  writeSession(file, url, {
    refresh_token: undefined,
    storage: "keyring",
    access_tokens: [{ value: "a", obtained_at: 1, expires_at: 2 }],
  });
  const { revoked, warning } = await session.logout();
  assert.deepEqual([revoked, seen.at(-1)?.form["token"]], [false, "a"]);
  assert.match(warning ?? "", /keyring/);
});

test("a token of another type in the file is not used", async (t) => {
  const { file, url, session } = await stored(t);
  const token = {
    value: "bound",
    token_type: "DPoP",
    obtained_at: 1767225600,
    expires_at: 4102444800,
  };
  writeSession(file, url, { access_tokens: [token] });
  assert.equal((await session.accessToken()).value, "a1");
});

test("a scope that is not known is absent", async (t) => {
  const { file, session } = await stored(t);
  assert.equal((await session.accessToken()).scope, undefined);
  const {
    scope,
    access_tokens: [token],
  } = JSON.parse(readFileSync(file, "utf8"));
  assert.deepEqual([scope, token.granted_scope], [undefined, null]);
});

/** Closes a file, and so frees its lock. */
function release(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // It was closed before.
  }
}
