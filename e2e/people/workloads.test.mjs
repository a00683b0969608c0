// Workloads that need no secret: the libraries with which they get their tokens, against issuers of this machine that sign tokens of the forms
// of docs/federation.md, and Postern before an API.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import test, { after, before } from "node:test";
import { promisify } from "node:util";
import * as oauth from "oauth4webapi";
import { freePort, pause } from "./postern.mjs";
import {
  AUDIENCE, JWT_BEARER, JWT_TYPE, TOKEN_EXCHANGE, grant, openAzureIdentity, openGoogleMetadata, openIssuer, openRunner, openSts, protectApi,
  recipes, ruleFor, signRecipe,
} from "./workload-issuers.mjs";

const { POSTERN_PYTHON: python, POSTERN_E2E: e2e, POSTERN_MINISTACK: ministack } = process.env;
if (!python || !e2e || !ministack) throw new Error("POSTERN_PYTHON, POSTERN_E2E and POSTERN_MINISTACK must name programs: run e2e/run people");

const RECIPES = recipes();
const issuers = {};
const ends = [];
const suite = { after: (end) => ends.push(end) };
let agent, ready, api, tokenEndpoint;

before(async () => {
  for (const kind of Object.keys(RECIPES)) issuers[kind] = await openIssuer(suite);
  const rules = (owner) => Object.entries(RECIPES).map(([kind, recipe]) => ruleFor(issuers[kind], recipe, owner)).join("\n");
  ({ agent, ready, api, tokenEndpoint } = await protectApi(suite, rules));
});

after(async () => { for (const end of ends.reverse()) await end(); });

/** Runs a program with only these variables; returns what it printed. */
async function run(program, args, variables) {
  const { stdout } = await promisify(execFile)(program, args, { env: { PATH: process.env.PATH, ...variables }, timeout: 60_000 })
    .catch((error) => { throw new Error(`${program} failed: ${error.stdout}${error.stderr}`); });
  return stdout;
}

const ask = async (mode, variables) => JSON.parse(await run(python, ["workloads.py", mode], { AUDIENCE, ...variables }));

const call = async (token, path) => {
  const response = await fetch(api + path, { headers: { authorization: `Bearer ${token}` } });
  return { status: response.status, body: await response.json() };
};

const REFUSED = {
  status: 400,
  error: "invalid_grant",
  error_description: "The token of the workload is not accepted: it must be current and unused, from a trusted issuer, for the audience of a "
    + "trust rule alone, and meet that rule. The operator can see why with postern trust try.",
};

async function expectRefused(token) {
  const { status, body } = await grant(tokenEndpoint, { grant_type: JWT_BEARER, assertion: token });
  assert.deepEqual({ status, ...body }, { ...REFUSED, request_id: body.request_id });
}

/** Exchanges a token: the new one opens what the rule grants and nothing else, and the token cannot be exchanged again. */
async function expectGranted(token) {
  const { status, body } = await grant(tokenEndpoint, { grant_type: JWT_BEARER, assertion: token });
  assert.equal(status, 200, JSON.stringify(body));
  const { access_token: access, expires_in: seconds } = body;
  assert.deepEqual(body, { access_token: access, token_type: "Bearer", expires_in: seconds, scope: "deploy:write" });
  assert.deepEqual(await call(access, "/deployments"), { status: 200, body: { path: "/deployments", user: agent.id, scopes: "deploy:write" } });
  assert.equal((await call(access, "/secrets")).status, 403);
  assert.equal((await call(token, "/deployments")).status, 401);
  await expectRefused(token);
}

test("every documented form of a token opens the API, once, and for no other audience", async () => {
  assert.deepEqual(Object.keys(RECIPES).sort(), ["aws", "azure", "github", "gitlab", "google", "kubernetes", "oidc", "spiffe"]);
  for (const [kind, recipe] of Object.entries(RECIPES)) {
    await expectGranted(await signRecipe(issuers[kind], recipe));
    for (const aud of ["https://other.example.com", `${AUDIENCE}/`, [AUDIENCE, "https://other.example.com"], ready.postern_url]) {
      await expectRefused(await signRecipe(issuers[kind], recipe, { aud }));
    }
    const other = kind === "aws" ? issuers.github : issuers.aws;
    await expectRefused(await signRecipe({ ...other, url: issuers[kind].url }, recipe));
  }
});

/** Runs a step of a workflow as a runner does. */
async function runStep(t, changes, audience = AUDIENCE) {
  const job = await openRunner(t, issuers.github, RECIPES.github, changes);
  const printed = await run(process.execPath, ["workload-step.mjs"], { ...job, AUDIENCE: audience, TOKEN_ENDPOINT: tokenEndpoint, API: api });
  assert.match(printed, /^::add-mask::ey/m);
  return JSON.parse(printed.trim().split("\n").at(-1));
}

test("@actions/core: a step of a workflow calls the API", async (t) => {
  const { tokens, ...result } = await runStep(t);
  assert.deepEqual(result, { granted: 200, called: 200, api: { path: "/deployments", user: agent.id, scopes: "deploy:write" } });
  assert.deepEqual(tokens, { access_token: tokens.access_token, token_type: "Bearer", expires_in: tokens.expires_in, scope: "deploy:write" });
});

test("@actions/core: other workflows are refused", async (t) => {
  for (const [changes, audience] of [
    [{ event_name: "pull_request_target" }],
    [{ repository_id: "999" }],
    [{ environment: "staging" }],
    [{}, ""],
    [{}, "sts.amazonaws.com"],
  ]) {
    const { granted, tokens } = await runStep(t, changes, audience);
    assert.deepEqual({ status: granted, ...tokens }, { ...REFUSED, request_id: tokens.request_id });
  }
});

