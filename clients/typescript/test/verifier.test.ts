// The verifier of an API: which keys it uses, what it does while they cannot be fetched, and which
// tokens it refuses.
import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import {
  SignJWT,
  exportJWK,
  generateKeyPair,
  type CryptoKey,
  type JWTHeaderParameters,
} from "jose";
import { matches } from "../src/mcp.js";
import { Verifier, type VerifierOptions } from "../src/server.js";
import { METADATA, scripted, world, type Script } from "./world.js";

const AUDIENCE = "https://api.example.com/orders";

async function key(kid: string, alg = "ES256") {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } };
}

type Key = Awaited<ReturnType<typeof key>>;

/** An issuer with keys that a test replaces, and a verifier of its tokens. */
async function api(
  t: TestContext,
  script: Record<string, Script> = {},
  options: Partial<VerifierOptions> = {},
) {
  const own = world(t);
  const first = await key("first");
  const state = { keys: [first] };
  const failures: Error[] = [];
  const server = await scripted(t, {
    "/jwks": () => ({ body: { keys: state.keys.map(({ jwk }) => jwk) } }),
    ...script,
  });
  const verifier = new Verifier({
    issuer: server.url,
    audience: AUDIENCE,
    onFailure: (error) => failures.push(error),
    runtime: own.runtime,
    ...options,
  });
  const sign = (
    signer: Key,
    claims: Record<string, unknown> = {},
    header: Partial<JWTHeaderParameters> = {},
    secret: CryptoKey | Uint8Array = signer.privateKey,
  ) => {
    const now = Math.floor((own.runtime.now as () => number)() / 1000);
    const all = {
      iss: server.url,
      aud: AUDIENCE,
      sub: "usr_1",
      scope: "orders:read",
      iat: now,
      exp: now + 3600,
      ...claims,
    };
    const present = Object.fromEntries(
      Object.entries(all).filter(([, value]) => value !== undefined),
    );
    return new SignJWT(present)
      .setProtectedHeader({ alg: signer.alg, typ: "at+jwt", kid: signer.kid, ...header })
      .sign(secret);
  };
  /** The outcome of a token: the user, or the status of the refusal. */
  const verify = async (token: string) =>
    verifier.verify({ authorization: `Bearer ${token}` }).then(
      ({ userId }) => userId,
      (error: { status: number }) => error.status,
    );
  return { ...own, ...server, state, first, failures, verifier, sign, verify };
}

test("while the keys cannot be fetched, made-up tokens cause one request in five seconds", async (t) => {
  const { verify, sign, advance, count, failures } = await api(t, {
    "/jwks": () => ({ status: 503 }),
  });
  const stranger = await key("stranger");
  const made = await Promise.all(
    Array.from({ length: 20 }, (_, at) => sign(stranger, {}, { kid: `kid-${at}` })),
  );
  assert.deepEqual(new Set(await Promise.all(made.map(verify))), new Set([503]));
  for (const token of made) assert.equal(await verify(token), 503);
  assert.deepEqual([count("/jwks"), count(METADATA), failures.length], [1, 1, 40]);
  advance(5.1);
  assert.equal(await verify(made[0] ?? ""), 503);
  assert.equal(count("/jwks"), 2);
});

test("while the metadata cannot be fetched, there is one attempt in five seconds", async (t) => {
  const { verify, sign, first, advance, count } = await api(
    t,
    { [METADATA]: () => ({ status: 503 }) },
    { introspection: { clientSecret: "s" } },
  );
  const token = await sign(first);
  assert.deepEqual(
    new Set(await Promise.all([token, token, "opaque"].map(verify))),
    new Set([503]),
  );
  assert.equal(count(METADATA), 1);
  advance(5.1);
  assert.equal(await verify(token), 503);
  assert.equal(count(METADATA), 2);
});

test("a failure for an unknown key does not affect the tokens of known ones", async (t) => {
  let isDown = false;
  const { verify, sign, first, state, advance } = await api(t, {
    "/jwks": () =>
      isDown ? { status: 503 } : { body: { keys: state.keys.map(({ jwk }) => jwk) } },
  });
  const token = await sign(first);
  assert.equal(await verify(token), "usr_1");
  isDown = true;
  advance(61);
  assert.equal(await verify(await sign(await key("unknown"))), 503);
  assert.equal(await verify(token), "usr_1");
});

test("a new key is accepted a minute after the last fetch", async (t) => {
  const { verify, sign, first, state, advance, count } = await api(t);
  await verify(await sign(first));
  const second = await key("second");
  state.keys = [first, second];
  assert.equal(await verify(await sign(second)), 401);
  advance(59);
  assert.equal(await verify(await sign(second)), 401);
  assert.equal(count("/jwks"), 1);
  advance(2);
  assert.equal(await verify(await sign(second)), "usr_1");
  assert.equal(count("/jwks"), 2);
});

