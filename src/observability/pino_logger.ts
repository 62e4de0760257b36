/** The node's log lines as JSON on standard error, by pino. */
import { destination, pino } from 'pino';
import type { NodeConfig } from '../config.ts';
import { KvError } from '../errors.ts';
import type { Facts, Logger } from './logger.ts';

/** `base` stands in every line: the node's id, for instance. */
export function pinoLogger(level: NodeConfig['logLevel'], base: Facts): Logger {
  const logger = pino(
    {
      level,
      base,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination(2),
  );
  return {
    debug: (message, facts) => logger.debug(plain(facts), message),
    info: (message, facts) => logger.info(plain(facts), message),
    warn: (message, facts) => logger.warn(plain(facts), message),
    error: (message, facts) => logger.error(plain(facts), message),
  };
}

/** Errors become objects that say their code; everything else stays. */
function plain(facts: Facts = {}): Facts {
  const out: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(facts)) {
    if (value instanceof KvError)
      out[name] = { code: value.code, message: value.message, details: value.details };
    else if (value instanceof Error) out[name] = { message: value.message, stack: value.stack };
    else out[name] = value;
  }
  return out;
}
