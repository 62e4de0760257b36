/** How a call of gRPC ended: codes, the error that carries one, and how they stand in trailers. */

export const CODE = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type Code = (typeof CODE)[keyof typeof CODE];

/** The name of a code as gRPC for Go prints it: `InvalidArgument`. */
export function goNameOf(code: Code): string {
  const name = Object.entries(CODE).find(([, number]) => number === code)?.[0] ?? 'UNKNOWN';
  return name === 'OK'
    ? name
    : name.replace(/_?([A-Z])([A-Z]*)/g, (_all, first, rest) => first + rest.toLowerCase());
}

/** The text is what clients compare: it is part of the answer, not a hint. */
export class GrpcError extends Error {
  override readonly name = 'GrpcError';
  readonly code: Code;

  constructor(code: Code, message: string) {
    super(message);
    this.code = code;
  }
}

/** A frame of trailers must hold it. */
const MAX_MESSAGE_BYTES = 4_096;

/** grpc-message: UTF-8, with everything but printable ASCII percent-encoded, and the percent sign too. */
export function encodeMessage(message: string): string {
  let encoded = '';
  for (const byte of Buffer.from(message, 'utf8').subarray(0, MAX_MESSAGE_BYTES)) {
    if (byte >= 0x20 && byte <= 0x7e && byte !== 0x25) encoded += String.fromCharCode(byte);
    else encoded += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

/** Trailers of a call that failed; names and values in turn. */
export function errorTrailers(error: GrpcError): string[] {
  return ['grpc-status', String(error.code), 'grpc-message', encodeMessage(error.message)];
}

const TIMEOUT = /^(\d{1,8})([HMSmun])$/;
const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/** `grpc-timeout` in milliseconds, at least 1. @throws GrpcError for what is none */
export function timeoutMsOf(text: string): number {
  const match = TIMEOUT.exec(text);
  if (match === null) throw new GrpcError(CODE.INTERNAL, `malformed grpc-timeout: ${text}`);
  return Math.max(1, Math.ceil(Number(match[1]) * UNIT_MS[match[2]!]!));
}
