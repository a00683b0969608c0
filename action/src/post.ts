// Runs when the job ends, whether it succeeded or not: revokes the token (RFC 7009).
import * as core from "@actions/core";
import { Server, OAuthError, errorOf } from "../../clients/typescript/src/grants.js";
import { runtimeWith } from "../../clients/typescript/src/runtime.js";

const [issuer, token, expiresAt] = ["issuer", "token", "expires-at"].map((name) =>
  core.getState(name),
) as [string, string, string];

// There is no token if the step has failed.
if (token !== "") {
  try {
    await new Server(runtimeWith(), issuer, { clientId: undefined }).revoke(token);
    core.info("The token is revoked.");
  } catch (error) {
    // The job did what it had to do, so it does not fail.
    const { message } = error instanceof OAuthError ? errorOf(issuer, error) : (error as Error);
    core.warning(`The token could not be revoked, and is valid until ${expiresAt}. ${message}`);
  }
}
