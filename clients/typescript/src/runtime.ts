import { setTimeout as wait } from "node:timers/promises";
import { Cancelled } from "./errors.js";

/** What tests replace: clocks, waiting, randomness, the environment and the network. */
export interface Runtime {
  /**
   * The time in milliseconds since 1970, which can be set back. Only what other programs read
   * depends on it.
   */
  now(): number;
  /**
   * Milliseconds since some moment, by a clock that nobody sets. Durations are measured with it.
   */
  elapsed(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Returns a signal that is aborted after a time. */
  timeout(ms: number): AbortSignal;
  /** A number from 0 to 1. */
  random(): number;
  env: Record<string, string | undefined>;
  fetch(url: string, init: RequestInit): Promise<Response>;
}

const SYSTEM: Runtime = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  sleep: async (ms, signal) => {
    await wait(ms, undefined, { ...(signal && { signal }) }).catch(() => {
      throw cancelled();
    });
  },
  timeout: (ms) => AbortSignal.timeout(ms),
  random: () => Math.random(),
  env: process.env,
  fetch: (url, init) => fetch(url, init),
};

export const runtimeWith = (changes: Partial<Runtime> = {}): Runtime => ({ ...SYSTEM, ...changes });

export const cancelled = () => new Cancelled("The login was cancelled. Nothing was stored.");

/** Runs `task` with a signal that is aborted as soon as one of `signals` is. */
export async function withSignals<T>(
  signals: readonly AbortSignal[],
  task: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const abort = (event: Event) => controller.abort((event.target as AbortSignal).reason);
  for (const signal of signals) {
    if (signal.aborted) controller.abort(signal.reason);
    signal.addEventListener("abort", abort);
  }
  try {
    return await task(controller.signal);
  } finally {
    for (const signal of signals) signal.removeEventListener("abort", abort);
  }
}
