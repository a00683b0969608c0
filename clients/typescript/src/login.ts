import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import * as oauth from "oauth4webapi";
import { BROWSER_WAIT, DEVICE_INTERVAL, SLOW_DOWN } from "./defaults.js";
import { endpoint } from "./discovery.js";
import { AccessDenied, ExpiredToken, InvalidResponse, PosternError, ServerUnavailable } from "./errors.js";
import { pathsAt, pathsOf, profile as profileOf, type SessionPaths } from "./folder.js";
import { OAuthError, Server, errorOf, understood, type Tokens } from "./grants.js";
import { cancelled, runtimeWith, type Runtime } from "./runtime.js";
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
  return {
    runtime,
    server: new Server(runtime, options.issuer ?? profile.issuer, { clientId }),
    paths: options.path === undefined ? pathsOf(runtime, name) : pathsAt(options.path),
    clientId,
    request: { resource: options.resource, scope: options.scope },
    signal: options.signal,
  };
}

async function finish({ server, paths, clientId, request, runtime }: Login, tokens: Tokens, asked: number): Promise<Session> {
  return new Session(await StoredSource.create(server, paths, clientId, request, tokens, asked), runtime);
}

const parameters = ({ resource, scope }: TokenRequest) => ({ ...(resource !== undefined && { resource }), ...(scope !== undefined && { scope }) });

/**
 * Logs in on a machine without a browser: the user opens a page elsewhere and enters a code (RFC 8628). The session is stored.
 *
 * @throws {AccessDenied} The user refused.
 * @throws {ExpiredToken} The user did not answer in time.
 */
export async function loginWithDevice(options: DeviceLoginOptions): Promise<Session> {
  const login = await prepare(options);
  const { runtime, server, signal } = login;
  try {
    const device = await startDevice(login);
    const end = runtime.now() + device.expires_in * 1000;
    await options.onPrompt({
      verificationUri: device.verification_uri,
      verificationUriComplete: device.verification_uri_complete,
      userCode: device.user_code,
      expiresAt: new Date(end),
    });
    const interval = device.interval === undefined ? DEVICE_INTERVAL : device.interval * 1000;
    const { tokens, asked } = await poll(server, device.device_code, interval, end, signal);
    return await finish(login, tokens, asked);
  } catch (error) {
    throw error instanceof OAuthError ? errorOf(server.issuer, error) : error;
  }
}

async function startDevice({ server, request, signal }: Login): Promise<oauth.DeviceAuthorizationResponse> {
  const metadata = await server.metadata(signal);
  endpoint(metadata, "device_authorization_endpoint");
  return understood(server.issuer, async () => {
    const answer = await oauth.deviceAuthorizationRequest(
      metadata, server.client, server.authentication(metadata), parameters(request), server.options("several", signal),
    );
    return oauth.processDeviceAuthorizationResponse(metadata, server.client, answer);
  });
}

async function poll(server: Server, code: string, interval: number, end: number, signal?: AbortSignal): Promise<{ tokens: Tokens; asked: number }> {
  const { runtime } = server;
  let wait = interval;
  for (;;) {
    if (runtime.now() + wait >= end) throw new ExpiredToken("The code has expired before it was approved. Log in again.");
    await runtime.sleep(wait, signal);
    if (signal?.aborted) throw cancelled();
    const asked = runtime.now();
    try {
      return { tokens: await server.grant("urn:ietf:params:oauth:grant-type:device_code", { device_code: code }, "once", signal), asked };
    } catch (error) {
      const isWaiting = error instanceof ServerUnavailable || (error instanceof OAuthError && error.error === "authorization_pending");
      const isTooFast = error instanceof OAuthError && error.error === "slow_down";
      if (error instanceof OAuthError && error.error === "access_denied") throw new AccessDenied("The login was denied. Log in again to ask once more.");
      if (error instanceof OAuthError && error.error === "expired_token") throw new ExpiredToken("The code has expired. Log in again.");
      if (!isWaiting && !isTooFast) throw error;
      if (isTooFast) wait += SLOW_DOWN;
    }
  }
}

