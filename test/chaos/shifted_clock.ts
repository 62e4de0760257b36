/**
 * Loaded into a server before its own code (`node --import`): shifts the wall clock that the process sees.
 *
 * A real clock can't be set for one process alone (time namespaces shift the monotonic clocks only), but all JavaScript reads the wall clock through Date: it is
 * shifted there, by as many milliseconds as stand in the file that KVORUM_CHAOS_CLOCK names. The monotonic clock and timers go on as they are, as they do when an
 * administrator sets the clock.
 */
import { readFileSync } from 'node:fs';

const POLL_MS = 25;
const file = process.env['KVORUM_CHAOS_CLOCK'];

if (file !== undefined) {
  const RealDate = Date;
  const realNow = Date.now;
  let offsetMs = 0;
  const poll = (): void => {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      // Being written anew: the last offset stays.
      return;
    }
    const read = Number(text);
    if (text !== '' && Number.isFinite(read)) offsetMs = read;
  };
  poll();
  setInterval(poll, POLL_MS).unref();
  const now = (): number => realNow() + offsetMs;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
    get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
  });
}
