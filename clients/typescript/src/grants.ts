import * as oauth from "oauth4webapi";
import { METADATA_AGE, UNKNOWN_LIFETIME } from "./defaults.js";
import { discover, endpoint } from "./discovery.js";
import {
  AccessDenied,
  ExpiredToken,
  InvalidClient,
  InvalidResponse,
  InvalidScope,
  InvalidTarget,
  LoginRequired,
  PosternError,
  type ErrorCode,
} from "./errors.js";
import { send, type Attempts } from "./http.js";
import type { Runtime } from "./runtime.js";
import { Cached } from "./shared.js";

/** What a token endpoint returned. */
export interface Tokens {
  accessToken: string;
  tokenType: string;
  /** In milliseconds. */
  lifetime: number;
  refreshToken: string | undefined;
  scope: string | undefined;
  /** When the attempt began that was answered, in milliseconds since 1970. */
  obtainedAt: number;
}

/** An error that a server returned, by its code (RFC 6749 §5.2). */
export class OAuthError extends Error {
  constructor(
    readonly error: string,
    readonly description: string,
  ) {
    super(error);
  }
}

const BY_CODE: Record<string, new (message: string) => PosternError> = {
  access_denied: AccessDenied,
  expired_token: ExpiredToken,
  invalid_client: InvalidClient,
  invalid_grant: LoginRequired,
  invalid_scope: InvalidScope,
  invalid_target: InvalidTarget,
  unauthorized_client: InvalidClient,
} satisfies Partial<
  Record<ErrorCode | "invalid_grant" | "unauthorized_client", new (message: string) => PosternError>
>;

/** Returns the error of this package for one that the server returned. */
export function errorOf(issuer: string, { error, description }: OAuthError): PosternError {
  const known = BY_CODE[error];
  const said = description === "" ? "" : ` ${description}`;
  return known
    ? new known(`${issuer} answered ${error}.${said}`)
    : new InvalidResponse(`${issuer} refused the request with the error ${error}.${said}`);
}

const LONGEST_WORD = 60;
const LONGEST_TEXT = 500;

/** Returns whether a text can be shown: nothing in it controls a terminal. */
export const isPlain = (text: string) => !/[\p{Cc}\p{Cf}]/u.test(text);

/**
 * Returns what a server says without what controls a terminal, and without words that could be
 * tokens.
 */
function printable(text: unknown): string {
  if (typeof text !== "string") return "";
  const words = text.split(/\s+/u).map((word) => word.replace(/[\p{Cc}\p{Cf}]/gu, ""));
  return words
    .map((word) => (word.length > LONGEST_WORD ? "…" : word))
    .join(" ")
    .slice(0, LONGEST_TEXT);
}

/** Returns the error of a server by what it sent. */
export const oauthError = (error: unknown, description: unknown) =>
  new OAuthError(printable(error), printable(description));

export type Parameters = Record<string, string | undefined>;

const present = (parameters: Parameters) =>
  Object.fromEntries(
    Object.entries(parameters).filter((pair): pair is [string, string] => pair[1] !== undefined),
  );

/** How the client authenticates. */
export interface ClientCredentials {
  clientId: string | undefined;
  clientSecret?: string;
}

/** An authorization server, as one client sees it. */
export class Server {
  readonly issuer: string;
  readonly runtime: Runtime;
  #client: ClientCredentials;
  readonly #metadata: Cached<oauth.AuthorizationServer>;
  readonly #attempts: Attempts;

