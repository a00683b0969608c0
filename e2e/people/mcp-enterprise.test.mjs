// Enterprise-managed authorization (SEP-990): an identity provider, at which a person has signed in to Postern, lets an MCP client act for them: an
// app with a key, or an agent with a secret.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import test, { after, before } from "node:test";
import { promisify } from "node:util";
import { exportJWK, exportPKCS8, generateKeyPair } from "jose";
import { startServer } from "./mcp-server.mjs";
import { configFile, folder, freePort, secretFile, signInAs, start, whoami } from "./postern.mjs";
import { openProvider, signIn } from "./provider.mjs";
import { json, openIssuer, serve } from "./workload-issuers.mjs";

const python = process.env.POSTERN_PYTHON;
if (!python) throw new Error("POSTERN_PYTHON must name an interpreter: run e2e/run people");
const ends = [];
const suite = { after: (end) => ends.push(end) };
let app, agent, privateKey, issuer, url, provider, keys, organization;

before(async () => {
  issuer = `http://127.0.0.1:${await freePort()}`;
  const listen = `127.0.0.1:${await freePort()}`;
  url = `http://${listen}/mcp`;
  provider = await openProvider({ postern: issuer });
  suite.after(() => provider.close());
  keys = await openIssuer(suite, "ES256");
  const pair = await generateKeyPair("ES256", { extractable: true });
  privateKey = await exportPKCS8(pair.privateKey);
  const jwks = { keys: [await exportJWK(pair.publicKey)] };
  app = `${await serve(suite, (request, response) => json(response, {
    client_id: app, client_name: "An app", redirect_uris: ["http://127.0.0.1/callback"], token_endpoint_auth_method: "private_key_jwt", jwks,
  }))}/app`;
  const data = folder(suite);
  const secrets = { POSTERN_SECRET_FILE: secretFile(data) };
  agent = await createAgent(data, secrets);
  const config = configFile(data, `
    [clients]
    metadata_documents = ["127.0.0.1"]
    ${signIn(provider)}
    subject_prefix = "idp|"

    [[trust]]
    name = "enterprise"
    kind = "id_jag"
    issuer = "${provider.url}"
    jwks_url = "${keys.url}/jwks"
    audience = "${issuer}"
    match = { client_id = ["${app}", "${agent.id}"] }
    subject_prefix = "idp|"
    scopes = ["scans:read"]
    resource = "${url}"

    [[resource]]
    uri = "${url}"
    name = "Scanner tools"
    scopes = ["scans:read"]
    mcp = true

    [[route]]
    method = "*"
    path = "/mcp"
    scopes = ["scans:read"]`);
  const upstream = await startServer(suite);
  const args = ["--listen", listen, "--postern-listen", new URL(issuer).host, "--data", data, "--config", config];
  await start(suite, ["protect", "--mcp", upstream, ...args], secrets);
  const { body } = await whoami(issuer, await signInAs(issuer, "ada"));
  assert.equal(body.user_id, "idp|ada");
  organization = body.org_id;
});

after(async () => { for (const end of ends.reverse()) await end(); });

/** Creates an agent, which the rule has to name, in the data folder of the deployment. The issuer of tokens stays that of this first start. */
async function createAgent(data, secrets) {
  const { ready, kill } = await start(suite, ["serve", "--listen", new URL(issuer).host, "--data", data], secrets);
  const response = await fetch(`${ready.url}/v1/agents`, {
    method: "POST", headers: { "x-api-key": ready.api_key, "content-type": "application/json" }, body: JSON.stringify({ name: "assistant", scopes: ["scans:read"] }),
  });
  assert.equal(response.status, 201);
  const created = await response.json();
  await kill();
  return created;
}

/** Signs an identity assertion for what was requested, with these changes. */
function sign({ audience, resource }, { typ = "oauth-id-jag+jwt", ...changes } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const subject = { iss: provider.url, sub: "ada", aud: audience, resource, client_id: app, scope: "scans:read" };
  return keys.sign({ ...subject, jti: crypto.randomUUID(), iat: now, exp: now + 300, ...changes }, { typ });
}

/** Opens the token endpoint of the identity provider, which exchanges the ID token of ada for an identity assertion. */
async function openIdp(t, changes) {
  const idToken = await keys.sign({ iss: provider.url, sub: "ada", aud: "the client at the identity provider" });
  const endpoint = await serve(t, async (request, response) => {
    const asked = Object.fromEntries(new URLSearchParams(Buffer.concat(await request.toArray()).toString()));
    assert.deepEqual(asked, {
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange", requested_token_type: "urn:ietf:params:oauth:token-type:id-jag",
      audience: issuer, resource: url, subject_token: idToken, subject_token_type: "urn:ietf:params:oauth:token-type:id_token", client_id: "client",
    });
    json(response, { access_token: await sign(asked, changes), issued_token_type: asked.requested_token_type, token_type: "N_A", expires_in: 300 });
  });
  return { idp_client_id: "client", idp_id_token: idToken, idp_token_endpoint: endpoint };
}

