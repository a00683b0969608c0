// The MCP conformance suite: the authorization server, clients without a user, and a server through `protect --mcp`. It needs Node.js 22.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync, readdirSync, readFileSync } from "node:fs";
import { createServer, request as send } from "node:http";
import { join } from "node:path";
import test from "node:test";
import { folder, freePort, logs } from "./postern.mjs";
import { launch, protect, signIn } from "./mcp-server.mjs";

const node = process.env.POSTERN_NODE_22;
if (!node) throw new Error("POSTERN_NODE_22 must name Node.js 22 or later: run e2e/run people");
const suite = "node_modules/@modelcontextprotocol/conformance/dist/index.js";

/** Runs the suite; returns each check with its result. `printed` gets what it prints. */
async function check(t, args, printed = () => {}) {
  const results = folder(t);
  const log = openSync(join(logs, `conformance-${args[0]}.log`), "w");
  const child = spawn(node, [suite, ...args, "--output-dir", results], { stdio: ["ignore", "pipe", log], env: { PATH: process.env.PATH, HOME: results } });
  t.after(() => child.kill("SIGKILL"));
  child.stdout.setEncoding("utf8").on("data", printed);
  await once(child, "close");
  const checks = {};
  for (const file of readdirSync(results, { recursive: true }).filter((path) => path.endsWith("checks.json"))) {
    const name = file.replace(/^server-|-\d{4}-\d\d-\d\dT.*$/g, "");
    for (const { id, status } of JSON.parse(readFileSync(join(results, file), "utf8"))) checks[`${name}: ${id}`] = status;
  }
  return checks;
}

const failed = (checks) => Object.keys(checks).filter((name) => !["SUCCESS", "INFO", "SKIPPED"].includes(checks[name])).sort();

test("the authorization server conforms", { timeout: 60_000 }, async (t) => {
  const { url, ready } = await protect(t, "http://127.0.0.1:1/mcp", () => '[clients]\nmetadata_documents = ["*"]');
  const browser = await launch();
  t.after(() => browser.close());
  const page = await browser.newPage();
  let text = "";
  const args = ["authorization", "--url", ready.postern_url, "--client-id", "postern-cli", "--resource", url, "--port", String(await freePort())];
  const checks = await check(t, args, async (chunk) => {
    const isNew = !/authorize\S+\n/.test(text);
    text += chunk;
    const address = text.match(/http\S+\/v1\/auth\/authorize\S+(?=\n)/);
    if (!address || !isNew) return;
    await signIn(page, new URL(address[0]));
    await page.getByRole("button", { name: "Allow" }).click();
  });
  assert.ok(Object.keys(checks).length > 1, text);
  assert.deepEqual(failed(checks), []);
});

// The suite plays the authorization server here: its scenarios about workloads and enterprises are for clients. mcp-workloads.test.mjs has the
// same client use Postern.
for (const [scenario, decisive] of [
  ["auth/wif-jwt-bearer", "wif-assertion-verified"],
  ["auth/enterprise-managed-authorization", "complete-flow-jwt-bearer"],
]) {
  test(`the client of our tests conforms in ${scenario}`, { timeout: 60_000 }, async (t) => {
    const checks = await check(t, ["client", "--command", `${node} mcp-workload.mjs`, "--scenario", scenario]);
    assert.equal(checks[`${scenario}: ${decisive}`], "SUCCESS");
    assert.deepEqual(failed(checks), []);
  });
}

/** Adds a credential to each request, because the suite cannot be told one. */
async function withKey(t, { ready }) {
  const { port } = new URL(ready.url);
  const server = createServer((request, response) => {
    const headers = { ...request.headers, "x-api-key": ready.api_key };
    const forwarded = send({ port, host: "127.0.0.1", method: request.method, path: request.url, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    forwarded.on("error", () => response.destroy());
    response.on("close", () => forwarded.destroy());
    request.pipe(forwarded);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}/mcp`;
}

// What the server of this test does not have: tools that ask the client something, extensions, and tools for diagnosis.
const WITHOUT_A_TOOL = /^(input-required-result-|tasks-|json-schema-2020-12|http-custom-header-|server-stateless: sep-2575-)/;

test("a server conforms through protect as it does without", { timeout: 180_000 }, async (t) => {
  const child = spawn(process.execPath, ["conformance-server.mjs"], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const direct = String((await once(child.stdout, "data"))[0]).trim();
  const protectedUrl = await withKey(t, await protect(t, direct));
  const run = (url) => check(t, ["server", "--url", url, "--requirements", "2026-07-28"]);
  const [without, through] = [await run(direct), await run(protectedUrl)];
  assert.ok(Object.keys(without).length > 100);
  for (const name of failed(without)) assert.match(name, WITHOUT_A_TOOL);
  assert.deepEqual(through, without);
});
