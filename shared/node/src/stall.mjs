// Tells the host when a replayed run cannot go on by itself: nothing keeps it alive but what waits for calls that it made before
// and does not make now.

const LOOK_MS = 100;
/** As often it must look the same: a timer that does not keep the loop alive cannot be seen. */
const LOOKS = 5;

export function watchForStall({ say, api, waits, recorder, order, loop, run }) {
  let before;
  let looks = 0;
  let said;
  setInterval(() => {
    const calls = api.parked;
    const fetches = recorder.parked;
    // An answer that waits for others: who waits for it is a call, a recorded fetch, or a wait.
    const held = order.held;
    const stand = calls.length + fetches.length + held.length - waits.held;
    const isStill = api.open.length + recorder.open === stand && stand + waits.open.length > 0 && loop.busy() === 0;
    const now = run() && isStill ? JSON.stringify([run().id, calls, fetches, recorder.unmade, held, waits.open, order.all]) : undefined;
    looks = now !== undefined && now === before ? looks + 1 : 0;
    before = now;
    if (now === undefined || looks < LOOKS || now === said) return;
    said = now;
    say({ type: "stalled", calls, fetches, unmade: recorder.unmade, held, waits: waits.open });
  }, LOOK_MS).unref();
}
