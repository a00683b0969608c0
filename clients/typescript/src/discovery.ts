import type { AuthorizationServer } from "oauth4webapi";
import { InsecureIssuer, InvalidResponse } from "./errors.js";
import { jsonObject, secureUrl, send, type Attempts } from "./http.js";
import type { Runtime } from "./runtime.js";

/**
 * The URLs of the metadata: RFC 8414 §3.1, with the well-known part before the path of the issuer,
 * then OpenID Connect Discovery §4.
 */
function metadataUrls(issuer: URL): string[] {
  const path = issuer.pathname.replace(/\/$/, "");
  return [
    `${issuer.origin}/.well-known/oauth-authorization-server${path}`,
    `${issuer.origin}${path}/.well-known/openid-configuration`,
  ];
}

/**
 * Parses an issuer, whose URL has a scheme, a host and perhaps a path (RFC 8414 §2).
 *
 * @throws {InsecureIssuer} It is another URL, or not https and not on this machine.
 */
export function issuerUrl(issuer: string): URL {
  const url = secureUrl(issuer);
  const extra =
    url.username !== "" || url.password !== ""
      ? "a user name"
      : url.search !== ""
        ? "a query"
        : url.hash !== ""
          ? "a fragment"
          : undefined;
  if (extra === undefined) return url;
  throw new InsecureIssuer(`The issuer ${url.origin} has ${extra} in its URL: leave it out.`);
}

/** A server without the document. Some answer 405 to paths that they do not know. */
const isMissing = ({ status }: Response) => status === 404 || status === 405;

/**
 * Fetches the metadata of an authorization server.
 *
 * @throws {InsecureIssuer} The issuer is not https, and not on this machine.
 * @throws {InvalidResponse} There is no metadata, or it is of another issuer.
 * @throws {ServerUnavailable} The server cannot be reached.
 */
export async function discover(
  runtime: Runtime,
  issuer: string,
  attempts: Attempts,
  signal?: AbortSignal,
): Promise<AuthorizationServer> {
  for (const address of metadataUrls(issuerUrl(issuer))) {
    const response = await send(
      runtime,
      address,
      { headers: { accept: "application/json" }, ...(signal && { signal }) },
      attempts,
    );
    if (isMissing(response)) continue;
    if (response.status !== 200)
      throw new InvalidResponse(
        `${address} answered ${response.status}. Check the URL of the issuer.`,
      );
    const metadata = await jsonObject(response, address);
    if (metadata["issuer"] !== issuer) {
      throw new InvalidResponse(
        `${address} is about another issuer than ${issuer}. Write the issuer exactly as the server does.`,
      );
    }
    if (typeof metadata["token_endpoint"] !== "string")
      throw new InvalidResponse(`${address} names no token_endpoint. Check the URL of the issuer.`);
    return metadata as unknown as AuthorizationServer;
  }
  throw new InvalidResponse(
    `${issuer} has no metadata of an authorization server. Check the URL of the issuer.`,
  );
}

type Endpoint =
  | "authorization_endpoint"
  | "device_authorization_endpoint"
  | "introspection_endpoint"
  | "revocation_endpoint";

/**
 * Returns an endpoint that the metadata names.
 *
 * @throws {InvalidResponse} The server does not have it.
 */
export function endpoint(server: AuthorizationServer, name: Endpoint): string {
  const url = server[name];
  if (typeof url !== "string")
    throw new InvalidResponse(`${server.issuer} has no ${name}: it does not support this.`);
  secureUrl(url);
  return url;
}
