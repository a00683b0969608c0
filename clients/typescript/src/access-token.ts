import { RENEW_AHEAD, RENEW_AHEAD_SHARE } from "./defaults.js";

/** What is known about an access token. Times are in milliseconds. */
export interface TokenState {
  value: string;
  tokenType: string;
  scope: string | undefined;
  obtainedAt: number;
  expiresAt: number;
}

/** A token with which an API is called. What prints or serializes it does not show its value. */
export class AccessToken {
  readonly #value: string;
  readonly tokenType: string;
  /** The scopes that it has, separated by spaces; undefined if they are not known. */
  readonly scope: string | undefined;
  /** When it expires; undefined if it is not known, as for API keys. */
  readonly expiresAt: Date | undefined;

  constructor(value: string, tokenType: string, scope?: string, expiresAt?: Date) {
    this.#value = value;
    this.tokenType = tokenType;
    this.scope = scope;
    this.expiresAt = expiresAt;
  }

  get value(): string {
    return this.#value;
  }
}

export const published = (token: TokenState) =>
  new AccessToken(token.value, token.tokenType, token.scope, new Date(token.expiresAt));

/**
 * Returns whether a token can be used now. One that was obtained in the future cannot: the clock
 * was set back, so it is unknown when it expires.
 */
export function isValid(token: TokenState, now: number): boolean {
  // Times in files are whole seconds.
  return token.obtainedAt <= now + 1000 && now < token.expiresAt;
}

/** Returns whether a token need not be renewed yet. */
export function isFresh(token: TokenState, now: number): boolean {
  const ahead = Math.min(RENEW_AHEAD, RENEW_AHEAD_SHARE * (token.expiresAt - token.obtainedAt));
  return isValid(token, now) && now < token.expiresAt - ahead;
}
