import { AccessToken } from "./access-token.js";
import { Workload, type WorkloadOptions } from "./federation.js";
import { pathsAt, pathsOf, profileOf } from "./folder.js";
import { OAuthError, Server, errorOf } from "./grants.js";
import { secureUrl, unavailable } from "./http.js";
import { reason } from "./reason.js";
import { runtimeWith, type Runtime } from "./runtime.js";
import { signRequest } from "./signature.js";
import {
  GrantSource,
  KeySource,
  type LogoutResult,
  type Source,
  type TokenRequest,
} from "./source.js";
import { StoredSource } from "./stored.js";

/** What every session can be given. */
export interface SessionOptions extends TokenRequest {
  /** Signs every request, for keys that require it. */
  sign?: boolean;
  /** @internal */
  runtime?: Partial<Runtime>;
}

export interface OpenOptions extends SessionOptions {
  /**
   * The profile that logged in. By default, that of `POSTERN_PROFILE`, or the default of the
   * configuration.
   */
  profile?: string;
  /** The file of the session, in place of a profile. */
  path?: string;
}

export interface ClientCredentialsOptions extends SessionOptions {
  issuer: string;
  clientId: string;
  clientSecret: string;
}

export interface FederationOptions extends SessionOptions, WorkloadOptions {
  issuer: string;
  /** The agent of the rule. The server does not need it. */
  clientId?: string;
}

/** What `session.fetch` understands besides the options of `fetch`. */
export interface RequestOptions extends TokenRequest {
  sign?: boolean;
}

/** Which access token is wanted. */
export interface AccessTokenOptions extends TokenRequest {
  /**
   * The value of a token that an API answered with 401. If it is still the current one, it is
   * renewed.
   */
  refused?: string;
}

type FetchInit = RequestInit & RequestOptions;

/** Returns whether an API refused the token itself (RFC 6750 §3.1). */
function isRefused(response: Response): boolean {
  return (
    response.status === 401 &&
    /error="?invalid_token/.test(response.headers.get("www-authenticate") ?? "")
  );
}

/**
 * Returns whether the body of a request can be sent a second time: that of a `Request` is a stream.
 */
function isRepeatable(input: string | URL | Request, body: unknown): boolean {
  if (body === undefined || body === null)
    return !(input instanceof Request) || input.body === null;
  return (
    typeof body === "string" ||
    body instanceof URLSearchParams ||
    body instanceof FormData ||
    body instanceof Blob ||
    body instanceof ArrayBuffer ||
    ArrayBuffer.isView(body)
  );
}

/** Sends a request to an API. A response of `fetch` with an error of its own is none. */
async function sent(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    if (request.signal.aborted || !(error instanceof TypeError)) throw error;
    throw unavailable(request.url, reason(error));
  }
}

/**
 * What a program has in place of a token: it calls APIs with tokens that are renewed in time, by
 * one process at a time.
 */
export class Session {
  readonly #source: Source;
  readonly #runtime: Runtime;
  readonly #defaults: SessionOptions;

  /** @internal */
  constructor(source: Source, runtime: Runtime, defaults: SessionOptions = {}) {
    this.#source = source;
    this.#runtime = runtime;
    this.#defaults = defaults;
  }

  /**
   * Opens the session of a login, which other programs can use at the same time. If there is none,
   * or its file cannot be understood, the first token says so.
   *
   * @throws {SessionInvalid} The configuration cannot be understood, or the profile has no valid
   *   name.
   * @throws {StorageFailed} The configuration cannot be read.
   */
  static async open(options: OpenOptions = {}): Promise<Session> {
    const runtime = runtimeWith(options.runtime);
    const { name, ...profile } = await profileOf(runtime, options.profile);
    const paths = options.path === undefined ? pathsOf(runtime, name) : pathsAt(options.path);
    return new Session(await StoredSource.open(runtime, paths, profile), runtime, options);
  }

  /**
   * Returns the session of a program that has a client id and a secret, such as an agent (RFC 6749
   * §4.4).
   */
  static clientCredentials(options: ClientCredentialsOptions): Session {
    const runtime = runtimeWith(options.runtime);
    const { issuer, clientId, clientSecret } = options;
    const server = new Server(runtime, issuer, { clientId, clientSecret });
    const source = new GrantSource(server, async (request) => {
      try {
        return await server.grant("client_credentials", { ...request });
      } catch (error) {
        throw error instanceof OAuthError ? errorOf(issuer, error) : error;
      }
    });
    return new Session(source, runtime, options);
  }

