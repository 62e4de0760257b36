/**
 * The Huffman code of HPACK (RFC 7541, appendix B), decoding only: what this server writes is never Huffman-coded.
 *
 * The code is canonical, so the lengths of its codes define it: codes of one length follow each other in the order of their symbols. The decoder is a machine that
 * takes four bits at a time; as no code is shorter than five bits, a step gives at most one symbol.
 *
 * Invariants: bits left over at the end are fewer than eight and all ones; the end-of-string symbol inside a string is an error.
 */
import { Http2Error, REASON } from '../http2_error.ts';

const END_OF_STRING = 256;

// biome-ignore format: sixteen a row, as the appendix has them
const CODE_LENGTHS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];
const LONGEST_CODE = 30;

/** Steps: (state * 16 + nibble) -> next state, and the symbol given on the way (NO_SYMBOL for none). */
interface Machine {
  readonly next: Uint16Array;
  readonly symbol: Int16Array;
  /** Whether a string may end in a state: less than eight bits into a code, all of them ones. */
  readonly mayEnd: Uint8Array;
}

const NO_SYMBOL = -1;
const FAILED = 0xffff;
const machine = buildMachine();

/** The code tree: per inner node two children, as inner node numbers from 1, or leaves as -(symbol + 1). */
function buildTree(): number[] {
  const tree = [0, 0];
  let code = 0;
  for (let length = 1; length <= LONGEST_CODE; length++) {
    for (let symbol = 0; symbol <= END_OF_STRING; symbol++) {
      if (CODE_LENGTHS[symbol] !== length) continue;
      let node = 0;
      for (let bit = length - 1; bit > 0; bit--) {
        const slot = node * 2 + ((code >>> bit) & 1);
        if (tree[slot] === 0) {
          tree[slot] = tree.length / 2;
          tree.push(0, 0);
        }
        node = tree[slot]!;
      }
      tree[node * 2 + (code & 1)] = -(symbol + 1);
      code++;
    }
    code *= 2;
  }
  return tree;
}

function buildMachine(): Machine {
  const tree = buildTree();
  const states = tree.length / 2;
  const next = new Uint16Array(states * 16);
  const symbol = new Int16Array(states * 16).fill(NO_SYMBOL);
  const mayEnd = new Uint8Array(states);
  for (let state = 0; state < states; state++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      const step = state * 16 + nibble;
      let node = state;
      for (let bit = 3; bit >= 0 && node !== FAILED; bit--) {
        const child = tree[node * 2 + ((nibble >>> bit) & 1)]!;
        if (child >= 0) node = child;
        else if (child === -(END_OF_STRING + 1)) node = FAILED;
        else {
          symbol[step] = -child - 1;
          node = 0;
        }
      }
      next[step] = node;
    }
  }
  // Padding: the first bits of the end-of-string symbol, which are ones.
  for (let node = 0, bits = 0; bits < 8; bits++) {
    mayEnd[node] = 1;
    node = tree[node * 2 + 1]!;
  }
  return { next, symbol, mayEnd };
}

/** No code is shorter than five bits. */
export function decodedBytesAtMost(encodedBytes: number): number {
  return Math.floor((encodedBytes * 8) / 5);
}

/**
 * Decodes bytes[start, end) into `target` from its beginning; gives the number of bytes written.
 * REQUIRES: room for `decodedBytesAtMost`. @throws Http2Error COMPRESSION_ERROR
 */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number, target: Uint8Array): number {
  const { next, symbol, mayEnd } = machine;
  let state = 0;
  let written = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    let step = state * 16 + (byte >>> 4);
    let given = symbol[step]!;
    if (given !== NO_SYMBOL) target[written++] = given;
    state = next[step]!;
    if (state === FAILED) throw badHuffman();
    step = state * 16 + (byte & 15);
    given = symbol[step]!;
    if (given !== NO_SYMBOL) target[written++] = given;
    state = next[step]!;
    if (state === FAILED) throw badHuffman();
  }
  if (mayEnd[state] !== 1) throw badHuffman();
  return written;
}

function badHuffman(): Http2Error {
  return new Http2Error(REASON.COMPRESSION_ERROR, 'a header string is not Huffman-coded as it says');
}
