// Strict OAuth libraries against Postern, without a special case for it.
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { JwtVerifier } from "aws-jwt-verify";
import * as jose from "jose";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";
import { configFile, folder, freePort, Jar, start } from "./postern.mjs";

const EMAIL = "grace@example.com";
const PASSWORD = "correct horse battery";
const CALLBACK = "https://app.example.com/callback";
const ORDERS = "https://api.example.com/orders";
const CONFIG = `
[[client]]
id = "app"
name = "The App"
redirect_uris = ["${CALLBACK}"]

[[resource]]
uri = "${ORDERS}"
name = "Orders"
scopes = ["repos:read", "repos:write"]
default_scopes = ["repos:read"]
algorithm = "RS256"
`;
const insecure = { [oauth.allowInsecureRequests]: true };
const ends = [];
let url, ready, as, agent;

before(async () => {
  const t = { after: (end) => ends.push(end) };
  url = `http://127.0.0.1:${await freePort()}`;
  const config = configFile(folder(t), CONFIG);
  ({ ready } = await start(t, ["serve", "--listen", new URL(url).host, "--data", ":memory:", "--config", config]));
  assert.equal((await api("/v1/users", { email: EMAIL, password: PASSWORD })).status, 201);
  agent = await (await api("/v1/agents", { name: "bot", scopes: ["repos:*"] })).json();
  const issuer = new URL(url);
  const answer = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure });
  as = await oauth.processDiscoveryResponse(issuer, answer);
});

after(async () => { for (const end of ends.reverse()) await end(); });

const api = (path, body) => fetch(url + path, {
  method: "POST", headers: { "x-api-key": ready.api_key, "content-type": "application/json" }, body: JSON.stringify(body),
});

/** Returns a function that sends a form as the browser with these cookies. */
const formsOf = (jar) => (path, fields) => jar.fetch(url + path, {
  method: "POST", headers: { origin: url, accept: "text/html" }, body: new URLSearchParams(fields),
});

/** Signs the user in and allows what the client asks for; returns where the browser is sent. */
async function allow(address) {
  const jar = new Jar();
  const form = formsOf(jar);
  const asked = await jar.fetch(address, { headers: { accept: "text/html" } });
  const next = new URL(asked.headers.get("location"), url).searchParams.get("next");
  await form("/login", { email: EMAIL, password: PASSWORD, next });
  const page = await (await jar.fetch(url + next, { headers: { accept: "text/html" } })).text();
  const decided = await form("/v1/auth/authorize", [...hiddenFields(page, "/v1/auth/authorize"), ["decision", "allow"]]);
  return new URL(decided.headers.get("location"));
}

/** Returns the hidden fields of the form that is sent to `action`. */
function hiddenFields(page, action) {
  const fields = page.split(`action="${action}"`)[1].matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g);
  return [...fields].map(([, name, value]) => [name, value.replaceAll("&#38;", "&")]);
}

/** Signs the user in with a link of the agent, and allows what it asks for. */
async function allowAgent(parameters) {
  const jar = new Jar();
  const form = formsOf(jar);
  const asked = await jar.fetch(`${url}/apps?${new URLSearchParams(parameters)}`, { headers: { accept: "text/html" } });
  const next = new URL(asked.headers.get("location"), url).searchParams.get("next");
  await form("/login", { email: EMAIL, password: PASSWORD, next });
  const page = await (await jar.fetch(url + next, { headers: { accept: "text/html" } })).text();
  const decided = await form("/apps", [...hiddenFields(page, "/apps"), ["decision", "allow"]]);
  assert.equal(decided.headers.get("location"), "/apps?done=allowed");
}

/** Signs the user in and approves a device. */
async function approve(code) {
  const jar = new Jar();
  const form = formsOf(jar);
  await form("/login", { email: EMAIL, password: PASSWORD, next: "/device" });
  const page = await (await jar.fetch(`${url}/device`, { headers: { accept: "text/html" } })).text();
  const csrf = page.match(/name="csrf" value="([^"]*)"/)[1];
  const waiting = await (await form("/device", { csrf, user_code: code })).text();
  const shown = waiting.match(/name="shown_scope" value="([^"]*)"/)[1];
  assert.equal((await form("/device", { csrf, user_code: code, shown_scope: shown, decision: "approve" })).status, 303);
}

