import { ATTEMPT_TIMEOUT, JITTER, LAST_ATTEMPT_BEGINS, LONGEST_RETRY_AFTER, USER_AGENT, WAITS } from "./defaults.js";
import { InsecureIssuer, InvalidResponse, ServerUnavailable } from "./errors.js";
import { reason } from "./reason.js";
import { cancelled, type Runtime } from "./runtime.js";

/** Reports whether a host is this machine. */
export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname.endsWith(".localhost") || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(hostname);
}

/**
 * Parses a URL to which secrets can be sent.
 *
 * @throws {InsecureIssuer} It is not https, and its host is not this machine.
 */
export function secureUrl(text: string): URL {
  if (!URL.canParse(text)) throw new InsecureIssuer(`${text} is not a URL: write it with https://.`);
  const url = new URL(text);
  const isSecure = url.protocol === "https:" || (url.protocol === "http:" && isLoopback(url.hostname));
  if (!isSecure) throw new InsecureIssuer(`${url.origin} is not encrypted: use https. Only this machine can be called by http.`);
  return url;
}

/** The URL without its query, which can have secrets. */
const shown = (url: string) => url.split(/[?#]/, 1)[0] ?? "";

/** Sends one request, and reads the answer. Fails with the cause if there is none within the time. */
async function attempt(runtime: Runtime, url: string, init: RequestInit): Promise<Response> {
  const signals = [AbortSignal.timeout(ATTEMPT_TIMEOUT), ...(init.signal ? [init.signal] : [])];
  const headers = new Headers(init.headers);
  headers.set("user-agent", USER_AGENT);
  const answer = await runtime.fetch(url, { ...init, headers, redirect: "manual", signal: AbortSignal.any(signals) });
  const body = await answer.arrayBuffer();
  return new Response(body.byteLength === 0 ? null : body, { status: answer.status, headers: answer.headers });
}

/** Returns how long to wait before the next attempt, or undefined if the answer is final. */
function retryAfter(answer: Response, wait: number): number | undefined {
  if (answer.status >= 500) return wait;
  if (answer.status !== 429) return undefined;
  const asked = Number(answer.headers.get("retry-after") ?? Number.NaN) * 1000;
  return asked >= 0 && asked <= LONGEST_RETRY_AFTER ? Math.max(asked, wait) : undefined;
}

/** How often a request is sent; `until_received` repeats nothing that the server may have handled. */
export type Attempts = "once" | "several" | "until_received";

const NOT_CONNECTED = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"];

/** Reports whether a request did not reach the server. */
function isUnsent(error: unknown): boolean {
  const cause = error instanceof Error ? (error.cause as { code?: string; errors?: { code?: string }[] } | undefined) : undefined;
  return NOT_CONNECTED.includes(cause?.code ?? cause?.errors?.[0]?.code ?? "");
}

/**
 * Sends a request to the authorization server, up to three times. Redirects are not followed.
 *
 * @throws {ServerUnavailable} There was no answer, or the server failed.
 */
export async function send(runtime: Runtime, url: string, init: RequestInit, attempts: Attempts = "several"): Promise<Response> {
  secureUrl(url);
  const end = runtime.now() + LAST_ATTEMPT_BEGINS;
  const waits = attempts === "once" ? [] : WAITS;
  for (let count = 0; ; count += 1) {
    const base = waits[count];
    const wait = base === undefined ? undefined : base * (1 - JITTER + 2 * JITTER * runtime.random());
    let pause = wait;
    let problem: string;
    try {
      const answer = await attempt(runtime, url, init);
      pause = retryAfter(answer, wait ?? 0);
      if (answer.status < 500 && answer.status !== 429) return answer;
      problem = answer.status === 429 ? `it answered 429 (too many requests)${answer.headers.has("retry-after") ? `, and to try again in ${answer.headers.get("retry-after")} s` : ""}` : `it answered ${answer.status}`;
    } catch (error) {
      if (init.signal?.aborted) throw cancelled();
      if (attempts === "until_received" && !isUnsent(error)) pause = undefined;
      problem = error instanceof Error && error.name === "TimeoutError" ? "it did not answer in time" : reason(error);
    }
    const isLast = wait === undefined || pause === undefined || runtime.now() + pause > end;
    if (isLast) throw new ServerUnavailable(`${shown(url)} cannot be used: ${problem}. Try again later.`);
    await runtime.sleep(pause as number, init.signal ?? undefined);
  }
}

/** Parses the body of an answer as a JSON object. */
export async function jsonObject(answer: Response, url: string): Promise<Record<string, unknown>> {
  const value: unknown = await answer.json().catch(() => undefined);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new InvalidResponse(`${shown(url)} did not answer with a JSON object (status ${answer.status}). Check the URL of the issuer.`);
}
