import * as oauth from "oauth4webapi";
import { DEVICE_INTERVAL, SLOW_DOWN } from "./defaults.js";
import { endpoint } from "./discovery.js";
import { AccessDenied, ExpiredToken, InvalidResponse, ServerUnavailable } from "./errors.js";
import { OAuthError, errorOf, isPlain, understood, type Tokens } from "./grants.js";
import { finish, parameters, prepare, type Login, type LoginOptions } from "./login.js";
import { cancelled } from "./runtime.js";
import type { Session } from "./session.js";

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
