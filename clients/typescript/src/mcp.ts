import type { Refusal } from "./refusal.js";
import type { Verifier } from "./verifier.js";

/** Which scopes the requests of an MCP server need, besides those of the route. */
export interface McpOptions {
  /**
   * By the name of a tool, in which `*` stands for any characters. Every entry that matches
   * applies.
   */
  tools: Readonly<Record<string, readonly string[]>>;
}

/** The request to an MCP server. */
export interface McpRequest {
  httpMethod: string;
  /** The header `Mcp-Method`. */
  mcpMethod: string | null | undefined;
  /** The header `Mcp-Name`. */
  mcpName: string | null | undefined;
  /** The parsed body, or undefined if it is not JSON. */
  body: unknown;
}

/**
 * Returns whether a pattern with `*` matches a name. Each part is looked for once, from left to
 * right, so that the time does not grow faster than the name.
 */
export function matches(pattern: string, name: string): boolean {
  const [first = "", ...parts] = pattern.split("*");
  const last = parts.pop();
  if (last === undefined) return pattern === name;
  const end = name.length - last.length;
  if (!name.startsWith(first) || !name.endsWith(last) || end < first.length) return false;
  let at = first.length;
  for (const part of parts) {
    const found = name.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Returns whether a value is a request, a notification or a response of JSON-RPC. */
const isMessage = (value: unknown): value is Record<string, unknown> =>
  isObject(value) && (typeof value["method"] === "string" || "result" in value || "error" in value);

/** The name that a message is about: of a tool or a prompt, or the URI of a resource. */
function nameOf({ params }: Record<string, unknown>): unknown {
  return isObject(params) ? (params["name"] ?? params["uri"]) : undefined;
}

/** How a header has a name with characters that headers cannot have (MCP 2026-07-28). */
const ENCODED = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/;

/** The name that a header has. What is not valid base64 of UTF-8 is the name itself. */
function decoded(name: string): string {
  const encoded = ENCODED.exec(name)?.[1];
  const bytes = Buffer.from(encoded ?? "", "base64");
  if (encoded === undefined || bytes.toString("base64") !== encoded) return name;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return name;
  }
}

/**
 * Returns the scopes that a request to an MCP server needs. The body decides, because it is what
 * the server executes; headers that say something else are refused, as the specification demands.
 *
 * @throws {Refusal} The body is no message of MCP, or the headers differ from it.
 */
export function mcpScopes(
  verifier: Verifier,
  { tools }: McpOptions,
  request: McpRequest,
): string[] {
  if (request.httpMethod !== "POST") return [];
  const refuse = (description: string): Refusal => verifier.refusal("invalid_request", description);
  const messages = Array.isArray(request.body) ? request.body : [request.body];
  if (messages.length === 0 || !messages.every(isMessage))
    throw refuse("The body is not a JSON-RPC message.");
  const scopes = messages.flatMap((message) => {
    const { method } = message;
    const name = nameOf(message);
    if (request.mcpMethod && request.mcpMethod !== method)
      throw refuse("The header Mcp-Method differs from the body.");
    if (request.mcpName && decoded(request.mcpName) !== name)
      throw refuse("The header Mcp-Name differs from the body.");
    if (method !== "tools/call") return [];
    if (typeof name !== "string") throw refuse("The call names no tool.");
    return Object.entries(tools)
      .filter(([pattern]) => matches(pattern, name))
      .flatMap(([, needed]) => needed);
  });
  return [...new Set(scopes)];
}
