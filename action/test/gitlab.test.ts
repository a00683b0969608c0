// The job of docs/federation.md for GitLab, as a runner of GitLab runs its lines, with the real
// local program.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import test, { after, before } from "node:test";
import { parse } from "yaml";
import {
  folder,
  serve,
  startDeployment,
  type Ends,
} from "../../clients/typescript/test/harness.ts";

interface Job {
  id_tokens: Record<string, { aud: string }>;
  variables: Record<string, string>;
  before_script: string[];
  script: string[];
  after_script: string[];
}

const page = readFileSync(join(import.meta.dirname, "../../docs/federation.md"), "utf8");
const block = [...page.matchAll(/^```yaml\n([\s\S]*?)^```/gm)]
  .map(([, yaml]) => yaml ?? "")
  .find((yaml) => yaml.includes("id_tokens"));
const { deploy: job } = parse(block ?? "") as { deploy: Job };
const API = "https://api.example.com";

const ends: (() => void | Promise<void>)[] = [];
const suite = { after: (end: () => void | Promise<void>) => void ends.push(end) };
let deployment: Awaited<ReturnType<typeof startDeployment>>;

before(async () => {
  deployment = await startDeployment(suite);
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** Runs lines in a shell of their own, which ends at the first one that fails. */
async function runLines(
  shell: string[],
  lines: string[],
  cwd: string,
  env: Record<string, string>,
) {
  const [program = "sh", ...options] = shell;
  const child = spawn(program, [...options, "-c", lines.join("\n")], {
    cwd,
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [output, errors] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    child.exitCode === null ? once(child, "exit") : [],
  ]);
  return { code: child.exitCode, log: output + errors };
}

/** An API that keeps the tokens with which it was called. */
async function startApi(t: Ends) {
  const tokens: string[] = [];
  const url = await serve(t, (request, response) => {
    tokens.push(request.headers.authorization?.replace("Bearer ", "") ?? "");
    response.end("deployed\n");
  });
  return { url, tokens };
}

/**
 * Runs the job with a token of GitLab; `closing` ends it, and `left` are the files that it wrote
 * and their modes.
 */
async function runJob(t: Ends, shell: string[], token: string, issuer = deployment.issuer) {
  const api = await startApi(t);
  const home = folder(t);
  const env = {
    ...job.variables,
    POSTERN_ISSUER: issuer,
    [Object.keys(job.id_tokens)[0] ?? ""]: token,
  };
  const lines = [...job.before_script, ...job.script].map((line) => line.replaceAll(API, api.url));
  const result = await runLines(shell, lines, home, env);
  const left = readdirSync(home).map((name) => [
    name,
    (statSync(join(home, name)).mode & 0o777).toString(8),
  ]);
  const closing = async () => {
    const { log } = await runLines(shell, job.after_script, home, env);
    assert.deepEqual(readdirSync(home), [], "files are left");
    assert.doesNotMatch(log, /eyJ/, "a token is in the log");
  };
  assert.doesNotMatch(result.log, /eyJ/, "a token is in the log");
  return { ...result, tokens: api.tokens, left, closing };
}

const tokenOfJob = async (claims = {}) =>
  (await deployment.order({ workload_token: { kind: "gitlab", claims } }))[
    "workload_token"
  ] as string;

async function status(token: string): Promise<number> {
  return (
    await fetch(`${deployment.upstream}/v1/auth/whoami`, {
      headers: { authorization: `Bearer ${token}` },
    })
  ).status;
}

test("the job requests the token for the audience of the rule before it on the page", () => {
  assert.deepEqual(Object.values(job.id_tokens), [{ aud: deployment.workload.audience }]);
});

for (const shell of [
  ["bash", "-eo", "pipefail"],
  ["sh", "-e"],
]) {
  test(`${shell[0]}: the token works in the job, and is revoked at its end`, async (t) => {
    const { code, log, tokens, left, closing } = await runJob(t, shell, await tokenOfJob());
    assert.deepEqual([code, tokens.length], [0, 1], log);
    assert.match(log, /deployed/);
    assert.deepEqual(left, [
      [".postern-header", "600"],
      [".postern.json", "600"],
    ]);
    assert.equal(await status(tokens[0] ?? ""), 200);
    await closing();
    assert.equal(await status(tokens[0] ?? ""), 401);
  });

  test(`${shell[0]}: a pipeline that no rule matches fails with the server's sentence`, async (t) => {
    for (const claims of [
      { pipeline_source: "merge_request_event" },
      { ref: "dev" },
      { project_id: "21" },
      { aud: "https://other.example.com" },
    ]) {
      const { code, log, tokens, closing } = await runJob(t, shell, await tokenOfJob(claims));
      assert.deepEqual([code, tokens], [1, []], log);
      assert.match(log, /"error":"invalid_grant".*postern trust try/);
      await closing();
    }
  });

  test(`${shell[0]}: a token that was used and a token that is missing fail`, async (t) => {
    const token = await tokenOfJob();
    assert.equal((await runJob(t, shell, token)).code, 0);
    for (const value of [token, ""]) {
      const { code, log, tokens, closing } = await runJob(t, shell, value);
      assert.deepEqual([code, tokens], [1, []], log);
      assert.match(log, /"error":"invalid_/);
      await closing();
    }
  });

  test(`${shell[0]}: a server that cannot be reached fails the job`, async (t) => {
    const { code, log, tokens, closing } = await runJob(
      t,
      shell,
      await tokenOfJob(),
      "http://127.0.0.1:9",
    );
    assert.deepEqual([code, tokens], [1, []], log);
    assert.match(log, /curl: \(7\)/);
    await closing();
  });
}