/** Checks a token as an API does that trusts Postern as an issuer. */
async function verify(token, audience) {
  const request = new Request("https://api.example.com/", { headers: { authorization: `Bearer ${token}` } });
  return oauth.validateJwtAccessToken(as, request, audience, { ...insecure });
}

test("oauth4webapi: client credentials, for one API", async () => {
  const client = { client_id: agent.id };
  const parameters = new URLSearchParams({ scope: "repos:read", resource: ORDERS });
  const answer = await oauth.clientCredentialsGrantRequest(as, client, oauth.ClientSecretBasic(agent.secret), parameters, insecure);
  const tokens = await oauth.processClientCredentialsResponse(as, client, answer);
  assert.equal(tokens.scope, "repos:read");
  const claims = await verify(tokens.access_token, ORDERS);
  assert.equal(claims.client_id, agent.id);
  await assert.rejects(verify(tokens.access_token, url));
  await assert.rejects(verify(tokens.access_token, "https://api.example.com/"));
});

test("oauth4webapi: an agent acts for a user who has allowed it", async () => {
  const client = { client_id: agent.id };
  const login = await (await api("/v1/auth/login", { email: EMAIL, password: PASSWORD })).json();
  const exchange = async () => {
    const parameters = new URLSearchParams({
      subject_token: login.access_token, subject_token_type: "urn:ietf:params:oauth:token-type:access_token", resource: ORDERS,
    });
    const grant = "urn:ietf:params:oauth:grant-type:token-exchange";
    const answer = await oauth.genericTokenEndpointRequest(as, client, oauth.ClientSecretBasic(agent.secret), grant, parameters, insecure);
    return oauth.processGenericTokenEndpointResponse(as, client, answer);
  };
  await assert.rejects(exchange(), { error: "consent_required" });
  await allowAgent({ client_id: agent.id, resource: ORDERS, scope: "repos:read" });
  const tokens = await exchange();
  assert.equal(tokens.issued_token_type, "urn:ietf:params:oauth:token-type:access_token");
  const claims = await verify(tokens.access_token, ORDERS);
  assert.deepEqual([claims.scope, claims.client_id, claims.act], ["repos:read", agent.id, { sub: agent.id }]);
  const whose = jose.decodeJwt(login.access_token).sub;
  assert.equal(claims.sub, whose);
});

test("oauth4webapi: the code flow, refresh and revocation", async () => {
  const client = { client_id: "app" };
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const address = new URL(as.authorization_endpoint);
  address.search = new URLSearchParams({
    response_type: "code", client_id: "app", redirect_uri: CALLBACK, scope: "repos:read repos:write", resource: ORDERS, state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
  });
  const back = await allow(address);
  const parameters = oauth.validateAuthResponse(as, client, back, state);
  const answer = await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), parameters, CALLBACK, verifier, insecure);
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, answer);
  assert.equal(tokens.scope, "repos:read repos:write");
  await verify(tokens.access_token, ORDERS);
  const again = await oauth.refreshTokenGrantRequest(as, client, oauth.None(), tokens.refresh_token, { additionalParameters: { scope: "repos:read" }, ...insecure });
  const fresh = await oauth.processRefreshTokenResponse(as, client, again);
  assert.equal(fresh.scope, "repos:read");
  assert.equal((await verify(fresh.access_token, ORDERS)).scope, "repos:read");
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, oauth.None(), fresh.refresh_token, insecure));
  const ended = await oauth.refreshTokenGrantRequest(as, client, oauth.None(), fresh.refresh_token, insecure);
  await assert.rejects(oauth.processRefreshTokenResponse(as, client, ended), { error: "invalid_grant" });
});

