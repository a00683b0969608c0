export type { McpOptions } from "./mcp.js";
export type { ProtectOptions } from "./protect.js";
export { Refusal } from "./refusal.js";
export type { RefusalCode } from "./refusal.js";
export { Verifier } from "./verifier.js";
export type { Credentials, Introspection, Principal, VerifierOptions } from "./verifier.js";
