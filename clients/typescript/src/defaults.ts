/** The defaults of every language. Times are in milliseconds. */
export const VERSION = "0.1.0";
export const USER_AGENT = `postern-client-typescript/${VERSION}`;

export const DEFAULT_ISSUER = "http://127.0.0.1:9000";
export const DEFAULT_CLIENT_ID = "postern-cli";
export const DEFAULT_PROFILE = "default";

/** A token is renewed this long before it expires, or after 80 % of its life if that is later. */
export const RENEW_AHEAD = 60_000;
export const RENEW_AHEAD_SHARE = 0.2;
/**
 * After a renewal failed, a token that is still valid is used for this long before the next
 * attempt.
 */
export const RENEW_AGAIN = 5_000;
/** How long a token lives whose server does not say it. */
export const UNKNOWN_LIFETIME = 300_000;

/**
 * No attempt begins later than this, and each ends in time, body included. So a repetition after a
 * lost response reaches the server within the ten seconds for which it returns the same refresh
 * token.
 */
export const LAST_ATTEMPT_BEGINS = 6_000;
export const ATTEMPT_TIMEOUT = 3_000;
export const WAITS = [200, 500];
export const JITTER = 0.5;
/** The longest `Retry-After` that is waited for. */
export const LONGEST_RETRY_AFTER = 3_000;
/** The longest response of a server that is read, in bytes. */
export const LONGEST_BODY = 1 << 20;
/** How long the metadata of a server is used. */
export const METADATA_AGE = 3_600_000;

export const LOCK_WAIT = 30_000;
export const LOCK_POLL = [25, 75] as const;
/** The temporary files of processes that were killed are removed at this age. */
export const ABANDONED_AGE = 60_000;
/** How often a renewal starts again because another login replaced the session. */
export const MOST_LOGINS = 3;

/** How far clocks may be apart when an API verifies a token. */
export const LEEWAY = 30_000;
/** How long the keys of an issuer are used, and how soon they are fetched for an unknown one. */
export const KEYS_AGE = 300_000;
export const KEYS_COOLDOWN = 60_000;
/** For how long an API repeats from memory that keys or metadata could not be fetched. */
export const FAILURE_AGE = 5_000;

/** RFC 8628 §3.5. */
export const DEVICE_INTERVAL = 5_000;
export const SLOW_DOWN = 5_000;
/** How long a login waits for the browser. */
export const BROWSER_WAIT = 300_000;
/** How long the end of a login waits until the browser has received the page. */
export const PAGE_WAIT = 1_000;
