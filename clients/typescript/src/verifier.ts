import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from "jose";
import { FAILURE_AGE, LEEWAY } from "./defaults.js";
import { OAuthError, Server, errorOf } from "./grants.js";
import { secureUrl } from "./http.js";
import { IssuerKeys } from "./keys.js";
import { Refusal } from "./refusal.js";
import { runtimeWith, type Runtime } from "./runtime.js";
import { missing } from "./scopes.js";

/** How the API asks the server about credentials (RFC 7662). */
export type Introspection =
  /** By the secret of its `[[resource]]`, or as an agent with the scope `tokens:introspect`. */
  | { clientSecret: string; /** By default, the audience. */ clientId?: string }
  /** By an API key with the scope `tokens:introspect`. */
  | { apiKey: string };

export interface VerifierOptions {
  /** The deployment that issues the tokens. */
  issuer: string;
  /** The API: the `uri` of its `[[resource]]`, or the issuer. */
  audience: string;
  /**
   * The organization whose callers are accepted: its id, such as `org_…`. By default, those of every
   * organization of the deployment, because each has access tokens of the issuer.
   */
  organization?: string;
  /** The algorithms of the tokens. By default, ES256. */
  algorithms?: readonly string[];
  /**
   * How to ask about API keys and everything else that is no access token of the issuer. Without
   * it, these are refused.
   */
  introspection?: Introspection;
  /**
   * Asks about access tokens too, so that revoked ones are refused at once. By default, they are
   * accepted until they expire.
   */
  introspectJwts?: boolean;
  /** The URL of the metadata of the API (RFC 9728), for challenges. */
  resourceMetadata?: string;
  /** Called with the reason of a 503. By default, it is written to standard error. */
  onFailure?: (error: Error) => void;
  /** @internal */
  runtime?: Partial<Runtime>;
}

/** What a request presents. Several values of one header are joined by a comma. */
export interface Credentials {
  authorization?: string | null | undefined;
  apiKey?: string | null | undefined;
}

/**
 * The caller. An access token that was verified locally does not say the members from `kind` on.
 */
export interface Principal {
  userId: string;
  scopes: readonly string[];
  credentialId?: string;
  clientId?: string;
  orgId?: string;
  expiresAt?: Date;
  /** The agent that acts for the user whom the caller is. */
  actor?: string;
  kind?: string;
  /** What the credential is limited to, by kinds that the API defines. Undefined: not known. */
  resources?: Readonly<Record<string, readonly string[]>>;
  onBehalfOf?: string | null;
  metadata?: Readonly<Record<string, unknown>>;
}

const NOT_VALID =
  "The credential is not valid: it may have expired or been revoked, or be for another API or organization. Get another one.";
const NONE = "Send a credential, in the header Authorization: Bearer or X-API-Key.";
const TWO = "Send one credential, in Authorization or in X-API-Key.";
const UNAVAILABLE = "The credential cannot be checked at the moment. Try again later.";

/** RFC 6750 §2.1 */
const BEARER = /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i;
const API_KEY = /^[A-Za-z0-9\-._~+/]+=*$/;

type Active = Record<string, unknown>;

const text = (value: unknown) => (typeof value === "string" ? value : undefined);

function defined<T extends object>(members: { [K in keyof T]: T[K] | undefined }): Partial<T> {
  return Object.fromEntries(
    Object.entries(members).filter(([, value]) => value !== undefined),
  ) as Partial<T>;
}

/** The last one who acts (RFC 8693 §4.1). */
function actorOf(act: unknown): string | undefined {
  return typeof act === "object" && act !== null && "sub" in act ? text(act.sub) : undefined;
}

