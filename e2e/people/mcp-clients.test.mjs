// An MCP server behind Postern, and the official clients of other languages. They know its URL, and print what the browser must open.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import test, { after, before } from "node:test";
import { exportJWK, exportPKCS8, generateKeyPair } from "jose";
import { launch, protect, rules, signIn, startServer } from "./mcp-server.mjs";

const { POSTERN_PYTHON, POSTERN_RMCP } = process.env;
if (!POSTERN_PYTHON || !POSTERN_RMCP) throw new Error("POSTERN_PYTHON and POSTERN_RMCP must name an interpreter and a program: run e2e/run people");
const CLIENTS = {
  "mcp (Python)": [POSTERN_PYTHON, "mcp_clients.py", "mcp"],
  "fastmcp (Python)": [POSTERN_PYTHON, "mcp_clients.py", "fastmcp"],
  "rmcp (Rust)": [POSTERN_RMCP],
};
const ends = [];
let upstream, browser;

before(async () => {
  upstream = await startServer({ after: (end) => ends.push(end) });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  for (const end of ends.reverse()) await end();
});

/** Runs a client; `open` gets each address that it wants opened. Returns everything else that it printed. */
async function run(t, [program, ...before], mode, url, credential, open) {
  const child = spawn(program, [...before, mode, url], {
    env: { PATH: process.env.PATH, CREDENTIAL: JSON.stringify(credential) }, stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(() => child.kill("SIGKILL"));
  let errors = "";
  child.stderr.on("data", (chunk) => { errors += chunk; });
  const ended = new Promise((resolve) => { child.on("close", resolve); });
  const printed = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line);
    if (said.open) await open(new URL(said.open));
    else printed.push(said);
  }
  assert.equal(await ended, 0, errors);
  return printed;
}

const nobody = () => assert.fail("a program asks no person");

for (const [name, command] of Object.entries(CLIENTS)) {
  test(`${name} signs its user in, refreshes, and asks for more when a tool needs it`, { timeout: 120_000 }, async (t) => {
    const { url, ready } = await protect(t, upstream, (uri) => rules(uri, 'default_scopes = ["scans:read"]'));
    const page = await (await browser.newContext()).newPage();
    const asked = [];
    const printed = await run(t, command, "user", url, {}, async (address) => {
      asked.push(address.searchParams.get("scope").split(" ").filter((scope) => scope !== "offline_access").sort());
      if (asked.length === 1) await signIn(page, address);
      else await page.goto(address.href);
      await page.getByRole("heading", { name: "Allow Postern CLI?" }).waitFor();
      await page.getByRole("button", { name: "Allow" }).click();
      await page.waitForURL(/^http:\/\/(127\.0\.0\.1|localhost):\d+\/callback/);
    });
    const user = JSON.parse(printed[0].text);
    assert.match(user.user_id, /^usr_\w{26}$/);
    assert.deepEqual(user, { user_id: user.user_id, kind: "user", org_id: ready.organization_id, client_id: "postern-cli", scopes: "scans:read", resource: url });
    assert.deepEqual(printed, [
      { tool: "whoami", text: printed[0].text },
      { tool: "whoami", text: printed[0].text },
      { refreshed: true },
      { tool: "trigger_scan", text: `started for ${user.user_id}` },
      { scopes: ["scans:read", "scans:trigger"] },
    ]);
    assert.deepEqual(asked, [["scans:read"], ["scans:read", "scans:trigger"]]);
  });

  test(`${name} uses client credentials`, { timeout: 60_000 }, async (t) => {
    const { url, ready, create } = await protect(t, upstream);
    const agent = await create("/v1/agents", { name: "bot", scopes: ["mcp:tools"] });
    const [{ text }] = await run(t, command, "agent", url, { id: agent.id, secret: agent.secret, issuer: ready.postern_url }, nobody);
    assert.deepEqual(JSON.parse(text), { user_id: agent.id, kind: "agent", org_id: ready.organization_id, client_id: agent.id, scopes: "mcp:tools", resource: url });
  });

  test(`${name} authenticates with a key`, { timeout: 60_000 }, async (t) => {
    const { url, ready, create } = await protect(t, upstream);
    const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
    const agent = await create("/v1/agents", { name: "signer", scopes: ["mcp:tools"], jwks: { keys: [await exportJWK(publicKey)] } });
    const [{ text }] = await run(t, command, "signed", url, { id: agent.id, private_key: await exportPKCS8(privateKey), issuer: ready.postern_url }, nobody);
    assert.deepEqual(JSON.parse(text), { user_id: agent.id, kind: "agent", org_id: ready.organization_id, client_id: agent.id, scopes: "mcp:tools", resource: url });
  });

  test(`${name} uses an API key`, { timeout: 60_000 }, async (t) => {
    const { url, ready } = await protect(t, upstream);
    const [{ text }] = await run(t, command, "key", url, { key: ready.api_key }, nobody);
    const key = JSON.parse(text);
    assert.match(key.user_id, /^key_\w{26}$/);
    assert.deepEqual(key, { user_id: key.user_id, kind: "api_key", org_id: ready.organization_id, client_id: null, scopes: "*", resource: url });
  });
}
