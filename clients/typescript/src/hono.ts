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

/** Returns a middleware that lets requests pass whose credential is valid and has the scopes. */
export function protect(verifier: Verifier, options: ProtectOptions = {}): MiddlewareHandler<PosternEnv> {
  return async (c, next) => {
    const before = c.get("principal") as Principal | undefined;
    const known = before && verifiers.get(before) === verifier ? before : undefined;
    try {
      const credentials = { authorization: c.req.header("authorization"), apiKey: c.req.header("x-api-key") };
      const principal = await callerOf(verifier, options, known, credentials, () => mcpRequest(c));
      verifiers.set(principal, verifier);
      c.set("principal", principal);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return c.json(error.body, error.status, error.headers);
    }
    return next();
  };
}

async function mcpRequest(c: Context): Promise<McpRequest> {
  // A copy, so that the route can read the body.
  const text = c.req.method === "POST" ? await c.req.raw.clone().text() : "";
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  return { httpMethod: c.req.method, mcpMethod: c.req.header("mcp-method"), mcpName: c.req.header("mcp-name"), body };
}
