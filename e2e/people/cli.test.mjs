// The command `postern`, which signs its user in with a real browser and gives tokens to an MCP client and to curl.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { launch, protect, rules, signIn, startServer } from "./mcp-server.mjs";
import { folder, pause } from "./postern.mjs";

const program = process.env.POSTERN_CLI;
if (!program) throw new Error("POSTERN_CLI must name the command postern; run these tests with e2e/run people");

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

/** A machine on which `postern` runs. The browser that it opens writes the URL to a file. */
function machine(t, issuer) {
  const home = folder(t);
  const opened = join(home, "opened");
  const script = join(home, "browser");
  writeFileSync(script, `#!/bin/sh\necho "$1" >"${opened}.new" && mv "${opened}.new" "${opened}"\n`);
  chmodSync(script, 0o755);
  const env = { PATH: process.env.PATH, HOME: home, POSTERN_HOME: join(home, "postern"), POSTERN_ISSUER: issuer, BROWSER: script };
  return {
    start(...args) {
      const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
      t.after(() => child.kill("SIGKILL"));
      const printed = { stdout: "", stderr: "" };
      for (const name of Object.keys(printed)) child[name].on("data", (chunk) => { printed[name] += chunk; });
      return { child, printed, ended: once(child, "close").then(([code]) => ({ code, ...printed })) };
    },
    async run(...args) {
      const { code, stdout, stderr } = await this.start(...args).ended;
      assert.equal(code, 0, stderr);
      return stdout;
    },
    /** Returns the URL that the browser was opened with. */
    async opened() {
      for (let waited = 0; !existsSync(opened); waited += 20) {
        assert.ok(waited < 10_000, "no browser was opened");
        await pause(20);
      }
      return new URL(readFileSync(opened, "utf8").trim());
    },
  };
}

/** Signs a user in with the browser, for an MCP server. */
async function login(t, options = []) {
  const server = await protect(t, await startServer(t), (uri) => rules(uri));
  const own = machine(t, server.ready.postern_url);
  const running = own.start("login", "--resource", server.url, "--storage", "file", ...options);
  const page = await (await browser.newContext()).newPage();
  t.after(() => page.close());
  return { ...server, own, running, page };
}

test("a user signs in with the browser, and an MCP client and curl get tokens", { timeout: 120_000 }, async (t) => {
  const { url, ready, own, running, page } = await login(t);
  await signIn(page, await own.opened());
  await page.getByRole("heading", { name: "Allow Postern CLI?" }).waitFor();
  await page.getByRole("button", { name: "Allow" }).click();
  await page.getByText("You are logged in.").waitFor();
  const { code, stdout, stderr } = await running.ended;
  assert.deepEqual([code, stdout], [0, ""], stderr);
  assert.match(stderr, /Logged in at /);
  assert.equal(JSON.parse(await own.run("status", "--json")).issuer, ready.postern_url);

  const headers = JSON.parse(await own.run("headers"));
  assert.deepEqual(Object.keys(headers), ["Authorization"]);
  const client = new Client({ name: "test", version: "1.0.0" });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  const { content } = await client.callTool({ name: "whoami", arguments: {} });
  assert.equal(JSON.parse(content[0].text).client_id, "postern-cli");
  await client.close();

  const call = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" });
  const answer = await own.run("curl", "-s", url, "-H", "Accept: application/json, text/event-stream", "--json", call);
  assert.match(answer, /"whoami"/);

  await own.run("logout");
  const again = await fetch(url, { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: call });
  assert.equal(again.status, 401);
});

test("a user who denies the login stores nothing", { timeout: 120_000 }, async (t) => {
  const { own, running, page } = await login(t);
  await signIn(page, await own.opened());
  await page.getByRole("button", { name: "Deny" }).click();
  await page.getByText("You are not logged in.").waitFor();
  const { code, stderr } = await running.ended;
  assert.equal(code, 1);
  assert.match(stderr, /The login was refused/);
  assert.equal((await own.start("status").ended).code, 3);
});

test("a user approves the code of a terminal with the browser", { timeout: 120_000 }, async (t) => {
  const { own, running, page } = await login(t, ["--device"]);
  let code;
  while (!(code = /[A-Z]{4}-[A-Z]{4}$/m.exec(running.printed.stderr)?.[0])) await pause(20);
  const link = new URL(/http:\/\/\S+user_code=\S+/.exec(running.printed.stderr)[0]);
  await signIn(page, link);
  assert.equal(await page.getByLabel("The code that the device shows").inputValue(), code);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByRole("button", { name: "Approve" }).click();
  await page.getByRole("status").getByText("The device is approved.").waitFor();
  assert.equal((await running.ended).code, 0);
  assert.match(await own.run("token"), /^ey/);
});
