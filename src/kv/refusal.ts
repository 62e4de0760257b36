/** Why a command is not carried out: the same on every node. */
import type { ErrorCode } from '../errors.ts';

export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
}
