import { readFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { DEFAULT_CLIENT_ID, DEFAULT_ISSUER, DEFAULT_PROFILE } from "./defaults.js";
import { SessionInvalid, StorageFailed } from "./errors.js";
import { checkOwner } from "./owner.js";
import { reason } from "./reason.js";
import type { Runtime } from "./runtime.js";

/** A variable that is set to nothing is not set. */
const variable = ({ env }: Runtime, name: string) => env[name] || undefined;

/** Returns the folder of the configuration and the sessions. */
export function folder(runtime: Runtime, platform = process.platform): string {
  const own = variable(runtime, "POSTERN_HOME");
  if (own !== undefined) return resolve(own);
  const appData = platform === "win32" ? variable(runtime, "APPDATA") : undefined;
  if (appData !== undefined) return join(appData, "postern");
  // The specification says to ignore a relative path.
  const config = variable(runtime, "XDG_CONFIG_HOME");
  if (config !== undefined && isAbsolute(config)) return join(config, "postern");
  return join(variable(runtime, "HOME") ?? userInfo().homedir, ".config", "postern");
}

/** The files of a session. */
export interface SessionPaths {
  profile: string;
  file: string;
  lock: string;
}

/** A deployment, and the client that logs in there. */
export interface Profile {
  name: string;
  issuer: string;
  clientId: string;
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

function checkName(name: string): string {
  if (NAME.test(name)) return name;
  throw new SessionInvalid(
    `"${name}" cannot be the name of a profile: use 1 to 64 of a-z, 0-9, ".", "_" and "-", and begin with a letter or digit.`,
  );
}

async function config(path: string): Promise<Record<string, unknown>> {
  let content: string;
  try {
    content = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new StorageFailed(`${path} cannot be read: ${reason(error)}. Make it readable for you.`);
  }
  await checkOwner(path);
  try {
    const value: unknown = JSON.parse(content);
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // The message of the parser quotes the file.
  }
  throw new SessionInvalid(
    `${path} is not a JSON object. Correct it, or delete it to use the defaults.`,
  );
}

const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : undefined);
const object = (value: unknown) =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};

/**
 * Returns a profile of the configuration: the named one, that of POSTERN_PROFILE, or the default.
 */
export async function profileOf(runtime: Runtime, wanted?: string): Promise<Profile> {
  const settings = await config(join(folder(runtime), "config.json"));
  const name = checkName(
    wanted ??
      variable(runtime, "POSTERN_PROFILE") ??
      text(settings["default_profile"]) ??
      DEFAULT_PROFILE,
  );
  const own = object(object(settings["profiles"])[name]);
  return {
    name,
    issuer: text(own["issuer"]) ?? variable(runtime, "POSTERN_ISSUER") ?? DEFAULT_ISSUER,
    clientId: text(own["client_id"]) ?? DEFAULT_CLIENT_ID,
  };
}

/** Returns the files of the session of a profile. */
export function pathsOf(runtime: Runtime, name: string): SessionPaths {
  return pathsAt(join(folder(runtime), "sessions", `${checkName(name)}.json`));
}

/** Returns the files of a session at a path. */
export function pathsAt(path: string): SessionPaths {
  const file = resolve(path);
  if (!file.endsWith(".json"))
    throw new SessionInvalid(
      `The path of a session must end in .json, because its lock is named after it: ${path}.`,
    );
  const profile = basename(file, ".json");
  return { profile, file, lock: join(dirname(file), `${profile}.lock`) };
}
