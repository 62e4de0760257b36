/** HOST:PORT as configuration and members write it; an IPv6 host stands in brackets. */
import { KvError } from '../src/errors.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

const PATTERN = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/;

/** @throws KvError INVALID_ARGUMENT */
export function parseAddress(address: string): HostPort {
  const match = PATTERN.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) {
    throw new KvError('INVALID_ARGUMENT', `the address is ${JSON.stringify(address)}, allowed: HOST:PORT`);
  }
  return { host: match[1] ?? match[2]!, port };
}

export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