/**
 * Logs in with the browser of this machine, which returns to a server on 127.0.0.1 (RFC 8252, with PKCE). The session is stored.
 *
 * @throws {AccessDenied} The user refused.
 * @throws {InvalidResponse} What came back is not the answer to this login.
 */
export async function loginWithBrowser(options: BrowserLoginOptions = {}): Promise<Session> {
  const login = await prepare(options);
  const { server, runtime, request, signal } = login;
  const metadata = await server.metadata(signal);
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const callback = await Callback.listen();
  try {
    const url = new URL(endpoint(metadata, "authorization_endpoint"));
    const query = {
      response_type: "code", client_id: login.clientId, redirect_uri: callback.redirectUri, state,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256", ...parameters(request),
    };
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    await (options.open ?? openBrowser)(url.href);
    const tokens = await callback.answer(signal, (returned) => redeem(login, metadata, returned, { verifier, state, redirectUri: callback.redirectUri }));
    return await finish(login, tokens, runtime.now());
  } finally {
    callback.close();
  }
}

interface Expected {
  verifier: string;
  state: string;
  redirectUri: string;
}

async function redeem({ server, request, signal }: Login, metadata: oauth.AuthorizationServer, returned: URL, expected: Expected): Promise<Tokens> {
  let checked: URLSearchParams;
  try {
    checked = oauth.validateAuthResponse(metadata, server.client, returned, expected.state);
  } catch (error) {
    if (error instanceof oauth.AuthorizationResponseError) {
      const description = error.error_description ?? "";
      throw errorOf(server.issuer, new OAuthError(error.error, description.replace(/[^\x20-\x7e]/g, "?")));
    }
    throw new InvalidResponse("The browser returned with another state or issuer (iss) than this login's. Log in again.");
  }
  if (!checked.get("code")) throw new InvalidResponse("The browser returned without a code. Log in again.");
  try {
    return await server.tokens((as) => oauth.authorizationCodeGrantRequest(
      as, server.client, server.authentication(as), checked, expected.redirectUri, expected.verifier,
      // A code that is used twice ends its tokens.
      { ...server.options("until_received", signal), additionalParameters: parameters({ resource: request.resource }) },
    ), signal);
  } catch (error) {
    throw error instanceof OAuthError ? errorOf(server.issuer, error) : error;
  }
}

const PAGE = (text: string) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>Login</title><p>${text}</p></html>\n`;
const HEADERS = { "content-type": "text/html; charset=utf-8", "cache-control": "no-store", "content-security-policy": "default-src 'none'", connection: "close" };

/** The server on this machine to which the browser returns. */
class Callback {
  private constructor(private readonly http: HttpServer, readonly redirectUri: string) {}

  static async listen(): Promise<Callback> {
    const http = createServer().listen(0, "127.0.0.1");
    await once(http, "listening");
    return new Callback(http, `http://127.0.0.1:${(http.address() as AddressInfo).port}/callback`);
  }

  /** Waits for the browser, and shows the user how `use` ended. */
  answer<T>(signal: AbortSignal | undefined, use: (returned: URL) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const abort = () => {
        done();
        reject(cancelled());
      };
      const timer = setTimeout(() => {
        done();
        reject(new ExpiredToken("Nobody logged in with the browser in time. Log in again."));
      }, BROWSER_WAIT);
      signal?.addEventListener("abort", abort, { once: true });
      if (signal?.aborted) abort();
      this.http.on("request", (request: IncomingMessage, response: ServerResponse) => {
        const url = new URL(request.url ?? "/", this.redirectUri);
        if (request.method !== "GET" || url.pathname !== "/callback") return void response.writeHead(404, HEADERS).end(PAGE("There is nothing here."));
        use(url).then(
          (result) => {
            response.writeHead(200, HEADERS).end(PAGE("You are logged in. You can close this window."), () => resolve(result));
            done();
          },
          (error: unknown) => {
            const said = error instanceof PosternError ? error.code : "failed";
            response.writeHead(400, HEADERS).end(PAGE(`The login did not work (${said}). The program says why.`), () => reject(error as Error));
            done();
          },
        );
      });
    });
  }

  close(): void {
    this.http.close();
    this.http.closeAllConnections();
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
