import type { Request, RequestHandler } from "express";
import { callerOf, type ProtectOptions } from "./protect.js";
import { Refusal } from "./refusal.js";
import type { Principal, Verifier } from "./verifier.js";

export type { McpOptions } from "./mcp.js";
export type { ProtectOptions } from "./protect.js";

const callers = new WeakMap<object, { verifier: Verifier; principal: Principal }>();

/** Returns the caller of a request that `protect` has allowed. */
export function principalOf(request: Request): Principal {
  const found = callers.get(request);
  if (!found) throw new Error("This route is not protected: put protect(verifier) before it.");
  return found.principal;
}

/** All values of a header, joined as `Headers` does. Express gives only the first of some. */
const header = (request: Request, name: string) => request.headersDistinct[name]?.join(", ");

/**
 * Returns a middleware that allows requests whose credential is valid and has the scopes. With
 * `mcp`, it needs `express.json()` before it.
 */
export function protect(verifier: Verifier, options: ProtectOptions = {}): RequestHandler {
  return async (request, response, next) => {
    const before = callers.get(request);
    const known = before?.verifier === verifier ? before.principal : undefined;
    try {
      const credentials = {
        authorization: header(request, "authorization"),
        apiKey: header(request, "x-api-key"),
      };
      const principal = await callerOf(verifier, options, known, credentials, async () => ({
        httpMethod: request.method,
        mcpMethod: header(request, "mcp-method"),
        mcpName: header(request, "mcp-name"),
        body: request.body as unknown,
      }));
      callers.set(request, { verifier, principal });
    } catch (error) {
      if (!(error instanceof Refusal)) return next(error);
      response.set(error.headers).status(error.status).json(error.body);
      return undefined;
    }
    return next();
  };
}
