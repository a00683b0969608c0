// Sessions with a real identity provider: tokens are renewed once, whatever the concurrency and crashes.
import assert from "node:assert/strict";
import test from "node:test";
import { openProvider, signIn } from "./provider.mjs";
import { configFile, folder, freePort, pause, secretFile, signInAs, start, whoami } from "./postern.mjs";

const PARALLEL = 50;
const LIFE_S = 8; // of an access token; renewal is due after half of it
const LEASE_S = 15;

/** Starts two programs with one store, like two execution environments, and signs a user in. */
async function deployment(t) {
  const issuer = `http://127.0.0.1:${await freePort()}`;
  const provider = await openProvider({ postern: issuer, accessTokenLifeS: LIFE_S });
  t.after(() => provider.close());
  const data = folder(t);
  const variables = { POSTERN_ISSUER: issuer, POSTERN_SECRET_FILE: secretFile(data) };
  const config = configFile(data, signIn(provider));
  const store = await start(t, ["store", "--listen", "127.0.0.1:0", "--data", ":memory:"]);
  const listen = new URL(issuer).host;
  const access = { AWS_ACCESS_KEY_ID: store.ready.store_access_key_id, AWS_SECRET_ACCESS_KEY: "any" };
  const environment = (at) => start(t, ["serve", "--listen", at, "--data", ":memory:", "--config", config, "--store", store.ready.store_url], { ...variables, ...access });
  const one = await environment(listen);
  const other = await environment("127.0.0.1:0");
  const session = await signInAs(issuer, "ada");
  return { provider, one, other, session, urls: [one.ready.url, other.ready.url] };
}

async function allSucceed({ urls, session }) {
  const requests = Array.from({ length: PARALLEL }, (_, at) => whoami(urls[at % urls.length], session));
  const answers = await Promise.all(requests);
  assert.deepEqual(answers.map((answer) => answer.status), Array(PARALLEL).fill(200));
  assert.equal(answers[0].body.user_id, "ada");
}

test("fifty parallel requests to two environments renew once and stay signed in", async (t) => {
  const it = await deployment(t);
  await allSucceed(it);
  assert.equal(it.provider.seen.renewals, 0);
  for (const round of [1, 2, 3]) {
    await pause((LIFE_S / 2) * 1000 + 200);
    await allSucceed(it);
    assert.deepEqual(it.provider.seen, { renewals: round, renewed: round, refused: [] });
  }
});

test("a process killed before its request was handled leaves the renewal to the next", async (t) => {
  const it = await deployment(t);
  await pause((LIFE_S / 2) * 1000 + 200);
  const held = it.provider.hold("before");
  const lost = whoami(it.urls[0], it.session).catch(() => "killed");
  await held.reached;
  await it.one.kill();
  assert.equal(await lost, "killed");
  held.release(false);

  const survivor = { ...it, urls: [it.urls[1]] };
  await allSucceed(survivor);
  assert.equal(it.provider.seen.renewals, 0, "no other request is sent while the lease is valid");
  await pause(LEASE_S * 1000 + 200);
  await allSucceed(survivor);
  assert.deepEqual(it.provider.seen, { renewals: 1, renewed: 1, refused: [] });
  await pause((LIFE_S / 2) * 1000 + 200);
  await allSucceed(survivor);
  assert.deepEqual(it.provider.seen, { renewals: 2, renewed: 2, refused: [] });
});

test("a process killed after the provider rotated the token signs nobody out", async (t) => {
  const it = await deployment(t);
  await pause((LIFE_S / 2) * 1000 + 200);
  const held = it.provider.hold("after");
  const lost = whoami(it.urls[0], it.session).catch(() => "killed");
  await held.reached;
  await it.one.kill();
  assert.equal(await lost, "killed");
  held.release();
  assert.deepEqual(it.provider.seen, { renewals: 1, renewed: 1, refused: [] });

  const survivor = { ...it, urls: [it.urls[1]] };
  await allSucceed(survivor);
  await pause(LEASE_S * 1000 + 200);
  await allSucceed(survivor);
  // To the provider the old token is reuse, so it revokes the grant; the user notices nothing.
  assert.deepEqual(it.provider.seen, { renewals: 2, renewed: 1, refused: ["invalid_grant"] });
  await pause(LIFE_S * 1000);
  await allSucceed(survivor);
  assert.equal(it.provider.seen.renewals, 2);
});

test("a grant revoked by the provider ends the session", async (t) => {
  const it = await deployment(t);
  await it.provider.endGrants();
  await allSucceed(it);
  await pause((LIFE_S / 2) * 1000 + 200);
  const asked = await whoami(it.urls[0], it.session);
  assert.deepEqual([asked.status, asked.body.error], [401, "session_expired"]);
  assert.equal((await whoami(it.urls[1], it.session)).status, 401);
  assert.deepEqual(it.provider.seen, { renewals: 1, renewed: 0, refused: ["invalid_grant"] });
});

test("an unreachable provider keeps the session", async (t) => {
  const it = await deployment(t);
  it.provider.close();
  await pause(LIFE_S * 1000 + 200);
  await allSucceed(it);
});
