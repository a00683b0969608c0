// Processes that share one session, of which some are killed while responses are lost.
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { Session } from "../src/index.js";
import { folder, startDeployment } from "./harness.js";

const [PROCESSES, RENEWALS] = process.env["POSTERN_CLIENT_FULL"] ? [8, 200] : [4, 15];

test(
  `${PROCESSES} processes × ${RENEWALS} renewals, killed and with lost responses`,
  { timeout: 600_000 },
  async (t) => {
    const deployment = await startDeployment({ after: (end) => t.after(end) });
    const home = folder({ after: (end) => t.after(end) });
    await deployment.order({ reset: true, session: { home } });
    const file = join(home, "sessions", "default.json");
    await deployment.order({
      faults: [{ grant: "refresh_token", fault: "lose", probability: 0.1, times: null }],
    });

    const seen = new Set<string>();
    const errors: string[] = [];
    const running = new Set<ChildProcess>();
    let kills = 0;
    /** Runs workers one after the other until `RENEWALS` renewals are done. */
    const worker = async () => {
      for (let left = RENEWALS; left > 0;) {
        const child = spawn(
          process.execPath,
          [join(import.meta.dirname, "worker.js"), home, String(left)],
          { stdio: ["ignore", "pipe", "inherit"] },
        );
        running.add(child);
        createInterface(child.stdout).on("line", (line) => {
          if (line.startsWith("error")) return void errors.push(line);
          seen.add(line);
          left -= 1;
          return undefined;
        });
        await once(child, "close");
        running.delete(child);
        if (child.exitCode !== null && child.exitCode !== 0) return;
      }
    };
    let isDone = false;
    /**
     * Kills after renewals only: a machine that is too slow to renew within the grace period ends
     * the session.
     */
    const killer = async () => {
      for (let renewed = 0; !isDone;) {
        await pause(100 + Math.random() * 400);
        const victims = [...running];
        const victim = victims[Math.floor(Math.random() * victims.length)];
        if (seen.size === renewed || !victim?.kill("SIGKILL")) continue;
        renewed = seen.size;
        kills += 1;
      }
    };
    const reader = async () => {
      while (!isDone) {
        assert.equal(JSON.parse(readFileSync(file, "utf8")).version, 1);
        await pause(1);
      }
    };
    const others = Promise.all([killer(), reader()]);
    await Promise.all(Array.from({ length: PROCESSES }, worker));
    isDone = true;
    await others;

    assert.deepEqual(
      errors.filter((line) => line !== "error server_unavailable"),
      [],
    );
    const { counts, events, requests } = await deployment.state();
    const refreshes = counts["refresh_token"] ?? 0;
    assert.equal(events["refresh_reused"] ?? 0, 0);
    const session = await Session.open({ runtime: { env: { POSTERN_HOME: home } } });
    const last = await session.accessToken();
    assert.notEqual((await session.accessToken({ refused: last.value })).value, last.value);
    const rotations = new Set(
      requests
        .filter(({ grant }) => grant === "refresh_token")
        .map((request) => request.refresh_token),
    ).size;
    t.diagnostic(
      `${rotations} rotations by ${refreshes} requests for ${seen.size} tokens; ${kills} kills; ${errors.length} outages`,
    );
    assert.ok(seen.size > RENEWALS / 2);
    // The first token was not renewed by a worker. A killed worker can have stored a token that it
    // did not print.
    assert.ok(
      rotations >= seen.size - 1 && rotations <= seen.size + kills,
      `${rotations} rotations, ${seen.size} tokens, ${kills} kills`,
    );
  },
);

test("without the lock, processes end the session", { timeout: 60_000 }, async (t) => {
  const deployment = await startDeployment({ after: (end) => t.after(end) }, [
    "--refresh-grace",
    "0",
  ]);
  const home = folder({ after: (end) => t.after(end) });
  await deployment.order({ reset: true, session: { home } });
  const lines: string[] = [];
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      const env = { ...process.env, WITHOUT_LOCK: "1" };
      const child = spawn(process.execPath, [join(import.meta.dirname, "worker.js"), home, "50"], {
        stdio: ["ignore", "pipe", "inherit"],
        env,
      });
      createInterface(child.stdout).on("line", (line) => lines.push(line));
      await once(child, "close");
    }),
  );
  assert.ok(lines.includes("error login_required"), lines.join(" "));
  assert.ok(((await deployment.state()).events["refresh_reused"] ?? 0) > 0);
});
