// Starts the MCP server of examples/mcp-rest-api as its readers do, and as AWS Lambda does.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { freePort } from "./postern.mjs";

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

/** Returns the event of a REST API. `postern protect` has put the authorizer's context into headers. */
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

