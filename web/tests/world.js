// What a link stands on in its tests: a clock that a test moves on, with its timers, and streams that say what a test wants.

/** Lets everything go on that only waits for a promise. */
export const settle = async () => { for (let n = 0; n < 12; n += 1) await Promise.resolve(); };

/** A browser with its own clock. @param {number} now ms @param {(url: string) => Promise<{status: number, body: any}>} get */
export function world(now, get) {
  const w = {
    now, timers: [], wires: [],
    /** The stream that was opened last. */
    get wire() { return w.wires[w.wires.length - 1]; },
    open: () => w.wires.filter((one) => !one.closed),
    /** Moves the clock: timers fire in order, a promise's answer is taken in between. */
    async go(ms) {
      const end = w.now + ms;
      for (;;) {
        await settle();
        const due = w.timers.filter((one) => one.at <= end).sort((a, b) => a.at - b.at)[0];
        if (!due) break;
        w.timers.splice(w.timers.indexOf(due), 1);
        w.now = due.at;
        due.run();
      }
      w.now = end;
      await settle();
    },
    ground: {
      now: () => w.now,
      random: () => 0.5,
      later: (run, ms) => { const one = { run, at: w.now + ms }; w.timers.push(one); return one; },
      cancel: (one) => { w.timers = w.timers.filter((other) => other !== one); },
      open(url) {
        const hears = new Map();
        const wire = {
          url, closed: false,
          on: (name, hear) => hears.set(name, hear), onError: (fail) => { wire.fail = fail; }, close: () => { wire.closed = true; },
          say: (name, said, id = "") => hears.get(name)({ data: typeof said === "string" ? said : JSON.stringify(said), lastEventId: id }),
        };
        w.wires.push(wire);
        return wire;
      },
      get,
    },
  };
  return w;
}
