// One of the processes that share a session: worker.js HOME COUNT. Renews again and again, and
// prints the digest of each token that it gets. With WITHOUT_LOCK it does not take the lock.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { Session } from "../src/index.js";

if (process.env["WITHOUT_LOCK"])
  createRequire(import.meta.url)("fs-native-extensions").tryLock = () => true;
const [home = "", count = "1"] = process.argv.slice(2);
const session = await Session.open({ runtime: { env: { POSTERN_HOME: home } } });
let refused: string | undefined;
for (let done = 0; done < Number(count); done += 1) {
  try {
    const token = await session.accessToken({ ...(refused !== undefined && { refused }) });
    refused = token.value;
    process.stdout.write(
      `${createHash("sha256").update(token.value).digest("hex").slice(0, 16)}\n`,
    );
  } catch (error) {
    process.stdout.write(`error ${(error as { code?: string }).code ?? String(error)}\n`);
    if ((error as { code?: string }).code !== "server_unavailable") process.exit(1);
    done -= 1;
  }
}