  /**
   * With `failureAge`, there is one attempt to fetch the metadata, whose failure is repeated from
   * memory.
   */
  constructor(runtime: Runtime, issuer: string, client: ClientCredentials, failureAge?: number) {
    this.runtime = runtime;
    this.issuer = issuer;
    this.#client = client;
    this.#metadata = new Cached(() => runtime.elapsed(), {
      value: METADATA_AGE,
      failure: failureAge ?? 0,
    });
    this.#attempts = failureAge === undefined ? "several" : "once";
  }

  get clientId(): string | undefined {
    return this.#client.clientId;
  }

  /** Returns the metadata, which is used for an hour. */
  async metadata(signal?: AbortSignal): Promise<oauth.AuthorizationServer> {
    return this.#metadata.get(() => discover(this.runtime, this.issuer, this.#attempts, signal));
  }

  /** The client for oauth4webapi, which wants an id also where none is sent. */
  get client(): oauth.Client {
    // An ID token is not used, so a clock that is wrong must not refuse it.
    return { client_id: this.#client.clientId ?? "-", [oauth.clockTolerance]: 10 * 365 * 86_400 };
  }

  authentication(server: oauth.AuthorizationServer): oauth.ClientAuth {
    const { clientId, clientSecret } = this.#client;
    if (clientId === undefined) return () => {};
    if (clientSecret === undefined) return oauth.None();
    const methods = server.token_endpoint_auth_methods_supported;
    const isPostOnly =
      methods?.includes("client_secret_post") && !methods.includes("client_secret_basic");
    return isPostOnly
      ? oauth.ClientSecretPost(clientSecret)
      : oauth.ClientSecretBasic(clientSecret);
  }

  options(attempts: Attempts, signal?: AbortSignal, began?: () => void) {
    return {
      // `send` refuses what is not encrypted, but for this machine.
      [oauth.allowInsecureRequests]: true,
      [oauth.customFetch]: (
        url: string,
        init: oauth.CustomFetchOptions<string, URLSearchParams | string | undefined>,
      ) => send(this.runtime, url, init as unknown as RequestInit, attempts, began),
      ...(signal && { signal }),
    };
  }

  /**
   * Requests tokens.
   *
   * @throws {OAuthError} The server returned an error.
   * @throws {InvalidResponse} The response is not that of a token endpoint.
   * @throws {ServerUnavailable} There was none.
   */
  async grant(
    type: string,
    parameters: Parameters,
    attempts: Attempts = "several",
    signal?: AbortSignal,
  ): Promise<Tokens> {
    return this.tokens(attempts, signal, (server, options) =>
      oauth.genericTokenEndpointRequest(
        server,
        this.client,
        this.authentication(server),
        type,
        present(parameters),
        options,
      ),
    );
  }

  /** Asks what a credential is (RFC 7662). An API key can authenticate in place of the client. */
  async introspect(
    token: string,
    resource: string,
    apiKey?: string,
  ): Promise<oauth.IntrospectionResponse> {
    const server = await this.metadata();
    endpoint(server, "introspection_endpoint");
    const authentication: oauth.ClientAuth =
      apiKey === undefined
        ? this.authentication(server)
        : (_, __, ___, headers) => headers.set("authorization", `Bearer ${apiKey}`);
    return understood(this.issuer, async () => {
      const options = { ...this.options("once"), additionalParameters: { resource } };
      const response = await oauth.introspectionRequest(
        server,
        this.client,
        authentication,
        token,
        options,
      );
      return oauth.processIntrospectionResponse(server, this.client, response);
    });
  }

  /** Ends a token (RFC 7009). */
  async revoke(token: string, attempts: Attempts = "several"): Promise<void> {
    const server = await this.metadata();
    endpoint(server, "revocation_endpoint");
    await understood(this.issuer, async () => {
      const response = await oauth.revocationRequest(
        server,
        this.client,
        this.authentication(server),
        token,
        this.options(attempts),
      );
      await oauth.processRevocationResponse(response);
    });
  }

  /** Reads the tokens that `request` obtains. */
  async tokens(
    attempts: Attempts,
    signal: AbortSignal | undefined,
    request: (
      server: oauth.AuthorizationServer,
      options: ReturnType<Server["options"]>,
    ) => Promise<Response>,
  ): Promise<Tokens> {
    const server = await this.metadata(signal);
    let obtainedAt = this.runtime.now();
    const options = this.options(attempts, signal, () => {
      obtainedAt = this.runtime.now();
    });
    const body = await understood(this.issuer, async () =>
      oauth.processGenericTokenEndpointResponse(
        server,
        this.client,
        await request(server, options),
      ),
    );
    if (body.token_type !== "bearer") {
      throw new InvalidResponse(
        `${this.issuer} issued a token whose token_type is not Bearer. This package cannot use it.`,
      );
    }
    return {
      accessToken: body.access_token,
      tokenType: "Bearer",
      lifetime: body.expires_in === undefined ? UNKNOWN_LIFETIME : body.expires_in * 1000,
      refreshToken: body.refresh_token,
      scope: body.scope,
      obtainedAt,
    };
  }
}

/** Replaces the errors of oauth4webapi, whose causes have what the server sent. */
export async function understood<T>(issuer: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof PosternError || error instanceof OAuthError) throw error;
    if (error instanceof oauth.ResponseBodyError)
      throw oauthError(error.error, error.error_description);
    if (error instanceof oauth.WWWAuthenticateChallengeError) {
      const body = (await error.response.json().catch(() => ({}))) as Record<string, unknown>;
      throw oauthError(body["error"] ?? "invalid_client", body["error_description"]);
    }
    const { cause } = error as { cause?: unknown };
    const status = cause instanceof Response ? `, status ${cause.status}` : "";
    const said = `${error instanceof Error ? error.message : "unknown"}${status}`;
    throw new InvalidResponse(
      `${issuer} did not answer as an authorization server does (${said}). Check the URL of the issuer.`,
    );
  }
}
