// Starts the MCP server of examples/mcp-rest-api as its readers do, and as AWS Lambda does, and puts Postern in front of it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { chromium } from "playwright-core";
import { configFile, folder as temporary, freePort, start } from "./postern.mjs";

const EMAIL = "grace@example.com";
const PASSWORD = "correct horse battery";

const folder = process.env.POSTERN_MCP_SERVER;
const built = process.env.POSTERN_MCP_FUNCTION;
if (!folder || !built) {
  throw new Error("POSTERN_MCP_SERVER and POSTERN_MCP_FUNCTION must name the server of examples/mcp-rest-api, as npm and SAM build it: run e2e/run people");
}

/** Starts the server on this machine; returns its URL. */
export async function startServer(t) {
  const port = await freePort();
  const child = spawn(process.execPath, [join(folder, "dist/local.mjs")], { env: { PORT: String(port) }, stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const [line] = await once(child.stdout, "data");
  return String(line).trim();
}

/** The separator of head and body of a streamed response of a Lambda function. */
const DELIMITER = Buffer.alloc(8);

/** Imports the handler that SAM deploys. The runtime's global writes the head before the first byte. */
async function lambdaHandler() {
  globalThis.awslambda = {
    streamifyResponse: (handler) => handler,
    HttpResponseStream: {
      from(stream, head) {
        const write = stream.write.bind(stream);
        stream.write = (...chunk) => {
          stream.write = write;
          write(JSON.stringify(head));
          write(DELIMITER);
          return write(...chunk);
        };
        return stream;
      },
    },
  };
  return (await import(join(built, "lambda.mjs"))).handler;
}

/** Returns the event of a REST API. `postern-local protect` has put the authorizer's context into headers. */
function restEvent(request, body) {
  const entries = Object.entries(request.headers);
  const authorizer = entries.filter(([name]) => name.startsWith("x-postern-"))
    .map(([name, value]) => [name.slice("x-postern-".length).replaceAll("-", "_"), value]);
  return {
    resource: "/mcp", path: request.url, httpMethod: request.method, queryStringParameters: null, pathParameters: null, stageVariables: null,
    // Callers can send what they like.
    headers: { ...Object.fromEntries(entries.filter(([name]) => !name.startsWith("x-postern-"))), "X-Postern-User-Id": "forged", "x-postern-kind": "forged" },
    body: body.length === 0 ? null : body.toString("utf8"), isBase64Encoded: false,
    requestContext: { domainName: "mcp.example.com", stage: "prod", authorizer: { ...Object.fromEntries(authorizer), principalId: "p", integrationLatency: 1 } },
  };
}

/** Serves the Lambda handler as a REST API with response streaming does; returns its URL. */
export async function startLambda(t) {
  const handler = await lambdaHandler();
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    const stream = new PassThrough();
    let received = Buffer.alloc(0);
    stream.on("data", (chunk) => {
      if (response.headersSent) return response.write(chunk);
      received = Buffer.concat([received, chunk]);
      const at = received.indexOf(DELIMITER);
      if (at < 0) return undefined;
      const { statusCode, headers } = JSON.parse(received.subarray(0, at));
      response.writeHead(statusCode, headers);
      return response.write(received.subarray(at + DELIMITER.length));
    });
    stream.on("end", () => response.end());
    await handler(restEvent(request, body), stream);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}/mcp`;
}

/** Rules by which a tool needs more than the others. */
export const rules = (uri, more = "") => `
  [[resource]]
  uri = "${uri}"
  name = "Scanner tools"
  scopes = ["scans:read", "scans:trigger"]
  ${more}
  mcp = true
  [[route]]
  method = "POST"
  path = "/mcp"
  mcp_method = "tools/call"
  mcp_name = "trigger_*"
  scopes = ["scans:trigger"]
  [[route]]
  method = "*"
  path = "/mcp"
  scopes = ["scans:read"]
  [[scope]]
  name = "scans:read"
  description = "See scans"
  [[scope]]
  name = "scans:trigger"
  description = "Start scans"`;

/** Puts Postern in front of a server, with a user; `toml` gets the URL for clients. */
export async function protect(t, server, toml, variables) {
  const origin = `http://127.0.0.1:${await freePort()}`;
  const url = `${origin}/mcp`;
  const config = toml ? ["--config", configFile(temporary(t), toml(url))] : [];
  const { ready } = await start(t, ["protect", "--mcp", server, "--listen", new URL(origin).host, "--postern-listen", "127.0.0.1:0", "--data", ":memory:", ...config], variables);
  const create = async (path, body) => {
    const answer = await fetch(ready.postern_url + path, {
      method: "POST", headers: { "x-api-key": ready.api_key, "content-type": "application/json" }, body: JSON.stringify(body),
    });
    assert.equal(answer.status, 201);
    return answer.json();
  };
  await create("/v1/users", { email: EMAIL, password: PASSWORD });
  return { url, ready, create };
}

/** Starts a real browser. */
export const launch = () => chromium.launch({
  executablePath: process.env.POSTERN_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
});

/** Signs the user in where the client sent the browser. */
export async function signIn(page, address) {
  await page.goto(address.href);
  await page.getByLabel("Email").fill(EMAIL);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}
