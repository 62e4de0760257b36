/**
 * Commands with who asks for them: how a node makes them of a client's command, and what it checks of those that other nodes pass on.
 *
 * Invariant: clients send neither these nor changes of users and rights; nodes make both.
 */
import { type AuthChange, MAX_NAME_BYTES } from '../kv/auth_types.ts';
import type { Command, PlainCommand } from '../kv/command.ts';
import {
  type ClientCommandLimits,
  COMMAND_VERSION,
  checkBound,
  checkClientCommand,
  checkEnd,
  KIND_AS_USER,
} from './command_codec.ts';
import { ByteWriter } from './varint.ts';

/** What wrapping a command with a user adds besides the user's name, at most. */
const AS_USER_BYTES = 24;

/** A command that clients may send, too, as the cluster's own. */
export function asCluster(command: PlainCommand): Command {
  return { type: 'asUser', user: '', generation: 0, command };
}

/** The bytes of a command with who asks for it, around the bytes of the command itself: nothing of it is encoded again. */
export function encodeAsUser(user: string, generation: number, command: Uint8Array): Uint8Array {
  const writer = new ByteWriter(command.length + AS_USER_BYTES + user.length);
  writer.u8(COMMAND_VERSION).u8(KIND_AS_USER).string(user).varint(generation).raw(command);
  return writer.finish();
}

/** As checkClientCommand, of what another node passes on: its client's command, with who asks for it. */
export function checkForwardedCommand(command: Command, limits: ClientCommandLimits, sizeBytes = 0): void {
  let inner = command;
  let innerBytes = sizeBytes;
  if (command.type === 'asUser') {
    inner = command.command;
    innerBytes = Math.max(0, sizeBytes - AS_USER_BYTES - MAX_NAME_BYTES);
  }
  if (inner.type === 'authChange') checkAuthChange(inner.change, limits);
  else checkClientCommand(inner, limits, innerBytes);
}

/** @throws KvError INVALID_ARGUMENT, KEY_TOO_LARGE */
export function checkAuthChange(change: AuthChange, limits: Pick<ClientCommandLimits, 'maxKeyBytes'>): void {
  const keys = change.type === 'roleGrant' ? change.grant : change.type === 'roleRevoke' ? change : undefined;
  if (keys === undefined) return;
  checkBound(keys.key, limits);
  if (keys.end !== undefined) checkEnd(keys.end, limits);
}
