// Keys that @better-auth/api-key has minted keep working at Postern, of which only the stored hashes are imported.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { promisify } from "node:util";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { configFile, folder, start } from "./postern.mjs";

const FORMS = `
[[import]]
prefix = "acme_"
length = 69

[[import]]
length = 64
`;

/** Mints keys as an app with better-auth does; returns them, and the rows of its table. */
async function mint(names, options) {
  const tables = { user: [], session: [], account: [], verification: [], apikey: [] };
  const auth = betterAuth({
    secret: "a secret of the tests that is long enough", baseURL: "http://127.0.0.1:1", database: memoryAdapter(tables),
    emailAndPassword: { enabled: true }, telemetry: { enabled: false }, logger: { disabled: true }, plugins: [apiKey(options)],
  });
  const { user } = await auth.api.signUpEmail({ body: { name: "Ada", email: "ada@example.com", password: "correct horse battery" } });
  const keys = [];
  for (const name of names) keys.push((await auth.api.createApiKey({ body: { name, userId: user.id } })).key);
  return { keys, rows: tables.apikey };
}

/** The line of a row of better-auth, as docs/migrating.md maps it. */
const line = ({ key, prefix, name }) => ({ sha256: key, prefix: prefix ?? "", name, scopes: ["scans:read"] });

async function whoami(url, key) {
  const answer = await fetch(`${url}/v1/auth/whoami`, { headers: { "X-API-Key": key } });
  return { status: answer.status, body: await answer.json() };
}

test("keys of better-auth open Postern once their stored hashes are imported", async (t) => {
  const home = folder(t);
  const { ready } = await start(t, ["serve", "--listen", "127.0.0.1:0", "--data", ":memory:", "--config", configFile(home, FORMS)]);
  const { url, operator_key: operator, organization_id: organization } = ready;
  const prefixed = await mint(["ci", "deploy"], { defaultPrefix: "acme_" });
  const bare = await mint(["old"], {});
  const keys = [...prefixed.keys, ...bare.keys];
  for (const key of keys) assert.equal((await whoami(url, key)).status, 401);

  const file = join(home, "keys.jsonl");
  const rows = [...prefixed.rows, ...bare.rows];
  writeFileSync(file, rows.map((row) => `${JSON.stringify(line(row))}\n`).join(""));
  const env = { PATH: process.env.PATH, HOME: home, POSTERN_ISSUER: url, POSTERN_API_KEY: operator };
  const imported = await promisify(execFile)(process.env.POSTERN_CLI, ["keys", "import", file, "--organization", organization, "--json"], { env });
  assert.deepEqual(JSON.parse(imported.stdout).map(({ outcome }) => outcome), ["imported", "imported", "imported"]);

  for (const [at, key] of keys.entries()) {
    const { status, body } = await whoami(url, key);
    assert.equal(status, 200);
    assert.deepEqual([body.org_id, body.scopes, body.metadata.name], [organization, ["scans:read"], rows[at].name]);
  }
  // Another key of the same app was never imported.
  const [stranger] = (await mint(["other"], { defaultPrefix: "acme_" })).keys;
  assert.equal((await whoami(url, stranger)).status, 401);
});
