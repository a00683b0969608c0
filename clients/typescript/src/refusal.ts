/** Why a request is refused. */
export type RefusalCode =
  | "auth_required"
  | "insufficient_scope"
  | "invalid_request"
  | "invalid_token"
  | "temporarily_unavailable";

/** The response to a request that is refused (RFC 6750 §3). */
export class Refusal extends Error {
  readonly code: RefusalCode;
  readonly status: 400 | 401 | 403 | 503;
  readonly headers: Readonly<Record<string, string>>;

  /** @internal */
  constructor(
    code: RefusalCode,
    description: string,
    parameters: Record<string, string | undefined> = {},
  ) {
    super(description);
    this.name = "Refusal";
    this.code = code;
    this.status = STATUS[code];
    this.headers = {
      "cache-control": "no-store",
      ...HEADERS[code]({ error: code, error_description: description, ...parameters }),
    };
  }

  /** The body, which is JSON. */
  get body(): { error: RefusalCode; error_description: string } {
    return { error: this.code, error_description: this.message };
  }
}

const STATUS = {
  auth_required: 401,
  insufficient_scope: 403,
  invalid_request: 400,
  invalid_token: 401,
  temporarily_unavailable: 503,
} as const;

/** How many seconds a caller is told to wait. */
const RETRY_AFTER = "5";

type Fields = Record<string, string | undefined>;

function challenge(fields: Fields): Record<string, string> {
  const quoted = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}="${value?.replace(/["\\]/g, "\\$&")}"`);
  return { "www-authenticate": ["Bearer", quoted.join(", ")].filter(Boolean).join(" ") };
}

const HEADERS: Record<RefusalCode, (fields: Fields) => Record<string, string>> = {
  // RFC 6750 §3.1: no error if there was no credential.
  auth_required: ({ error: _, error_description: __, ...rest }) => challenge(rest),
  insufficient_scope: challenge,
  invalid_request: challenge,
  invalid_token: challenge,
  temporarily_unavailable: () => ({ "retry-after": RETRY_AFTER }),
};
