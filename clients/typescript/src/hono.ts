import type { Context, MiddlewareHandler } from "hono";
import type { McpRequest } from "./mcp.js";
import { callerOf, type ProtectOptions } from "./protect.js";
import { Refusal } from "./refusal.js";
import type { Principal, Verifier } from "./verifier.js";

export type { McpOptions } from "./mcp.js";
export type { ProtectOptions } from "./protect.js";

/** What a route finds in its context: `c.var.principal`. */
export interface PosternEnv {
  Variables: { principal: Principal };
}

const verifiers = new WeakMap<Principal, Verifier>();

/** Returns a middleware that allows requests whose credential is valid and has the scopes. */
export function protect(
  verifier: Verifier,
  options: ProtectOptions = {},
): MiddlewareHandler<PosternEnv> {
  return async (c, next) => {
    const before = c.get("principal") as Principal | undefined;
    const known = before && verifiers.get(before) === verifier ? before : undefined;
    try {
      const credentials = {
        authorization: c.req.header("authorization"),
        apiKey: c.req.header("x-api-key"),
      };
      const principal = await callerOf(verifier, options, known, credentials, () =>
        mcpRequest(c, verifier),
      );
      verifiers.set(principal, verifier);
      c.set("principal", principal);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return c.json(error.body, error.status, error.headers);
    }
    return next();
  };
}

/** The longest message of MCP that is read, in bytes. */
const LONGEST_MESSAGE = 1 << 20;

/** Reads a copy of the body, so that the route can read it, too. Undefined if it is too long. */
async function copyOf(c: Context): Promise<string | undefined> {
  // Hono keeps what a middleware before this one has read.
  if (c.req.raw.bodyUsed) return c.req.text();
  const { raw } = c.req;
  const reader = raw.clone().body?.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (let read = await reader?.read(); read && !read.done; read = await reader?.read()) {
    length += read.value.length;
    if (length > LONGEST_MESSAGE) {
      // Each half of the copied stream waits for the other to be cancelled.
      await Promise.all([reader?.cancel(), raw.body?.cancel()]);
      return undefined;
    }
    chunks.push(read.value);
  }
  return Buffer.concat(chunks).toString();
}

async function mcpRequest(c: Context, verifier: Verifier): Promise<McpRequest> {
  const text = c.req.method === "POST" ? await copyOf(c) : "";
  if (text === undefined) throw verifier.refusal("invalid_request", "The body is too long.");
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  return {
    httpMethod: c.req.method,
    mcpMethod: c.req.header("mcp-method"),
    mcpName: c.req.header("mcp-name"),
    body,
  };
}
