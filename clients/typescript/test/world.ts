// What several tests share: clocks that nothing waits for, and servers that answer as a test says.
import { mkdirSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Runtime } from "../src/runtime.js";
import { folder, serve } from "./harness.js";

/** Two clocks that sleeping moves, in a home folder of its own. */
export function world(t: TestContext, env: Record<string, string> = {}) {
  const home = folder({ after: (end) => t.after(end) });
  const clock = { offset: 0, elapsed: 0 };
  const advance = (seconds: number) => {
    clock.offset += seconds * 1000;
    clock.elapsed += Math.max(0, seconds) * 1000;
  };
  const runtime: Partial<Runtime> = {
    now: () => Date.now() + clock.offset,
    elapsed: () => performance.now() + clock.elapsed,
    sleep: async (ms) => advance(ms / 1000),
    env: { POSTERN_HOME: home, ...env },
  };
  return { home, runtime, advance, file: join(home, "sessions", "default.json") };
}

/** A request as a scripted server sees it. */
export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  form: Record<string, string>;
}

export type Answer =
  | { status?: number; headers?: Record<string, string>; body?: unknown }
  | ((response: ServerResponse) => void);
export type Script = (request: Seen, count: number) => Answer | Promise<Answer>;

/**
 * An authorization server that answers as the script of each path says; `seen` are the requests to
 * paths of the script.
 */
export async function scripted(
  t: TestContext,
  script: Record<string, Script>,
  members: Record<string, unknown> = {},
) {
  const seen: Seen[] = [];
  const counts: Record<string, number> = {};
  const metadata = () => ({
    issuer: url,
    token_endpoint: `${url}/token`,
    device_authorization_endpoint: `${url}/device`,
    authorization_endpoint: `${url}/authorize`,
    revocation_endpoint: `${url}/revoke`,
    introspection_endpoint: `${url}/introspect`,
    jwks_uri: `${url}/jwks`,
    ...members,
  });
  const paths: Record<string, Script> = {
    [METADATA]: () => ({ body: metadata() }),
    "/revoke": () => ({}),
    ...script,
  };
  const respond = async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const path = (request.url ?? "").split("?")[0] ?? "";
    const form = Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString()));
    const entry = { method: request.method ?? "", path, headers: request.headers, form };
    seen.push(entry);
    counts[path] = (counts[path] ?? 0) + 1;
    const answer = await (paths[path]?.(entry, counts[path] ?? 1) ?? { status: 404 });
    if (typeof answer === "function") return answer(response);
    response
      .writeHead(answer.status ?? 200, { "content-type": "application/json", ...answer.headers })
      .end(JSON.stringify(answer.body ?? {}));
  };
  const url = await serve(
    { after: (end) => t.after(end) },
    (request, response) => void respond(request, response),
  );
  return { url, seen, count: (path: string) => counts[path] ?? 0 };
}

export const METADATA = "/.well-known/oauth-authorization-server";

export const tokens = (value: string, more: Record<string, unknown> = {}) => ({
  body: { access_token: value, token_type: "Bearer", expires_in: 3600, ...more },
});

/** Writes a session whose token has expired. */
export function writeSession(
  file: string,
  issuer: string,
  members: Record<string, unknown> = {},
): void {
  mkdirSync(join(file, ".."), { recursive: true, mode: 0o700 });
  const session = {
    version: 1,
    issuer,
    client_id: "tool",
    storage: "file",
    refresh_token: "rt",
    access_tokens: [],
    ...members,
  };
  writeFileSync(file, JSON.stringify(session), { mode: 0o600 });
}
