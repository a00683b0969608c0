import { published, type AccessToken, type TokenState } from "./access-token.js";
import { LoginRequired, SessionInvalid } from "./errors.js";
import { DEFAULT_PROFILE } from "./defaults.js";
import type { Profile, SessionPaths } from "./folder.js";
import { OAuthError, Server, errorOf, type Tokens } from "./grants.js";
import { withLock } from "./lock.js";
import type { Runtime } from "./runtime.js";
import {
  createFolder, deleteSession, readSession, removeLeftovers, writeSession, type StoredSession, type StoredToken,
} from "./session-file.js";
import { Renewal, revoke, stateOf, type LogoutResult, type Source, type TokenRequest } from "./source.js";

const seconds = (ms: number) => Math.floor(ms / 1000);

const state = (token: StoredToken): TokenState => ({
  value: token.value,
  tokenType: token.token_type ?? "Bearer",
  scope: token.granted_scope ?? "",
  obtainedAt: token.obtained_at * 1000,
  expiresAt: token.expires_at * 1000,
});

/** Scopes are a set: their order says nothing. */
const sorted = (scope: string | null | undefined) => (scope ?? "").split(" ").filter(Boolean).sort().join(" ");

const isFor = (token: StoredToken, { resource, scope }: TokenRequest) =>
  (token.resource ?? null) === (resource ?? null) && sorted(token.scope) === sorted(scope);

function find(session: StoredSession, request: TokenRequest): TokenState | undefined {
  const token = session.access_tokens.find((entry) => isFor(entry, request));
  return token && state(token);
}

/** Returns the session with these tokens in place of the ones for the same request. */
function withTokens(session: StoredSession, request: TokenRequest, tokens: Tokens, asked: number): StoredSession {
  const token = stateOf(tokens, asked, request.scope ?? session.scope ?? "");
  const others = session.access_tokens.filter((entry) => !isFor(entry, request) && entry.expires_at * 1000 > asked);
  const added: StoredToken = {
    resource: request.resource ?? null,
    scope: request.scope ?? null,
    value: token.value,
    token_type: token.tokenType,
    granted_scope: token.scope,
    obtained_at: seconds(asked),
    expires_at: seconds(asked) + seconds(tokens.lifetime),
  };
  const refreshToken = tokens.refreshToken ?? session.refresh_token;
  return { ...session, ...(refreshToken !== undefined && { refresh_token: refreshToken }), access_tokens: [...others, added] };
}

const COMMAND = "postern login";
const loginCommand = (profile: string) => (profile === DEFAULT_PROFILE ? COMMAND : `${COMMAND} --profile ${profile}`);

/** The session of a login, in a file that several programs use at the same time. */
export class StoredSource implements Source {
  readonly #runtime: Runtime;
  readonly #paths: SessionPaths;
  readonly #renewal: Renewal;
  #server: Server;

  private constructor(runtime: Runtime, paths: SessionPaths, session: Pick<StoredSession, "issuer" | "client_id">) {
    this.#runtime = runtime;
    this.#paths = paths;
    this.#renewal = new Renewal(runtime);
    this.#server = new Server(runtime, session.issuer, { clientId: session.client_id });
  }

  /**
   * Opens the session at `paths`; if there is none, its first use says so.
   *
   * @throws {SessionInvalid} Its file cannot be read.
   */
  static async open(runtime: Runtime, paths: SessionPaths, profile: Omit<Profile, "name">): Promise<StoredSource> {
    const session = await readSession(paths.file);
    return new StoredSource(runtime, paths, session ?? { issuer: profile.issuer, client_id: profile.clientId });
  }

  /** Stores the tokens of a login, in place of what was there. */
  static async create(server: Server, paths: SessionPaths, clientId: string, request: TokenRequest, tokens: Tokens, asked: number): Promise<StoredSource> {
    const empty: StoredSession = {
      version: 1, issuer: server.issuer, client_id: clientId, storage: "file", scope: tokens.scope ?? request.scope ?? "", access_tokens: [],
    };
    // What the login asked for is what requests get that ask for nothing.
    const session = withTokens(empty, {}, tokens, asked);
    await createFolder(paths);
    await withLock(server.runtime, paths.lock, async () => {
      await removeLeftovers(server.runtime, paths);
      await writeSession(paths, session);
    });
    return new StoredSource(server.runtime, paths, session);
  }

