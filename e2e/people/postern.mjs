// Starts Postern as users do.
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { once } from "node:events";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const program = process.env.POSTERN_PROGRAM;
/** The folder for what programs print. */
export const logs = process.env.POSTERN_LOGS ?? tmpdir();
if (!program) throw new Error("POSTERN_PROGRAM must name the local program; run these tests with e2e/run people");

/** Returns a free port. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Creates a folder that is removed after the test. */
export function folder(t) {
  const path = mkdtempSync(join(tmpdir(), "postern-people-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

let count = 0;

/** Starts the local program; `ready` is the content of its ready file. */
export async function start(t, args, variables = {}) {
  count += 1;
  const own = mkdtempSync(join(tmpdir(), "postern-ready-"));
  const ready = join(own, "ready.json");
  const log = openSync(join(logs, `people-${count}.log`), "w");
  const child = spawn(program, [...args, "--ready-file", ready], {
    stdio: ["ignore", log, log],
    env: { PATH: process.env.PATH, HOME: own, ...variables },
  });
  t.after(() => { child.kill("SIGKILL"); rmSync(own, { recursive: true, force: true }); });
  for (let waited = 0; !existsSync(ready); waited += 20) {
    if (child.exitCode !== null || waited > 30_000) throw new Error(`${args.join(" ")} did not start: ${join(logs, `people-${count}.log`)}`);
    await pause(20);
  }
  return {
    ready: JSON.parse(readFileSync(ready, "utf8")),
    kill: async () => { child.kill("SIGKILL"); await once(child, "exit"); },
  };
}

/** Writes a file with the provider's client secret, to which the program adds the deployment's secrets. */
export function secretFile(folder) {
  const file = join(folder, "secrets.json");
  writeFileSync(file, JSON.stringify({ refs: { example: "a secret that is long enough for a provider" } }), { mode: 0o600 });
  return file;
}

export function configFile(folder, toml) {
  const file = join(folder, "postern.toml");
  writeFileSync(file, toml);
  return file;
}

/** A cookie jar, for tests that need no real browser. */
export class Jar {
  #cookies = new Map();

  async fetch(url, options = {}) {
    const { host } = new URL(url);
    const cookies = [...(this.#cookies.get(host) ?? new Map())].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await fetch(url, { ...options, redirect: "manual", headers: { ...options.headers, ...(cookies && { cookie: cookies }) } });
    for (const set of answer.headers.getSetCookie()) {
      const [pair] = set.split(";");
      const at = pair.indexOf("=");
      if (!this.#cookies.has(host)) this.#cookies.set(host, new Map());
      this.#cookies.get(host).set(pair.slice(0, at), pair.slice(at + 1));
    }
    return answer;
  }

  get(url, name) {
    return this.#cookies.get(new URL(url).host)?.get(name);
  }
}

/** Signs `person` in at the provider, form by form; returns the value of the session. */
export async function signInAs(postern, person) {
  const jar = new Jar();
  let url = `${postern}/v1/auth/oidc/start`;
  let options = {};
  for (let step = 0; step < 20; step += 1) {
    const answer = await jar.fetch(url, options);
    options = {};
    if (answer.status >= 300 && answer.status < 400) {
      url = new URL(answer.headers.get("location"), url).href;
      if (url === `${postern}/`) return jar.get(postern, "__Host-postern_session");
      continue;
    }
    const html = await answer.text();
    const form = html.match(/<form[^>]*action="([^"]+)"[\s\S]*?<\/form>/);
    if (answer.status !== 200 || !form) throw new Error(`${url}: ${answer.status} ${html}`);
    const isLogin = /name="login"/.test(form[0]);
    url = new URL(form[1], url).href;
    options = {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams(isLogin ? { prompt: "login", login: person, password: "any" } : { prompt: "consent" }),
    };
  }
  throw new Error(`${person} was not signed in`);
}

export async function whoami(postern, session) {
  const answer = await fetch(`${postern}/v1/auth/whoami`, { headers: { "x-postern-session": session } });
  return { status: answer.status, body: await answer.json() };
}
