import {
  ATTEMPT_TIMEOUT,
  JITTER,
  LAST_ATTEMPT_BEGINS,
  LONGEST_BODY,
  LONGEST_RETRY_AFTER,
  USER_AGENT,
  WAITS,
} from "./defaults.js";
import { InsecureIssuer, InvalidResponse, PosternError, ServerUnavailable } from "./errors.js";
import { reason } from "./reason.js";
import { cancelled, withSignals, type Runtime } from "./runtime.js";

/** The names of this machine. Resolvers can ask others for a name below `localhost`. */
const THIS_MACHINE = ["localhost", "127.0.0.1", "[::1]"];

/**
 * Parses a URL to which secrets can be sent.
 *
 * @throws {InsecureIssuer} It is not https, and its host is not this machine.
 */
export function secureUrl(text: string): URL {
  if (!URL.canParse(text))
    throw new InsecureIssuer(`${text} is not a URL: write it with https://.`);
  const url = new URL(text);
  const isSecure =
    url.protocol === "https:" || (url.protocol === "http:" && THIS_MACHINE.includes(url.hostname));
  if (isSecure) return url;
  const shown = `${url.protocol}//${url.host}`;
  throw new InsecureIssuer(
    `${shown} is not encrypted: use https. Only this machine can be called by http, as localhost, 127.0.0.1 or [::1].`,
  );
}

/** The URL without its query, which can have secrets. */
const shown = (url: string) => url.split(/[?#]/, 1)[0] ?? "";

/** Reads a body, which must not fill the memory. */
async function bodyOf(response: Response, url: string): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > LONGEST_BODY)
      throw new InvalidResponse(`${shown(url)} sent more than 1 MiB. Check the URL of the issuer.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Sends one request, and reads the response. Fails with the cause if there is none in time. */
async function attempt(runtime: Runtime, url: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set("user-agent", USER_AGENT);
  return withSignals(
    [runtime.timeout(ATTEMPT_TIMEOUT), ...(init.signal ? [init.signal] : [])],
    async (signal) => {
      const response = await runtime.fetch(url, { ...init, headers, redirect: "manual", signal });
      const body = await bodyOf(response, url);
      return new Response(body.length === 0 ? null : body, {
        status: response.status,
        headers: response.headers,
      });
    },
  );
}

/**
 * How often a request is sent; `unsent` repeats only what the server has not handled, as for a
 * code.
 */
export type Attempts = "once" | "several" | "unsent";

/** Returns how long to wait before the next attempt, or undefined if there must not be one. */
function retryAfter(response: Response, wait: number, attempts: Attempts): number | undefined {
  if (response.status >= 500) return attempts === "unsent" ? undefined : wait;
  const asked = Number(response.headers.get("retry-after") ?? Number.NaN) * 1000;
  return asked >= 0 && asked <= LONGEST_RETRY_AFTER ? Math.max(asked, wait) : undefined;
}

function problemOf(response: Response): string {
  if (response.status !== 429) return `it answered ${response.status}`;
  const asked = response.headers.get("retry-after");
  return `it answered 429 (too many requests)${asked === null ? "" : `, and to try again in ${asked} s`}`;
}

const NOT_CONNECTED = [
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
];

/** Returns whether a request failed before anything of it was sent. */
function isUnsent(error: unknown): boolean {
  const cause =
    error instanceof Error
      ? (error.cause as { code?: string; errors?: { code?: string }[] } | undefined)
      : undefined;
  return NOT_CONNECTED.includes(cause?.code ?? cause?.errors?.[0]?.code ?? "");
}

/** One attempt: its response, or why there is none, and how long to wait before another one. */
type Outcome = { response: Response } | { problem: string; pause: number | undefined };

async function outcomeOf(
  runtime: Runtime,
  url: string,
  init: RequestInit,
  attempts: Attempts,
  wait: number,
): Promise<Outcome> {
  try {
    const response = await attempt(runtime, url, init);
    if (response.status < 500 && response.status !== 429) return { response };
    return { problem: problemOf(response), pause: retryAfter(response, wait, attempts) };
  } catch (error) {
    if (init.signal?.aborted) throw cancelled();
    if (error instanceof PosternError) throw error;
    const isFinal = attempts === "unsent" && !isUnsent(error);
    const isLate = error instanceof Error && error.name === "TimeoutError";
    return {
      problem: isLate ? "it did not answer in time" : reason(error),
      pause: isFinal ? undefined : wait,
    };
  }
}

/**
 * Sends a request to the authorization server, up to three times. Redirects are not followed.
 * `began` is called at the start of each attempt.
 *
 * @throws {ServerUnavailable} There was no response, or the server failed.
 */
export async function send(
  runtime: Runtime,
  url: string,
  init: RequestInit,
  attempts: Attempts = "several",
  began: () => void = () => {},
): Promise<Response> {
  secureUrl(url);
  const end = runtime.elapsed() + LAST_ATTEMPT_BEGINS;
  const waits = attempts === "once" ? [] : WAITS;
  for (let count = 0; ; count += 1) {
    const base = waits[count];
    const wait = (base ?? 0) * (1 - JITTER + 2 * JITTER * runtime.random());
    began();
    const outcome = await outcomeOf(runtime, url, init, attempts, wait);
    if ("response" in outcome) return outcome.response;
    const { problem, pause } = outcome;
    const isLast = base === undefined || pause === undefined || runtime.elapsed() + pause > end;
    if (isLast) throw unavailable(url, problem);
    await runtime.sleep(pause, init.signal ?? undefined);
  }
}

/** Returns the error of a server that does not answer. */
export const unavailable = (url: string, problem: string) =>
  new ServerUnavailable(`${shown(url)} cannot be used: ${problem}. Try again later.`);

/** Parses the body of a response as a JSON object. */
export async function jsonObject(
  response: Response,
  url: string,
): Promise<Record<string, unknown>> {
  const value: unknown = await response.json().catch(() => undefined);
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new InvalidResponse(
    `${shown(url)} did not answer with a JSON object (status ${response.status}). Check the URL of the issuer.`,
  );
}
