// A replay must not say twice what was said before the run was suspended.

export class Quiet {
  #silent = () => false;

  constructor() {
    for (const stream of [process.stdout, process.stderr]) {
      const write = stream.write;
      stream.write = (chunk, encoding, done) => {
        if (!this.silent) return write.call(stream, chunk, encoding, done);
        const called = typeof encoding === "function" ? encoding : done;
        if (called) process.nextTick(called);
        return true;
      };
    }
  }

  /** Whether the standard streams are silenced. */
  get silent() {
    return this.#silent();
  }

  /** A run begins that was suspended. `behind()` tells whether something recorded is still to be asked for again. */
  replay(behind) {
    let host = true;
    this.live = () => {
      host = false;
    };
    this.#silent = () => host || behind();
  }

  /** The host has nothing left that it gave before. */
  live() {}

  /** No replay is under way. */
  stop() {
    this.#silent = () => false;
  }
}
