// An MCP server behind Postern, and official clients without a user, which send the token of an issuer that Postern trusts.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import test, { after, before } from "node:test";
import { promisify } from "node:util";
import { startServer } from "./mcp-server.mjs";
import { openIssuer, protectMcp } from "./workload-issuers.mjs";

const python = process.env.POSTERN_PYTHON;
if (!python) throw new Error("POSTERN_PYTHON must name an interpreter: run e2e/run people");
const SUBJECT = "conformance-workload";
const ends = [];
const suite = { after: (end) => ends.push(end) };
let idp, agent, issuer, ready, url;

before(async () => {
  const upstream = await startServer(suite);
  idp = await openIssuer(suite, "ES256");
  ({ agent, issuer, ready, url } = await protectMcp(suite, upstream, (uri, { id }, audience) => `
    [[trust]]
    name = "workload"
    issuer = "${idp.url}"
    audience = "${audience}"
    match = { sub = "${SUBJECT}" }
    agent = "${id}"
    scopes = ["scans:read"]
    resource = "${uri}"

    [[resource]]
    uri = "${uri}"
    name = "Scanner tools"
    scopes = ["scans:read"]
    mcp = true

    [[route]]
    method = "*"
    path = "/mcp"
    scopes = ["scans:read"]`));
});

after(async () => { for (const end of ends.reverse()) await end(); });

/** Signs a token as the conformance suite does: of its header only the algorithm. */
async function sign(changes = {}) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: idp.url, sub: SUBJECT, aud: issuer, iat: now, exp: now + 300, jti: crypto.randomUUID(), ...changes };
  return idp.sign(claims, { kid: undefined, typ: undefined });
}

/** Runs a client; returns what the tool `whoami` answered. */
async function whoami(program, args, variables) {
  const { stdout } = await promisify(execFile)(program, [...args, url], { env: { PATH: process.env.PATH, ...variables }, timeout: 60_000 });
  return JSON.parse(stdout.trim().split("\n").at(-1));
}

const asWorkload = (assertion) => whoami(process.execPath, ["mcp-workload.mjs"], {
  MCP_CONFORMANCE_SCENARIO: "auth/wif-jwt-bearer", MCP_CONFORMANCE_CONTEXT: JSON.stringify({ client_id: agent.id, valid_jwt: assertion }),
});

test("@modelcontextprotocol/client: a workload calls a tool with the token of its issuer, once", async () => {
  const token = await sign();
  const expected = { user_id: agent.id, kind: "agent", org_id: ready.organization_id, client_id: agent.id, scopes: "scans:read", resource: url };
  assert.deepEqual(await asWorkload(token), expected);
  await assert.rejects(asWorkload(token), /The token of the workload is not accepted/);
});

test("@modelcontextprotocol/client: another workload, another audience and an old token are refused", async () => {
  const past = Math.floor(Date.now() / 1000) - 400;
  for (const changes of [{ sub: "other" }, { aud: "https://wrong.example" }, { aud: url }, { iat: past, exp: past + 300 }]) {
    await assert.rejects(asWorkload(await sign(changes)), /The token of the workload is not accepted/);
  }
});

test("mcp (Python): the token of a workload does not authenticate a client", async () => {
  const credential = { id: agent.id, assertion: await sign(), issuer };
  await assert.rejects(whoami(python, ["mcp_clients.py", "mcp", "workload"], { CREDENTIAL: JSON.stringify(credential) }), /invalid_client/);
});
