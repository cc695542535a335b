/**
 * Carries out a side effect once a run: its result is recorded, and later attempts and resumes get that instead of doing it
 * again. Should the process die after the side effect and before it is recorded, it is carried out again: give `stepKey(name)`
 * to whatever it calls. A name stands for one step of the run. A step cannot wait.
 *
 * @param name 1 to 256 characters
 * @param effect what is done; its result may be anything that a task may return, at most 3 MB
 */
export declare function step<T>(name: string, effect: () => T | Promise<T>): Promise<T>;

/**
 * A token that is the same on every attempt and resume of this run, and differs from any other: the idempotency key to give an
 * outside API in the step of this name. 64 hexadecimal characters.
 */
export declare function stepKey(name: string): string;

/** How often attempts of a queue start, of each `concurrencyKey` by itself where runs have one. */
export interface RateLimit {
  /** Attempts that start in a period: 1 to 100,000. */
  limit: number;
  /** The period, from `"1s"` to `"30d"`. */
  period: string;
  /** How many of them may start at once, where none has started for a while: 1 to `limit`. With 1, the default, they start evenly. */
  burst?: number;
}

/** What a queue is. */
export interface QueueOptions {
  /** 1 to 128 characters. */
  name: string;
  /** How many of its runs execute at a time: 0 to 100,000. */
  concurrencyLimit?: number;
  /** How often attempts of its runs start. */
  rateLimit?: RateLimit;
}

/**
 * The SDK's `queue`, with a `rateLimit`.
 *
 * @example
 * export const api = queue({ name: "slow-api", rateLimit: { limit: 10, period: "1m" } });
 * export const call = task({ id: "call", queue: api, run: async () => {} });
 */
export declare function queue<const Options extends QueueOptions>(options: Options): Options;
