/**
 * Which nodes the command line talks to: `--endpoints`, else the environment's KVORUM_ENDPOINTS, else where `kvorum local` puts its nodes.
 */
import { type AdminClient, connectAdmin } from '../client/admin.ts';
import type { Store } from '../client/store_types.ts';
import { connect } from '../connect.ts';
import { KvError } from '../errors.ts';
import { realPorts } from '../real_ports.ts';

/** Clients' port of the first local node; its peers' port is one higher; the next node's are PORT_STEP higher. */
export const FIRST_PORT = 7400;
export const PORT_STEP = 10;
const DEFAULT_ENDPOINTS = [0, 1, 2].map((i) => `127.0.0.1:${FIRST_PORT + i * PORT_STEP}`);

export interface GlobalOptions {
  readonly endpoints?: string;
  readonly json?: boolean;
  readonly timeout?: string;
  readonly user?: string;
}

export function endpointsOf(options: GlobalOptions): string[] {
  const given = options.endpoints ?? process.env['KVORUM_ENDPOINTS'];
  if (given === undefined) return DEFAULT_ENDPOINTS;
  const endpoints = given.split(',').map((endpoint) => endpoint.trim());
  for (const endpoint of endpoints) {
    if (!/^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):\d{1,5}$/.test(endpoint)) {
      throw new KvError('INVALID_ARGUMENT', `endpoint ${JSON.stringify(endpoint)} is not HOST:PORT`);
    }
  }
  return endpoints;
}

export function timeoutOf(options: GlobalOptions): number | undefined {
  if (options.timeout === undefined) return undefined;
  return positiveInteger('--timeout', options.timeout);
}

/** Who to be: the password stands best in the environment, where others on the machine do not see it. @throws KvError INVALID_ARGUMENT */
export function userOf(options: GlobalOptions): { user?: string; password?: string } {
  const given = options.user ?? process.env['KVORUM_USER'];
  if (given === undefined) return {};
  const colon = given.indexOf(':');
  const password = colon === -1 ? process.env['KVORUM_PASSWORD'] : given.slice(colon + 1);
  if (password === undefined)
    throw new KvError(
      'INVALID_ARGUMENT',
      'a user needs a password: KVORUM_PASSWORD, or --user name:password',
    );
  return { user: colon === -1 ? given : given.slice(0, colon), password };
}

/** @throws KvError INVALID_ARGUMENT naming the option, what was given and what is allowed. */
export function positiveInteger(name: string, text: string, least = 1): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least && text.trim() !== '') return value;
  throw new KvError(
    'INVALID_ARGUMENT',
    `${name} is ${JSON.stringify(text)}, allowed: a whole number from ${least}`,
  );
}

export async function withStore<T>(options: GlobalOptions, use: (store: Store) => Promise<T>): Promise<T> {
  const store = await connect({
    endpoints: endpointsOf(options),
    timeoutMs: timeoutOf(options),
    ...userOf(options),
  });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

export async function withAdmin<T>(
  options: GlobalOptions,
  use: (admin: AdminClient) => Promise<T>,
): Promise<T> {
  const admin = connectAdmin({
    endpoints: endpointsOf(options),
    timeoutMs: timeoutOf(options),
    ports: realPorts(),
    ...userOf(options),
  });
  try {
    return await use(admin);
  } finally {
    await admin.close();
  }
}
