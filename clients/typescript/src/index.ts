export { AccessToken } from "./access-token.js";
export * from "./errors.js";
export type { WorkloadOptions, WorkloadSource } from "./federation.js";
export { loginWithBrowser, loginWithDevice } from "./login.js";
export type {
  BrowserLoginOptions,
  DeviceLoginOptions,
  DevicePrompt,
  LoginOptions,
} from "./login.js";
export { Session } from "./session.js";
export type {
  AccessTokenOptions,
  ClientCredentialsOptions,
  FederationOptions,
  OpenOptions,
  RequestOptions,
  SessionOptions,
} from "./session.js";
export { signRequest } from "./signature.js";
export type { SignatureHeaders, SignedParts } from "./signature.js";
export type { LogoutResult, TokenRequest } from "./source.js";
