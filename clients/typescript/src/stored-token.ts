import type { TokenState } from "./access-token.js";
import type { Tokens } from "./grants.js";
import type { StoredSession, StoredToken } from "./session-file.js";
import { sortedScope, stateOf, type TokenRequest } from "./source.js";

const seconds = (ms: number) => Math.floor(ms / 1000);

const state = (token: StoredToken): TokenState => ({
  value: token.value,
  tokenType: token.token_type ?? "Bearer",
  scope: token.granted_scope ?? undefined,
  obtainedAt: token.obtained_at * 1000,
  expiresAt: token.expires_at * 1000,
});

const isFor = (token: StoredToken, { resource, scope }: TokenRequest) =>
  (token.resource ?? null) === (resource ?? null) &&
  sortedScope(token.scope) === sortedScope(scope);

/** Another type needs a proof, which this package does not make. */
const isBearer = ({ token_type: type }: StoredToken) =>
  (type ?? "Bearer").toLowerCase() === "bearer";

/** Returns the token of a session for a request. */
export function find(session: StoredSession, request: TokenRequest): TokenState | undefined {
  const token = session.access_tokens.find((entry) => isFor(entry, request) && isBearer(entry));
  return token && state(token);
}

/** Returns the session with these tokens in place of the ones for the same request. */
export function withTokens(
  session: StoredSession,
  request: TokenRequest,
  tokens: Tokens,
): StoredSession {
  const token = stateOf(tokens, request.scope ?? session.scope ?? undefined);
  const others = session.access_tokens.filter(
    (entry) => !isFor(entry, request) && entry.expires_at * 1000 > tokens.obtainedAt,
  );
  const added: StoredToken = {
    resource: request.resource ?? null,
    scope: request.scope ?? null,
    value: token.value,
    token_type: token.tokenType,
    granted_scope: token.scope ?? null,
    obtained_at: seconds(tokens.obtainedAt),
    expires_at: seconds(tokens.obtainedAt) + seconds(tokens.lifetime),
  };
  return {
    ...session,
    ...(tokens.refreshToken !== undefined && { refresh_token: tokens.refreshToken }),
    access_tokens: [...others, added],
  };
}
