// Runs the bundle as a runner of GitHub runs a step of a job, and its post step at the end of the
// job.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { parse } from "yaml";
import { folder, type Ends } from "../../clients/typescript/test/harness.ts";

const ACTION = join(import.meta.dirname, "..");
const { inputs: INPUTS, runs } = parse(readFileSync(join(ACTION, "action.yml"), "utf8")) as {
  inputs: Record<string, { default?: string }>;
  runs: { using: string; main: string; post: string };
};

/** What a step left. */
export interface Step {
  /** How the process ended: a step with another code than 0 fails. */
  code: number | null;
  /** What people see: secrets are masked, and commands are not shown. */
  log: string;
  /** What the process wrote. */
  raw: string;
  masks: string[];
  /** Errors and warnings. */
  annotations: { level: string; message: string }[];
  outputs: Record<string, string>;
  state: Record<string, string>;
  exported: Record<string, string>;
}

/** Reads a file of commands: `NAME<<DELIMITER`, lines, `DELIMITER`. */
function readCommands(path: string): Record<string, string> {
  const found = [...readFileSync(path, "utf8").matchAll(/^(.+)<<(\S+)\n([\s\S]*?)\n\2$/gm)];
  return Object.fromEntries(found.map(([, name, , value]) => [name, value]));
}

const unescaped = (value: string) =>
  value.replaceAll("%0D", "\r").replaceAll("%0A", "\n").replaceAll("%25", "%");

/** Executes the commands in what a process wrote, as `::add-mask::VALUE`. */
function readLog(raw: string): Pick<Step, "log" | "masks" | "annotations"> {
  const masks: string[] = [];
  const annotations: Step["annotations"] = [];
  const shown: string[] = [];
  for (const line of raw.split("\n")) {
    const [, name, value = ""] = line.match(/^::([a-z-]+)(?: [^:]*)?::(.*)$/) ?? [];
    if (name === "add-mask") masks.push(unescaped(value));
    else if (name === "error" || name === "warning")
      annotations.push({ level: name, message: unescaped(value) });
    if (name !== "add-mask")
      shown.push(masks.reduce((text, mask) => text.replaceAll(mask, "***"), line));
  }
  return { log: shown.join("\n"), masks, annotations };
}

async function runScript(
  t: Ends,
  script: string,
  variables: Record<string, string>,
): Promise<Step> {
  const files = folder(t);
  const paths = Object.fromEntries(
    ["OUTPUT", "STATE", "ENV", "PATH", "STEP_SUMMARY"].map((name) => [name, join(files, name)]),
  );
  for (const path of Object.values(paths)) writeFileSync(path, "");
  const commands = Object.fromEntries(
    Object.entries(paths).map(([name, path]) => [`GITHUB_${name}`, path]),
  );
  mkdirSync(join(files, "workspace"));
  const child = spawn(process.execPath, [join(ACTION, script)], {
    cwd: join(files, "workspace"),
    env: { CI: "true", GITHUB_ACTIONS: "true", ...commands, ...variables },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [raw, errors] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    child.exitCode === null ? once(child, "exit") : [],
  ]);
  const [outputs, state, exported] = ["OUTPUT", "STATE", "ENV"].map((name) =>
    readCommands(paths[name] as string),
  );
  return {
    code: child.exitCode,
    ...readLog(raw + errors),
    raw: raw + errors,
    outputs,
    state,
    exported,
  } as Step;
}

/** A job of which the action is a step: `end` runs the post step. */
export async function runJob(
  t: Ends,
  inputs: Record<string, string>,
  variables: Record<string, string>,
) {
  const given = Object.entries(INPUTS).map(([name, { default: value }]) => [
    `INPUT_${name.toUpperCase()}`,
    inputs[name] ?? value ?? "",
  ]);
  const all = { ...variables, ...Object.fromEntries(given) };
  const step = await runScript(t, runs.main, all);
  const state = Object.fromEntries(
    Object.entries(step.state).map(([name, value]) => [`STATE_${name}`, value]),
  );
  return { ...step, end: () => runScript(t, runs.post, { ...all, ...state }) };
}

/** The version of Node.js with which runners run the action, such as 24. */
export const NODE = Number(runs.using.replace("node", ""));
