import { spawn } from "node:child_process";
import * as oauth from "oauth4webapi";
import { CallbackServer, type Page } from "./callback.js";
import { BROWSER_WAIT } from "./defaults.js";
import { endpoint } from "./discovery.js";
import { ExpiredToken, InvalidResponse, PosternError } from "./errors.js";
import { OAuthError, errorOf, oauthError, type Tokens } from "./grants.js";
import { finish, parameters, prepare, type Login, type LoginOptions } from "./login.js";
import { cancelled, withSignals } from "./runtime.js";
import type { Session } from "./session.js";

export interface BrowserLoginOptions extends LoginOptions {
  /** Opens the URL. By default, in the browser of the system. */
  open?: (url: string) => void | Promise<void>;
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
