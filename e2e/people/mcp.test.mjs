// An MCP server behind Postern: official clients that know only its URL, and a person with a real browser.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import test, { after, before } from "node:test";
import * as newest from "@modelcontextprotocol/client";
import { exportJWK, generateKeyPair } from "jose";
import * as older from "@modelcontextprotocol/sdk/client/auth-extensions.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { chromium } from "playwright-core";
import { freePort, start } from "./postern.mjs";

const EMAIL = "grace@example.com";
const PASSWORD = "correct horse battery";
const CLIENTS = [
  { name: "@modelcontextprotocol/sdk", Client, Transport: StreamableHTTPClientTransport, Unauthorized: UnauthorizedError, finish: (answer) => answer.get("code") },
  {
    name: "@modelcontextprotocol/client", Client: newest.Client, Transport: newest.StreamableHTTPClientTransport,
    Unauthorized: newest.UnauthorizedError, finish: (answer) => answer,
  },
];
const ends = [];
let url, ready, browser;

/** An MCP server without any knowledge of OAuth, whose only tool says who called it. */
async function openServer() {
  const server = createServer(async (request, response) => {
    const mcp = new McpServer({ name: "who", version: "1.0.0" });
    mcp.registerTool("whoami", { description: "Says who called" }, () => ({
      content: [{ type: "text", text: `${request.headers["x-postern-user-id"]} ${request.headers["x-postern-scopes"]}` }],
    }));
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
    response.on("close", () => { transport.close(); mcp.close(); });
    await mcp.connect(transport);
    await transport.handleRequest(request, response);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}/mcp`;
}

before(async () => {
  const upstream = await openServer();
  const origin = `http://127.0.0.1:${await freePort()}`;
  const t = { after: (end) => ends.push(end) };
  ({ ready } = await start(t, ["protect", "--mcp", upstream, "--listen", new URL(origin).host, "--postern-listen", "127.0.0.1:0", "--data", ":memory:"]));
  url = `${origin}/mcp`;
  const user = await own("/v1/users", { email: EMAIL, password: PASSWORD });
  assert.equal(user.status, 201);
  browser = await chromium.launch({
    executablePath: process.env.POSTERN_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  });
});

after(async () => {
  await browser?.close();
  for (const end of ends.reverse()) await end();
});

const own = (path, body) => fetch(ready.postern_url + path, {
  method: "POST", headers: { "x-api-key": ready.api_key, "content-type": "application/json" }, body: JSON.stringify(body),
});

/** Receives the browser on this machine, as a program does. */
async function openCallback(t) {
  let received;
  const code = new Promise((resolve) => { received = resolve; });
  const server = createServer((request, response) => {
    const address = new URL(request.url, "http://127.0.0.1");
    if (address.pathname === "/callback") received(address.searchParams);
    response.end("You can close this page.");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => { server.closeAllConnections(); server.close(); });
  return { redirectUrl: `http://127.0.0.1:${server.address().port}/callback`, code };
}

/** Stores what a client keeps between its calls. */
function provider(redirectUrl, clientId) {
  const kept = {};
  return {
    kept, redirectUrl,
    clientMetadata: { client_name: "A test", redirect_uris: [redirectUrl], token_endpoint_auth_method: "none" },
    clientInformation: () => ({ client_id: clientId }),
    tokens: () => kept.tokens,
    saveTokens: (tokens) => { kept.tokens = tokens; },
    redirectToAuthorization: (address) => { kept.address = address.href; },
    saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
    codeVerifier: () => kept.verifier,
    invalidateCredentials: () => { delete kept.tokens; },
  };
}

async function call({ Client: OneClient, Transport }, options) {
  const client = new OneClient({ name: "test", version: "1.0.0" });
  const transport = new Transport(new URL(url), options);
  await client.connect(transport);
  const { content } = await client.callTool({ name: "whoami", arguments: {} });
  await client.close();
  return content[0].text;
}

for (const kind of CLIENTS) {
  test(`${kind.name} signs its user in, calls a tool and refreshes, from the URL alone`, async (t) => {
    const { redirectUrl, code } = await openCallback(t);
    const authProvider = provider(redirectUrl, "postern-cli");
    const transport = new kind.Transport(new URL(url), { authProvider });
    await assert.rejects(new kind.Client({ name: "test", version: "1.0.0" }).connect(transport), kind.Unauthorized);

    const page = await (await browser.newContext()).newPage();
    await page.goto(authProvider.kept.address);
    await page.getByLabel("Email").fill(EMAIL);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.getByRole("heading", { name: "Allow Postern CLI?" }).waitFor();
    for (const shown of ["Use the tools of this server", url, "Any program here could pose as Postern CLI"]) {
      assert.ok(await page.getByText(shown).first().isVisible(), shown);
    }
    await page.getByRole("button", { name: "Allow" }).click();
    const answer = await code;
    assert.equal(answer.get("iss"), ready.postern_url);
    assert.equal(answer.get("error"), null);
    await transport.finishAuth(kind.finish(answer));

    assert.match(await call(kind, { authProvider }), /^usr_\w{26} mcp:tools$/);
    const [first, other] = [authProvider.kept.tokens, "AAAAAAAAAA"];
    authProvider.kept.tokens = { ...first, access_token: first.access_token.slice(0, -10) + other };
    assert.match(await call(kind, { authProvider }), /^usr_\w{26} mcp:tools$/);
    assert.notEqual(authProvider.kept.tokens.refresh_token, first.refresh_token);

    // The user disconnects the client.
    await page.goto(`${ready.postern_url}/apps`);
    await page.getByRole("button", { name: "Disconnect Postern CLI" }).click();
    await page.getByText("The app is disconnected.").waitFor();
    await assert.rejects(call(kind, { authProvider }), kind.Unauthorized);
  });

  test(`${kind.name} uses an API key`, async () => {
    const requestInit = { headers: { "X-API-Key": ready.api_key } };
    assert.match(await call(kind, { requestInit }), /^key_\w{26} \*$/);
  });
}

for (const [kind, { PrivateKeyJwtProvider }] of [[CLIENTS[0], older], [CLIENTS[1], newest]]) {
  test(`${kind.name} authenticates with a key`, async () => {
    const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
    const jwks = { keys: [await exportJWK(publicKey)] };
    const agent = await (await own("/v1/agents", { name: "signer", scopes: ["mcp:tools"], jwks })).json();
    const key = await exportJWK(privateKey);
    const authProvider = new PrivateKeyJwtProvider({ clientId: agent.id, privateKey: key, algorithm: "ES256" });
    assert.match(await call(kind, { authProvider }), /^agt_\w{26} mcp:tools$/);
  });
}

test("@modelcontextprotocol/client uses client credentials", async () => {
  const agent = await (await own("/v1/agents", { name: "bot", scopes: ["mcp:tools"] })).json();
  const authProvider = new newest.ClientCredentialsProvider({ clientId: agent.id, clientSecret: agent.secret });
  assert.match(await call(CLIENTS[1], { authProvider }), /^agt_\w{26} mcp:tools$/);
});
