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
    throw new StorageFailed(
      `Files cannot be locked on this system (${reason(error)}). Use a session without a file, such as client credentials.`,
    );
  }
}

async function openLock(path: string): Promise<FileHandle> {
  try {
    return await open(path, "a+", 0o600);
  } catch (error) {
    throw new StorageFailed(
      `The lock file ${path} cannot be opened: ${reason(error)}. Make its folder writable.`,
    );
  }
}

/**
 * Takes the lock, if nobody has it: a record lock of the open file on Linux, `flock` on macOS,
 * `LockFileEx` on Windows. All three exclude other files that this process has opened, too.
 */
function take(tryLock: (fd: number) => boolean, fd: number, path: string): boolean {
  try {
    return tryLock(fd);
  } catch (error) {
    // On Windows, another process has it.
    if (["EBUSY", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw new StorageFailed(
      `The file ${path} cannot be locked: ${reason(error)}. Keep the folder on a local file system.`,
    );
  }
}

/** Waits for the lock, by a clock that nobody sets. */
async function acquire(runtime: Runtime, path: string, file: FileHandle): Promise<void> {
  const { tryLock } = await library();
  const end = runtime.elapsed() + LOCK_WAIT;
  const [least, most] = LOCK_POLL;
  while (!take(tryLock, file.fd, path)) {
    if (runtime.elapsed() >= end)
      throw new LockTimeout(
        `${path} has been locked by another program for ${LOCK_WAIT / 1000} s. End it, and try again.`,
      );
    await runtime.sleep(least + (most - least) * runtime.random());
  }
}

/**
 * Runs `task` while nobody else has the lock file. The kernel frees it when a process ends, however
 * it does.
 *
 * @throws {LockTimeout} Somebody else has it for too long.
 * @throws {StorageFailed} The lock file cannot be opened or locked.
 */
export async function withLock<T>(
  runtime: Runtime,
  path: string,
  task: () => Promise<T>,
): Promise<T> {
  const file = await openLock(path);
  try {
    await acquire(runtime, path, file);
    return await task();
  } finally {
    await file.close();
  }
}
