// Every example of README.md is compiled, and runs against the local program.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { once } from "node:events";
import test, { after, before } from "node:test";
import { promisify } from "node:util";
import { folder, serve, startDeployment } from "./harness.js";

const PACKAGE = join(import.meta.dirname, "../..");
const EXAMPLES = join(PACKAGE, "build/readme");
const blocks = [
  ...readFileSync(join(PACKAGE, "README.md"), "utf8").matchAll(/^```ts\n([\s\S]*?)^```/gm),
].map(([, code]) => code as string);

const ends: (() => void | Promise<void>)[] = [];
const suite = { after: (end: () => void | Promise<void>) => void ends.push(end) };
let deployment: Awaited<ReturnType<typeof startDeployment>>;
let api: string;
let env: Record<string, string>;

before(async () => {
  deployment = await startDeployment(suite);
  api = await serve(suite, (request, response) => {
    response.writeHead(request.headers.authorization?.startsWith("Bearer ey") ? 200 : 401).end();
  });
  const home = folder(suite);
  await deployment.order({ session: { home } });
  const { key } = await deployment.api("/v1/keys", { name: "example", scopes: ["*"] });
  env = {
    PATH: process.env["PATH"] ?? "",
    HOME: home,
    POSTERN_HOME: home,
    API_KEY: key,
    AGENT_ID: deployment.agent.id,
    AGENT_SECRET: deployment.agent.secret,
    RESOURCE_SECRET: deployment.resource_secret,
    ...deployment.workload.github,
  };
  mkdirSync(EXAMPLES, { recursive: true });
  for (const [at, code] of blocks.entries()) {
    const local = code
      .replaceAll("https://auth.example.com", deployment.issuer)
      .replaceAll("https://api.example.com/orders/1", `${api}/orders/1`)
      .replaceAll("https://audience.example.com", deployment.workload.audience);
    writeFileSync(join(EXAMPLES, `example-${at}.ts`), local);
  }
  const { include: _, ...config } = JSON.parse(
    readFileSync(join(PACKAGE, "tsconfig.json"), "utf8"),
  );
  const options = {
    ...config.compilerOptions,
    rootDir: ".",
    outDir: ".",
    declaration: false,
    declarationMap: false,
  };
  writeFileSync(
    join(EXAMPLES, "tsconfig.json"),
    JSON.stringify({ compilerOptions: options, include: ["*.ts"], exclude: [] }),
  );
  await promisify(execFile)(process.execPath, [
    join(PACKAGE, "node_modules/typescript/bin/tsc"),
    "-p",
    EXAMPLES,
  ]).catch((error) => {
    throw new Error(error.stdout);
  });
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  assert.ok(address && typeof address === "object");
  return address.port;
}

/** Starts an example; `output` is what it has printed. */
function start(at: number, more: Record<string, string> = {}) {
  const child = spawn(process.execPath, [join(EXAMPLES, `example-${at}.js`)], {
    env: { ...env, ...more },
    stdio: ["ignore", "pipe", "pipe"],
  });
  ends.push(() => void child.kill("SIGKILL"));
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  child.stderr.on("data", (chunk) => {
    output += chunk;
  });
  return { child, output: () => output };
}

const until = async (text: () => string, pattern: RegExp): Promise<string> => {
  for (let tries = 0; tries < 300; tries += 1) {
    const found = pattern.exec(text())?.[1];
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${pattern} was not printed: ${text()}`);
};

/** What each kind of example does, by a word of its code. */
async function run(at: number, code: string): Promise<void> {
  if (code.includes('process.env["PORT"]')) return runServer(at, code);
  if (code.includes("loginWithDevice")) {
    await deployment.order({
      faults: [{ path: "/v1/auth/device", members: { interval: 1 }, fault: "replace" }],
    });
    const { child, output } = start(at);
    await deployment.order({
      device: { user_code: await until(output, /enter (\S+)\./), decision: "approve" },
    });
    await once(child, "exit");
    return assert.match(output(), /\n200\n/);
  }
  if (code.includes("loginWithBrowser")) {
    const bin = folder(suite);
    const opened = join(bin, "url");
    writeFileSync(join(bin, "xdg-open"), `#!/bin/sh\nprintf '%s\\n' "$1" > ${opened}\n`, {
      mode: 0o755,
    });
    const { child, output } = start(at, { PATH: `${bin}:${env["PATH"]}` });
    const url = await until(() => {
      try {
        return readFileSync(opened, "utf8");
      } catch {
        return output();
      }
    }, /^(http\S+)\n/);
    const { consent } = await deployment.order({ consent: { url, decision: "allow" } });
    await fetch(consent);
    await once(child, "exit");
    return assert.match(output(), /^orders:read\n/);
  }
  const { child, output } = start(at);
  await once(child, "close");
  assert.equal(child.exitCode, 0, output());
  return assert.match(output(), /^(200|201|key_\w+|\d{4}-\d\d-\d\dT.*)\n$/);
}

async function runServer(at: number, code: string): Promise<void> {
  const port = await freePort();
  start(at, { PORT: String(port) });
  const method = code.includes("app.post") ? "POST" : "GET";
  const call = (scope: string | undefined, name = "list_orders") =>
    fetch(`http://127.0.0.1:${port}/orders`, {
      method,
      headers: {
        "content-type": "application/json",
        ...(scope !== undefined && { authorization: `Bearer ${scope}` }),
      },
      ...(method === "POST" && {
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name } }),
      }),
    });
  for (let tries = 0; ; tries += 1) {
    const answer = await call(undefined).catch(() => undefined);
    if (answer) {
      assert.equal(answer.status, 401);
      break;
    }
    assert.ok(tries < 200, "the example does not listen");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { tokens } = await deployment.order({
    tokens: { scope: "orders:read", resource: deployment.resources.orders },
  });
  assert.equal((await call(tokens.access_token)).status, 200);
  if (method === "POST")
    assert.equal((await call(tokens.access_token, "delete_order")).status, 403);
}

for (const [at, code] of blocks.entries()) {
  const name =
    /(loginWith\w+|Session\.\w+|signRequest|from "hono"|tools:|from "express")/.exec(code)?.[1] ??
    "";
  test(`example ${at + 1}: ${name}`, { timeout: 60_000 }, () => run(at, code));
}

test("there are examples", () => assert.ok(blocks.length >= 10));