const principalOf = (claims: JWTPayload | Active): Principal => ({
  userId: String(claims["sub"]),
  scopes: (text(claims["scope"]) ?? "").split(" ").filter(Boolean),
  ...defined<Omit<Principal, "userId" | "scopes">>({
    credentialId: text(claims["credential_id"]) ?? text(claims["sid"]) ?? text(claims["jti"]),
    clientId: text(claims["client_id"]),
    orgId: text(claims["org_id"]),
    expiresAt: typeof claims["exp"] === "number" ? new Date(claims["exp"] * 1000) : undefined,
    actor: actorOf(claims["act"]),
  }),
});

const DEFAULT_ALGORITHMS = ["ES256"];
/** Those whose keys can be published. */
const ALGORITHMS = [
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
  "PS256",
  "PS384",
  "PS512",
  "RS256",
  "RS384",
  "RS512",
];

function checkOptions({
  issuer,
  audience,
  organization,
  algorithms = DEFAULT_ALGORITHMS,
  introspection,
  introspectJwts,
}: VerifierOptions): void {
  secureUrl(issuer);
  if (audience === "")
    throw new TypeError("The audience must be the uri of a resource, or the issuer.");
  if (organization === "") throw new TypeError("The organization must be an id, or absent.");
  const unknown = algorithms.filter((name) => !ALGORITHMS.includes(name));
  if (algorithms.length === 0 || unknown.length > 0)
    throw new TypeError(`The algorithms must be of ${ALGORITHMS.join(", ")}.`);
  if (introspectJwts && !introspection)
    throw new TypeError("To introspect JWTs, the verifier needs introspection.");
  const secret =
    introspection &&
    ("apiKey" in introspection ? introspection.apiKey : introspection.clientSecret);
  if (secret === "")
    throw new TypeError("The secret, or the key, of the introspection must not be empty.");
}

/**
 * Decides which credentials an API accepts: its issuer's access tokens by their signature, all
 * others by asking the issuer.
 */
export class Verifier {
  readonly #options: VerifierOptions;
  readonly #runtime: Runtime;
  readonly #server: Server;
  readonly #keys: IssuerKeys;

  /**
   * @throws {InsecureIssuer} The issuer is not https, and not on this machine.
   * @throws {TypeError} With these options, no credential would be accepted.
   */
  constructor(options: VerifierOptions) {
    checkOptions(options);
    this.#options = options;
    this.#runtime = runtimeWith(options.runtime);
    const { introspection } = options;
    const client =
      introspection && "clientSecret" in introspection
        ? {
            clientId: introspection.clientId ?? options.audience,
            clientSecret: introspection.clientSecret,
          }
        : { clientId: undefined };
    this.#server = new Server(this.#runtime, options.issuer, client, FAILURE_AGE);
    this.#keys = new IssuerKeys(this.#server);
  }

  /**
   * Returns the caller who presents these credentials, and has all of `scopes`.
   *
   * @throws {Refusal} There is no such caller, or the credential cannot be checked now.
   */
  async verify(credentials: Credentials, scopes: readonly string[] = []): Promise<Principal> {
    const principal = await this.#principal(this.#presented(credentials));
    this.require(principal, scopes);
    return principal;
  }

  /**
   * Checks that the caller has all of `scopes`.
   *
   * @throws {Refusal} It lacks one.
   */
  require(principal: Principal, scopes: readonly string[]): void {
    if (missing(principal.scopes, scopes).length === 0) return;
    const description = `The credential lacks the scope that is required: ${missing(principal.scopes, scopes).join(" ")}.`;
    throw this.refusal("insufficient_scope", description, { scope: scopes.join(" ") });
  }

  /** @internal */
  refusal(
    code: ConstructorParameters<typeof Refusal>[0],
    description: string,
    more: Record<string, string> = {},
  ): Refusal {
    return new Refusal(code, description, {
      ...more,
      resource_metadata: this.#options.resourceMetadata,
    });
  }

