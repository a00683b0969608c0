// An MCP server behind Postern: official clients that know only its URL, and a person with a real browser.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { join } from "node:path";
import { once } from "node:events";
import test, { after, before } from "node:test";
import * as newest from "@modelcontextprotocol/client";
import * as older from "@modelcontextprotocol/sdk/client/auth-extensions.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { exportJWK, generateKeyPair } from "jose";
import { serveHttps } from "./https-server.mjs";
import { launch, protect, rules, signIn, startLambda, startServer } from "./mcp-server.mjs";

const OLD = { name: "@modelcontextprotocol/sdk", Client, Transport: StreamableHTTPClientTransport, Unauthorized: UnauthorizedError, finish: (answer) => answer.get("code") };
const NEW = {
  name: "@modelcontextprotocol/client", Client: newest.Client, Transport: newest.StreamableHTTPClientTransport,
  Unauthorized: newest.UnauthorizedError, finish: (answer) => answer,
};
const ends = [];
const suite = { after: (end) => ends.push(end) };
let upstream, browser;

before(async () => {
  upstream = await startServer(suite);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  for (const end of ends.reverse()) await end();
});

/** Receives the browser on this machine, as a program does. */
async function openCallback(t) {
  const answers = [];
  const server = createServer((request, response) => {
    const address = new URL(request.url, "http://127.0.0.1");
    if (address.pathname === "/callback") answers.push(address.searchParams);
    response.end("You can close this page.");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => { server.closeAllConnections(); server.close(); });
  return { redirectUrl: `http://127.0.0.1:${server.address().port}/callback`, answers };
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
    redirectToAuthorization: (address) => { kept.address = address; },
    saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
    codeVerifier: () => kept.verifier,
    saveDiscoveryState: (state) => { kept.discovery = state; },
    discoveryState: () => kept.discovery,
    invalidateCredentials: () => { delete kept.tokens; },
  };
}

/** Calls a tool, on a connection of its own; returns its text. */
async function call(kind, url, options, name = "whoami") {
  const client = new kind.Client({ name: "test", version: "1.0.0" }, kind.options);
  await client.connect(new kind.Transport(new URL(url), options));
  try {
    const { content } = await client.callTool({ name, arguments: {} });
    return content[0].text;
  } finally {
    await client.close();
  }
}
const whoami = async (...at) => JSON.parse(await call(...at));

/** Allows what the page shows, and completes the client's request for tokens. */
async function allow(kind, url, page, authProvider, answers, shown, issuer) {
  await page.getByRole("heading", { name: "Allow Postern CLI?" }).waitFor();
  for (const text of [...shown, url, "Any program here could pose as Postern CLI"]) {
    assert.ok(await page.getByText(text).first().isVisible(), text);
  }
  await page.getByRole("button", { name: "Allow" }).click();
  await page.getByText("You can close this page.").waitFor();
  const answer = answers.at(-1);
  assert.equal(answer.get("error"), null);
  assert.equal(answer.get("iss"), issuer);
  await new kind.Transport(new URL(url), { authProvider }).finishAuth(kind.finish(answer));
}

const asked = (address) => address.searchParams.get("scope").split(" ").sort().filter((scope) => scope !== "offline_access");

