// A worker of shared_session.py in JavaScript: worker.mjs RENEWALS LOGFILE. POSTERN_CLIENT_JS names the built package, dist/index.js.
import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const built = process.env.POSTERN_CLIENT_JS;
const { Session } = await import(pathToFileURL(built));
if (process.env.WORKER_WITHOUT_LOCK) createRequire(built)("fs-native-extensions").tryLock = () => true;

const [renewals, log] = process.argv.slice(2);
const session = await Session.open();
for (let done = 0; done < Number(renewals); done += 1) {
  const refused = (await session.accessToken()).value;
  let token;
  while (token === undefined) {
    try {
      token = await session.accessToken({ refused });
    } catch (error) {
      if (error.code !== "server_unavailable") throw error;
    }
  }
  appendFileSync(log, `${createHash("sha256").update(token.value).digest("hex")}\n`);
}