  /**
   * Returns the session of a workload that has no secret: its own token is exchanged (RFC 7523).
   */
  static federation(options: FederationOptions): Session {
    const runtime = runtimeWith(options.runtime);
    const server = new Server(runtime, options.issuer, { clientId: options.clientId });
    const workload = new Workload(options);
    return new Session(
      new GrantSource(server, (request) => workload.exchange(server, request)),
      runtime,
      options,
    );
  }

  /** Returns the session of an API key, or of a CLI token. */
  static apiKey(value: string, options: SessionOptions = {}): Session {
    return new Session(
      new KeySource(new AccessToken(value, "Bearer")),
      runtimeWith(options.runtime),
      options,
    );
  }

  /** The issuer of the tokens; undefined for API keys. */
  get issuer(): string | undefined {
    return this.#source.issuer;
  }

  /**
   * Returns an access token that is valid for a while.
   *
   * @throws {LoginRequired} The session has ended.
   * @throws {ServerUnavailable} It cannot be renewed now. The session is kept.
   */
  async accessToken({ refused, ...request }: AccessTokenOptions = {}): Promise<AccessToken> {
    return this.#source.token(this.#request(request), refused);
  }

  #request({ resource, scope }: TokenRequest): TokenRequest {
    return { resource: resource ?? this.#defaults.resource, scope: scope ?? this.#defaults.scope };
  }

  /**
   * Returns a request with the token of this session, and the signature if there is one. Send it
   * without following redirects: the token is for this API.
   *
   * @throws {InsecureIssuer} Its URL is not https, and not on this machine.
   */
  async authorize(request: Request, options: RequestOptions = {}): Promise<Request> {
    secureUrl(request.url);
    return this.#authorized(request, await this.accessToken(tokenRequest(options)), options);
  }

  async #authorized(
    request: Request,
    token: AccessToken,
    { sign }: RequestOptions,
  ): Promise<Request> {
    const url = secureUrl(request.url);
    const headers = new Headers(request.headers);
    headers.set("authorization", `${token.tokenType} ${token.value}`);
    if (sign ?? this.#defaults.sign) {
      const body = new Uint8Array(await request.clone().arrayBuffer());
      const target = url.pathname + url.search;
      const signed = signRequest({
        token: token.value,
        method: request.method,
        target,
        body,
        timestampMs: this.#runtime.now(),
        contentSha256: true,
      });
      for (const [name, value] of Object.entries(signed)) headers.set(name, value);
    }
    return new Request(request, {
      headers,
      redirect: request.redirect === "error" ? "error" : "manual",
    });
  }

  /**
   * Calls an API as `fetch` does, with a token. If the API refuses the token, it is renewed once,
   * and the request is repeated once, unless its body is a stream, as that of every `Request` is.
   * Redirects are not followed, because the token is for this API.
   *
   * @throws {InsecureIssuer} The URL is not https, and not on this machine.
   * @throws {ServerUnavailable} The API did not answer.
   */
  async fetch(input: string | URL | Request, init: FetchInit = {}): Promise<Response> {
    const { resource, scope, sign, ...rest } = init;
    const options = { resource, scope, ...(sign !== undefined && { sign }) };
    const again = isRepeatable(input, rest.body);
    const request = new Request(input, rest);
    secureUrl(request.url);
    const token = await this.accessToken(tokenRequest(options));
    const response = await sent(await this.#authorized(request, token, options));
    if (!again || !this.#source.canRenew || !isRefused(response)) return response;
    const next = await this.accessToken({ ...tokenRequest(options), refused: token.value });
    if (next.value === token.value) return response;
    await response.body?.cancel();
    return sent(await this.#authorized(new Request(input, rest), next, options));
  }

  /**
   * Ends the session: its tokens at the server (RFC 7009), then its file, even if it cannot be
   * understood.
   */
  async logout(): Promise<LogoutResult> {
    return this.#source.logout();
  }
}

const tokenRequest = ({ resource, scope }: TokenRequest): TokenRequest => ({ resource, scope });