for (const kind of [OLD, NEW]) {
  test(`${kind.name} signs its user in, calls a tool and refreshes, from the URL alone`, async (t) => {
    const { url, ready } = await protect(t, upstream);
    const { redirectUrl, answers } = await openCallback(t);
    const authProvider = provider(redirectUrl, "postern-cli");
    await assert.rejects(call(kind, url, { authProvider }), kind.Unauthorized);
    const page = await (await browser.newContext()).newPage();
    await signIn(page, authProvider.kept.address);
    await allow(kind, url, page, authProvider, answers, ["Use the tools of this server"], ready.postern_url);

    const user = await whoami(kind, url, { authProvider });
    assert.match(user.user_id, /^usr_\w{26}$/);
    assert.deepEqual(user, { user_id: user.user_id, kind: "user", org_id: ready.organization_id, client_id: "postern-cli", scopes: "mcp:tools", resource: url });
    const [first, other] = [authProvider.kept.tokens, "AAAAAAAAAA"];
    authProvider.kept.tokens = { ...first, access_token: first.access_token.slice(0, -10) + other };
    assert.deepEqual(await whoami(kind, url, { authProvider }), user);
    assert.notEqual(authProvider.kept.tokens.refresh_token, first.refresh_token);

    // The user disconnects the client.
    await page.goto(`${ready.postern_url}/apps`);
    await page.getByRole("button", { name: "Disconnect Postern CLI" }).click();
    await page.getByText("The app is disconnected.").waitFor();
    await assert.rejects(call(kind, url, { authProvider }), kind.Unauthorized);
  });

  test(`${kind.name} asks for all scopes at once where there are no default scopes`, async (t) => {
    const { url, ready } = await protect(t, upstream, (uri) => rules(uri));
    const { redirectUrl, answers } = await openCallback(t);
    const authProvider = provider(redirectUrl, "postern-cli");
    await assert.rejects(call(kind, url, { authProvider }), kind.Unauthorized);
    assert.deepEqual(asked(authProvider.kept.address), ["scans:read", "scans:trigger"]);
    const page = await (await browser.newContext()).newPage();
    await signIn(page, authProvider.kept.address);
    await allow(kind, url, page, authProvider, answers, ["See scans", "Start scans"], ready.postern_url);
    const { user_id } = await whoami(kind, url, { authProvider });
    assert.equal(await call(kind, url, { authProvider }, "trigger_scan"), `started for ${user_id}`);
  });

  test(`${kind.name} uses an API key`, async (t) => {
    const { url, ready } = await protect(t, upstream);
    const key = await whoami(kind, url, { requestInit: { headers: { "X-API-Key": ready.api_key } } });
    assert.match(key.user_id, /^key_\w{26}$/);
    assert.deepEqual(key, { user_id: key.user_id, kind: "api_key", org_id: ready.organization_id, client_id: null, scopes: "*", resource: url });
  });
}

test("@modelcontextprotocol/client asks its user for more when a tool needs it, and repeats the call", async (t) => {
  const kind = { ...NEW, options: { versionNegotiation: { mode: "auto" } } };
  const { url, ready } = await protect(t, upstream, (uri) => rules(uri, 'default_scopes = ["scans:read"]'));
  const { redirectUrl, answers } = await openCallback(t);
  const authProvider = provider(redirectUrl, "postern-cli");
  await assert.rejects(call(kind, url, { authProvider }), kind.Unauthorized);
  assert.deepEqual(asked(authProvider.kept.address), ["scans:read"]);
  const page = await (await browser.newContext()).newPage();
  await signIn(page, authProvider.kept.address);
  await allow(kind, url, page, authProvider, answers, ["See scans"], ready.postern_url);
  const before = await whoami(kind, url, { authProvider });
  assert.equal(before.scopes, "scans:read");

  await assert.rejects(call(kind, url, { authProvider }, "trigger_scan"), kind.Unauthorized);
  assert.deepEqual(asked(authProvider.kept.address), ["scans:read", "scans:trigger"]);
  await page.goto(authProvider.kept.address.href);
  await allow(kind, url, page, authProvider, answers, ["See scans", "Start scans"], ready.postern_url);
  assert.equal(await call(kind, url, { authProvider }, "trigger_scan"), `started for ${before.user_id}`);
  assert.equal((await whoami(kind, url, { authProvider })).scopes, "scans:read scans:trigger");
});

test("@modelcontextprotocol/sdk, which does not say which tool it calls, needs all scopes and refreshes instead of asking for more", async (t) => {
  const { url, ready } = await protect(t, upstream, (uri) => rules(uri, 'default_scopes = ["scans:read"]'));
  const { redirectUrl, answers } = await openCallback(t);
  const authProvider = provider(redirectUrl, "postern-cli");
  await assert.rejects(call(OLD, url, { authProvider }), OLD.Unauthorized);
  const page = await (await browser.newContext()).newPage();
  await signIn(page, authProvider.kept.address);
  await allow(OLD, url, page, authProvider, answers, ["See scans"], ready.postern_url);
  await assert.rejects(call(OLD, url, { authProvider }), /403 after trying upscoping/);
});

