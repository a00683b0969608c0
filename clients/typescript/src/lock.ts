import { open, type FileHandle } from "node:fs/promises";
import { LOCK_POLL, LOCK_WAIT } from "./defaults.js";
import { LockTimeout, StorageFailed } from "./errors.js";
import { reason } from "./reason.js";
import type { Runtime } from "./runtime.js";

/** Loaded when it is needed, so that sessions without a file work where it has no binary. */
async function library(): Promise<typeof import("fs-native-extensions")> {
  try {
    return await import("fs-native-extensions");
  } catch (error) {
    throw new StorageFailed(`Files cannot be locked on this system (${reason(error)}). Use a session without a file, such as client credentials.`);
  }
}

const busy = new Map<string, Promise<void>>();

/** Runs `task` while no other task of this process has the same name. */
export async function exclusively<T>(name: string, task: () => Promise<T>): Promise<T> {
  const before = busy.get(name) ?? Promise.resolve();
  let done = () => {};
  const mine = before.then(() => new Promise<void>((resolve) => { done = resolve; }));
  busy.set(name, mine);
  await before;
  try {
    return await task();
  } finally {
    done();
    if (busy.get(name) === mine) busy.delete(name);
  }
}

async function openLock(path: string): Promise<FileHandle> {
  try {
    return await open(path, "a+", 0o600);
  } catch (error) {
    throw new StorageFailed(`The lock file ${path} cannot be opened: ${reason(error)}. Make its folder writable.`);
  }
}

/** Reports whether the lock was taken: a record lock of the open file on Linux, `flock` on macOS, `LockFileEx` on Windows. */
function take(tryLock: (fd: number) => boolean, fd: number, path: string): boolean {
  try {
    return tryLock(fd);
  } catch (error) {
    // How Windows says that another process has it
    if (["EBUSY", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw new StorageFailed(`The file ${path} cannot be locked: ${reason(error)}. Keep the folder on a local file system.`);
  }
}

/**
 * Runs `task` while this process has the lock file. The kernel frees it when a process ends, however it does.
 *
 * @throws {LockTimeout} Another process has it for too long.
 * @throws {StorageFailed} The lock file cannot be opened or locked.
 */
export function withLock<T>(runtime: Runtime, path: string, task: () => Promise<T>): Promise<T> {
  return exclusively(path, async () => {
    const { tryLock } = await library();
    const file = await openLock(path);
    try {
      const end = runtime.now() + LOCK_WAIT;
      while (!take(tryLock, file.fd, path)) {
        if (runtime.now() >= end) throw new LockTimeout(`Another process has locked ${path} for ${LOCK_WAIT / 1000} s. End it, and try again.`);
        const [least, most] = LOCK_POLL;
        await runtime.sleep(least + (most - least) * runtime.random());
      }
      return await task();
    } finally {
      await file.close();
    }
  });
}