  #presented({ authorization, apiKey }: Credentials): string {
    const headers = [authorization, apiKey].filter(
      (value) => value !== undefined && value !== null && value !== "",
    );
    if (headers.length === 0) throw this.refusal("auth_required", NONE);
    if (headers.length > 1) throw this.refusal("invalid_request", TWO);
    const token = authorization ? BEARER.exec(authorization)?.[1] : API_KEY.exec(apiKey ?? "")?.[0];
    if (token === undefined) throw this.refusal("invalid_token", NOT_VALID);
    return token;
  }

  async #principal(token: string): Promise<Principal> {
    try {
      const isOwn = this.#isOwnJwt(token);
      const local = isOwn ? await this.#verified(token) : undefined;
      const principal =
        local && !this.#options.introspectJwts ? local : await this.#introspected(token);
      if (principal && this.#isOfOrganization(principal)) return principal;
    } catch (error) {
      if (error instanceof errors.JOSEError) throw this.refusal("invalid_token", NOT_VALID);
      const report =
        this.#options.onFailure ??
        ((failure: Error) =>
          void process.stderr.write(`A credential cannot be checked: ${failure.message}\n`));
      report(error instanceof OAuthError ? errorOf(this.#options.issuer, error) : (error as Error));
      throw this.refusal("temporarily_unavailable", UNAVAILABLE);
    }
    throw this.refusal("invalid_token", NOT_VALID);
  }

  #isOfOrganization({ orgId }: Principal): boolean {
    const { organization } = this.#options;
    return organization === undefined || orgId === organization;
  }

  /** Returns whether a token says that it is an access token of the issuer. */
  #isOwnJwt(token: string): boolean {
    try {
      return (
        decodeProtectedHeader(token).typ?.toLowerCase() === "at+jwt" &&
        decodeJwt(token).iss === this.#options.issuer
      );
    } catch {
      return false;
    }
  }

  async #verified(token: string): Promise<Principal | undefined> {
    const now = this.#runtime.now();
    const { payload } = await jwtVerify(token, this.#keys.find, {
      issuer: this.#options.issuer,
      audience: this.#options.audience,
      algorithms: [...(this.#options.algorithms ?? DEFAULT_ALGORITHMS)],
      typ: "at+jwt",
      crit: {},
      requiredClaims: ["aud", "exp", "iat", "iss", "sub"],
      clockTolerance: LEEWAY / 1000,
      currentDate: new Date(now),
    });
    const isFromTheFuture = (payload.iat ?? 0) * 1000 > now + LEEWAY;
    const isOfSomebody = typeof payload.sub === "string" && payload.sub !== "";
    // A token that is bound to a key needs a proof, which is not checked here.
    if (isFromTheFuture || !isOfSomebody || payload["cnf"] !== undefined) return undefined;
    return principalOf(payload);
  }

  async #introspected(token: string): Promise<Principal | undefined> {
    const { introspection, audience } = this.#options;
    if (!introspection) return undefined;
    const apiKey = "apiKey" in introspection ? introspection.apiKey : undefined;
    const response: Active = { ...(await this.#server.introspect(token, audience, apiKey)) };
    const isForUs = response["aud"] === undefined || [response["aud"]].flat().includes(audience);
    const isFromIssuer = response["iss"] === undefined || response["iss"] === this.#options.issuer;
    const isBearer =
      text(response["token_type"])?.toLowerCase() === "bearer" && response["cnf"] === undefined;
    if (
      response["active"] !== true ||
      !isForUs ||
      !isFromIssuer ||
      !isBearer ||
      !text(response["sub"])
    )
      return undefined;
    const { kind, resources, on_behalf_of: onBehalfOf, metadata } = response;
    return {
      ...principalOf(response),
      ...defined<Pick<Principal, "kind" | "resources" | "onBehalfOf" | "metadata">>({
        kind: text(kind),
        resources: resources as Principal["resources"],
        onBehalfOf: onBehalfOf as string | null | undefined,
        metadata: metadata as Principal["metadata"],
      }),
    };
  }
}
