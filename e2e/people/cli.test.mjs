// The command `postern`, which logs its user in with a real browser and gives tokens to MCP clients and to curl.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import test, { after, before } from "node:test";
import { promisify } from "node:util";
import * as newer from "@modelcontextprotocol/client";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport, StreamableHTTPError } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { launch, protect, rules, signIn, startServer } from "./mcp-server.mjs";
import { folder, pause, start } from "./postern.mjs";

const { POSTERN_CLI: program, POSTERN_PAGES: pages } = process.env;
if (!program || !pages) throw new Error("POSTERN_CLI and POSTERN_PAGES must name the command postern and the documents: run e2e/run people");

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
  const env = { PATH: `${dirname(program)}:${process.env.PATH}`, HOME: home, POSTERN_HOME: join(home, "postern"), POSTERN_ISSUER: issuer, BROWSER: script };
  return {
    env,
    /** Runs `postern`; the last argument can have more variables. */
    start(...args) {
      const more = typeof args.at(-1) === "object" ? args.pop() : {};
      const child = spawn(program, args, { env: { ...env, ...more }, stdio: ["ignore", "pipe", "pipe"] });
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

/**
 * A client with the setting `headersHelper`, as Claude Code documents it: for each connection, a shell runs the command, which has
 * 10 seconds to print an object of strings. If a call is refused with 401 or 403, it connects again with new headers, and repeats the call once.
 */
class HelperClient {
  /** The headers of each connection. */
  connections = [];
  #server;
  #env;
  #client;

  constructor(server, env) {
    this.#server = server;
    this.#env = env;
  }

  async call(name) {
    if (!this.#client) await this.#connect();
    try {
      return await this.#client.callTool({ name, arguments: {} });
    } catch (error) {
      if (!(error instanceof StreamableHTTPError) || ![401, 403].includes(error.code)) throw error;
      await this.close();
      await this.#connect();
      return this.#client.callTool({ name, arguments: {} });
    }
  }

  async #connect() {
    const { stdout } = await promisify(execFile)("/bin/sh", ["-c", this.#server.headersHelper], {
      env: { ...this.#env, CLAUDE_CODE_MCP_SERVER_NAME: "orders", CLAUDE_CODE_MCP_SERVER_URL: this.#server.url }, timeout: 10_000,
    });
    const headers = JSON.parse(stdout);
    for (const value of Object.values(headers)) assert.equal(typeof value, "string");
    this.connections.push(headers);
    this.#client = new Client({ name: "test", version: "1.0.0" });
    await this.#client.connect(new StreamableHTTPClientTransport(new URL(this.#server.url), { requestInit: { headers } }));
  }

  close() {
    return this.#client?.close();
  }
}

/** Returns the server of the example in docs/cli.md, at another URL. */
function documentedServer(url) {
  const page = readFileSync(join(pages, "cli.md"), "utf8");
  const [, json] = /```json\n(\{"mcpServers"[\s\S]*?)```/.exec(page);
  return { ...JSON.parse(json).mcpServers.orders, url };
}

/** Logs a user in with the browser, for an MCP server. */
async function login(t, options = []) {
  const server = await protect(t, await startServer(t), (uri) => rules(uri));
  const own = machine(t, server.ready.postern_url);
  const running = own.start("login", "--resource", server.url, "--storage", "file", ...options);
  const page = await (await browser.newContext()).newPage();
  t.after(() => page.close());
  return { ...server, own, running, page };
}

async function allow(page, address) {
  await signIn(page, address);
  await page.getByRole("heading", { name: "Allow Postern CLI?" }).waitFor();
  await page.getByRole("button", { name: "Allow" }).click();
  await page.getByText("You are logged in.").waitFor();
}

const whoami = async (client) => JSON.parse((await client.call("whoami")).content[0].text);

test("a user logs in with the browser, and an MCP client and curl get tokens", { timeout: 120_000 }, async (t) => {
  const { url, ready, own, running, page } = await login(t);
  await allow(page, await own.opened());
  const { code, stdout, stderr } = await running.ended;
  assert.deepEqual([code, stdout], [0, ""], stderr);
  assert.match(stderr, /Logged in at /);
  assert.equal(JSON.parse(await own.run("status", "--json")).issuer, ready.postern_url);

  const headers = JSON.parse(await own.run("headers"));
  assert.deepEqual(Object.keys(headers), ["Authorization"]);
  const client = new newer.Client({ name: "test", version: "1.0.0" });
  await client.connect(new newer.StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
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

test("the headersHelper of docs/cli.md gives an MCP client the token of a user", { timeout: 120_000 }, async (t) => {
  const { url, own, running, page } = await login(t, ["--profile", "orders"]);
  await allow(page, await own.opened());
  assert.equal((await running.ended).code, 0);
  const client = new HelperClient(documentedServer(url), own.env);
  t.after(() => client.close());
  const { client_id, resource } = await whoami(client);
  assert.deepEqual([client_id, resource], ["postern-cli", url]);
});

test("an MCP client with headersHelper gets a new token after a refusal", { timeout: 60_000 }, async (t) => {
  const { url, ready, create } = await protect(t, await startServer(t));
  const { id, secret } = await create("/v1/agents", { name: "bot", scopes: ["mcp:tools"] });
  const env = { ...machine(t, ready.postern_url).env, POSTERN_AGENT_ID: id, POSTERN_AGENT_SECRET: secret };
  const client = new HelperClient({ url, headersHelper: `postern headers --resource ${url}` }, env);
  t.after(() => client.close());
  assert.equal((await whoami(client)).user_id, id);
  await whoami(client);
  assert.equal(client.connections.length, 1);

  const token = client.connections[0].Authorization.slice("Bearer ".length);
  const revoked = await fetch(`${ready.postern_url}/v1/auth/revoke`, { method: "POST", body: new URLSearchParams({ token }) });
  assert.equal(revoked.status, 200);
  assert.equal((await whoami(client)).user_id, id);
  assert.equal(client.connections.length, 2);
  assert.notDeepEqual(client.connections[1], client.connections[0]);
});

test("an MCP client whose user is not logged in shows how to log in", { timeout: 60_000 }, async (t) => {
  const { env } = machine(t, "http://127.0.0.1:1");
  const client = new HelperClient({ url: "http://127.0.0.1:1/mcp", headersHelper: "postern headers" }, env);
  const message = /Nobody is logged in: .* Log in: postern login --profile default\./;
  await assert.rejects(client.call("whoami"), ({ code, stdout, stderr }) => code === 3 && stdout === "" && message.test(stderr));
});

/** Reports whether nothing listens at a port of this machine. */
async function isFree(port) {
  const server = createServer().listen(port, "127.0.0.1");
  const [outcome] = await Promise.race([once(server, "listening").then(() => ["free"]), once(server, "error").then(() => ["in use"])]);
  server.close();
  return outcome === "free";
}

test("the local program and postern work together without a setting", { timeout: 60_000 }, async (t) => {
  if (!(await isFree(9000))) return t.skip("port 9000 is in use");
  const { ready } = await start(t, ["--data", ":memory:"]);
  const own = machine(t, "");
  const created = await own.run("users", "create", "ada@example.com", "--invite", "--json", { POSTERN_API_KEY: ready.api_key });
  assert.equal(JSON.parse(created).email, "ada@example.com");
  const login = own.start("login", "--device");
  while (!/[A-Z]{4}-[A-Z]{4}$/m.test(login.printed.stderr)) await pause(20);
  assert.match(login.printed.stderr, /http:\/\/127\.0\.0\.1:9000\/device\?user_code=/);
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