test("a removed key is refused after five minutes, also if the clock is set back", async (t) => {
  const { verify, sign, first, state, advance } = await api(t);
  const token = await sign(first);
  assert.equal(await verify(token), "usr_1");
  state.keys = [await key("second")];
  advance(299);
  assert.equal(await verify(token), "usr_1");
  advance(-298);
  advance(2);
  assert.equal(await verify(token), 401);
});

test("keys that are not a key set are our failure", async (t) => {
  for (const body of [[], {}, { keys: {} }, "text"]) {
    const { verify, sign, first } = await api(t, { "/jwks": () => ({ body }) });
    assert.equal(await verify(await sign(first)), 503, JSON.stringify(body));
  }
});

test("a token that differs in one claim or header is refused", async (t) => {
  const { verify, sign, first, url, runtime } = await api(t);
  const now = Math.floor((runtime.now as () => number)() / 1000);
  assert.equal(await verify(await sign(first)), "usr_1");
  assert.equal(
    await verify(
      await sign(first, { aud: ["https://other.example.com", AUDIENCE] }, { typ: "AT+JWT" }),
    ),
    "usr_1",
  );
  assert.equal(
    await verify(await sign(first, { iat: now + 20, nbf: now + 20, exp: now - 20 })),
    "usr_1",
  );
  const claims: Record<string, unknown>[] = [
    { iss: undefined },
    { iss: `${url}/` },
    { iss: [url] },
    { aud: undefined },
    { aud: [] },
    { aud: "https://other.example.com" },
    { aud: `${AUDIENCE}/` },
    { sub: undefined },
    { sub: "" },
    { sub: 1 },
    { exp: undefined },
    { exp: now - 31 },
    { exp: "2100-01-01" },
    { iat: undefined },
    { iat: now + 40 },
    { iat: "now" },
    { nbf: now + 40 },
    { nbf: "now" },
    { cnf: { jkt: "thumbprint" } },
    { cnf: null },
  ];
  for (const changes of claims)
    assert.equal(await verify(await sign(first, changes)), 401, JSON.stringify(changes));
  for (const header of [
    { typ: "JWT" },
    { typ: undefined },
    { typ: "application/jwt" },
    { kid: "unknown" },
  ]) {
    assert.equal(
      await verify(await sign(first, {}, header as Partial<JWTHeaderParameters>)),
      401,
      JSON.stringify(header),
    );
  }
  assert.equal(await verify(await sign(await key("first"))), 401);
  const [head = "", body = "", signature = ""] = (await sign(first)).split(".");
  const headed = (members: object) =>
    [Buffer.from(JSON.stringify(members)).toString("base64url"), body, signature].join(".");
  for (const token of [
    headed({ alg: "none", typ: "at+jwt" }),
    headed({ alg: "ES256", typ: "at+jwt", kid: "first", crit: ["exp"], exp: 1 }),
    headed({ alg: "HS256", typ: "at+jwt", kid: "first" }),
    `${head}.${body}.`,
    `${head}.${body}`,
    `${head}.${body}.${signature.slice(1)}A`,
  ])
    assert.equal(await verify(token), 401, token);
});

test("a token of another algorithm is refused, also with a key of the issuer", async (t) => {
  const { verify, sign, first, state } = await api(t);
  const other = await key("other", "ES384");
  state.keys = [first, other];
  assert.equal(await verify(await sign(other)), 401);
  const secret = new TextEncoder().encode(JSON.stringify(first.jwk));
  assert.equal(await verify(await sign(first, {}, { alg: "HS256" }, secret)), 401);
});

test("two keys with one name are refused", async (t) => {
  const { verify, sign, first, state } = await api(t);
  state.keys = [first, await key("first")];
  assert.equal(await verify(await sign(first)), 401);
});

test("what an introspection says is only accepted for this API and of this issuer", async (t) => {
  const active = { active: true, sub: "key_1", token_type: "Bearer", scope: "orders:read" };
  const cases: [Record<string, unknown>, string | number][] = [
    [{}, "key_1"],
    [{ aud: AUDIENCE }, "key_1"],
    [{ aud: ["https://other.example.com", AUDIENCE] }, "key_1"],
    [{ aud: "https://other.example.com" }, 401],
    [{ aud: [] }, 401],
    [{ aud: "" }, 401],
    [{ iss: "https://other.example.com" }, 401],
    [{ iss: "" }, 401],
    [{ sub: "" }, 401],
    [{ sub: 1 }, 401],
    [{ token_type: "DPoP" }, 401],
    [{ token_type: undefined }, 401],
    [{ cnf: {} }, 401],
    [{ active: false }, 401],
    [{ active: "true" }, 503],
  ];
  for (const [members, expected] of cases) {
    const { verify, url } = await api(
      t,
      { "/introspect": () => ({ body: { ...active, ...members } }) },
      { introspection: { clientSecret: "s" } },
    );
    assert.equal(await verify("opaque"), expected, `${JSON.stringify(members)} at ${url}`);
  }
  const own = await api(
    t,
    { "/introspect": () => ({ body: { ...active, iss: own.url } }) },
    { introspection: { apiKey: "key" } },
  );
  assert.equal(await own.verify("opaque"), "key_1");
  assert.equal(own.seen.at(-1)?.headers.authorization, "Bearer key");
  assert.deepEqual(own.seen.at(-1)?.form, { token: "opaque", resource: AUDIENCE });
});

