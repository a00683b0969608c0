import { mcpScopes, type McpOptions, type McpRequest } from "./mcp.js";
import type { Credentials, Principal, Verifier } from "./verifier.js";

/** What a route needs. */
export interface ProtectOptions {
  /** The scopes that every request needs. */
  scopes?: readonly string[];
  /** For an MCP server: the scopes of its tools. */
  mcp?: McpOptions;
}

/**
 * Returns the caller of a request, who has every scope that it needs. `known` was found by an
 * earlier middleware.
 */
export async function callerOf(
  verifier: Verifier,
  options: ProtectOptions,
  known: Principal | undefined,
  credentials: Credentials,
  mcp: () => Promise<McpRequest>,
): Promise<Principal> {
  const principal = known ?? (await verifier.verify(credentials));
  const ofTools = options.mcp ? mcpScopes(verifier, options.mcp, await mcp()) : [];
  verifier.require(principal, [...new Set([...(options.scopes ?? []), ...ofTools])]);
  return principal;
}
