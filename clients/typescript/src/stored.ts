import { published, type AccessToken, type TokenState } from "./access-token.js";
import { DEFAULT_PROFILE, MOST_LOGINS } from "./defaults.js";
import { LoginRequired, SessionInvalid, StorageFailed } from "./errors.js";
import type { Profile, SessionPaths } from "./folder.js";
import { OAuthError, Server, errorOf, type Tokens } from "./grants.js";
import { withLock } from "./lock.js";
import type { Runtime } from "./runtime.js";
import {
  Replacement,
  createFolder,
  deleteSession,
  readSession,
  removeAbandoned,
  type StoredSession,
} from "./session-file.js";
import { Shared } from "./shared.js";
import {
  Renewal,
  keyOf,
  revoke,
  type LogoutResult,
  type Source,
  type TokenRequest,
} from "./source.js";
import { find, withTokens } from "./stored-token.js";

const COMMAND = "postern login";
const loginCommand = (profile: string) =>
  profile === DEFAULT_PROFILE ? COMMAND : `${COMMAND} --profile ${profile}`;

/** Returns whether the tokens of a session may be sent to a server. */
const isOf = (session: StoredSession, server: Server) =>
  session.issuer === server.issuer && session.client_id === server.clientId;

/** The session of a login, in a file that several programs use at the same time. */
export class StoredSource implements Source {
  readonly canRenew = true;
  readonly #runtime: Runtime;
  readonly #paths: SessionPaths;
  readonly #renewal: Renewal;
  readonly #renewals = new Shared<AccessToken>();
  #server: Server;

  private constructor(
    runtime: Runtime,
    paths: SessionPaths,
    session: Pick<StoredSession, "issuer" | "client_id">,
  ) {
    this.#runtime = runtime;
    this.#paths = paths;
    this.#renewal = new Renewal(runtime);
    this.#server = new Server(runtime, session.issuer, { clientId: session.client_id });
  }

  /**
   * Opens the session at `paths`. If there is none, or its file cannot be read, the first token
   * says so.
   */
  static async open(
    runtime: Runtime,
    paths: SessionPaths,
    profile: Omit<Profile, "name">,
  ): Promise<StoredSource> {
    const session = await readSession(paths.file).catch(() => undefined);
    return new StoredSource(
      runtime,
      paths,
      session ?? { issuer: profile.issuer, client_id: profile.clientId },
    );
  }

  /**
   * Checks that a session can be stored, before anybody logs in.
   *
   * @throws {StorageFailed} It cannot.
   */
  static async check(runtime: Runtime, paths: SessionPaths): Promise<void> {
    await createFolder(paths);
    await withLock(runtime, paths.lock, async () => {
      await removeAbandoned(runtime, paths);
      await (await Replacement.prepare(paths)).discard();
    });
  }

  /** Stores the session of a login, and ends the one that it replaces. */
  static async create(
    server: Server,
    paths: SessionPaths,
    clientId: string,
    request: TokenRequest,
    tokens: Tokens,
  ): Promise<StoredSource> {
    const scope = tokens.scope ?? request.scope;
    const empty: StoredSession = {
      version: 1,
      issuer: server.issuer,
      client_id: clientId,
      storage: "file",
      ...(scope !== undefined && { scope }),
      access_tokens: [],
    };
    // What the login asked for is what requests get that ask for nothing.
    const session = withTokens(empty, {}, tokens);
    await createFolder(paths);
    const replaced = await withLock(server.runtime, paths.lock, async () => {
      const previous = await readSession(paths.file).catch(() => undefined);
      await (await Replacement.prepare(paths)).write(session);
      return previous;
    });
    if (replaced?.issuer === server.issuer) await end(server, replaced);
    return new StoredSource(server.runtime, paths, session);
  }

  get issuer() {
    return this.#server.issuer;
  }

  async #read(): Promise<StoredSession> {
    const session = await readSession(this.#paths.file);
    if (session === undefined) throw noSession(this.#paths);
    return session;
  }

  #serverOf(session: StoredSession): Server {
    if (!isOf(session, this.#server))
      this.#server = new Server(this.#runtime, session.issuer, { clientId: session.client_id });
    return this.#server;
  }

  async token(request: TokenRequest, refused?: string): Promise<AccessToken> {
    const session = await this.#read();
    this.#serverOf(session);
    const before = find(session, request);
    const usable = this.#renewal.usable(before, refused);
    if (usable) return usable;
    return this.#renewal.orCurrent(before, refused, () =>
      this.#renewals.run(
        keyOf(request),
        ({ value }) => value !== refused,
        () => this.#renew(request, refused),
      ),
    );
  }

  /**
   * Renews the session. If another login replaces it meanwhile, its tokens go to its own issuer.
   */
  async #renew(request: TokenRequest, refused: string | undefined): Promise<AccessToken> {
    for (let count = 0; count < MOST_LOGINS; count += 1) {
      const session = await this.#read();
      refreshTokenOf(session, this.#paths);
      const server = this.#serverOf(session);
      // Before the lock, because others wait for it.
      await server.metadata();
      const token = await withLock(this.#runtime, this.#paths.lock, () =>
        this.#renewed(server, request, refused),
      );
      if (token !== undefined) return token;
    }
    throw new LoginRequired(
      `Other logins keep replacing the session "${this.#paths.profile}". End them, and run ${loginCommand(this.#paths.profile)}.`,
    );
  }