const ofTool = async (program, args, env) => {
  const { stdout } = await promisify(execFile)(program, [...args, url], { env: { PATH: process.env.PATH, ...env }, timeout: 60_000 });
  return JSON.parse(stdout.trim().split("\n").at(-1));
};

/** Calls the tool `whoami` with the provider of the SDK. */
async function callTool(t, { changes, ...authentication } = {}) {
  const known = { client_id: app, issuer, ...(await openIdp(t, changes)), private_key: privateKey, ...authentication };
  const scenario = { MCP_CONFORMANCE_SCENARIO: "auth/enterprise-managed-authorization", MCP_CONFORMANCE_CONTEXT: JSON.stringify(known) };
  return ofTool(process.execPath, ["mcp-workload.mjs"], scenario);
}

test("@modelcontextprotocol/client: an app acts for a person whom it has never asked", async (t) => {
  const expected = { user_id: "idp|ada", kind: "user", org_id: organization, client_id: app, scopes: "scans:read", resource: url };
  assert.deepEqual(await callTool(t), expected);
});

test("@modelcontextprotocol/client: an assertion for or about others is refused", async (t) => {
  for (const [code, changes] of [
    ["invalid_grant", { sub: "grace" }], // has not signed in
    ["invalid_grant", { client_id: "https://app.example.com/other.json" }],
    ["invalid_grant", { aud: "https://auth.example.com" }],
    ["invalid_grant", { aud: [issuer, "https://auth.example.com"] }],
    ["invalid_grant", { iss: keys.url }],
    ["invalid_target", { resource: "https://api.example.com/other" }],
    ["invalid_request", { typ: "JWT" }], // the token of a workload, for which no client authenticates
  ]) {
    await assert.rejects(callTool(t, { changes }), new RegExp(`code: '${code}'`), JSON.stringify(changes));
  }
});

/** Calls the tool `whoami` with the provider of PyPI `mcp`, which needs a client secret, and an assertion with these changes. */
async function callAsAgent(secret, changes) {
  const assertion = await sign({ audience: issuer, resource: url }, { client_id: agent.id, ...changes });
  const credential = { id: agent.id, secret, issuer, assertion };
  return ofTool(python, ["mcp_clients.py", "mcp", "enterprise"], { CREDENTIAL: JSON.stringify(credential) });
}

test("mcp (Python): an agent with a secret acts for a person whom it has never asked", async () => {
  const expected = { user_id: "idp|ada", kind: "user", org_id: organization, client_id: agent.id, scopes: "scans:read", resource: url };
  const { tool, text } = await callAsAgent(agent.secret);
  assert.equal(tool, "whoami");
  assert.deepEqual(JSON.parse(text), expected);
});

test("mcp (Python): an assertion for or about others, and one that was used, is refused", async () => {
  const jti = crypto.randomUUID();
  await callAsAgent(agent.secret, { jti });
  for (const [status, code, changes] of [
    [400, "invalid_grant", { jti }],
    [400, "invalid_grant", { sub: "grace" }], // has not signed in
    [400, "invalid_grant", { client_id: app }],
    [400, "invalid_grant", { aud: "https://auth.example.com" }],
    [400, "invalid_target", { resource: "https://api.example.com/other" }],
  ]) {
    const refused = new RegExp(`Token exchange failed \\(${status}\\)[^]*${code}`);
    await assert.rejects(callAsAgent(agent.secret, changes), refused, JSON.stringify(changes));
  }
});

test("@modelcontextprotocol/client, mcp (Python): a client secret authenticates no app, and a wrong one no agent", async (t) => {
  await assert.rejects(callTool(t, { private_key: undefined, client_secret: "a secret" }), /code: 'invalid_client'/);
  const credential = { id: app, secret: "a secret", issuer, assertion: await sign({ audience: issuer, resource: url }) };
  await assert.rejects(ofTool(python, ["mcp_clients.py", "mcp", "enterprise"], { CREDENTIAL: JSON.stringify(credential) }), /Token exchange failed \(401\)[^]*invalid_client/);
  await assert.rejects(callAsAgent(`${agent.secret.slice(0, -1)}_`), /Token exchange failed \(401\)[^]*invalid_client/);
});
