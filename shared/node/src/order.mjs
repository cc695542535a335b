// The order in which a run was given answers: those of the host, and those of recorded fetches. A replay gives them in the same
// order, or a race would be won by another branch than before.

export class Order {
  #given = 0;
  #records = [];
  #waiting = [];
  #resting = false;

  /** A run begins, with the recorded exchanges of its attempt, as they ended: `after` answers of the host came before. */
  start(records) {
    this.#given = 0;
    this.#records = records.map(({ id, after }) => ({ id, after }));
    this.#waiting = [];
  }

  /** How many answers of the host the run was given. */
  get given() {
    return this.#given;
  }

  /** How many answers wait for others that were given before them. */
  get held() {
    return this.#waiting.length;
  }

  /** Resolves when the next answer of the host may be given, and counts it. */
  answer() {
    return this.#turn(
      () => this.#records.length === 0 || this.#records[0].after > this.#given,
      () => {
        this.#given += 1;
      },
    );
  }

  /** Resolves when the answer of this recorded exchange may be given. */
  exchange(id) {
    return this.#turn(
      () => this.#records[0]?.id === id && this.#records[0].after <= this.#given,
      () => this.#records.shift(),
    );
  }

  #turn(ready, take) {
    return new Promise((resolve) => {
      this.#waiting.push({ ready, take, resolve });
      this.#next();
    });
  }

  #next() {
    if (this.#resting) return;
    const at = this.#waiting.findIndex(({ ready }) => ready());
    if (at < 0) return;
    const [{ take, resolve }] = this.#waiting.splice(at, 1);
    take();
    resolve();
    // What follows from this answer comes before what follows from the next one.
    this.#resting = true;
    setImmediate(() => {
      this.#resting = false;
      this.#next();
    });
  }
}
