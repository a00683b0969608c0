// The cases of clients/conformance, which every language runs.
import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  utimesSync,
  writeFileSync,
  existsSync,
} from "node:fs";
import { dirname, join } from "node:path";
import test, { after, before } from "node:test";
import { decodeJwt } from "jose";
import {
  PosternError,
  Session,
  loginWithBrowser,
  loginWithDevice,
  signRequest,
  type AccessToken,
  type WorkloadSource,
} from "../src/index.js";
import type { Runtime } from "../src/runtime.js";
import { Refusal, Verifier, type Principal } from "../src/server.js";
import { CONFORMANCE, folder, startDeployment } from "./harness.js";
import { agentToken, bearer } from "./servers.js";

interface Expected {
  error?: string;
  says?: string[];
  token?: "stored" | "new" | "same";
  scope?: string;
  audience?: string;
  status?: number;
  organization?: "own" | "other" | null;
  waits?: [number, number][];
  warns?: boolean;
}
interface FileState {
  exists?: boolean;
  mode?: string;
  refresh_token?: "changed" | "kept";
  tokens?: number;
  files?: string[];
  members?: Record<string, unknown>;
  token_members?: Record<string, unknown>;
}
interface Step {
  control?: Record<string, unknown>;
  write?: { path: string; text: string; age?: number };
  chmod?: { path: string; mode: string };
  advance?: number;
  new_session?: boolean;
  call?: string;
  with?: Record<string, unknown>;
  expect?: Expected;
  check?: { requests?: Record<string, number>; file?: FileState };
}
interface Case {
  name: string;
  steps: Step[];
}

const ends: (() => void | Promise<void>)[] = [];
let deployment: Awaited<ReturnType<typeof startDeployment>>;

