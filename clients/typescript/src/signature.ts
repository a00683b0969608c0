import { createHash, createHmac, randomBytes } from "node:crypto";

/** What is signed. */
export interface SignedParts {
  /** The API key or CLI token that the request presents. */
  token: string;
  method: string;
  /** The path and the query as they are sent, such as `/v1/runners?limit=2`. */
  target: string;
  body?: string | Uint8Array;
  /** When it is signed, in milliseconds since 1970. By default, now. */
  timestampMs?: number;
  /** 16 to 128 characters of `A-Za-z0-9_-`, new for each request. By default, a random one. */
  nonce?: string;
  /**
   * Adds the hash of the body as a header, for the API behind an authorizer, which does not see the
   * body.
   */
  contentSha256?: boolean;
}

/** The headers of a signed request. */
export interface SignatureHeaders {
  "X-Cli-Signature": string;
  "X-Cli-Timestamp": string;
  "X-Cli-Nonce": string;
  "X-Cli-Content-Sha256"?: string;
}

/** What would make two requests sign the same text, or another text than is sent. */
function check({
  token,
  method,
  target,
  timestampMs,
  nonce,
}: Required<Pick<SignedParts, "token" | "method" | "target" | "timestampMs" | "nonce">>): void {
  if (token === "") throw new RangeError("The token must not be empty.");
  // RFC 9110 §5.6.2
  if (!/^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$/.test(method))
    throw new RangeError("The method must be one word, such as GET.");
  if (!/^\/[!"$-~]*$/.test(target)) {
    throw new RangeError(
      "The target must be the path and the query as they are sent, such as /v1/runners?limit=2: not a URL, and without a fragment.",
    );
  }
  if (!/^[A-Za-z0-9_-]{16,128}$/.test(nonce))
    throw new RangeError("The nonce must have 16 to 128 of A-Z, a-z, 0-9, _ and -.");
  if (!Number.isSafeInteger(timestampMs) || timestampMs < 0)
    throw new RangeError("The timestamp must be a whole number of milliseconds since 1970.");
}

/**
 * Signs a request, so that nobody can change or repeat it. Add the headers to it.
 *
 * @throws {RangeError} A part cannot be signed.
 */
export function signRequest({
  token,
  method,
  target,
  body = "",
  timestampMs = Date.now(),
  nonce,
  contentSha256 = false,
}: SignedParts): SignatureHeaders {
  const once = nonce ?? randomBytes(16).toString("hex");
  check({ token, method, target, timestampMs, nonce: once });
  const hash = createHash("sha256").update(body).digest("hex");
  const text = [timestampMs, once, method.toUpperCase(), target, hash].join(":");
  return {
    "X-Cli-Signature": createHmac("sha256", token).update(text).digest("hex"),
    "X-Cli-Timestamp": String(timestampMs),
    "X-Cli-Nonce": once,
    ...(contentSha256 && { "X-Cli-Content-Sha256": hash }),
  };
}
