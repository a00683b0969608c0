// git over https, with the command `postern` as its credential helper and the local program, which checks the tokens.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { buffer } from "node:stream/consumers";
import test from "node:test";
import { promisify } from "node:util";
import { serveHttps } from "./https-server.mjs";
import { folder, start } from "./postern.mjs";

const { POSTERN_CLI: program } = process.env;
if (!program) throw new Error("POSTERN_CLI must name the command postern: run e2e/run people");

const run = promisify(execFile);

/** Serves the repositories of a folder to callers whose token `isAccepted`. */
async function serveGit(t, root, isAccepted) {
  const end = Buffer.from("\r\n\r\n");
  return serveHttps(t, async (request, response) => {
    const [scheme, value] = (request.headers.authorization ?? "").split(" ");
    const token = scheme === "Basic" ? Buffer.from(value, "base64").toString().split(":")[1] : value;
    if (!(await isAccepted(token))) return response.writeHead(401, { "www-authenticate": 'Basic realm="git"' }).end();
    const url = new URL(request.url, "https://localhost");
    const env = {
      PATH: process.env.PATH, GIT_PROJECT_ROOT: root, GIT_HTTP_EXPORT_ALL: "1", PATH_INFO: url.pathname, QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method, CONTENT_TYPE: request.headers["content-type"] ?? "", HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
    };
    const backend = spawn("git", ["http-backend"], { env, stdio: ["pipe", "pipe", "inherit"] });
    request.pipe(backend.stdin);
    const [answer] = await Promise.all([buffer(backend.stdout), once(backend, "close")]);
    const at = answer.indexOf(end);
    for (const line of answer.subarray(0, at).toString().split("\r\n")) response.setHeader(...line.split(": "));
    return response.end(answer.subarray(at + end.length));
  });
}

/** A machine with a repository, and a deployment that says whose token is valid. */
async function prepare(t) {
  const { ready } = await start(t, ["serve", "--listen", "127.0.0.1:0", "--data", ":memory:"]);
  const home = folder(t);
  const asked = [];
  const { url, authority } = await serveGit(t, home, async (token) => {
    if (!token) return false;
    const answer = await fetch(`${ready.url}/v1/auth/whoami`, { headers: { authorization: `Bearer ${token}` } });
    asked.push(answer.status);
    return answer.ok;
  });
  const env = {
    PATH: `${dirname(program)}:${process.env.PATH}`, HOME: home, GIT_SSL_CAINFO: authority, GIT_TERMINAL_PROMPT: "0", GIT_CONFIG_NOSYSTEM: "1",
    GIT_AUTHOR_NAME: "a", GIT_AUTHOR_EMAIL: "a@example.com", GIT_COMMITTER_NAME: "a", GIT_COMMITTER_EMAIL: "a@example.com",
    POSTERN_ISSUER: ready.url, POSTERN_HOME: join(home, "postern"),
  };
  const git = (args, variables = {}) => run("git", args, { cwd: home, env: { ...env, ...variables } });
  await git(["init", "-q", "-b", "main", "site"]);
  await git(["-C", "site", "commit", "-q", "--allow-empty", "-m", "first"]);
  // As docs/cli.md says it, for this host.
  const host = new URL(url).host;
  await git(["config", "--global", `credential.https://${host}.helper`, `!postern git-credential --host ${host}`]);
  return { ready, home, url: `${url}/site/.git`, git, asked };
}

test("git clones over https with the token that postern gets for an agent", { timeout: 60_000 }, async (t) => {
  const { ready, home, url, git, asked } = await prepare(t);
  const answer = await fetch(`${ready.url}/v1/agents`, {
    method: "POST", headers: { "x-api-key": ready.api_key, "content-type": "application/json" }, body: JSON.stringify({ name: "ci", scopes: ["repos:read"] }),
  });
  const { id, secret } = await answer.json();
  await git(["clone", "-q", url, "copy"], { POSTERN_AGENT_ID: id, POSTERN_AGENT_SECRET: secret });
  assert.ok(existsSync(join(home, "copy", ".git")));
  assert.ok(asked.length > 0 && asked.every((status) => status === 200), String(asked));
});

test("git ends without a question if nobody is logged in", { timeout: 60_000 }, async (t) => {
  const { home, url, git, asked } = await prepare(t);
  await assert.rejects(git(["clone", "-q", url, "copy"]), ({ stderr }) => /Nobody is logged in: .* postern login/.test(stderr));
  assert.deepEqual([asked, existsSync(join(home, "copy"))], [[], false]);
});
