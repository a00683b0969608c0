import { spawn } from "node:child_process";
import * as oauth from "oauth4webapi";
import { CallbackServer, type Page } from "./callback.js";
import { BROWSER_WAIT, DEVICE_INTERVAL, SLOW_DOWN } from "./defaults.js";
import { endpoint } from "./discovery.js";
import {
  AccessDenied,
  ExpiredToken,
  InvalidResponse,
  PosternError,
  ServerUnavailable,
} from "./errors.js";
import { pathsAt, pathsOf, profileOf, type SessionPaths } from "./folder.js";
import {
  OAuthError,
  Server,
  errorOf,
  isPlain,
  oauthError,
  understood,
  type Tokens,
} from "./grants.js";
import { cancelled, runtimeWith, withSignals, type Runtime } from "./runtime.js";
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

/** What the user has to do to approve a device. */
export interface DevicePrompt {
  verificationUri: string;
  /** The same with the code, if the server gives one. */
  verificationUriComplete: string | undefined;
  userCode: string;
  expiresAt: Date;
}

export interface DeviceLoginOptions extends LoginOptions {
  /** Shows the user where to enter the code. */
  onPrompt: (prompt: DevicePrompt) => void | Promise<void>;
}

export interface BrowserLoginOptions extends LoginOptions {
  /** Opens the URL. By default, in the browser of the system. */
  open?: (url: string) => void | Promise<void>;
}

/** A login that was prepared. */
interface Login {
  runtime: Runtime;
  server: Server;
  paths: SessionPaths;
  clientId: string;
  request: TokenRequest;
  signal: AbortSignal | undefined;
}

async function prepare(options: LoginOptions): Promise<Login> {
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

async function finish(
  { server, paths, clientId, request, runtime }: Login,
  tokens: Tokens,
): Promise<Session> {
  return new Session(await StoredSource.create(server, paths, clientId, request, tokens), runtime);
}

const parameters = ({ resource, scope }: TokenRequest) => ({
  ...(resource !== undefined && { resource }),
  ...(scope !== undefined && { scope }),
});

/**
 * Logs in on a machine without a browser: the user opens a page elsewhere and enters a code (RFC
 * 8628). The session is stored.
 *
 * @throws {AccessDenied} The user denied it.
 * @throws {ExpiredToken} The user did not answer in time.
 * @throws {StorageFailed} The session cannot be stored. The user has not been asked then.
 */
export async function loginWithDevice(options: DeviceLoginOptions): Promise<Session> {
  const login = await prepare(options);
  try {
    const device = await startDevice(login);
    const end = login.runtime.elapsed() + device.expires_in * 1000;
    await options.onPrompt(promptOf(device, login));
    return await finish(login, await poll(login, device, end));
  } catch (error) {
    throw error instanceof OAuthError ? errorOf(login.server.issuer, error) : error;
  }
}

async function startDevice({
  server,
  request,
  signal,
}: Login): Promise<oauth.DeviceAuthorizationResponse> {
  const metadata = await server.metadata(signal);
  endpoint(metadata, "device_authorization_endpoint");
  return understood(server.issuer, async () => {
    const response = await oauth.deviceAuthorizationRequest(
      metadata,
      server.client,
      server.authentication(metadata),
      parameters(request),
      server.options("several", signal),
    );
    return oauth.processDeviceAuthorizationResponse(metadata, server.client, response);
  });
}

/** Returns what the user is shown. Nothing of it can control the terminal. */
function promptOf(
  device: oauth.DeviceAuthorizationResponse,
  { server, runtime }: Login,
): DevicePrompt {
  const {
    verification_uri: verificationUri,
    verification_uri_complete: verificationUriComplete,
    user_code: userCode,
  } = device;
  if (![verificationUri, verificationUriComplete ?? "", userCode].every(isPlain)) {
    throw new InvalidResponse(
      `${server.issuer} sent a code or a URL with control characters. Check the URL of the issuer.`,
    );
  }
  return {
    verificationUri,
    verificationUriComplete,
    userCode,
    expiresAt: new Date(runtime.now() + device.expires_in * 1000),
  };
}

/**
 * Polls until the user has decided. After a lost response or a 5xx, polling continues, as often as
 * before.
 */
async function poll(
  { server, runtime, signal }: Login,
  device: oauth.DeviceAuthorizationResponse,
  end: number,
): Promise<Tokens> {
  let wait = device.interval === undefined ? DEVICE_INTERVAL : device.interval * 1000;
  for (;;) {
    if (runtime.elapsed() + wait >= end)
      throw new ExpiredToken("The code has expired before it was approved. Log in again.");
    await runtime.sleep(wait, signal);
    if (signal?.aborted) throw cancelled();
    try {
      return await server.grant(
        "urn:ietf:params:oauth:grant-type:device_code",
        { device_code: device.device_code },
        "once",
        signal,
      );
    } catch (error) {
      wait += pauseAfter(error);
    }
  }
}

/** Returns how much longer to wait for the next poll; throws what ends the login. */
function pauseAfter(error: unknown): number {
  if (error instanceof ServerUnavailable) return 0;
  if (!(error instanceof OAuthError)) throw error;
  if (error.error === "authorization_pending") return 0;
  if (error.error === "slow_down") return SLOW_DOWN;
  if (error.error === "access_denied")
    throw new AccessDenied("The login was denied. Log in again to ask once more.");
  if (error.error === "expired_token")
    throw new ExpiredToken("The code has expired. Log in again.");
  throw error;
}

/**
 * Logs in with the browser of this machine, which returns to a server on 127.0.0.1 (RFC 8252, with
 * PKCE). The session is stored.
 *
 * @throws {AccessDenied} The user denied it.
 * @throws {ExpiredToken} Nobody logged in within five minutes.
 * @throws {InvalidResponse} What came back is not for this login.
 * @throws {StorageFailed} The session cannot be stored. The browser has not been opened then.
 */
export async function loginWithBrowser(options: BrowserLoginOptions = {}): Promise<Session> {
  const login = await prepare(options);
  const browser = new BrowserLogin(login);
  const callback = await CallbackServer.listen((query) => browser.returned(query));
  try {
    const url = await browser.authorizationUrl(callback.redirectUri);
    await (options.open ?? openBrowser)(url);
    return await browser.session();
  } finally {
    await callback.close();
  }
}

/** One login with the browser. The first request with its `state` decides it. */
class BrowserLogin {
  readonly #login: Login;
  readonly #verifier = oauth.generateRandomCodeVerifier();
  readonly #state = oauth.generateRandomState();
  #redirectUri = "";
  #decided: Promise<Session> | undefined;
  #decide: (decided: Promise<Session>) => void = () => {};
  readonly #decision = new Promise<{ decided: Promise<Session> }>((resolve) => {
    this.#decide = (decided) => resolve({ decided });
  });

  constructor(login: Login) {
    this.#login = login;
  }

  async authorizationUrl(redirectUri: string): Promise<string> {
    const { server, clientId, request, signal } = this.#login;
    this.#redirectUri = redirectUri;
    const url = new URL(endpoint(await server.metadata(signal), "authorization_endpoint"));
    const query = {
      response_type: "code",
      client_id: clientId,
      redirect_uri: redirectUri,
      state: this.#state,
      code_challenge: await oauth.calculatePKCECodeChallenge(this.#verifier),
      code_challenge_method: "S256",
      ...parameters(request),
    };
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    return url.href;
  }

  /**
   * Decides about a request for the callback. Any page can send one, so one without the `state`
   * decides nothing. A second one with it gets the same page: a code that is redeemed twice ends
   * its tokens.
   */
  async returned(query: URLSearchParams): Promise<Page> {
    if (query.get("state") !== this.#state || query.getAll("state").length > 1) {
      return {
        status: 400,
        text: "This is not the login that the program waits for. Open its URL again.",
      };
    }
    this.#decided ??= this.#redeemed(query);
    this.#decide(this.#decided);
    try {
      await this.#decided;
      return { status: 200, text: "You are logged in. You can close this window." };
    } catch (error) {
      const code = error instanceof PosternError ? error.code : "failed";
      return { status: 400, text: `The login did not work (${code}). The program says why.` };
    }
  }

  async #redeemed(query: URLSearchParams): Promise<Session> {
    return finish(
      this.#login,
      await redeem(this.#login, query, {
        verifier: this.#verifier,
        state: this.#state,
        redirectUri: this.#redirectUri,
      }),
    );
  }

  /** Waits for the browser. */
  async session(): Promise<Session> {
    const { runtime, signal } = this.#login;
    const limit = runtime.timeout(BROWSER_WAIT);
    const first = await withSignals([limit, ...(signal ? [signal] : [])], (ended) =>
      Promise.race([
        this.#decision,
        new Promise<undefined>((resolve) => {
          if (ended.aborted) resolve(undefined);
          ended.addEventListener("abort", () => resolve(undefined), { once: true });
        }),
      ]),
    );
    if (first) return first.decided;
    if (signal?.aborted) throw cancelled();
    throw new ExpiredToken("Nobody logged in with the browser in time. Log in again.");
  }
}

