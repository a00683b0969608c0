import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { AccessDenied, WorkloadTokenUnavailable, ServerUnavailable } from "./errors.js";
import { reason } from "./reason.js";
import { OAuthError, errorOf, type Server, type Tokens } from "./grants.js";
import { jsonObject, send } from "./http.js";
import type { Runtime } from "./runtime.js";
import { JITTER, WAITS } from "./defaults.js";
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
  /**
   * The audience of the workload's token, as the rule in `postern.toml` names it. By default, the
   * issuer.
   */
  audience?: string;
  /** For `gitlab`: the variable that has the token. By default, `POSTERN_ID_TOKEN`. */
  tokenVariable?: string;
  /**
   * For `kubernetes` and `file`: the file that has the token. For `kubernetes`, by default
   * `/var/run/secrets/tokens/postern`.
   */
  tokenFile?: string;
}

type Fetch = (runtime: Runtime, audience: string, options: WorkloadOptions) => Promise<string>;

const github: Fetch = async (runtime, audience) => {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: token } = runtime.env;
  if (!url || !token) {
    throw new WorkloadTokenUnavailable(
      "The job cannot request a token: set permissions: id-token: write for it. Outside GitHub Actions there is none.",
    );
  }
  const address = new URL(url);
  address.searchParams.set("audience", audience);
  const response = await send(runtime, address.href, {
    headers: { authorization: `Bearer ${token}`, accept: "application/json" },
  });
  if (response.status !== 200) {
    throw new WorkloadTokenUnavailable(
      `GitHub answered ${response.status} to the request for a token. Check that the job has permissions: id-token: write.`,
    );
  }
  const { value } = await jsonObject(response, address.href);
  if (typeof value !== "string" || value === "")
    throw new WorkloadTokenUnavailable("GitHub gave no token. Run the job again.");
  return value;
};

const gitlab: Fetch = async ({ env }, audience, { tokenVariable = "POSTERN_ID_TOKEN" }) => {
  const token = env[tokenVariable];
  if (token) return token;
  throw new WorkloadTokenUnavailable(
    `The variable ${tokenVariable} is not set. Add to the job: id_tokens: {${tokenVariable}: {aud: "${audience}"}}.`,
  );
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
  fromFile(
    tokenFile,
    `Mount a projected serviceAccountToken there, with the audience ${audience}.`,
  );

const file: Fetch = (_, __, { tokenFile = "" }) =>
  fromFile(tokenFile, "Write the token of the workload to it.");

const aws: Fetch = async (_, audience) => {
  const sts = await import("@aws-sdk/client-sts").catch(() => {
    throw new WorkloadTokenUnavailable(
      "The package @aws-sdk/client-sts is not installed. Run npm install @aws-sdk/client-sts.",
    );
  });
  try {
    const request = new sts.GetWebIdentityTokenCommand({
      Audience: [audience],
      SigningAlgorithm: "ES384",
      DurationSeconds: 300,
    });
    const { WebIdentityToken: token } = await new sts.STSClient({}).send(request);
    if (token) return token;
  } catch (error) {
    throw new WorkloadTokenUnavailable(
      `AWS gave no token: ${reason(error)}. Allow the role sts:GetWebIdentityToken, and enable outbound web identity federation.`,
    );
  }
  throw new WorkloadTokenUnavailable(
    "AWS gave no token. Enable outbound web identity federation in the account.",
  );
};

const SOURCES: Record<WorkloadSource, Fetch> = { aws, file, github, gitlab, kubernetes };

/** What somebody else writes, so that each fetch can return the same token. */
const KEPT: readonly WorkloadSource[] = ["file", "gitlab", "kubernetes"];

const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";

const digestOf = (token: string) => createHash("sha256").update(token).digest("hex");

/** A workload, whose tokens the server accepts once. */
export class Workload {
  readonly #options: WorkloadOptions;
  readonly #onToken: (token: string) => void;
  /** The digest of the last token that was exchanged. */
  #used: string | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** `onToken` is called with each token of the workload before anything else uses it. */
  constructor(options: WorkloadOptions, onToken: (token: string) => void = () => {}) {
    if (!Object.hasOwn(SOURCES, options.from))
      throw new TypeError(`from must be one of ${Object.keys(SOURCES).join(", ")}.`);
    if (options.from === "file" && !options.tokenFile)
      throw new TypeError("The source file needs a tokenFile.");
    this.#options = options;
    this.#onToken = onToken;
  }

  /**
   * Exchanges a token of the workload. Every attempt fetches a new one, if there is one.
   *
   * @throws {WorkloadTokenUnavailable} The workload has no token, or it has been exchanged.
   * @throws {AccessDenied} The server does not accept it.
   */
  exchange(server: Server, request: TokenRequest): Promise<Tokens> {
    if (!KEPT.includes(this.#options.from)) return this.#exchanged(server, request);
    // Two requests at once would exchange the same token.
    const own = this.#last.then(() => this.#exchanged(server, request));
    this.#last = own.catch(() => {});
    return own;
  }

  async #exchanged(server: Server, request: TokenRequest): Promise<Tokens> {
    const { runtime } = server;
    let lost: { assertion: string; outage: ServerUnavailable } | undefined;
    for (let count = 0; ; count += 1) {
      const assertion = await this.#fetch(server);
      try {
        const tokens = await server.grant(JWT_BEARER, { assertion, ...request }, "once");
        this.#used = digestOf(assertion);
        return tokens;
      } catch (error) {
        if (error instanceof OAuthError)
          throw refusal(
            server.issuer,
            error,
            lost?.assertion === assertion ? lost.outage : undefined,
          );
        const wait = WAITS[count];
        if (!(error instanceof ServerUnavailable) || wait === undefined) throw error;
        lost = { assertion, outage: error };
        await runtime.sleep(wait * (1 - JITTER + 2 * JITTER * runtime.random()));
      }
    }
  }

  async #fetch({ runtime, issuer }: Server): Promise<string> {
    const { from, audience = issuer } = this.#options;
    const token = await SOURCES[from](runtime, audience, this.#options);
    this.#onToken(token);
    if (digestOf(token) !== this.#used) return token;
    const where =
      from === "gitlab"
        ? "A job of GitLab that needs more has a second entry of id_tokens"
        : "Wait until its file has another one";
    throw new WorkloadTokenUnavailable(
      `The token of the workload has been exchanged, which works once. ${where}.`,
    );
  }
}

function refusal(issuer: string, error: OAuthError, outage: ServerUnavailable | undefined): Error {
  if (error.error !== "invalid_grant") return errorOf(issuer, error);
  if (outage)
    return new ServerUnavailable(
      `${outage.message} The token of the workload may have been used by that request: get another one.`,
    );
  return new AccessDenied(
    `${issuer} did not accept the token of the workload. ${error.description}`,
  );
}
