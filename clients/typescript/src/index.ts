export { AccessToken } from "./access-token.js";
export { loginWithBrowser } from "./browser-login.js";
export type { BrowserLoginOptions } from "./browser-login.js";
export { loginWithDevice } from "./device-login.js";
export type { DeviceLoginOptions, DevicePrompt } from "./device-login.js";
export * from "./errors.js";
export type { WorkloadOptions, WorkloadSource } from "./federation.js";
export type { LoginOptions } from "./login.js";
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
