// The server in AWS Lambda, behind a REST API that streams responses.
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { APIGatewayProxyEvent } from "aws-lambda";
import { headerName, mcp } from "./server.ts";

/** A global of Lambda's Node.js runtime. */
declare const awslambda: {
  streamifyResponse(handler: (event: APIGatewayProxyEvent, stream: Writable) => Promise<void>): unknown;
  HttpResponseStream: { from(stream: Writable, head: { statusCode: number; headers: Record<string, string> }): Writable };
};

/** Returns the request of an event, with the authorizer's context in headers that no caller can set. */
function toRequest({ httpMethod, headers, path, requestContext, body, isBase64Encoded }: APIGatewayProxyEvent) {
  const sent = new Headers();
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (value !== undefined && !name.toLowerCase().startsWith("x-postern-")) sent.set(name, value);
  }
  for (const [member, value] of Object.entries(requestContext.authorizer ?? {})) {
    sent.set(headerName(member), String(value));
  }
  return new Request(`https://${requestContext.domainName}${path}`, {
    method: httpMethod,
    headers: sent,
    body: body === null ? null : Buffer.from(body, isBase64Encoded ? "base64" : "utf8"),
  });
}

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const response = await mcp.fetch(toRequest(event));
  const head = { statusCode: response.status, headers: Object.fromEntries(response.headers) };
  const out = awslambda.HttpResponseStream.from(stream, head);
  out.write(""); // the head is sent with the first write, also if there is no body
  await pipeline(Readable.from(response.body ?? []), out);
});
