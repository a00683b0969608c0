// Issuers of workload tokens on this machine: each signs tokens of the form that docs/federation.md shows for its kind. A runner of GitHub
// Actions and AWS's STS hand them out as the real ones do.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { configFile, folder as temporary, freePort, start } from "./postern.mjs";

const pages = process.env.POSTERN_PAGES;
if (!pages) throw new Error("POSTERN_PAGES must name the folder docs: run e2e/run people");

/** The audience of the tokens on the page. */
export const AUDIENCE = "https://auth.example.com";
/** When the tokens on the page were issued. */
const ISSUED_AT = 1_767_225_600;

/** Reads the recipes of the page: by kind, its rule and the claims of a token that meets it. */
export function recipes() {
  const page = readFileSync(join(pages, "federation.md"), "utf8");
  const blocks = [...page.matchAll(/^```(toml|json)\n([\s\S]*?)^```/gm)];
  const found = {};
  for (const [at, [, language, toml]] of blocks.entries()) {
    const next = blocks[at + 1];
    if (language !== "toml" || next?.[1] !== "json") continue;
    const claims = JSON.parse(next[2]);
    if (claims.aud) found[toml.match(/^kind = "(\w+)"/m)?.[1] ?? "oidc"] = { toml, claims };
  }
  return found;
}

