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
