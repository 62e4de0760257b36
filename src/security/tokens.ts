/**
 * Tokens: what an authenticated client shows instead of its password, on any node and until it expires.
 *
 *     token  := base64url(claims mac)
 *     claims := version:u8(1) generation:u48be expiresAtMs:u48be user:UTF-8
 *     mac    := HMAC-SHA256(secret, claims), 32 bytes
 *
 * Invariants: a token that this secret did not sign, or whose time has come, is none; comparing takes the same time whatever the difference. Whether the user is still
 * the one of that generation is for the service to ask.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Identity } from './identity.ts';

const VERSION = 1;
const NUMBER_BYTES = 6;
const HEADER_BYTES = 1 + 2 * NUMBER_BYTES;
const MAC_BYTES = 32;
/** Longer ones are no tokens. */
export const MAX_TOKEN_LENGTH = 1_024;

export function signToken(secret: Uint8Array, identity: Identity): string {
  const user = Buffer.from(identity.user);
  const claims = Buffer.alloc(HEADER_BYTES + user.length);
  claims[0] = VERSION;
  claims.writeUIntBE(identity.generation, 1, NUMBER_BYTES);
  claims.writeUIntBE(Math.floor(identity.expiresAtMs), 1 + NUMBER_BYTES, NUMBER_BYTES);
  claims.set(user, HEADER_BYTES);
  return Buffer.concat([claims, macOf(secret, claims)]).toString('base64url');
}

/** Who a token was given to; undefined when it is none, or was valid before `nowMs` only. */
export function readToken(secret: Uint8Array, token: string, nowMs: number): Identity | undefined {
  if (token.length > MAX_TOKEN_LENGTH) return undefined;
  const bytes = Buffer.from(token, 'base64url');
  if (bytes.length <= HEADER_BYTES + MAC_BYTES || bytes.toString('base64url') !== token) return undefined;
  const claims = bytes.subarray(0, -MAC_BYTES);
  if (!timingSafeEqual(macOf(secret, claims), bytes.subarray(-MAC_BYTES))) return undefined;
  const expiresAtMs = claims.readUIntBE(1 + NUMBER_BYTES, NUMBER_BYTES);
  if (claims[0] !== VERSION || expiresAtMs <= nowMs) return undefined;
  const generation = claims.readUIntBE(1, NUMBER_BYTES);
  return { user: claims.toString('utf8', HEADER_BYTES), generation, expiresAtMs };
}

function macOf(secret: Uint8Array, claims: Uint8Array): Buffer {
  return createHmac('sha256', secret).update(claims).digest();
}
