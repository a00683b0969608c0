// Starts the harness of clients/conformance, and what else the tests share.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** The folder clients/conformance, from build/test. */
export const CONFORMANCE =
  process.env["POSTERN_CONFORMANCE"] ?? join(import.meta.dirname, "../../../conformance");

export interface Deployment {
  issuer: string;
  upstream: string;
  control: string;
  api_key: string;
  organization_id: string;
  agent: { id: string; secret: string };
  other: { organization_id: string; api_key: string; agent: { id: string; secret: string } };
  user: { email: string; password: string };
  resources: { orders: string; tools: string };
  resource_secret: string;
  workload: { audience: string; github: Record<string, string>; aws: Record<string, string> };
}

export interface Ends {
  after(end: () => void | Promise<void>): void;
}

/** Starts the local program behind the proxy of the harness; `order` sends commands to it. */
export async function startDeployment(t: Ends, args: string[] = []) {
  if (!process.env["POSTERN_PROGRAM"])
    throw new Error("POSTERN_PROGRAM must name the local program: run e2e/run clients");
  const child = spawn("python3", [join(CONFORMANCE, "harness.py"), ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  t.after(async () => {
    child.stdin.end();
    if (child.exitCode === null) await once(child, "exit");
  });
  const line = await new Promise<string>((resolve, reject) => {
    createInterface(child.stdout).once("line", resolve);
    child.once("exit", (code) => reject(new Error(`the harness ended with ${code}`)));
  });
  const deployment = JSON.parse(line) as Deployment;
  const order = async (command: Record<string, unknown>) => {
    const answer = await fetch(deployment.control, {
      method: "POST",
      body: JSON.stringify(command),
    });
    const body = (await answer.json()) as Record<string, any>;
    if (!answer.ok) throw new Error(JSON.stringify(body));
    return body;
  };
  const state = async () =>
    (await (await fetch(deployment.control)).json()) as {
      counts: Record<string, number>;
      requests: { grant: string | null; path: string; refresh_token?: string }[];
      events: Record<string, number>;
    };
  const api = async (path: string, body: unknown, method = "POST") => {
    const answer = await fetch(deployment.upstream + path, {
      method,
      headers: { "x-api-key": deployment.api_key, "content-type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return (answer.status === 204 ? undefined : await answer.json()) as any;
  };
  return { ...deployment, order, state, api };
}

/** Creates a folder that is removed after the test. */
export function folder(t: Ends): string {
  const path = mkdtempSync(join(tmpdir(), "postern-client-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Serves HTTP on this machine until the end of the test; returns the URL. */
export async function serve(
  t: Ends,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  const server = createServer(handle).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