test("id (Python): a job of GitHub or GitLab", async (t) => {
  const { token } = await ask("ambient", await openRunner(t, issuers.github, RECIPES.github));
  await expectGranted(token);
  const ofGitlab = async (changes) => {
    const HTTPS___AUTH_EXAMPLE_COM_ID_TOKEN = await signRecipe(issuers.gitlab, RECIPES.gitlab, changes);
    return (await ask("ambient", { GITLAB_CI: "true", HTTPS___AUTH_EXAMPLE_COM_ID_TOKEN })).token;
  };
  await expectGranted(await ofGitlab());
  await expectRefused(await ofGitlab({ pipeline_source: "merge_request_event" }));
});

test("google-auth (Python): a machine of Google Cloud", async (t) => {
  const machine = await openGoogleMetadata(t, issuers.google, RECIPES.google);
  await expectGranted((await ask("google", machine)).token);
  await expectRefused((await ask("google", { ...machine, AUDIENCE: "https://other.example.com" })).token);
});

test("azure-identity (Python): an app of Azure", async (t) => {
  const app = { AUDIENCE: RECIPES.azure.claims.aud, ...(await openAzureIdentity(t, issuers.azure, RECIPES.azure)) };
  await expectGranted((await ask("azure", app)).token);
  await expectRefused((await ask("azure", { ...app, AUDIENCE: "https://management.azure.com" })).token);
});

test("spiffe (Python): a JWT-SVID of the Workload API", async () => {
  const { sub } = RECIPES.spiffe.claims;
  const BUNDLE = JSON.stringify(issuers.spiffe.bundle);
  const svid = async (changes) => ({ SPIFFE_ID: sub, SVID: await signRecipe(issuers.spiffe, RECIPES.spiffe, changes), BUNDLE });
  const fetched = await ask("spiffe", await svid());
  assert.deepEqual({ ...fetched, token: "" }, { token: "", id: sub, audience: [AUDIENCE] });
  await expectGranted(fetched.token);
  await assert.rejects(ask("spiffe", await svid({ sub: "spiffe://other.org/ns/prod/sa/deploy" })), /trust domain/);
  await expectRefused(await signRecipe(issuers.spiffe, RECIPES.spiffe, { sub: "spiffe://other.org/ns/prod/sa/deploy" }));
});

/** Starts MiniStack; returns its URL. */
async function startMinistack(t) {
  const port = await freePort();
  const child = spawn(ministack, [], { env: { PATH: process.env.PATH, BIND_HOST: "127.0.0.1", GATEWAY_PORT: String(port) }, stdio: "ignore", detached: true });
  t.after(() => process.kill(-child.pid, "SIGKILL"));
  const url = `http://127.0.0.1:${port}`;
  for (let waited = 0; ; waited += 50) {
    if (await fetch(url).catch(() => null)) return url;
    if (waited > 30_000) throw new Error("MiniStack did not start");
    await pause(50);
  }
}

test("boto3 and the AWS SDK for Rust: sts:GetWebIdentityToken", { timeout: 120_000 }, async (t) => {
  const stub = await startMinistack(t);
  const sts = await openSts(t, stub, issuers.aws, RECIPES.aws);
  const role = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b", AWS_REGION: "eu-west-1", AWS_DEFAULT_REGION: "eu-west-1" };
  const clients = {
    boto3: async (url, algorithm) => (await ask("aws", { ...role, ALGORITHM: algorithm, AWS_ENDPOINT_URL_STS: url })).token,
    rust: async (url, algorithm) => {
      const args = ["web-identity-token", "--audience", AUDIENCE, "--algorithm", algorithm];
      return (await run(e2e, args, { ...role, AWS_ENDPOINT_URL_STS: url })).trim();
    },
  };
  for (const fetchToken of Object.values(clients)) {
    await expectGranted(await fetchToken(sts, "RS256"));
    // MiniStack signs with a secret that everybody knows.
    await expectRefused(await fetchToken(stub, "RS256"));
    await assert.rejects(fetchToken(sts, "HS256"), /HS256/);
  }
});

test("oauth4webapi: both grants", async () => {
  const insecure = { [oauth.allowInsecureRequests]: true };
  const issuer = new URL(ready.postern_url);
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure }));
  assert.ok([JWT_BEARER, TOKEN_EXCHANGE].every((type) => as.grant_types_supported.includes(type)));
  const client = { client_id: agent.id };
  const send = async (type, parameters) => {
    const answer = await oauth.genericTokenEndpointRequest(as, client, oauth.None(), type, parameters, insecure);
    return oauth.processGenericTokenEndpointResponse(as, client, answer);
  };
  const sign = (changes) => signRecipe(issuers.kubernetes, RECIPES.kubernetes, changes);
  const bearer = await send(JWT_BEARER, { assertion: await sign() });
  assert.deepEqual([bearer.scope, bearer.refresh_token], ["deploy:write", undefined]);
  const exchanged = await send(TOKEN_EXCHANGE, { subject_token: await sign(), subject_token_type: JWT_TYPE });
  assert.equal(exchanged.issued_token_type, "urn:ietf:params:oauth:token-type:access_token");
  for (const { access_token: token } of [bearer, exchanged]) assert.equal((await call(token, "/deployments")).status, 200);
  const other = { sub: "system:serviceaccount:dev:deploy" };
  await assert.rejects(send(JWT_BEARER, { assertion: await sign(other) }), { error: "invalid_grant" });
  await assert.rejects(send(TOKEN_EXCHANGE, { subject_token: await sign(other), subject_token_type: JWT_TYPE }), { error: "invalid_request" });
  await assert.rejects(send(JWT_BEARER, { assertion: await sign(), scope: "data:read" }), { error: "invalid_scope" });
});
