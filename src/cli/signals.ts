/** What ends a command from outside: Ctrl-C, a polite kill, a terminal that goes away. */
import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export type EndSignal = (typeof SIGNALS)[number];

/** Calls `run` at every such signal, which then does not end the process, until the answer is called. */
export function onSignals(run: (signal: EndSignal) => void): () => void {
  for (const signal of SIGNALS) process.on(signal, run);
  return () => {
    for (const signal of SIGNALS) process.off(signal, run);
  };
}

/** The exit status of whoever was ended by a signal, as shells have it. */
export function statusOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}
