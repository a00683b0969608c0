// Sessions over a real provider: one renewal, whatever the concurrency and whoever dies.
import assert from "node:assert/strict";
import test from "node:test";
import { openProvider, signIn } from "./provider.mjs";
import { configFile, folder, freePort, pause, secretFile, signInAs, start, whoami } from "./postern.mjs";

const PARALLEL = 50;
const LIFE_S = 8; // of an access token; from the half of it on it is due
const LEASE_S = 15;

/** Two programs over one store, as two sandboxes are; somebody is signed in. */
async function deployment(t) {
  const issuer = `http://127.0.0.1:${await freePort()}`;
  const provider = await openProvider({ postern: issuer, accessTokenLifeS: LIFE_S });
  t.after(() => provider.close());
  const data = folder(t);
  const variables = { POSTERN_ISSUER: issuer, POSTERN_SECRET_FILE: secretFile(data) };
  const config = configFile(data, signIn(provider));
  const store = await start(t, ["store", "--listen", "127.0.0.1:0", "--data", ":memory:"]);
  const listen = new URL(issuer).host;
  const sandbox = (at) => start(t, ["serve", "--listen", at, "--data", ":memory:", "--config", config, "--store", store.ready.store_url], variables);
  const one = await sandbox(listen);
  const other = await sandbox("127.0.0.1:0");
  const session = await signInAs(issuer, "ada");
  return { provider, one, other, session, urls: [one.ready.url, other.ready.url] };
}

async function allGoOn({ urls, session }) {
  const requests = Array.from({ length: PARALLEL }, (_, at) => whoami(urls[at % urls.length], session));
  const answers = await Promise.all(requests);
  assert.deepEqual(answers.map((answer) => answer.status), Array(PARALLEL).fill(200));
  assert.equal(answers[0].body.user_id, "ada");
}

test("fifty parallel requests to two sandboxes renew once, and nobody is signed out", async (t) => {
  const it = await deployment(t);
  await allGoOn(it);
  assert.equal(it.provider.seen.renewals, 0);
  for (const round of [1, 2, 3]) {
    await pause((LIFE_S / 2) * 1000 + 200);
    await allGoOn(it);
    assert.deepEqual(it.provider.seen, { renewals: round, renewed: round, refused: [] });
  }
});

test("a process that is killed with the lease, before it was heard, leaves the renewal to the next", async (t) => {
  const it = await deployment(t);
  await pause((LIFE_S / 2) * 1000 + 200);
  const held = it.provider.hold("before");
  const lost = whoami(it.urls[0], it.session).catch(() => "killed");
  await held.reached;
  await it.one.kill();
  assert.equal(await lost, "killed");
  held.release(false);

  const survivor = { ...it, urls: [it.urls[1]] };
  await allGoOn(survivor);
  assert.equal(it.provider.seen.renewals, 0, "while the lease lasts nobody else asks");
  await pause(LEASE_S * 1000 + 200);
  await allGoOn(survivor);
  assert.deepEqual(it.provider.seen, { renewals: 1, renewed: 1, refused: [] });
  await pause((LIFE_S / 2) * 1000 + 200);
  await allGoOn(survivor);
  assert.deepEqual(it.provider.seen, { renewals: 2, renewed: 2, refused: [] });
});

test("one that is killed after the provider has rotated signs nobody out either", async (t) => {
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
  await allGoOn(survivor);
  await pause(LEASE_S * 1000 + 200);
  await allGoOn(survivor);
  // To the provider the old token is theft now, and the grant is over; to the person nothing has happened.
  assert.deepEqual(it.provider.seen, { renewals: 2, renewed: 1, refused: ["invalid_grant"] });
  await pause(LIFE_S * 1000);
  await allGoOn(survivor);
  assert.equal(it.provider.seen.renewals, 2);
});

test("a grant that the provider has ended ends the session", async (t) => {
  const it = await deployment(t);
  await it.provider.endGrants();
  await allGoOn(it);
  await pause((LIFE_S / 2) * 1000 + 200);
  const asked = await whoami(it.urls[0], it.session);
  assert.deepEqual([asked.status, asked.body.error], [401, "session_expired"]);
  assert.equal((await whoami(it.urls[1], it.session)).status, 401);
  assert.deepEqual(it.provider.seen, { renewals: 1, renewed: 0, refused: ["invalid_grant"] });
});

test("a provider that is away ends nothing", async (t) => {
  const it = await deployment(t);
  it.provider.close();
  await pause(LIFE_S * 1000 + 200);
  await allGoOn(it);
});
