import { stat } from "node:fs/promises";
import { StorageFailed } from "./errors.js";

/** What group and others may do that lets them replace a session. */
const WRITABLE_BY_OTHERS = 0o022;

/**
 * Checks that only this user can change a file or folder. Another user could put a session of
 * another issuer there, or keep its lock.
 *
 * @throws {StorageFailed} Another user can change it.
 */
export async function checkOwner(path: string): Promise<void> {
  const user = process.getuid?.();
  // Windows: the folder of the user has an access control list.
  if (user === undefined) return;
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return;
  if (found.uid !== user)
    throw new StorageFailed(
      `${path} belongs to another user. Use a folder of your own, or take it over: chown ${user} '${path}'.`,
    );
  if ((found.mode & WRITABLE_BY_OTHERS) !== 0)
    throw new StorageFailed(`${path} can be changed by other users. Run chmod go-w '${path}'.`);
}