test("oauth4webapi: tokens that are bound to a key", async () => {
  const client = { client_id: "app" };
  for (const algorithm of ["ES256", "Ed25519", "PS256", "RS256"]) {
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair(algorithm));
    const verifier = oauth.generateRandomCodeVerifier();
    const address = new URL(as.authorization_endpoint);
    address.search = new URLSearchParams({
      response_type: "code", client_id: "app", redirect_uri: CALLBACK, scope: "repos:read", prompt: "consent", dpop_jkt: await DPoP.calculateThumbprint(),
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
    });
    const parameters = oauth.validateAuthResponse(as, client, await allow(address));
    const answer = await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), parameters, CALLBACK, verifier, { DPoP, ...insecure });
    const tokens = await oauth.processAuthorizationCodeResponse(as, client, answer);
    assert.equal(tokens.token_type, "dpop");
    const whoami = (token, options) => oauth.protectedResourceRequest(token, "GET", new URL(`${url}/v1/auth/whoami?a=b`), undefined, undefined, { ...options, ...insecure });
    assert.equal((await whoami(tokens.access_token, { DPoP })).status, 200);
    const other = oauth.DPoP(client, await oauth.generateKeyPair(algorithm));
    for (const options of [{ DPoP: other }, {}]) {
      await assert.rejects(whoami(tokens.access_token, options), (error) => error.cause[0].scheme === "dpop");
    }
    const bare = await oauth.refreshTokenGrantRequest(as, client, oauth.None(), tokens.refresh_token, insecure);
    await assert.rejects(oauth.processRefreshTokenResponse(as, client, bare), { error: "invalid_dpop_proof" });
    const again = await oauth.refreshTokenGrantRequest(as, client, oauth.None(), tokens.refresh_token, { DPoP, ...insecure });
    const fresh = await oauth.processRefreshTokenResponse(as, client, again);
    assert.equal((await whoami(fresh.access_token, { DPoP })).status, 200);
  }
});

test("oauth4webapi: an API checks a token that is bound to a key", async () => {
  const client = { client_id: agent.id };
  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
  const answer = await oauth.clientCredentialsGrantRequest(as, client, oauth.ClientSecretBasic(agent.secret), { resource: ORDERS }, { DPoP, ...insecure });
  const { access_token: token } = await oauth.processClientCredentialsResponse(as, client, answer);
  let request;
  const capture = async (address, options) => {
    request = new Request(address, options);
    return new Response("{}");
  };
  await oauth.protectedResourceRequest(token, "GET", new URL(ORDERS), undefined, undefined, { DPoP, [oauth.customFetch]: capture });
  const claims = await oauth.validateJwtAccessToken(as, request, ORDERS, { requireDPoP: true, ...insecure });
  assert.equal(claims.cnf.jkt, await DPoP.calculateThumbprint());
  await assert.rejects(verify(token, ORDERS));
});

