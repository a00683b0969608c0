// The step of a job: exchanges the job's token, and returns the access token to later steps.
import * as core from "@actions/core";
import { AccessDenied } from "../../clients/typescript/src/errors.js";
import { Workload } from "../../clients/typescript/src/federation.js";
import { Server } from "../../clients/typescript/src/grants.js";
import { runtimeWith } from "../../clients/typescript/src/runtime.js";
import { readInputs } from "./inputs.js";

/** The last time that a `Date` can have. */
const LATEST = 8.64e15;

async function run(): Promise<void> {
  const { issuer, audience, resource, scope, variable } = readInputs();
  const server = new Server(runtimeWith(), issuer, { clientId: undefined });
  const workload = new Workload({ from: "github", audience }, core.setSecret);
  const { accessToken, obtainedAt, lifetime } = await workload
    .exchange(server, { resource, scope })
    .catch((error: unknown) => {
      throw error instanceof AccessDenied
        ? new Error(`${error.message} This job has ${claimsOfJob(audience)}.`)
        : error;
    });
  // First of all, so that nothing after it can print the token, and the end of the job revokes it.
  core.setSecret(accessToken);
  core.saveState("issuer", issuer);
  core.saveState("token", accessToken);
  const expiresAt = new Date(Math.min(obtainedAt + lifetime, LATEST)).toISOString();
  core.saveState("expires-at", expiresAt);
  core.setOutput("token", accessToken);
  core.setOutput("expires-at", expiresAt);
  if (variable !== undefined) core.exportVariable(variable, accessToken);
  core.info(`The token is valid until ${expiresAt}, or until the end of the job.`);
}

/** The claims by which a rule usually decides, as the runner shows them to the job. */
const CLAIMS = {
  repository_id: "GITHUB_REPOSITORY_ID",
  repository_owner_id: "GITHUB_REPOSITORY_OWNER_ID",
  ref: "GITHUB_REF",
  event_name: "GITHUB_EVENT_NAME",
  workflow_ref: "GITHUB_WORKFLOW_REF",
} as const;

function claimsOfJob(audience: string): string {
  const claims = Object.entries(CLAIMS).map(([claim, variable]) => [claim, process.env[variable]]);
  return [["aud", audience], ...claims]
    .filter(([, value]) => value)
    .map(([claim, value]) => `${claim} = ${value}`)
    .join(", ");
}

try {
  await run();
} catch (error) {
  core.setFailed((error as Error).message);
}
