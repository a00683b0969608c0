import { published, isFresh, isValid, type AccessToken, type TokenState } from "./access-token.js";
import { RENEW_AGAIN } from "./defaults.js";
import {
  LockTimeout,
  LoginRequired,
  ServerUnavailable,
  WorkloadTokenUnavailable,
} from "./errors.js";
import { OAuthError, errorOf, type Server, type Tokens } from "./grants.js";
import type { Runtime } from "./runtime.js";
import { Shared } from "./shared.js";

/** For which API a token is, and with which of its scopes (separated by spaces). */
export interface TokenRequest {
  resource?: string | undefined;
  scope?: string | undefined;
}

/** Scopes are a set: their order says nothing. */
export const sortedScope = (scope: string | null | undefined) =>
  (scope ?? "").split(" ").filter(Boolean).sort().join(" ");

/** Returns the same text for requests that get the same token. */
export const keyOf = ({ resource, scope }: TokenRequest) =>
  JSON.stringify([resource ?? null, sortedScope(scope)]);

/** How a logout ended. */
export interface LogoutResult {
  /** Whether the server ended the tokens. */
  revoked: boolean;
  /** What is left to do if it did not. */
  warning?: string;
}

/** Where a session gets its access tokens. */
export interface Source {
  readonly issuer: string | undefined;
  /** Whether there can be another token than one that an API refused. */
  readonly canRenew: boolean;
  /** Returns a token that is valid, and not `refused`, which an API did not accept. */
  token(request: TokenRequest, refused?: string): Promise<AccessToken>;
  logout(): Promise<LogoutResult>;
}

/** Keeps a valid token in use while it cannot be renewed. */
export class Renewal {
  #again = Number.NEGATIVE_INFINITY;

  constructor(private readonly runtime: Runtime) {}

  /** Returns the current token if it need not be renewed now. */
  usable(token: TokenState | undefined, refused: string | undefined): AccessToken | undefined {
    const now = this.runtime.now();
    if (token === undefined || token.value === refused) return undefined;
    const waits = this.runtime.elapsed() < this.#again && isValid(token, now);
    return waits || isFresh(token, now) ? published(token) : undefined;
  }

  /** Runs `renew`. If there can be no new token now, one that is still valid is used. */
  async orCurrent(
    token: TokenState | undefined,
    refused: string | undefined,
    renew: () => Promise<AccessToken>,
  ): Promise<AccessToken> {
    try {
      return await renew();
    } catch (error) {
      const isOutage =
        error instanceof ServerUnavailable ||
        error instanceof LockTimeout ||
        error instanceof WorkloadTokenUnavailable;
      const isUsable =
        token !== undefined && token.value !== refused && isValid(token, this.runtime.now());
      if (!isOutage || !isUsable) throw error;
      this.#again = this.runtime.elapsed() + RENEW_AGAIN;
      return published(token);
    }
  }
}

/**
 * Returns the state of a token. Without a scope in the response, it has those that were requested.
 */
export const stateOf = (tokens: Tokens, requested: string | undefined): TokenState => ({
  value: tokens.accessToken,
  tokenType: tokens.tokenType,
  scope: tokens.scope ?? requested,
  obtainedAt: tokens.obtainedAt,
  expiresAt: tokens.obtainedAt + tokens.lifetime,
});

/** Tokens that are obtained with a grant whenever they are needed, and kept in memory. */
export class GrantSource implements Source {
  readonly canRenew = true;
  readonly #server: Server;
  readonly #obtain: (request: TokenRequest) => Promise<Tokens>;
  readonly #tokens = new Map<string, TokenState>();
  readonly #renewal: Renewal;
  readonly #renewals = new Shared<AccessToken>();

  constructor(server: Server, obtain: (request: TokenRequest) => Promise<Tokens>) {
    this.#server = server;
    this.#obtain = obtain;
    this.#renewal = new Renewal(server.runtime);
  }

  get issuer() {
    return this.#server.issuer;
  }

  async token(request: TokenRequest, refused?: string): Promise<AccessToken> {
    const key = keyOf(request);
    const usable = this.#renewal.usable(this.#tokens.get(key), refused);
    if (usable) return usable;
    return this.#renewal.orCurrent(this.#tokens.get(key), refused, () =>
      this.#renewals.run(
        key,
        ({ value }) => value !== refused,
        async () => {
          const state = stateOf(await this.#obtain(request), request.scope);
          this.#tokens.set(key, state);
          return published(state);
        },
      ),
    );
  }

  async logout(): Promise<LogoutResult> {
    const values = [...this.#tokens.values()].map(({ value }) => value);
    this.#tokens.clear();
    try {
      for (const value of values) await revoke(this.#server, value);
      return { revoked: true };
    } catch (error) {
      return {
        revoked: false,
        warning: `The tokens could not be revoked, and are valid until they expire. ${(error as Error).message}`,
      };
    }
  }
}

/** Ends a token at the server (RFC 7009). */
export async function revoke(server: Server, token: string): Promise<void> {
  try {
    await server.revoke(token);
  } catch (error) {
    throw error instanceof OAuthError ? errorOf(server.issuer, error) : error;
  }
}

/** An API key, which is not renewed. */
export class KeySource implements Source {
  readonly canRenew = false;
  readonly issuer = undefined;
  readonly #key: AccessToken;

  constructor(key: AccessToken) {
    this.#key = key;
  }

  async token(_: TokenRequest, refused?: string): Promise<AccessToken> {
    if (this.#key.value !== refused) return this.#key;
    throw new LoginRequired("The API key was refused, and cannot be renewed. Create another one.");
  }

  async logout(): Promise<LogoutResult> {
    return {
      revoked: false,
      warning: "An API key is not ended by a logout: delete it at the server.",
    };
  }
}
