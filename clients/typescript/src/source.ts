import { published, isFresh, isValid, type AccessToken, type TokenState } from "./access-token.js";
import { RENEW_AGAIN } from "./defaults.js";
import { LockTimeout, ServerUnavailable } from "./errors.js";
import { OAuthError, errorOf, type Server, type Tokens } from "./grants.js";
import { exclusively } from "./lock.js";
import type { Runtime } from "./runtime.js";

/** For which API a token is, and with which of its scopes (separated by spaces). */
export interface TokenRequest {
  resource?: string | undefined;
  scope?: string | undefined;
}

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
  /** Returns a token that is valid, and not `refused`, which an API did not accept. */
  token(request: TokenRequest, refused?: string): Promise<AccessToken>;
  logout(): Promise<LogoutResult>;
}

/** Keeps a valid token in use while it cannot be renewed. */
export class Renewal {
  #again = 0;

  constructor(private readonly runtime: Runtime) {}

  /** Returns the current token if it need not be renewed now. */
  usable(token: TokenState | undefined, refused: string | undefined): AccessToken | undefined {
    const now = this.runtime.now();
    if (token === undefined || token.value === refused) return undefined;
    const waits = now < this.#again && isValid(token, now);
    return waits || isFresh(token, now) ? published(token) : undefined;
  }

  /** Runs `renew`. If the server cannot be reached, a token that is still valid is used. */
  async orCurrent(token: TokenState | undefined, refused: string | undefined, renew: () => Promise<AccessToken>): Promise<AccessToken> {
    try {
      return await renew();
    } catch (error) {
      const isOutage = error instanceof ServerUnavailable || error instanceof LockTimeout;
      const isUsable = token !== undefined && token.value !== refused && isValid(token, this.runtime.now());
      if (!isOutage || !isUsable) throw error;
      this.#again = this.runtime.now() + RENEW_AGAIN;
      return published(token);
    }
  }
}

/** Returns the state of a token that was requested at `asked`. */
export const stateOf = (tokens: Tokens, asked: number, scope: string): TokenState => ({
  value: tokens.accessToken,
  tokenType: tokens.tokenType,
  scope: tokens.scope ?? scope,
  obtainedAt: asked,
  expiresAt: asked + tokens.lifetime,
});

let sources = 0;

/** Tokens that are obtained with a grant whenever they are needed, and kept in memory. */
export class GrantSource implements Source {
  readonly #server: Server;
  readonly #obtain: (request: TokenRequest) => Promise<Tokens>;
  readonly #tokens = new Map<string, TokenState>();
  readonly #renewal: Renewal;
  readonly #name: string;

  constructor(server: Server, obtain: (request: TokenRequest) => Promise<Tokens>) {
    sources += 1;
    this.#name = `source ${sources}`;
    this.#server = server;
    this.#obtain = obtain;
    this.#renewal = new Renewal(server.runtime);
  }

  get issuer() {
    return this.#server.issuer;
  }

  async token(request: TokenRequest, refused?: string): Promise<AccessToken> {
    const key = JSON.stringify([request.resource ?? null, request.scope ?? null]);
    const current = () => this.#renewal.usable(this.#tokens.get(key), refused);
    return current() ?? exclusively(`${this.#name} ${key}`, async () =>
      current() ?? this.#renewal.orCurrent(this.#tokens.get(key), refused, async () => {
        const asked = this.#server.runtime.now();
        const state = stateOf(await this.#obtain(request), asked, request.scope ?? "");
        this.#tokens.set(key, state);
        return published(state);
      }));
  }

  async logout(): Promise<LogoutResult> {
    const values = [...this.#tokens.values()].map(({ value }) => value);
    this.#tokens.clear();
    try {
      for (const value of values) await revoke(this.#server, value);
      return { revoked: true };
    } catch (error) {
      return { revoked: false, warning: `The tokens could not be revoked, and are valid until they expire. ${(error as Error).message}` };
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
  readonly issuer = undefined;
  readonly #key: AccessToken;

  constructor(key: AccessToken) {
    this.#key = key;
  }

  async token(): Promise<AccessToken> {
    return this.#key;
  }

  async logout(): Promise<LogoutResult> {
    return { revoked: false, warning: "An API key stays valid until it is deleted at the server." };
  }
}
