import { setTimeout as wait } from "node:timers/promises";
import { Cancelled } from "./errors.js";

/** What tests replace: the clock, waiting, randomness, the environment and the network. */
export interface Runtime {
  /** The time in milliseconds. */
  now(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** A number from 0 to 1. */
  random(): number;
  env: Record<string, string | undefined>;
  fetch(url: string, init: RequestInit): Promise<Response>;
}

const SYSTEM: Runtime = {
  now: () => Date.now(),
  sleep: async (ms, signal) => {
    await wait(ms, undefined, { ...(signal && { signal }) }).catch(() => {
      throw cancelled();
    });
  },
  random: () => Math.random(),
  env: process.env,
  fetch: (url, init) => fetch(url, init),
};

export const runtimeWith = (changes: Partial<Runtime> = {}): Runtime => ({ ...SYSTEM, ...changes });

export const cancelled = () => new Cancelled("The login was cancelled. Nothing was stored.");
