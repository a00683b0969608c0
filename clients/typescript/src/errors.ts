/** What went wrong, the same in every language. */
export type ErrorCode =
  | "access_denied"
  | "cancelled"
  | "expired_token"
  | "insecure_issuer"
  | "invalid_client"
  | "invalid_response"
  | "invalid_scope"
  | "invalid_target"
  | "lock_timeout"
  | "login_required"
  | "server_unavailable"
  | "session_invalid"
  | "storage_failed"
  | "workload_token_unavailable";

/**
 * An error of this package. Its message says what is wrong and what to do, and never contains a
 * token.
 */
export class PosternError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = new.target.name;
    this.code = code;
  }
}

function named<C extends ErrorCode>(code: C) {
  return class extends PosternError {
    declare readonly code: C;

    constructor(message: string) {
      super(code, message);
    }
  };
}

/** The user, or the server, refused the request. */
export class AccessDenied extends named("access_denied") {}
/** The program ended the login. */
export class Cancelled extends named("cancelled") {}
/** The code of the device expired before the user approved it. */
export class ExpiredToken extends named("expired_token") {}
/** The URL is not encrypted, and not on this machine. */
export class InsecureIssuer extends named("insecure_issuer") {}
/** The server does not know the client, or refused its secret. */
export class InvalidClient extends named("invalid_client") {}
/** The server's response cannot be understood, or is not for this request. */
export class InvalidResponse extends named("invalid_response") {}
/** The server does not grant the requested scope. */
export class InvalidScope extends named("invalid_scope") {}
/** The server does not issue tokens for the requested resource. */
export class InvalidTarget extends named("invalid_target") {}
/** Another process keeps the lock of the session. */
export class LockTimeout extends named("lock_timeout") {}
/** There is no session, or it has ended. */
export class LoginRequired extends named("login_required") {}
/** The server cannot be reached, or failed. The session is kept. */
export class ServerUnavailable extends named("server_unavailable") {}
/** The file of the session, or the configuration, cannot be read. */
export class SessionInvalid extends named("session_invalid") {}
/** The session cannot be stored. */
export class StorageFailed extends named("storage_failed") {}
/** The workload has no token that it could exchange. */
export class WorkloadTokenUnavailable extends named("workload_token_unavailable") {}
