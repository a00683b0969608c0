import { randomBytes } from "node:crypto";
import { chmod, mkdir, open, readFile, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { LEFTOVER_AGE } from "./defaults.js";
import { SessionInvalid, StorageFailed } from "./errors.js";
import { reason } from "./reason.js";
import type { SessionPaths } from "./folder.js";
import type { Runtime } from "./runtime.js";

/** An access token in the file. Times are seconds since 1970. */
export interface StoredToken {
  resource: string | null;
  scope: string | null;
  value: string;
  token_type: string;
  granted_scope: string;
  obtained_at: number;
  expires_at: number;
}

/** The file of a session, which programs of every language share. Members that are not listed are kept. */
export interface StoredSession {
  version: 1;
  issuer: string;
  client_id: string;
  storage: "file" | "keyring";
  refresh_token?: string;
  scope?: string;
  access_tokens: StoredToken[];
  [unknown: string]: unknown;
}

const isText = (value: unknown): value is string => typeof value === "string";
const isTextOrNull = (value: unknown) => value === null || value === undefined || isText(value);

function isToken(value: unknown): value is StoredToken {
  if (typeof value !== "object" || value === null) return false;
  const token = value as Record<string, unknown>;
  return isText(token["value"]) && isTextOrNull(token["resource"]) && isTextOrNull(token["scope"])
    && Number.isFinite(token["obtained_at"]) && Number.isFinite(token["expires_at"]);
}

/** Returns what is wrong with the content of a file, or undefined. */
function fault(value: Record<string, unknown>): string | undefined {
  if (value["version"] !== 1) return "was written by another version";
  if (!isText(value["issuer"]) || !isText(value["client_id"])) return "has no issuer or client_id";
  if (value["refresh_token"] !== undefined && !isText(value["refresh_token"])) return "has a refresh_token that is no text";
  if (!Array.isArray(value["access_tokens"]) || !value["access_tokens"].every(isToken)) return "has no list of access_tokens";
  return undefined;
}

/**
 * Reads a session; undefined if there is none. No lock is needed, because the file is replaced as a whole.
 *
 * @throws {SessionInvalid} The file has not the form of one.
 */
export async function readSession(file: string): Promise<StoredSession | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new SessionInvalid(`The session ${file} cannot be read: ${reason(error)}.`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The message of the parser quotes the file.
  }
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const wrong = isObject ? fault(value as Record<string, unknown>) : "is not a JSON object";
  if (wrong !== undefined) throw new SessionInvalid(`The session ${file} ${wrong}. Delete the file, and run postern login.`);
  return value as StoredSession;
}

const failed = (file: string, error: unknown) =>
  new StorageFailed(`The session ${file} cannot be written: ${reason(error)}. Make the folder writable for you.`);

/** Creates the folder of a session, for this user only. */
export async function createFolder({ file }: SessionPaths): Promise<void> {
  try {
    const created = await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    if (created !== undefined) await chmod(dirname(file), 0o700);
  } catch (error) {
    throw failed(file, error);
  }
}

/** Replaces a session as a whole. The caller has the lock. */
export async function writeSession({ file }: SessionPaths, session: StoredSession): Promise<void> {
  const own = join(dirname(file), `.${basename(file)}.${randomBytes(8).toString("hex")}`);
  try {
    const handle = await open(own, "wx", 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(session, null, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(own, file);
  } catch (error) {
    await rm(own, { force: true }).catch(() => {});
    throw failed(file, error);
  }
}

/** Removes what killed processes left. The caller has the lock. */
export async function removeLeftovers(runtime: Runtime, { file }: SessionPaths): Promise<void> {
  const names = await readdir(dirname(file)).catch(() => []);
  for (const name of names.filter((found) => found.startsWith(`.${basename(file)}.`))) {
    const path = join(dirname(file), name);
    const age = runtime.now() - (await stat(path).then((found) => found.mtimeMs, () => runtime.now()));
    if (age > LEFTOVER_AGE) await rm(path, { force: true }).catch(() => {});
  }
}

/** Deletes a session. The caller has the lock. */
export async function deleteSession({ file }: SessionPaths): Promise<void> {
  try {
    await rm(file, { force: true });
  } catch (error) {
    throw new StorageFailed(`The session ${file} cannot be deleted: ${reason(error)}. Delete the file yourself.`);
  }
}