  get issuer() {
    return this.#server.issuer;
  }

  async #read(): Promise<StoredSession> {
    const session = await readSession(this.#paths.file);
    if (session === undefined) throw noSession(this.#paths);
    if (session.issuer !== this.#server.issuer || session.client_id !== this.#server.clientId) {
      this.#server = new Server(this.#runtime, session.issuer, { clientId: session.client_id });
    }
    return session;
  }

  async token(request: TokenRequest, refused?: string): Promise<AccessToken> {
    const before = find(await this.#read(), request);
    const usable = this.#renewal.usable(before, refused);
    if (usable) return usable;
    return this.#renewal.orCurrent(before, refused, () =>
      withLock(this.#runtime, this.#paths.lock, async () => {
        const session = await this.#read();
        return this.#renewal.usable(find(session, request), refused) ?? this.#refresh(session, request);
      }));
  }

  /** Renews the session and stores it. The caller has the lock. */
  async #refresh(session: StoredSession, request: TokenRequest): Promise<AccessToken> {
    await removeLeftovers(this.#runtime, this.#paths);
    const asked = this.#runtime.now();
    const { tokens, used } = await this.#refreshed(session, request);
    const next = withTokens(used, request, tokens, asked);
    await writeSession(this.#paths, next);
    return published(find(next, request) as TokenState);
  }

  async #refreshed(session: StoredSession, request: TokenRequest, isRepeated = false): Promise<{ tokens: Tokens; used: StoredSession }> {
    const token = refreshTokenOf(session, this.#paths);
    try {
      return { tokens: await this.#server.grant("refresh_token", { refresh_token: token, ...request }), used: session };
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error;
      if (error.error !== "invalid_grant") throw errorOf(session.issuer, error);
      // A program that does not know the lock can have replaced the file.
      const current = await this.#read();
      if (!isRepeated && current.refresh_token !== undefined && current.refresh_token !== token) return this.#refreshed(current, request, true);
      throw new LoginRequired(`${session.issuer} has ended the session "${this.#paths.profile}". Run ${loginCommand(this.#paths.profile)}.`);
    }
  }

  async logout(): Promise<LogoutResult> {
    if ((await readSession(this.#paths.file)) === undefined) return { revoked: true };
    return withLock(this.#runtime, this.#paths.lock, async () => {
      const session = await readSession(this.#paths.file);
      if (session === undefined) return { revoked: true };
      const result = await this.#revoked(session);
      await deleteSession(this.#paths);
      return result;
    });
  }

  async #revoked(session: StoredSession): Promise<LogoutResult> {
    try {
      const tokens = session.refresh_token === undefined ? session.access_tokens.map(({ value }) => value) : [session.refresh_token];
      for (const token of tokens) await revoke(this.#server, token);
      return { revoked: true };
    } catch (error) {
      const last = Math.max(0, ...session.access_tokens.map(({ expires_at: at }) => at));
      const until = new Date(last * 1000).toISOString().replace(".000Z", "Z");
      const warning = `The session was deleted here. The server may still accept its access tokens until ${until}, and its refresh token until `
        + `that expires. ${(error as Error).message}`;
      return { revoked: false, warning };
    }
  }
}

function noSession({ profile, file }: SessionPaths): LoginRequired {
  return new LoginRequired(`There is no session "${profile}" (${file}). Run ${loginCommand(profile)}.`);
}

function refreshTokenOf(session: StoredSession, { profile, file }: SessionPaths): string {
  if (session.refresh_token !== undefined) return session.refresh_token;
  if (session.storage === "keyring") {
    throw new SessionInvalid(
      `The refresh token of ${file} is in the keyring, which this package does not read. Run ${loginCommand(profile)} --storage file.`,
    );
  }
  throw new LoginRequired(`The session "${profile}" cannot be renewed, because the server gave no refresh token. Run ${loginCommand(profile)}.`);
}
