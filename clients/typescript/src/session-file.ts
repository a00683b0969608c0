import { randomBytes } from "node:crypto";
import {
  mkdir,
  open,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  type FileHandle,
} from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ABANDONED_AGE } from "./defaults.js";
import { SessionInvalid, StorageFailed } from "./errors.js";
import type { SessionPaths } from "./folder.js";
import { checkOwner } from "./owner.js";
import { reason } from "./reason.js";
import type { Runtime } from "./runtime.js";

/**
 * An access token in the file. Times are seconds since 1970. Members that are not listed are kept.
 */
export interface StoredToken {
  resource?: string | null;
  scope?: string | null;
  value: string;
  token_type?: string | null;
  granted_scope?: string | null;
  obtained_at: number;
  expires_at: number;
  [unknown: string]: unknown;
}

/**
 * The file of a session, which programs of every language share. Members that are not listed are
 * kept.
 */
export interface StoredSession {
  version: 1;
  issuer: string;
  client_id: string;
  storage?: "file" | "keyring";
  refresh_token?: string | null;
  scope?: string | null;
  access_tokens: StoredToken[];
  [unknown: string]: unknown;
}

type Members = Record<string, unknown>;

const isText = (value: unknown): value is string => typeof value === "string";
const isAbsent = (value: unknown) => value === null || value === undefined;
const isTextOrAbsent = (value: unknown) => isAbsent(value) || isText(value);
const isObject = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** What JavaScript can represent as a date. */
const LATEST_TIME = 8.64e12;
const isTime = (value: unknown) => typeof value === "number" && Math.abs(value) <= LATEST_TIME;

const isToken = (value: unknown) =>
  isObject(value) &&
  isText(value["value"]) &&
  isTime(value["obtained_at"]) &&
  isTime(value["expires_at"]) &&
  ["resource", "scope", "token_type", "granted_scope"].every((name) => isTextOrAbsent(value[name]));

/** Returns what is wrong with the content of a file, or undefined. */
function fault(value: unknown): string | undefined {
  if (!isObject(value)) return "is not a JSON object";
  if (value["version"] !== 1) return "was written by another version";
  if (!isText(value["issuer"]) || !isText(value["client_id"])) return "has no issuer or client_id";
  if (!isTextOrAbsent(value["refresh_token"])) return "has a refresh_token that is not text";
  if (!isTextOrAbsent(value["scope"])) return "has a scope that is not text";
  if (!isAbsent(value["storage"]) && value["storage"] !== "file" && value["storage"] !== "keyring")
    return "has an unknown storage";
  const tokens = value["access_tokens"];
  if (!isAbsent(tokens) && !(Array.isArray(tokens) && tokens.every(isToken)))
    return "has access_tokens that cannot be understood";
  return undefined;
}

async function content(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new StorageFailed(
      `The session ${file} cannot be read: ${reason(error)}. Make it readable for you.`,
    );
  }
}

/**
 * Reads a session; undefined if there is none. No lock is needed, because the file is replaced as a
 * whole.
 *
 * @throws {SessionInvalid} The file is not a session.
 * @throws {StorageFailed} It cannot be read, or other users can change it.
 */
export async function readSession(file: string): Promise<StoredSession | undefined> {
  const text = await content(file);
  if (text === undefined) return undefined;
  await checkOwner(dirname(file));
  await checkOwner(file);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The message of the parser quotes the file.
  }
  const wrong = fault(value);
  if (wrong !== undefined)
    throw new SessionInvalid(
      `The session ${file} ${wrong}. Delete the file, and run postern login.`,
    );
  const session = value as StoredSession;
  return { ...session, access_tokens: session.access_tokens ?? [] };
}

const failed = (file: string, error: unknown) =>
  new StorageFailed(
    `The session ${file} cannot be written: ${reason(error)}. Make the folder writable for you.`,
  );

/** Creates the folder of a session, for this user only; each level that does not exist as well. */
export async function createFolder({ file }: SessionPaths): Promise<void> {
  const folder = dirname(file);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw failed(file, error);
  }
  await checkOwner(folder);
}

/** A temporary file that will replace a session. It is created before a token is spent. */
export class Replacement {
  private constructor(
    private readonly file: string,
    private readonly temporary: string,
    private readonly handle: FileHandle,
  ) {}

  /** Creates the file. The caller has the lock, unless it only tries whether this is possible. */
  static async prepare({ file }: SessionPaths): Promise<Replacement> {
    const temporary = join(dirname(file), `.${basename(file)}.${randomBytes(8).toString("hex")}`);
    try {
      return new Replacement(file, temporary, await open(temporary, "wx", 0o600));
    } catch (error) {
      throw failed(file, error);
    }
  }

  /** Replaces the session as a whole. */
  async write(session: StoredSession): Promise<void> {
    try {
      await this.handle.writeFile(`${JSON.stringify(session, null, 2)}\n`);
      await this.handle.sync();
      await this.handle.close();
      await rename(this.temporary, this.file);
    } catch (error) {
      await this.discard();
      throw failed(this.file, error);
    }
    await syncFolder(dirname(this.file));
  }

  /** Removes the temporary file, if it did not replace the session. */
  async discard(): Promise<void> {
    await this.handle.close().catch(() => {});
    await rm(this.temporary, { force: true }).catch(() => {});
  }
}

/**
 * Makes the new name survive a power failure, where a folder can be opened. The file is whole
 * either way.
 */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}

/** Removes the temporary files of processes that were killed. The caller has the lock. */
export async function removeAbandoned(runtime: Runtime, { file }: SessionPaths): Promise<void> {
  const names = await readdir(dirname(file)).catch(() => []);
  for (const name of names.filter((found) => found.startsWith(`.${basename(file)}.`))) {
    const path = join(dirname(file), name);
    const age =
      runtime.now() -
      (await stat(path).then(
        (found) => found.mtimeMs,
        () => runtime.now(),
      ));
    if (age > ABANDONED_AGE) await rm(path, { force: true }).catch(() => {});
  }
}

/** Deletes a session. The caller has the lock. */
export async function deleteSession({ file }: SessionPaths): Promise<void> {
  try {
    await rm(file, { force: true });
  } catch (error) {
    throw new StorageFailed(
      `The session ${file} cannot be deleted: ${reason(error)}. Delete the file yourself.`,
    );
  }
}