interface Expected {
  verifier: string;
  state: string;
  redirectUri: string;
}

async function redeem(
  { server, request, signal }: Login,
  returned: URLSearchParams,
  expected: Expected,
): Promise<Tokens> {
  const metadata = await server.metadata(signal);
  let checked: URLSearchParams;
  try {
    checked = oauth.validateAuthResponse(metadata, server.client, returned, expected.state);
  } catch (error) {
    if (error instanceof oauth.AuthorizationResponseError)
      throw errorOf(server.issuer, oauthError(error.error, error.error_description));
    throw new InvalidResponse(
      "The browser returned with another issuer (iss) than this login's. Log in again.",
    );
  }
  if (!checked.get("code"))
    throw new InvalidResponse("The browser returned without a code. Log in again.");
  try {
    return await server.tokens("unsent", signal, (as, options) =>
      oauth.authorizationCodeGrantRequest(
        as,
        server.client,
        server.authentication(as),
        checked,
        expected.redirectUri,
        expected.verifier,
        { ...options, additionalParameters: parameters({ resource: request.resource }) },
      ),
    );
  } catch (error) {
    throw error instanceof OAuthError ? errorOf(server.issuer, error) : error;
  }
}

/** Opens a URL in the browser of the system. */
async function openBrowser(url: string): Promise<void> {
  const commands: Partial<Record<NodeJS.Platform, [string, ...string[]]>> = {
    darwin: ["open"],
    win32: ["rundll32", "url.dll,FileProtocolHandler"],
  };
  const [command, ...args] = commands[process.platform] ?? ["xdg-open"];
  const child = spawn(command, [...args, url], { stdio: "ignore", detached: true });
  child.on("error", () => process.stderr.write(`Open this page in a browser: ${url}\n`));
  child.unref();
}