  /**
   * Renews the session and stores it; undefined if it is not of `server`. The caller has the lock.
   */
  async #renewed(
    server: Server,
    request: TokenRequest,
    refused: string | undefined,
  ): Promise<AccessToken | undefined> {
    const session = await this.#read();
    if (!isOf(session, server)) return undefined;
    const usable = this.#renewal.usable(find(session, request), refused);
    if (usable) return usable;
    await removeAbandoned(this.#runtime, this.#paths);
    const replacement = await Replacement.prepare(this.#paths);
    try {
      const refreshed = await this.#refreshed(server, session, request);
      if (refreshed === undefined) return undefined;
      const next = withTokens(refreshed.used, request, refreshed.tokens);
      await replacement.write(next);
      return published(find(next, request) as TokenState);
    } finally {
      await replacement.discard();
    }
  }

  /**
   * Exchanges the refresh token, and follows it if a program that does not know the lock replaced
   * it.
   */
  async #refreshed(
    server: Server,
    session: StoredSession,
    request: TokenRequest,
  ): Promise<{ tokens: Tokens; used: StoredSession } | undefined> {
    let used = session;
    for (let sent: string | undefined; ;) {
      const token = refreshTokenOf(used, this.#paths);
      if (token === sent) throw this.#ended();
      try {
        return {
          tokens: await server.grant("refresh_token", { refresh_token: token, ...request }),
          used,
        };
      } catch (error) {
        if (!(error instanceof OAuthError)) throw error;
        if (error.error !== "invalid_grant") throw errorOf(server.issuer, error);
        if (sent !== undefined) throw this.#ended();
      }
      sent = token;
      used = await this.#read();
      if (!isOf(used, server)) return undefined;
    }
  }

  #ended(): LoginRequired {
    return new LoginRequired(
      `${this.#server.issuer} has ended the session "${this.#paths.profile}". Run ${loginCommand(this.#paths.profile)}.`,
    );
  }

  async logout(): Promise<LogoutResult> {
    for (let left = MOST_LOGINS; ; left -= 1) {
      const session = await readSession(this.#paths.file).catch((error: Error) => error);
      if (session === undefined) return { revoked: true };
      const server = session instanceof Error ? undefined : this.#serverOf(session);
      // Before the lock. If it fails, revoking says why.
      await server?.metadata().catch(() => {});
      const result = await withLock(this.#runtime, this.#paths.lock, () =>
        this.#loggedOut(server, left === 1),
      );
      if (result !== undefined) return result;
    }
  }

  /**
   * Revokes the session and deletes it; undefined if it is not of `server`. The caller has the
   * lock.
   */
  async #loggedOut(server: Server | undefined, isLast: boolean): Promise<LogoutResult | undefined> {
    const session = await readSession(this.#paths.file).catch((error: Error) => error);
    if (session === undefined) return { revoked: true };
    const isKnown = !(session instanceof Error) && server !== undefined && isOf(session, server);
    if (!isKnown && !isLast && !(session instanceof Error)) return undefined;
    const result = isKnown
      ? await revoked(server, session)
      : { revoked: false, warning: NOT_UNDERSTOOD };
    await deleteSession(this.#paths).catch((error: StorageFailed) => {
      // If it was revoked, the user need not try again.
      throw result.revoked
        ? new StorageFailed(`The server has ended the session. ${error.message}`)
        : error;
    });
    return result;
  }
}

/** Revokes a session that was replaced. If that is not possible, the login has succeeded anyway. */
async function end(server: Server, { client_id: clientId, refresh_token: token }: StoredSession) {
  if (!token) return;
  const owner =
    clientId === server.clientId ? server : new Server(server.runtime, server.issuer, { clientId });
  await owner.revoke(token, "once").catch(() => {});
}

const NOT_UNDERSTOOD =
  "The session was deleted here. Its file could not be understood, so the server may accept its tokens until they expire.";
const IN_KEYRING =
  "The session was deleted here, and its access tokens were revoked. Its refresh token is in the keyring, which this " +
  "package does not read: the server accepts it until it expires.";

async function revoked(server: Server, session: StoredSession): Promise<LogoutResult> {
  const { refresh_token: refreshToken, access_tokens: accessTokens } = session;
  try {
    for (const token of refreshToken ? [refreshToken] : accessTokens.map(({ value }) => value))
      await revoke(server, token);
  } catch (error) {
    const last =
      accessTokens.length === 0
        ? ""
        : ` access tokens until ${shownTime(Math.max(...accessTokens.map(({ expires_at: at }) => at)))}`;
    const refresh = refreshToken ? `${last && ", and"} its refresh token until that expires` : "";
    const warning = `The session was deleted here, but could not be revoked. The server may still accept${last && ` its${last}`}${refresh}. `;
    return { revoked: false, warning: warning + (error as Error).message };
  }
  return !refreshToken && session.storage === "keyring"
    ? { revoked: false, warning: IN_KEYRING }
    : { revoked: true };
}

const shownTime = (at: number) => new Date(at * 1000).toISOString().replace(/\.\d+Z$/, "Z");

function noSession({ profile, file }: SessionPaths): LoginRequired {
  return new LoginRequired(
    `There is no session "${profile}" (${file}). Run ${loginCommand(profile)}.`,
  );
}

function refreshTokenOf(session: StoredSession, { profile, file }: SessionPaths): string {
  if (session.refresh_token) return session.refresh_token;
  if (session.storage === "keyring") {
    throw new SessionInvalid(
      `The refresh token of ${file} is in the keyring, which this package does not read. Run ${loginCommand(profile)} --storage file.`,
    );
  }
  throw new LoginRequired(
    `The session "${profile}" cannot be renewed, because the server gave no refresh token. Run ${loginCommand(profile)}.`,
  );
}
