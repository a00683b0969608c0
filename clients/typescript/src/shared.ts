/**
 * Runs one task at a time for each name. Those who ask while it runs get its outcome, also a
 * failure.
 */
export class Shared<T> {
  readonly #running = new Map<string, Promise<T>>();

  /** Returns the outcome of the task that runs, if it is `wanted`; else that of `task`. */
  async run(name: string, wanted: (value: T) => boolean, task: () => Promise<T>): Promise<T> {
    for (let running = this.#running.get(name); running; running = this.#running.get(name)) {
      const value = await running;
      if (wanted(value)) return value;
    }
    const own = task().finally(() => this.#running.delete(name));
    this.#running.set(name, own);
    return own;
  }
}

/**
 * How long something that was fetched is used, and for how long a failure is repeated from memory.
 * In milliseconds.
 */
export interface Ages {
  value: number;
  failure: number;
}

/** Something that is fetched when it is needed, and then used for a while. */
export class Cached<T> {
  #value: { value: T; at: number } | undefined;
  #failure: { error: unknown; at: number } | undefined;
  readonly #fetching = new Shared<T>();

  constructor(
    private readonly elapsed: () => number,
    private readonly ages: Ages,
  ) {}

  /**
   * Returns what is cached, if it is not older than `age`; else what `fetch` returns, to all who
   * ask meanwhile.
   */
  async get(fetch: () => Promise<T>, age = this.ages.value): Promise<T> {
    const now = this.elapsed();
    if (this.#value && now - this.#value.at < age) return this.#value.value;
    if (this.#failure && now - this.#failure.at < this.ages.failure) throw this.#failure.error;
    return this.#fetching.run(
      "",
      () => true,
      () => this.#fetched(fetch),
    );
  }

  async #fetched(fetch: () => Promise<T>): Promise<T> {
    const at = this.elapsed();
    try {
      const value = await fetch();
      this.#value = { value, at };
      this.#failure = undefined;
      return value;
    } catch (error) {
      this.#failure = { error, at: this.elapsed() };
      throw error;
    }
  }
}
