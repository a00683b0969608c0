import { pathsAt, pathsOf, profileOf, type SessionPaths } from "./folder.js";
import { Server, type Tokens } from "./grants.js";
import { runtimeWith, type Runtime } from "./runtime.js";
import { Session } from "./session.js";
import type { TokenRequest } from "./source.js";
import { StoredSource } from "./stored.js";

/** What both logins can be given. */
export interface LoginOptions extends TokenRequest {
  /** The authorization server. By default, that of the profile. */
  issuer?: string;
  /** By default, that of the profile: `postern-cli`. */
  clientId?: string;
  /** The profile under which the session is stored. */
  profile?: string;
  /** The file of the session, in place of a profile. */
  path?: string;
  /** Ends the login. */
  signal?: AbortSignal;
  /** @internal */
  runtime?: Partial<Runtime>;
}

/** A login that was prepared. */
export interface Login {
  runtime: Runtime;
  server: Server;
  paths: SessionPaths;
  clientId: string;
  request: TokenRequest;
  signal: AbortSignal | undefined;
}

/** Finds the server and the place of the session, and checks that it can be stored. */
export async function prepare(options: LoginOptions): Promise<Login> {
  const runtime = runtimeWith(options.runtime);
  const { name, ...profile } = await profileOf(runtime, options.profile);
  const clientId = options.clientId ?? profile.clientId;
  const login = {
    runtime,
    server: new Server(runtime, options.issuer ?? profile.issuer, { clientId }),
    paths: options.path === undefined ? pathsOf(runtime, name) : pathsAt(options.path),
    clientId,
    request: { resource: options.resource, scope: options.scope },
    signal: options.signal,
  };
  await login.server.metadata(login.signal);
  await StoredSource.check(runtime, login.paths);
  return login;
}

/** Stores the session. */
export async function finish(
  { server, paths, clientId, request, runtime }: Login,
  tokens: Tokens,
): Promise<Session> {
  return new Session(await StoredSource.create(server, paths, clientId, request, tokens), runtime);
}

/** Returns the parameters for what a login asks for. */
export const parameters = ({ resource, scope }: TokenRequest) => ({
  ...(resource !== undefined && { resource }),
  ...(scope !== undefined && { scope }),
});
