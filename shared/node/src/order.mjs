// The order in which a run was given answers: those of the host, and those of recorded fetches. A replay gives them in the same
// order, and none before everything was asked for that was asked for before it, or a race would be won by another branch.

/** Until an answer's consequences stand, in milliseconds, the next one waits at most: what always works has no end. */
const LONGEST_REST_MS = 1000;
/** For so many turns of the loop nothing must follow. */
const QUIET_TURNS = 2;

export class Order {
  #given = 0;
  #all = 0;
  #records = [];
  #unasked = new Map();
  #waiting = [];
  #resting = false;
  #rests = false;
  #quiet = 0;
  #until = 0;

  /** `follows()` counts the work that may follow from an answer by the thread pool and files, and `later(look)` looks for it again. */
  constructor({ follows = () => 0, later = (look) => setTimeout(look, 1).unref() } = {}) {
    Object.assign(this, { follows, later });
  }

  /**
   * A run begins, with the recorded exchanges of its attempt, as they ended: `after` answers of the host came before. They were
   * asked for when the run had had `asked` answers of either kind; old ones do not tell. A run that `rests` gets an answer when
   * what followed from the one before stands.
   */
  start(records, { rests = false } = {}) {
    this.#given = 0;
    this.#all = 0;
    this.#records = records.map(({ id, after }) => ({ id, after }));
    this.#unasked = new Map(records.map(({ id, asked = Infinity }) => [id, asked]));
    this.#waiting = [];
    this.#rests = rests;
    this.#rest();
  }

  /** How many answers of the host the run was given. */
  get given() {
    return this.#given;
  }

  /** How many answers it was given, with those of recorded fetches. */
  get all() {
    return this.#all;
  }

  /** Whose answers wait for others that were given before them. */
  get held() {
    return this.#waiting.map(({ what }) => what);
  }

  /** Resolves when the next answer of the host may be given, to `what`, and counts it. */
  answer(what) {
    return this.#turn(
      what,
      () => this.#isAsked() && (this.#records.length === 0 || this.#records[0].after > this.#given),
      () => {
        this.#given += 1;
      },
    );
  }

  /** A recorded exchange was asked for again. Resolves when its answer may be given. */
  exchange(id, what) {
    this.#unasked.delete(id);
    return this.#turn(
      what,
      () => this.#isAsked() && this.#records[0]?.id === id && this.#records[0].after <= this.#given,
      () => this.#records.shift(),
    );
  }

  /** Resolves when the answer of a fetch that is new may be given. */
  fetched(what) {
    return this.#turn(what, () => this.#records.length === 0, () => {});
  }

  /** Whether everything was asked for again that was asked for before the answer that comes next. */
  #isAsked() {
    return [...this.#unasked.values()].every((asked) => asked > this.#all);
  }

  #turn(what, ready, take) {
    return new Promise((resolve) => {
      this.#waiting.push({ what, ready, take, resolve });
      this.#next();
    });
  }

  #next() {
    if (this.#resting) return;
    const at = this.#waiting.findIndex(({ ready }) => ready());
    if (at < 0) return;
    const [{ take, resolve }] = this.#waiting.splice(at, 1);
    take();
    this.#all += 1;
    resolve();
    this.#rest();
  }

  /** What follows from this answer comes before what follows from the next one. */
  #rest() {
    this.#quiet = 0;
    this.#until = Date.now() + LONGEST_REST_MS;
    if (this.#resting) return;
    this.#resting = true;
    const look = () => {
      const follows = this.#rests && this.follows() > 0 && Date.now() < this.#until;
      this.#quiet = follows ? 0 : this.#quiet + 1;
      if (follows) return void this.later(look);
      if (this.#rests && this.#quiet < QUIET_TURNS) return void setImmediate(look);
      this.#resting = false;
      this.#next();
    };
    setImmediate(look);
  }
}
