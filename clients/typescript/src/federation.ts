import { readFile } from "node:fs/promises";
import { AccessDenied, WorkloadTokenUnavailable, ServerUnavailable } from "./errors.js";
import { reason } from "./reason.js";
import { OAuthError, errorOf, type Server, type Tokens } from "./grants.js";
import { jsonObject, send } from "./http.js";
import type { Runtime } from "./runtime.js";
import { WAITS } from "./defaults.js";
import type { TokenRequest } from "./source.js";

/** Where a workload gets a token of its own. */
export type WorkloadSource =
  /** A job of GitHub Actions with `permissions: id-token: write`. */
  | "github"
  /** A job of GitLab with `id_tokens`. */
  | "gitlab"
  /** A pod with a projected service account token. */
  | "kubernetes"
  /** A role of AWS that can call `sts:GetWebIdentityToken`; needs `@aws-sdk/client-sts`. */
  | "aws"
  /** A file. */
  | "file";

export interface WorkloadOptions {
  from: WorkloadSource;
  /** The audience of the workload's token, as the rule in `postern.toml` names it. By default, the issuer. */
  audience?: string;
  /** For `gitlab`: the variable that has the token. By default, `POSTERN_ID_TOKEN`. */
  tokenVariable?: string;
  /** For `kubernetes` and `file`: the file that has the token. For `kubernetes`, by default `/var/run/secrets/tokens/postern`. */
  tokenFile?: string;
}

type Fetch = (runtime: Runtime, audience: string, options: WorkloadOptions) => Promise<string>;

const github: Fetch = async (runtime, audience) => {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: token } = runtime.env;
  if (!url || !token) {
    throw new WorkloadTokenUnavailable("The job cannot request a token: set permissions: id-token: write for it. Outside GitHub Actions there is none.");
  }
  const address = new URL(url);
  address.searchParams.set("audience", audience);
  const answer = await send(runtime, address.href, { headers: { authorization: `Bearer ${token}`, accept: "application/json" } });
  if (answer.status !== 200) {
    throw new WorkloadTokenUnavailable(`GitHub answered ${answer.status} to the request for a token. Check that the job has permissions: id-token: write.`);
  }
  const { value } = await jsonObject(answer, address.href);
  if (typeof value !== "string" || value === "") throw new WorkloadTokenUnavailable("GitHub gave no token. Run the job again.");
  return value;
};

const gitlab: Fetch = async ({ env }, audience, { tokenVariable = "POSTERN_ID_TOKEN" }) => {
  const token = env[tokenVariable];
  if (token) return token;
  throw new WorkloadTokenUnavailable(`The variable ${tokenVariable} is not set. Add to the job: id_tokens: {${tokenVariable}: {aud: "${audience}"}}.`);
};

async function fromFile(path: string, hint: string): Promise<string> {
  let text: string;
  try {
    text = (await readFile(path, "utf8")).trim();
  } catch (error) {
    throw new WorkloadTokenUnavailable(`${path} cannot be read: ${reason(error)}. ${hint}`);
  }
  if (text === "") throw new WorkloadTokenUnavailable(`${path} is empty. ${hint}`);
  return text;
}

const kubernetes: Fetch = (_, audience, { tokenFile = "/var/run/secrets/tokens/postern" }) =>
  fromFile(tokenFile, `Mount a projected serviceAccountToken there, with the audience ${audience}.`);

const file: Fetch = (_, __, { tokenFile }) => {
  if (tokenFile === undefined) throw new WorkloadTokenUnavailable("Name the file that has the token (tokenFile).");
  return fromFile(tokenFile, "Write the token of the workload to it.");
};

const aws: Fetch = async (_, audience) => {
  const sts = await import("@aws-sdk/client-sts").catch(() => {
    throw new WorkloadTokenUnavailable("The package @aws-sdk/client-sts is not installed. Run npm install @aws-sdk/client-sts.");
  });
  try {
    const request = new sts.GetWebIdentityTokenCommand({ Audience: [audience], SigningAlgorithm: "RS256", DurationSeconds: 300 });
    const { WebIdentityToken: token } = await new sts.STSClient({}).send(request);
    if (token) return token;
  } catch (error) {
    throw new WorkloadTokenUnavailable(`AWS gave no token: ${reason(error)}. Allow the role sts:GetWebIdentityToken, and enable outbound web identity federation.`);
  }
  throw new WorkloadTokenUnavailable("AWS gave no token. Enable outbound web identity federation in the account.");
};

const SOURCES: Record<WorkloadSource, Fetch> = { aws, file, github, gitlab, kubernetes };

const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/**
 * Exchanges a token of the workload. The server accepts each once, so every attempt fetches a new one, if there is one.
 *
 * @throws {WorkloadTokenUnavailable} The workload has no token.
 * @throws {AccessDenied} The server does not accept it.
 */
export async function exchange(server: Server, options: WorkloadOptions, request: TokenRequest): Promise<Tokens> {
  const audience = options.audience ?? server.issuer;
  let outage: ServerUnavailable | undefined;
  let before: string | undefined;
  for (let count = 0; ; count += 1) {
    const assertion = await SOURCES[options.from](server.runtime, audience, options);
    try {
      return await server.grant(JWT_BEARER, { assertion, ...request }, "once");
    } catch (error) {
      if (error instanceof OAuthError) throw refusal(server.issuer, options, error, assertion === before ? outage : undefined);
      const wait = WAITS[count];
      if (!(error instanceof ServerUnavailable) || wait === undefined) throw error;
      outage = error;
      before = assertion;
      await server.runtime.sleep(wait);
    }
  }
}

function refusal(issuer: string, { from }: WorkloadOptions, error: OAuthError, outage: ServerUnavailable | undefined): Error {
  if (error.error !== "invalid_grant") return errorOf(issuer, error);
  if (outage) return new ServerUnavailable(`${outage.message} The token of the workload may have been used by that request: get another one.`);
  const once = from === "gitlab" ? " Each is accepted once, so exchange it once in a job." : "";
  return new AccessDenied(`${issuer} did not accept the token of the workload. ${error.description}${once}`);
}