test("with an organization, only its callers are accepted", async (t) => {
  const active = { active: true, sub: "usr_1", token_type: "Bearer" };
  const cases: [unknown, string | number][] = [
    ["org_1", "usr_1"],
    ["org_2", 401],
    ["org_1 ", 401],
    ["ORG_1", 401],
    ["", 401],
    [["org_1"], 401],
    [null, 401],
    [undefined, 401],
  ];
  for (const [organization, expected] of cases) {
    const { sign, first, verify } = await api(
      t,
      { "/introspect": () => ({ body: { ...active, org_id: organization } }) },
      { introspection: { clientSecret: "s" }, organization: "org_1" },
    );
    for (const token of [await sign(first, { org_id: organization }), "opaque"])
      assert.equal(await verify(token), expected, JSON.stringify(organization));
  }
});

test("the actor is the agent that acts for the user", async (t) => {
  const active = { active: true, sub: "usr_1", token_type: "Bearer" };
  const acts: [unknown, string | undefined][] = [
    [{ sub: "agt_2", act: { sub: "agt_1" } }, "agt_2"],
    [{ sub: 1 }, undefined],
    [{}, undefined],
    ["agt_1", undefined],
    [null, undefined],
  ];
  for (const [act, expected] of acts) {
    const { sign, first, verifier } = await api(
      t,
      { "/introspect": () => ({ body: { ...active, act } }) },
      { introspection: { clientSecret: "s" } },
    );
    for (const token of [await sign(first, { act }), "opaque"]) {
      assert.equal(
        (await verifier.verify({ authorization: `Bearer ${token}` })).actor,
        expected,
        JSON.stringify(act),
      );
    }
  }
});

test("options with which every credential would be refused are errors", () => {
  const good = { issuer: "https://auth.example.com", audience: AUDIENCE };
  assert.ok(new Verifier({ ...good, algorithms: ["ES256", "RS256"] }));
  for (const changes of [
    { audience: "" },
    { organization: "" },
    { algorithms: [] },
    { algorithms: ["HS256"] },
    { algorithms: ["none"] },
    { algorithms: ["ES256", "es256"] },
    { introspectJwts: true },
    { introspection: { clientSecret: "" } },
    { introspection: { apiKey: "" } },
  ])
    assert.throws(() => new Verifier({ ...good, ...changes }), TypeError, JSON.stringify(changes));
  for (const issuer of [
    "http://auth.example.com",
    "auth.example.com",
    "http://auth.localhost",
    "http://127.0.0.2",
  ]) {
    assert.throws(() => new Verifier({ ...good, issuer }), { code: "insecure_issuer" });
  }
});

test("a pattern matches as its parts say", () => {
  const cases: [string, string, boolean][] = [
    ["a", "a", true],
    ["a", "ab", false],
    ["", "", true],
    ["", "a", false],
    ["*", "", true],
    ["*", "any\n.thing", true],
    ["a*", "a", true],
    ["a*", "ba", false],
    ["*a", "ba", true],
    ["*a", "ab", false],
    ["a*a", "a", false],
    ["a*a", "aa", true],
    ["a*b*c", "a-b-c", true],
    ["a*b*c", "a-c-b", false],
    ["a*b*c", "abcb", false],
    ["*b*", "abc", true],
    ["**", "a", true],
    ["a**c", "abc", true],
    ["*ab*ab*", "abab", true],
    ["*ab*ab*", "aba", false],
    ["a.c", "abc", false],
    ["[a]*", "a", false],
    ["delete_*", "Delete_x", false],
    ["*ab", "aab", true],
    ["a*bc*bc", "abcbc", true],
    ["a*bc*bc", "abc", false],
  ];
  for (const [pattern, name, expected] of cases)
    assert.equal(matches(pattern, name), expected, `${pattern} ${name}`);
});

test("a long name is matched in no time", () => {
  const begin = performance.now();
  for (const pattern of ["*a*b*", "*a*b*c*", "*a*a*b*", "a*a*a*a*a*b"])
    assert.equal(matches(pattern, "a".repeat(1 << 20)), false);
  assert.ok(performance.now() - begin < 500);
});