/** Serves HTTP on this machine until the end of the test; returns the URL. */
export async function serve(t, handle) {
  const server = createServer((request, response) => {
    Promise.resolve(handle(request, response)).catch((error) => { response.destroy(error); });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}`;
}

export function json(response, body, status = 200) {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** Opens an issuer, with its discovery document, its key set, and the bundle of a SPIFFE trust domain. */
export async function openIssuer(t, algorithm = "RS256") {
  const { privateKey, publicKey } = await generateKeyPair(algorithm);
  const jwk = { ...(await exportJWK(publicKey)), kid: "first" };
  const keys = { keys: [{ ...jwk, use: "sig", alg: algorithm }] };
  const bundle = { keys: [{ ...jwk, use: "jwt-svid" }], spiffe_sequence: 1, spiffe_refresh_hint: 300 };
  const url = await serve(t, (request, response) => {
    const documents = {
      "/.well-known/openid-configuration": { issuer: url, jwks_uri: `${url}/jwks`, id_token_signing_alg_values_supported: [algorithm] },
      "/jwks": keys,
      "/bundle": bundle,
    };
    const document = documents[request.url];
    json(response, document ?? {}, document ? 200 : 404);
  });
  const sign = (claims, header = {}) => new SignJWT(claims).setProtectedHeader({ alg: algorithm, kid: "first", typ: "JWT", ...header }).sign(privateKey);
  return { url, bundle, sign };
}

let tokens = 0;

/** Signs a token of a recipe as of now, with these changes. */
export function signRecipe(issuer, { claims }, changes = {}) {
  const passed = Math.floor(Date.now() / 1000) - ISSUED_AT;
  const current = { ...claims };
  for (const time of ["iat", "nbf", "exp"]) if (current[time]) current[time] += passed;
  if (current.iss) current.iss = issuer.url;
  tokens += 1;
  if (current.jti) current.jti = `${current.jti}-${tokens}`;
  return issuer.sign({ ...current, ...changes });
}

/** Returns the rule of a recipe, for an issuer of this machine and an agent. */
export function ruleFor(issuer, { toml }, agent) {
  const isTrustDomain = toml.includes('"spiffe://');
  const lines = toml.split("\n").filter((line) => !line.startsWith("jwks_url") && (isTrustDomain || !line.startsWith("issuer")));
  const own = isTrustDomain ? `jwks_url = "${issuer.url}/bundle"` : `issuer = "${issuer.url}"`;
  return `${lines.join("\n").replace(/agt_\w+/, agent.id)}${own}\n`;
}

/** The API to protect: it says who its caller is. */
function api({ url, headers }, response) {
  json(response, { path: url, user: headers["x-postern-user-id"], scopes: headers["x-postern-scopes"] });
}

/** Creates an agent in a new deployment, and returns how to start the program again: with rules about it before an API or an MCP server. */
async function deploymentWithAgent(t, scopes) {
  const data = temporary(t);
  // The issuer of tokens stays that of the first start.
  const own = `127.0.0.1:${await freePort()}`;
  const first = await start(t, ["serve", "--listen", own, "--data", data]);
  const created = await fetch(`${first.ready.url}/v1/agents`, {
    method: "POST", headers: { "x-api-key": first.ready.api_key, "content-type": "application/json" },
    body: JSON.stringify({ name: "workload", scopes }),
  });
  if (created.status !== 201) throw new Error(await created.text());
  await first.kill();
  const protect = (upstream, listen, toml) => {
    const config = configFile(temporary(t), toml);
    return start(t, ["protect", ...upstream, "--listen", listen, "--postern-listen", own, "--data", data, "--config", config]);
  };
  return { agent: await created.json(), issuer: `http://${own}`, protect };
}

/** Starts Postern before an API, with an agent and the rules that `rules` returns for it. */
export async function protectApi(t, rules) {
  const { agent, protect } = await deploymentWithAgent(t, ["deploy:write", "data:read"]);
  const listen = `127.0.0.1:${await freePort()}`;
  const routes = { "/deployments": "deploy:write", "/secrets": "secrets:read" };
  const required = Object.entries(routes).map(([path, scope]) => `[[route]]\nmethod = "*"\npath = "${path}"\nscopes = ["${scope}"]\n`);
  const { ready } = await protect([await serve(t, api)], listen, [rules(agent), ...required].join("\n"));
  return { agent, ready, api: `http://${listen}`, tokenEndpoint: `${ready.postern_url}/v1/auth/token` };
}

/** Starts Postern before an MCP server, with an agent and what `toml` returns for the URL for clients, the agent and the issuer of tokens. */
export async function protectMcp(t, server, toml) {
  const { agent, issuer, protect } = await deploymentWithAgent(t, ["scans:*"]);
  const listen = `127.0.0.1:${await freePort()}`;
  const url = `http://${listen}/mcp`;
  const { ready } = await protect(["--mcp", server], listen, toml(url, agent, issuer));
  return { agent, issuer, ready, url };
}

/** Sends a grant; returns the status and the body of the response. */
export async function grant(tokenEndpoint, parameters) {
  const response = await fetch(tokenEndpoint, { method: "POST", body: new URLSearchParams(parameters) });
  return { status: response.status, body: await response.json() };
}

export const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";
export const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
export const JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt";

/** Opens the part of a runner of GitHub Actions that hands tokens to its job. Returns the environment of the job. */
export async function openRunner(t, issuer, recipe, changes = {}) {
  const bearer = "a token of the job";
  const url = await serve(t, async (request, response) => {
    const asked = new URL(request.url, "http://127.0.0.1").searchParams;
    const isOfJob = request.headers.authorization?.toLowerCase() === `bearer ${bearer}`;
    if (!isOfJob || asked.get("api-version") !== "2.0") return json(response, {}, 401);
    // Without an audience, it is the owner of the repository.
    const value = await signRecipe(issuer, recipe, { aud: asked.get("audience") ?? "https://github.com/octo-org", ...changes });
    return json(response, { count: value.length, value });
  });
  return { GITHUB_ACTIONS: "true", ACTIONS_ID_TOKEN_REQUEST_URL: `${url}/idtoken?api-version=2.0`, ACTIONS_ID_TOKEN_REQUEST_TOKEN: bearer };
}

/** Opens the metadata server of a machine in Google Cloud. Returns the environment of its processes. */
export async function openGoogleMetadata(t, issuer, recipe) {
  const url = await serve(t, async (request, response) => {
    response.setHeader("metadata-flavor", "Google").setHeader("content-type", "text/html");
    if (request.headers["metadata-flavor"] !== "Google") return response.writeHead(403).end();
    const { pathname, searchParams: asked } = new URL(request.url, "http://127.0.0.1");
    const account = "/computeMetadata/v1/instance/service-accounts/default/";
    if (pathname === "/") return response.end("computeMetadata/\n");
    if (pathname === account) return json(response, { aliases: ["default"], email: recipe.claims.email, scopes: [] });
    if (pathname !== `${account}identity`) return response.writeHead(404).end();
    // Without format=full, nothing about the machine is in it.
    const brief = asked.get("format") === "full" ? {} : { google: undefined, email: undefined, email_verified: undefined };
    return response.end(await signRecipe(issuer, recipe, { aud: asked.get("audience"), ...brief }));
  });
  return { GCE_METADATA_HOST: new URL(url).host, GCE_METADATA_IP: new URL(url).host };
}

/** Opens what hands tokens of a managed identity to an app in Azure. Returns the environment of the app. */
export async function openAzureIdentity(t, issuer, recipe) {
  const header = "a secret of the app";
  const url = await serve(t, async (request, response) => {
    const asked = new URL(request.url, "http://127.0.0.1").searchParams;
    if (request.headers["x-identity-header"] !== header || asked.get("api-version") !== "2019-08-01") return json(response, {}, 401);
    const resource = asked.get("resource");
    const expires = String(Math.floor(Date.now() / 1000) + 86_399);
    return json(response, { access_token: await signRecipe(issuer, recipe, { aud: resource }), expires_on: expires, resource, token_type: "Bearer" });
  });
  return { IDENTITY_ENDPOINT: `${url}/msi/token`, IDENTITY_HEADER: header };
}

/** Opens AWS's STS: MiniStack reads each request and writes the response, in which the token is replaced by one that AWS could have signed. */
export function openSts(t, ministack, issuer, recipe) {
  return serve(t, async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    const headers = Object.entries(request.headers).filter(([name]) => /^(authorization|content-type|x-amz-.*)$/.test(name));
    const answer = await fetch(ministack + request.url, { method: request.method, headers: Object.fromEntries(headers), body });
    const text = await answer.text();
    const [, unsigned] = text.match(/<WebIdentityToken>([^<]*)</) ?? [];
    const { aud, iat, exp } = unsigned ? JSON.parse(Buffer.from(unsigned.split(".")[1], "base64url")) : {};
    const signed = unsigned && (await signRecipe(issuer, recipe, { aud, iat, exp }));
    response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") }).end(signed ? text.replace(unsigned, signed) : text);
  });
}
