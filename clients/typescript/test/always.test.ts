// A process that uses its session all the time. The tokens live for 30 seconds, the least that the
// server can be set to.
import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Session } from "../src/index.js";
import { folder, startDeployment } from "./harness.js";

test(
  "a process that calls an API all the time never sees a 401",
  { timeout: 200_000 },
  async (t) => {
    const lifetime = 30;
    const seconds = process.env["POSTERN_CLIENT_FULL"] ? 150 : 34;
    const own = await startDeployment({ after: (end) => t.after(end) }, [
      "--access-token",
      String(lifetime),
    ]);
    const home = folder({ after: (end) => t.after(end) });
    await own.order({ reset: true, session: { home } });
    const session = await Session.open({ runtime: { env: { POSTERN_HOME: home } } });
    const statuses: Record<number, number> = {};
    const calls: Promise<void>[] = [];
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await pause(20)) {
      calls.push(
        session.fetch(`${own.upstream}/v1/auth/whoami`).then(({ status }) => {
          statuses[status] = (statuses[status] ?? 0) + 1;
        }),
      );
    }
    await Promise.all(calls);
    const { counts } = await own.state();
    t.diagnostic(
      `${JSON.stringify(statuses)}, ${counts["refresh_token"]} refreshes in ${seconds} s of tokens that live ${lifetime} s`,
    );
    assert.deepEqual(Object.keys(statuses), ["200"]);
    // A token is renewed after four fifths of its life.
    const expected = Math.floor(seconds / (lifetime * 0.8));
    const refreshes = counts["refresh_token"] ?? 0;
    assert.ok(refreshes === expected || refreshes === expected + 1, `${refreshes} refreshes`);
  },
);
