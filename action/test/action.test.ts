// The bundle in the jobs of a runner, with the real local program.
import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { serve, startDeployment } from "../../clients/typescript/test/harness.ts";
import { NODE, runJob } from "./runner.ts";

const ends: (() => void | Promise<void>)[] = [];
const suite = { after: (end: () => void | Promise<void>) => void ends.push(end) };
let deployment: Awaited<ReturnType<typeof startDeployment>>;

before(async () => {
  assert.equal(
    Number(process.versions.node.split(".")[0]),
    NODE,
    "run the tests with the Node.js of action.yml",
  );
  deployment = await startDeployment(suite);
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/** What the runner says about the job to every step. */
const JOB = {
  GITHUB_REPOSITORY: "octo-org/site",
  GITHUB_REPOSITORY_ID: "456789",
  GITHUB_REPOSITORY_OWNER_ID: "123456",
  GITHUB_REF: "refs/heads/main",
  GITHUB_EVENT_NAME: "push",
  GITHUB_WORKFLOW_REF: "octo-org/site/.github/workflows/deploy.yml@refs/heads/main",
};

/** The inputs of a job that is granted a token. */
const inputs = () => ({ issuer: deployment.issuer, audience: deployment.workload.audience });
/** The variables of a job with `permissions: id-token: write`. */
const permitted = () => ({ ...JOB, ...deployment.workload.github });

async function whoami(token: string) {
  const answer = await fetch(`${deployment.upstream}/v1/auth/whoami`, {
    headers: { authorization: `Bearer ${token}` },
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as Record<
    string,
    unknown
  >;

/** Nothing prints a token, and what is masked is written only for that. */
function expectMasked({ log, masks, raw }: Awaited<ReturnType<typeof runJob>>) {
  assert.doesNotMatch(log, /eyJ/, "a token is in the log");
  for (const mask of masks) assert.equal(raw.split(mask).length, 2, "a token is printed");
}

/** A step that failed: one annotation, and nothing for the steps after it or for the end of the job. */
async function expectFailure(job: Awaited<ReturnType<typeof runJob>>, says: RegExp) {
  assert.deepEqual([job.code, job.annotations.map(({ level }) => level)], [1, ["error"]], job.raw);
  assert.match(job.annotations[0]?.message ?? "", says);
  assert.deepEqual([job.outputs, job.exported, job.state], [{}, {}, {}]);
  expectMasked(job);
  const end = await job.end();
  assert.deepEqual([end.code, end.raw], [0, ""]);
}

test("a job gets a token, which works until the job ends", async (t) => {
  const begun = Date.now();
  const job = await runJob(t, inputs(), permitted());
  assert.deepEqual([job.code, job.annotations], [0, []], job.raw);
  const { token = "", "expires-at": expiresAt = "", ...others } = job.outputs;
  assert.deepEqual(others, {});
  const { status, body } = await whoami(token);
  assert.deepEqual([status, body["scopes"]], [200, ["orders:read", "scans:read"]]);
  const lifetime = Number(claimsOf(token)["exp"]) * 1000 - begun;
  assert.ok(Math.abs(Date.parse(expiresAt) - begun - lifetime) < 5000, expiresAt);
  const end = await job.end();
  assert.deepEqual([end.code, end.annotations, end.log], [0, [], "The token is revoked.\n"]);
  assert.equal((await whoami(token)).status, 401);
});

test("both tokens are masked before anything else, and nothing prints them", async (t) => {
  const job = await runJob(t, inputs(), permitted());
  const { token = "" } = job.outputs;
  const [own = "", ...others] = job.masks;
  assert.deepEqual(others, [token]);
  assert.equal(claimsOf(own)["repository_id"], "456789", "the token that GitHub gave");
  assert.ok(job.raw.startsWith(`::add-mask::${own}\n::add-mask::${token}\n`), job.raw);
  expectMasked(job);
  assert.doesNotMatch((await job.end()).raw, /eyJ/);
});

test("later steps get the token in a variable only if one is named", async (t) => {
  const job = await runJob(t, { ...inputs(), variable: "ORDERS_TOKEN" }, permitted());
  assert.deepEqual(job.exported, { ORDERS_TOKEN: job.outputs["token"] });
  assert.deepEqual((await runJob(t, inputs(), permitted())).exported, {});
});

test("the token is for the resource and the scopes that are named", async (t) => {
  const job = await runJob(t, { ...inputs(), scope: "orders:read" }, permitted());
  assert.equal(claimsOf(job.outputs["token"] ?? "")["scope"], "orders:read");
  const narrow = { ...inputs(), scope: "orders:read", resource: deployment.resources.orders };
  await expectFailure(await runJob(t, narrow, permitted()), /invalid_target/);
});

test("without the permission the job is told to set it", async (t) => {
  await expectFailure(await runJob(t, inputs(), JOB), /permissions: id-token: write/);
});

test("a permission that GitHub does not accept is named", async (t) => {
  const job = await runJob(t, inputs(), {
    ...permitted(),
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: "of another job",
  });
  await expectFailure(job, /GitHub answered 401.*permissions: id-token: write/);
});

test("a job that no rule matches is told what it is", async (t) => {
  const url = await serve(t, (_, response) => {
    void deployment
      .order({ workload_token: { kind: "github", claims: { ref: "refs/heads/dev" } } })
      .then(({ workload_token: value }) => response.end(JSON.stringify({ value })));
  });
  const job = await runJob(t, inputs(), {
    ...permitted(),
    ACTIONS_ID_TOKEN_REQUEST_URL: `${url}/?a=b`,
    GITHUB_REF: "refs/heads/dev",
  });
  await expectFailure(
    job,
    /did not accept the token.*postern trust try.*aud = https:\/\/auth\.example\.com, repository_id = 456789.*ref = refs\/heads\/dev, event_name = push/,
  );
});

test("a token for another audience is refused", async (t) => {
  const job = await runJob(t, { issuer: deployment.issuer }, permitted());
  await expectFailure(
    job,
    new RegExp(`did not accept the token.*This job has aud = ${deployment.issuer},`),
  );
});

test("scopes that the rule does not grant are refused", async (t) => {
  await expectFailure(
    await runJob(t, { ...inputs(), scope: "orders:write" }, permitted()),
    /invalid_scope/,
  );
});

test("an issuer that is not encrypted is refused before a token is requested", async (t) => {
  let requests = 0;
  const url = await serve(t, (_, response) => {
    requests += 1;
    response.end("{}");
  });
  const job = { ...permitted(), ACTIONS_ID_TOKEN_REQUEST_URL: `${url}/?a=b` };
  for (const [issuer, says] of [
    ["http://auth.example.com", /http:\/\/auth\.example\.com is not encrypted: use https/],
    ["auth.example.com", /auth\.example\.com is not a URL: write it with https/],
    [
      "https://user:password@auth.example.com",
      /The issuer https:\/\/auth\.example\.com has a user name in its URL: leave it out/,
    ],
  ] as const) {
    await expectFailure(await runJob(t, { issuer }, job), says);
  }
  assert.equal(requests, 0);
});

test("inputs that are missing or malformed are named", async (t) => {
  await expectFailure(
    await runJob(t, {}, permitted()),
    /input issuer is missing.*https:\/\/auth\.example\.com/,
  );
  await expectFailure(
    await runJob(t, { ...inputs(), variable: "ORDERS TOKEN" }, permitted()),
    /input variable is "ORDERS TOKEN"/,
  );
  for (const variable of ["PATH", "Path", "NODE_OPTIONS", "GITHUB_ENV", "LD_PRELOAD"]) {
    await expectFailure(
      await runJob(t, { ...inputs(), variable }, permitted()),
      /which the runner or other programs use: write a name of your own/,
    );
  }
});

test("a lifetime that no date can have is the longest one", async (t) => {
  const url = await serve(t, (request, response) => {
    const issuer = `http://${request.headers.host}`;
    const isToken = request.url === "/token";
    response.setHeader("content-type", "application/json");
    response.end(
      isToken
        ? '{"access_token": "the-token", "token_type": "Bearer", "expires_in": 1e300}'
        : JSON.stringify({
            issuer,
            token_endpoint: `${issuer}/token`,
            revocation_endpoint: `${issuer}/revoke`,
          }),
    );
  });
  const job = await runJob(t, { issuer: url, audience: deployment.workload.audience }, permitted());
  assert.deepEqual(
    [job.code, job.masks.slice(1), job.outputs["expires-at"]],
    [0, ["the-token"], "+275760-09-13T00:00:00.000Z"],
    job.raw,
  );
  assert.equal(job.state["token"], "the-token");
});

test("a server that fails for a moment is asked again with another token", async (t) => {
  const own = await startDeployment(t);
  await own.order({ faults: [{ grant: JWT_BEARER, fault: "answer", status: 503 }] });
  const job = await runJob(
    t,
    { issuer: own.issuer, audience: own.workload.audience },
    { ...JOB, ...own.workload.github },
  );
  assert.deepEqual([job.code, job.annotations], [0, []], job.raw);
  assert.equal((await own.state()).counts[JWT_BEARER], 2);
});

test("a server that fails is named, and the job is told to try again", async (t) => {
  const own = await startDeployment(t);
  await own.order({ faults: [{ grant: JWT_BEARER, fault: "answer", status: 503, times: null }] });
  const job = await runJob(
    t,
    { issuer: own.issuer, audience: own.workload.audience },
    { ...JOB, ...own.workload.github },
  );
  await expectFailure(job, /\/v1\/auth\/token cannot be used: it answered 503\. Try again later\./);
});

test("if the token cannot be revoked, the job is warned and does not fail", async (t) => {
  const own = await startDeployment(t);
  const job = await runJob(
    t,
    { issuer: own.issuer, audience: own.workload.audience },
    { ...JOB, ...own.workload.github },
  );
  await own.order({ stop: true });
  const end = await job.end();
  assert.deepEqual(
    [end.code, end.annotations.map(({ level }) => level)],
    [0, ["warning"]],
    end.raw,
  );
  const { message } = end.annotations[0] ?? { message: "" };
  assert.match(
    message,
    /^The token could not be revoked, and is valid until \d{4}-.*cannot be used/,
  );
  assert.ok(
    message.includes(job.outputs["expires-at"] ?? "?") &&
      !message.includes(job.outputs["token"] ?? "eyJ"),
  );
});
