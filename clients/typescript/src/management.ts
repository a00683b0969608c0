import createClient, { type Client } from "openapi-fetch";
import type { paths } from "./openapi.js";
import type { Session } from "./session.js";

export type { components, operations, paths } from "./openapi.js";

export interface ManagementOptions {
  /** The deployment. By default, the issuer of the session. */
  baseUrl?: string;
}

/** A client of every route of the API, typed by its OpenAPI document. */
export type ManagementClient = Client<paths>;

/** Returns a client of the management API that authenticates with a session. */
export function createManagementClient(
  session: Session,
  { baseUrl = session.issuer }: ManagementOptions = {},
): ManagementClient {
  if (baseUrl === undefined)
    throw new TypeError("A session of an API key has no issuer: name the deployment (baseUrl).");
  return createClient<paths>({ baseUrl, fetch: (request) => call(session, request) });
}

/** Sends a request with its body as bytes, so that it can be repeated. */
async function call(session: Session, request: Request): Promise<Response> {
  const { url, method, headers, signal } = request;
  const body = request.body === null ? undefined : await request.arrayBuffer();
  return session.fetch(url, { method, headers, signal, ...(body && { body }) });
}