before(async () => {
  deployment = await startDeployment({ after: (end) => ends.push(end) });
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** What controls a terminal. */
const CONTROLS = /\p{Cc}/u;

const load = (path: string) => JSON.parse(readFileSync(join(CONFORMANCE, path), "utf8"));

/** One run of a case, with a clock and a home folder of its own. */
class Run {
  readonly home: string;
  /** How far the clock that nobody sets, and the one that can be set back, are ahead. */
  #elapsed = 0;
  #offset = 0;
  #waits: number[] = [];
  #session: Session | undefined;
  #last: AccessToken | undefined;
  #before: string | undefined;
  readonly #env: Record<string, string>;

  constructor(home: string) {
    this.home = home;
    this.#env = { POSTERN_HOME: home };
  }

  get #file() {
    return join(this.home, "sessions", "default.json");
  }

  get #content(): Record<string, any> | undefined {
    return existsSync(this.#file) ? JSON.parse(readFileSync(this.#file, "utf8")) : undefined;
  }

  runtime(env: Record<string, string> = {}): Partial<Runtime> {
    return {
      now: () => Date.now() + this.#offset,
      elapsed: () => performance.now() + this.#elapsed,
      sleep: async (ms, signal) => {
        assert.ok(!signal?.aborted);
        this.#waits.push(ms / 1000);
        this.#advance(ms);
      },
      env: { ...this.#env, ...env },
    };
  }

  async step(step: Step): Promise<void> {
    if (step.control) await this.#control(step.control);
    else if (step.write) this.#write(step.write);
    else if (step.chmod)
      chmodSync(join(this.home, step.chmod.path), Number.parseInt(step.chmod.mode, 8));
    else if (step.advance !== undefined) this.#advance(step.advance * 1000);
    else if (step.new_session) this.#session = undefined;
    else if (step.call) await this.#call(step.call, step.with ?? {}, step.expect ?? {});
    else if (step.check) await this.#check(step.check);
    else assert.fail(`unknown step ${JSON.stringify(step)}`);
  }

  #advance(ms: number) {
    this.#offset += ms;
    this.#elapsed += Math.max(0, ms);
  }

  async #control(command: Record<string, unknown>) {
    const { session } = command;
    await deployment.order(
      session ? { ...command, session: { home: this.home, ...(session as object) } } : command,
    );
    this.#before = this.#content?.["refresh_token"];
  }

  #write({ path, text, age }: NonNullable<Step["write"]>) {
    const file = join(this.home, path);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(file, text, { mode: 0o600 });
    if (age !== undefined) utimesSync(file, Date.now() / 1000 - age, Date.now() / 1000 - age);
  }

  async #call(name: string, args: Record<string, unknown>, expected: Expected) {
    const stored = (() => {
      try {
        return this.#content;
      } catch {
        return undefined;
      }
    })();
    const tokens = [stored?.["access_tokens"] ?? []].flat();
    const secrets = [
      stored?.["refresh_token"],
      ...tokens.map(({ value }) => value),
      deployment.agent.secret,
      deployment.api_key,
      this.#last?.value,
    ].filter((secret) => typeof secret === "string" && secret !== "");
    this.#waits = [];
    const before = this.#last;
    let result: unknown;
    try {
      result = await CALLS[name]?.(this, args);
    } catch (error) {
      if (!(error instanceof PosternError || error instanceof Refusal)) throw error;
      for (const secret of secrets)
        assert.ok(!String(error.stack).includes(secret), "an error shows a secret");
      assert.doesNotMatch(error.message, CONTROLS);
      assert.equal(error.code, expected.error, error.message);
      for (const word of expected.says ?? [])
        assert.ok(
          error.message.includes(this.#filled(word)),
          `${error.message} does not say ${word}`,
        );
      if (error instanceof Refusal) assert.equal(error.status, expected.status);
      return this.#expectWaits(expected);
    }
    assert.equal(undefined, expected.error, `${name} did not fail`);
    this.#expectWaits(expected);
    const { warning = "" } = result as { warning?: string };
    for (const secret of secrets) assert.ok(!warning.includes(secret), "a warning shows a secret");
    assert.doesNotMatch(warning, CONTROLS);
    await this.#expectResult(result, expected, before, tokens[0]?.value);
  }

  #filled(text: string) {
    return text.replace("{home}", this.home).replace("{issuer}", deployment.issuer);
  }

  #expectWaits({ waits }: Expected) {
    if (!waits) return;
    assert.equal(this.#waits.length, waits.length, `waits: ${this.#waits.join(" ")}`);
    waits.forEach(([least, most], at) =>
      assert.ok(
        (this.#waits[at] ?? -1) >= least && (this.#waits[at] ?? -1) <= most,
        `waits: ${this.#waits.join(" ")}`,
      ),
    );
  }

  async #expectResult(
    result: unknown,
    expected: Expected,
    before: AccessToken | undefined,
    stored: string | undefined,
  ) {
    if (expected.status !== undefined) assert.equal((result as Response).status, expected.status);
    if ((result as object).hasOwnProperty("revoked")) {
      const { revoked, warning } = result as { revoked: boolean; warning?: string };
      assert.deepEqual(
        [!revoked, warning !== undefined],
        [expected.warns ?? false, expected.warns ?? false],
        warning,
      );
      for (const word of expected.says ?? [])
        assert.ok(warning?.includes(this.#filled(word)), `${warning} does not say ${word}`);
    }
    if (expected.organization !== undefined)
      assert.equal((result as Principal).orgId, organizationId(expected.organization));
    const token = result as AccessToken;
    if (expected.token === "stored") assert.equal(token.value, stored);
    if (expected.token === "same") assert.equal(token.value, before?.value);
    if (expected.token === "new") {
      assert.ok(token.value !== before?.value && token.value !== stored);
      const { aud } = decodeJwt(token.value);
      if (aud === deployment.issuer) {
        const answer = await fetch(`${deployment.upstream}/v1/auth/whoami`, {
          headers: { authorization: `Bearer ${token.value}` },
        });
        assert.equal(answer.status, 200);
      }
    }
    if (expected.scope !== undefined) assert.equal(token.scope, expected.scope);
    if (expected.audience !== undefined)
      assert.equal(decodeJwt(token.value).aud, this.#filled(expected.audience));
  }

  async #check({ requests = {}, file }: NonNullable<Step["check"]>) {
    const { counts } = await deployment.state();
    for (const [name, count] of Object.entries(requests))
      assert.equal(counts[name] ?? 0, count, `${name}: ${JSON.stringify(counts)}`);
    if (!file) return;
    if (file.exists !== undefined) assert.equal(existsSync(this.#file), file.exists);
    if (file.mode !== undefined)
      assert.equal((statSync(this.#file).mode & 0o777).toString(8).padStart(4, "0"), file.mode);
    if (file.refresh_token !== undefined) {
      assert.equal(
        this.#content?.["refresh_token"] === this.#before ? "kept" : "changed",
        file.refresh_token,
      );
    }
    if (file.tokens !== undefined)
      assert.equal(this.#content?.["access_tokens"].length, file.tokens);
    if (file.files !== undefined)
      assert.deepEqual(readdirSync(dirname(this.#file)).sort(), [...file.files].sort());
    for (const [name, value] of Object.entries(file.token_members ?? {})) {
      const values = this.#content?.["access_tokens"].map((token: Record<string, unknown>) =>
        JSON.stringify(token[name]),
      );
      assert.ok(values.includes(JSON.stringify(value)), `no token has ${name}`);
    }
    for (const [name, value] of Object.entries(file.members ?? {}))
      assert.deepEqual(this.#content?.[name], value);
  }

  /** Returns the session of the last call, or opens one. */
  async session({ profile, path }: { profile?: string; path?: string } = {}): Promise<Session> {
    if (profile !== undefined)
      this.#session = await Session.open({ profile, runtime: this.runtime() });
    if (path !== undefined)
      this.#session = await Session.open({ path: join(this.home, path), runtime: this.runtime() });
    this.#session ??= await Session.open({ runtime: this.runtime() });
    return this.#session;
  }

  keep(token: AccessToken): AccessToken {
    this.#last = token;
    return token;
  }

  use(session: Session, args: Record<string, any> = {}) {
    this.#session = session;
    return this.token(args);
  }

  async token({ profile, path, callers = 1, ...options }: Record<string, any>) {
    const session = await this.session({ profile, path });
    const outcomes = await Promise.allSettled(
      Array.from({ length: callers }, () => session.accessToken(options)),
    );
    const shown = outcomes.map((outcome) =>
      outcome.status === "fulfilled" ? outcome.value.value : (outcome.reason as PosternError).code,
    );
    assert.deepEqual(new Set(shown).size, 1, "the callers get different outcomes");
    const [outcome] = outcomes;
    if (outcome?.status !== "fulfilled") throw outcome?.reason;
    return this.keep(outcome.value);
  }

  get last() {
    return this.#last;
  }
}

type Call = (run: Run, args: Record<string, any>) => Promise<unknown>;

async function federation(
  run: Run,
  { from, without, claims, resource, scope }: Record<string, any>,
) {
  const env: Record<string, string> = {};
  const tokenFile = join(run.home, "token");
  const workloadToken = async (kind: string) =>
    (await deployment.order({ workload_token: { kind, ...(claims && { claims }) } }))[
      "workload_token"
    ] as string;
  if (without === undefined) {
    if (from === "github") Object.assign(env, deployment.workload.github);
    if (from === "gitlab") env["POSTERN_ID_TOKEN"] = await workloadToken("gitlab");
    if (from === "kubernetes") writeFileSync(tokenFile, await workloadToken("kubernetes"));
    if (from === "file") writeFileSync(tokenFile, await workloadToken("oidc"));
  }
  const session = Session.federation({
    issuer: deployment.issuer,
    from: from as WorkloadSource,
    audience: deployment.workload.audience,
    ...(["kubernetes", "file"].includes(from) && { tokenFile }),
    runtime: run.runtime(env),
  });
  return run.use(session, { resource, scope });
}

function organizationId(name: Expected["organization"]): string | undefined {
  if (name === "own") return deployment.organization_id;
  return name === "other" ? deployment.other.organization_id : undefined;
}

/** An API key, or an access token of an agent for the API `orders`. */
async function credential(name: string): Promise<string> {
  const owner = name.startsWith("other_") ? deployment.other : deployment;
  return name.endsWith("api_key")
    ? owner.api_key
    : agentToken({ ...deployment, ...owner }, deployment.resources.orders);
}

async function verify(run: Run, args: Record<string, any>): Promise<Principal> {
  const organization = organizationId(args["organization"]);
  const verifier = new Verifier({
    issuer: deployment.issuer,
    audience: deployment.resources.orders,
    ...(organization !== undefined && { organization }),
    introspection:
      args["ask_with"] === "api_key"
        ? { apiKey: deployment.api_key }
        : { clientSecret: deployment.resource_secret },
    introspectJwts: args["introspect_jwts"] ?? false,
    onFailure: () => {},
    runtime: run.runtime(),
  });
  return verifier.verify(bearer(await credential(args["credential"])), args["scopes"]);
}

const CALLS: Record<string, Call> = {
  access_token: (run, args) => run.token(args),
  renew: async (run, args) => {
    const refused = run.last ?? (await run.token(args));
    return run.token({ ...args, refused: refused.value });
  },
  login_with_device: async (run, { decision, client_id: clientId, ...args }) =>
    run.use(
      await loginWithDevice({
        issuer: deployment.issuer,
        ...(clientId && { clientId }),
        ...args,
        runtime: run.runtime(),
        onPrompt: async ({ userCode }) => {
          if (decision) await deployment.order({ device: { user_code: userCode, decision } });
        },
      }),
    ),
  login_with_browser: async (
    run,
    { decision = "allow", client_id: clientId, callback = {}, stray, twice, ...args },
  ) =>
    run.use(
      await loginWithBrowser({
        issuer: deployment.issuer,
        ...(clientId && { clientId }),
        ...args,
        runtime: run.runtime(),
        open: async (url) => {
          const { consent } = await deployment.order({ consent: { url, decision } });
          if (stray) assert.equal((await fetch(changed(consent, stray))).status, 400);
          // The response comes after the login has ended.
          for (let count = 0; count < (twice ? 2 : 1); count += 1)
            void fetch(changed(consent, callback)).catch(() => {});
        },
      }),
    ),
  logout: async (run, args) => (await run.session(args)).logout(),
  client_credentials: async (run, { secret = deployment.agent.secret, ...args }) =>
    run.use(
      Session.clientCredentials({
        issuer: deployment.issuer,
        clientId: deployment.agent.id,
        clientSecret: secret,
        runtime: run.runtime(),
      }),
      args,
    ),
  api_key: async (run) => run.use(Session.apiKey(deployment.api_key, { runtime: run.runtime() })),
  federation,
  verify,
  request: async (run, { path, url }) =>
    (await run.session()).fetch(url ?? deployment.issuer + path),
};

/** Returns a URL with other parameters; null removes one. */
function changed(url: string, parameters: Record<string, string | null>): URL {
  const copy = new URL(url);
  for (const [name, value] of Object.entries(parameters))
    value === null ? copy.searchParams.delete(name) : copy.searchParams.set(name, String(value));
  return copy;
}

for (const file of readdirSync(join(CONFORMANCE, "cases")).sort()) {
  for (const { name, steps } of load(`cases/${file}`).cases as Case[]) {
    test(`${file.replace(".json", "")}: ${name}`, async (t) => {
      await deployment.order({ reset: true });
      const run = new Run(folder(t));
      for (const step of steps) await run.step(step);
    });
  }
}

function sign(vector: Record<string, any>) {
  const body =
    vector["body_hex"] === undefined
      ? (vector["body"] ?? "")
      : Buffer.from(vector["body_hex"], "hex");
  const {
    token,
    method,
    target,
    nonce,
    timestamp_ms: timestampMs,
    content_sha256: contentSha256,
  } = vector;
  return signRequest({ token, method, target, body, timestampMs, nonce, contentSha256 });
}

for (const vector of load("signatures.json").signed) {
  test(`signatures: ${vector.name}`, () => assert.deepEqual(sign(vector), vector.headers));
}

for (const vector of load("signatures.json").refused) {
  test(`signatures: ${vector.name} is refused`, () =>
    assert.throws(() => sign(vector), RangeError));
}
