import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { DEFAULT_CLIENT_ID, DEFAULT_ISSUER, DEFAULT_PROFILE } from "./defaults.js";
import { SessionInvalid } from "./errors.js";
import { reason } from "./reason.js";
import type { Runtime } from "./runtime.js";

/** Returns the folder of the configuration and the sessions. */
export function folder({ env }: Runtime, platform = process.platform): string {
  if (env["POSTERN_HOME"]) return env["POSTERN_HOME"];
  if (env["XDG_CONFIG_HOME"]) return join(env["XDG_CONFIG_HOME"], "postern");
  if (platform === "win32" && env["APPDATA"]) return join(env["APPDATA"], "postern");
  return join(env["HOME"] ?? homedir(), ".config", "postern");
}

/** The files of a session. */
export interface SessionPaths {
  profile: string;
  file: string;
  lock: string;
}

/** A deployment and the client with which to sign in there. */
export interface Profile {
  name: string;
  issuer: string;
  clientId: string;
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

function checkName(name: string): string {
  if (NAME.test(name)) return name;
  throw new SessionInvalid(`"${name}" cannot be the name of a profile: use 1 to 64 of a-z, 0-9, ".", "_" and "-", and begin with a letter or digit.`);
}

async function config(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new SessionInvalid(`${path} cannot be read: ${reason(error)}.`);
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // The message of the parser quotes the file.
  }
  throw new SessionInvalid(`${path} is not a JSON object. Correct it, or delete it to use the defaults.`);
}

const text = (value: unknown) => (typeof value === "string" ? value : undefined);
const object = (value: unknown) => (typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {});

/** Returns a profile of the configuration: the named one, that of POSTERN_PROFILE, or the default. */
export async function profile(runtime: Runtime, wanted?: string): Promise<Profile> {
  const path = join(folder(runtime), "config.json");
  const settings = await config(path);
  const name = checkName(wanted ?? runtime.env["POSTERN_PROFILE"] ?? text(settings["default_profile"]) ?? DEFAULT_PROFILE);
  const own = object(object(settings["profiles"])[name]);
  return {
    name,
    issuer: text(own["issuer"]) ?? runtime.env["POSTERN_ISSUER"] ?? DEFAULT_ISSUER,
    clientId: text(own["client_id"]) ?? DEFAULT_CLIENT_ID,
  };
}

/** Returns the files of the session of a profile. */
export function pathsOf(runtime: Runtime, name: string): SessionPaths {
  return pathsAt(join(folder(runtime), "sessions", `${checkName(name)}.json`));
}

/** Returns the files of a session at a path. */
export function pathsAt(file: string): SessionPaths {
  const name = basename(file, ".json");
  return { profile: name, file, lock: join(dirname(file), `${name}.lock`) };
}