test("oauth4webapi: errors of the authorization endpoint", async () => {
  const client = { client_id: "app" };
  const address = new URL(as.authorization_endpoint);
  address.search = new URLSearchParams({ response_type: "code", client_id: "app", redirect_uri: CALLBACK, state: "s", prompt: "none", code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", code_challenge_method: "S256" });
  const answer = await fetch(address, { redirect: "manual" });
  const back = new URL(answer.headers.get("location"));
  assert.throws(() => oauth.validateAuthResponse(as, client, back, "s"), { error: "login_required" });
  assert.throws(() => oauth.validateAuthResponse(as, client, back, "another"), /state/);
  back.searchParams.delete("iss");
  assert.throws(() => oauth.validateAuthResponse(as, client, back, "s"), /iss/);
});

test("openid-client: the device flow, for one API", async () => {
  const config = await openid.discovery(new URL(url), "postern-cli", undefined, openid.None(), { execute: [openid.allowInsecureRequests], algorithm: "oauth2" });
  const begun = await openid.initiateDeviceAuthorization(config, { scope: "repos:read", resource: ORDERS });
  assert.match(begun.user_code, /^[A-Z]{4}-[A-Z]{4}$/);
  await approve(begun.user_code);
  const tokens = await openid.pollDeviceAuthorizationGrant(config, { ...begun, interval: 1 });
  assert.equal(tokens.scope, "repos:read");
  await verify(tokens.access_token, ORDERS);
});

test("openid-client: client credentials by post", async () => {
  const config = await openid.discovery(new URL(url), agent.id, agent.secret, openid.ClientSecretPost(agent.secret), { execute: [openid.allowInsecureRequests], algorithm: "oauth2" });
  const tokens = await openid.clientCredentialsGrant(config, { resource: ORDERS });
  assert.equal(tokens.scope, "repos:read");
});

/** Creates an agent with the public half of a new key; returns its id and the pair. */
async function signingAgent(algorithm) {
  const { privateKey, publicKey } = await oauth.generateKeyPair(algorithm, { extractable: true });
  const jwk = { ...(await jose.exportJWK(publicKey)), kid: "first", alg: algorithm };
  const answer = await api("/v1/agents", { name: "signer", scopes: ["repos:*", "tokens:introspect"], jwks: { keys: [jwk] } });
  assert.equal(answer.status, 201);
  return { id: (await answer.json()).id, privateKey };
}

test("oauth4webapi: private_key_jwt", async () => {
  for (const algorithm of ["ES256", "EdDSA", "RS256", "PS256"]) {
    const { id, privateKey } = await signingAgent(algorithm);
    const client = { client_id: id };
    const authentication = oauth.PrivateKeyJwt({ key: privateKey, kid: "first" });
    const parameters = { scope: "repos:read offline_access", resource: ORDERS };
    const answer = await oauth.clientCredentialsGrantRequest(as, client, authentication, parameters, insecure);
    const tokens = await oauth.processClientCredentialsResponse(as, client, answer);
    assert.equal((await verify(tokens.access_token, ORDERS)).client_id, id);
    const again = await oauth.refreshTokenGrantRequest(as, client, authentication, tokens.refresh_token, insecure);
    await oauth.processRefreshTokenResponse(as, client, again);
    const asked = await oauth.introspectionRequest(as, client, authentication, tokens.access_token, insecure);
    const known = await oauth.processIntrospectionResponse(as, client, asked);
    assert.deepEqual([known.active, known.client_id], [true, id]);
    const other = oauth.PrivateKeyJwt({ key: (await oauth.generateKeyPair(algorithm)).privateKey, kid: "first" });
    const refused = await oauth.clientCredentialsGrantRequest(as, client, other, parameters, insecure);
    assert.deepEqual([refused.status, (await refused.clone().json()).error], [401, "invalid_client"]);
    await assert.rejects(oauth.processClientCredentialsResponse(as, client, refused), oauth.WWWAuthenticateChallengeError);
  }
});

const pick = (object, names) => Object.fromEntries(names.map((name) => [name, object[name]]));

test("oauth4webapi: signed responses of introspection", async () => {
  const { id, privateKey } = await signingAgent("ES256");
  const client = { client_id: id };
  const authentication = oauth.PrivateKeyJwt({ key: privateKey, kid: "first" });
  const granted = await oauth.clientCredentialsGrantRequest(as, client, authentication, { scope: "repos:read", resource: ORDERS }, insecure);
  const { access_token: token } = await oauth.processClientCredentialsResponse(as, client, granted);
  const signed = { requestJwtResponse: true, ...insecure };
  const isSigned = (answer) => oauth.getContentType(answer) === "application/token-introspection+jwt";
  for (const [asked, expected] of [[token, { active: true, client_id: id, scope: "repos:read", aud: ORDERS, iss: url }], ["pst_at_other", { active: false }]]) {
    const answer = await oauth.introspectionRequest(as, client, authentication, asked, signed);
    const known = await oauth.processIntrospectionResponse(as, client, answer);
    await oauth.validateApplicationLevelSignature(as, answer, insecure);
    assert.ok(isSigned(answer));
    assert.deepEqual(expected.active ? pick(known, Object.keys(expected)) : known, expected);
  }
  const verified = async (request, change = (jwt) => jwt) => {
    const answer = await oauth.introspectionRequest(as, client, authentication, token, request);
    const changed = new Response(change(await answer.text()), { headers: answer.headers });
    await oauth.processIntrospectionResponse(as, client, changed);
    await oauth.validateApplicationLevelSignature(as, changed, insecure);
  };
  const withClaims = (change) => (jwt) => {
    const [header, payload, signature] = jwt.split(".");
    const claims = { ...JSON.parse(Buffer.from(payload, "base64url")), ...change };
    return [header, Buffer.from(JSON.stringify(claims)).toString("base64url"), signature].join(".");
  };
  await verified(signed);
  await assert.rejects(verified(signed, withClaims({ token_introspection: { active: true, scope: "*" } })), /signature verification failed/);
  // A response is only for the client who asked.
  const other = await oauth.introspectionRequest(as, client, authentication, token, signed);
  await assert.rejects(oauth.processIntrospectionResponse(as, { client_id: agent.id }, other), /"aud"/);
  const plain = await oauth.introspectionRequest(as, client, authentication, token, insecure);
  assert.ok(!isSigned(plain));
});

test("openid-client: private_key_jwt", async () => {
  const { id, privateKey } = await signingAgent("ES256");
  const config = await openid.discovery(new URL(url), id, undefined, openid.PrivateKeyJwt(privateKey), { execute: [openid.allowInsecureRequests], algorithm: "oauth2" });
  const tokens = await openid.clientCredentialsGrant(config, { resource: ORDERS });
  assert.equal(tokens.scope, "repos:read");
});

test("openid-client: signed responses of introspection", async () => {
  const { id, privateKey } = await signingAgent("ES256");
  const metadata = { introspection_signed_response_alg: "ES256" };
  const config = await openid.discovery(new URL(url), id, metadata, openid.PrivateKeyJwt({ key: privateKey, kid: "first" }), {
    execute: [openid.allowInsecureRequests, openid.enableNonRepudiationChecks], algorithm: "oauth2",
  });
  const types = [];
  config[openid.customFetch] = async (...request) => {
    const answer = await fetch(...request);
    types.push(answer.headers.get("content-type"));
    return answer;
  };
  const tokens = await openid.clientCredentialsGrant(config, { resource: ORDERS, scope: "repos:read" });
  types.length = 0;
  const known = await openid.tokenIntrospection(config, tokens.access_token);
  assert.deepEqual(pick(known, ["active", "client_id", "scope", "aud"]), { active: true, client_id: id, scope: "repos:read", aud: ORDERS });
  assert.deepEqual(types, ["application/token-introspection+jwt", "application/json"]);
});

test("openid-client: tokens that are bound to a key", async () => {
  const config = await openid.discovery(new URL(url), agent.id, agent.secret, openid.ClientSecretBasic(agent.secret), { execute: [openid.allowInsecureRequests], algorithm: "oauth2" });
  const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair("ES256"));
  const tokens = await openid.clientCredentialsGrant(config, { scope: "repos:read offline_access" }, { DPoP });
  assert.equal(tokens.token_type, "dpop");
  const whoami = (token) => openid.fetchProtectedResource(config, token, new URL(`${url}/v1/auth/whoami`), "GET", undefined, undefined, { DPoP });
  assert.equal((await (await whoami(tokens.access_token)).json()).user_id, agent.id);
  const fresh = await openid.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
  assert.equal((await whoami(fresh.access_token)).status, 200);
});

test("jose and aws-jwt-verify accept a token for its API only", async () => {
  const client = { client_id: agent.id };
  const answer = await oauth.clientCredentialsGrantRequest(as, client, oauth.ClientSecretPost(agent.secret), { resource: ORDERS }, insecure);
  const { access_token: token } = await oauth.processClientCredentialsResponse(as, client, answer);
  const keys = jose.createRemoteJWKSet(new URL(as.jwks_uri));
  const options = { issuer: url, audience: ORDERS, typ: "at+jwt", algorithms: ["RS256"] };
  await jose.jwtVerify(token, keys, options);
  await assert.rejects(jose.jwtVerify(token, keys, { ...options, audience: url }));
  await assert.rejects(jose.jwtVerify(token, keys, { ...options, algorithms: ["ES256"] }));
  const jwks = await (await fetch(as.jwks_uri)).json();
  for (const [audience, isAccepted] of [[ORDERS, true], [url, false]]) {
    const verifier = JwtVerifier.create({ issuer: url, audience, jwksUri: as.jwks_uri.replace("http:", "https:") });
    verifier.cacheJwks({ keys: jwks.keys.filter(({ alg }) => alg === "RS256") });
    if (isAccepted) await verifier.verify(token);
    else await assert.rejects(verifier.verify(token));
  }
});