for (const [kind, { PrivateKeyJwtProvider }] of [[OLD, older], [NEW, newest]]) {
  test(`${kind.name} authenticates with a key`, async (t) => {
    const { url, create, ready } = await protect(t, upstream);
    const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
    const jwks = { keys: [await exportJWK(publicKey)] };
    const agent = await create("/v1/agents", { name: "signer", scopes: ["mcp:tools"], jwks });
    const authProvider = new PrivateKeyJwtProvider({
      clientId: agent.id, privateKey: await exportJWK(privateKey), algorithm: "ES256", expectedIssuer: ready.postern_url,
    });
    assert.equal((await whoami(kind, url, { authProvider })).user_id, agent.id);
  });
}

test("@modelcontextprotocol/client uses client credentials", async (t) => {
  const { url, create, ready } = await protect(t, upstream);
  const agent = await create("/v1/agents", { name: "bot", scopes: ["mcp:tools"] });
  const authProvider = new newest.ClientCredentialsProvider({ clientId: agent.id, clientSecret: agent.secret, expectedIssuer: ready.postern_url });
  assert.deepEqual(await whoami(NEW, url, { authProvider }), {
    user_id: agent.id, kind: "agent", org_id: ready.organization_id, client_id: agent.id, scopes: "mcp:tools", resource: url,
  });
});

/** Serves the metadata document of a client by https. */
async function serveDocument(t, redirectUrl) {
  const fetched = [];
  const { url: origin, authority } = await serveHttps(t, (request, response) => {
    fetched.push(request.url);
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ client_id: url, client_name: "The described app", redirect_uris: [redirectUrl], token_endpoint_auth_method: "none" }));
  });
  const url = `${origin}/client.json`;
  return { url, fetched, authority };
}

test("@modelcontextprotocol/client is identified by the URL of its document, which is read by https", async (t) => {
  const { redirectUrl, answers } = await openCallback(t);
  const document = await serveDocument(t, redirectUrl);
  const toml = () => '[clients]\nmetadata_documents = ["localhost"]';
  const described = () => {
    const authProvider = { ...provider(redirectUrl), clientMetadataUrl: document.url };
    return { ...authProvider, clientInformation: () => authProvider.kept.client, saveClientInformation: (client) => { authProvider.kept.client = client; } };
  };
  const page = await (await browser.newContext()).newPage();

  const { url, ready } = await protect(t, upstream, toml, { SSL_CERT_FILE: document.authority });
  const authProvider = described();
  await assert.rejects(call(NEW, url, { authProvider }), NEW.Unauthorized);
  assert.equal(authProvider.kept.address.searchParams.get("client_id"), document.url);
  await signIn(page, authProvider.kept.address);
  await page.getByRole("heading", { name: "Allow The described app?" }).waitFor();
  assert.ok(await page.getByText("localhost").first().isVisible());
  await page.getByRole("button", { name: "Allow" }).click();
  await page.getByText("You can close this page.").waitFor();
  assert.equal(answers.at(-1).get("iss"), ready.postern_url);
  await new NEW.Transport(new URL(url), { authProvider }).finishAuth(answers.at(-1));
  assert.equal((await whoami(NEW, url, { authProvider })).client_id, document.url);
  assert.deepEqual(document.fetched, ["/client.json"]);

  // Postern without that authority, which the system does not know.
  const other = await protect(t, upstream, toml);
  const refused = described();
  await assert.rejects(call(NEW, other.url, { authProvider: refused }), NEW.Unauthorized);
  await page.goto(refused.kept.address.href);
  await page.getByText("The app could not be identified").waitFor();
  assert.equal(document.fetched.length, 1);
});

test("the example's function streams through a REST API, and takes nothing from the caller's own headers", async (t) => {
  const { url, ready } = await protect(t, await startLambda(t));
  for (const kind of [OLD, NEW, { ...NEW, options: { versionNegotiation: { mode: "auto" } } }]) {
    const key = await whoami(kind, url, { requestInit: { headers: { "X-API-Key": ready.api_key } } });
    assert.match(key.user_id, /^key_\w{26}$/);
    assert.deepEqual(key, { user_id: key.user_id, kind: "api_key", org_id: ready.organization_id, client_id: null, scopes: "*", resource: url });
  }
});
