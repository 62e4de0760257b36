/**
 * Who dials: the name of the dialing end, read from the first frame on a connection.
 *
 * A node's peers all dial the one address that it advertises, so the proxy in front of it learns only here on whose behalf it passes bytes. The same goes for
 * clients, which give their name.
 */

import { readHello } from '../../src/wire/client_codec.ts';
import { FrameReader, MAX_HELLO_BYTES } from '../../src/wire/client_frames.ts';
import { FrameDecoder } from '../../src/wire/frame.ts';
import { ByteReader } from '../../src/wire/varint.ts';
import { decodeHello } from '../../transports/peer_handshake.ts';

/** Takes the bytes so far; gives the dialer's name, or undefined while the first frame is not there yet. Throws when it is no hello. */
export type NameReader = (bytes: Uint8Array) => string | undefined;

/** The end of a link that a node is. */
export function nodeEnd(id: number): string {
  return `node-${id}`;
}

export const peerName: NameReader = (bytes) => {
  let name: string | undefined;
  const decoder = new FrameDecoder(MAX_HELLO_BYTES);
  decoder.push(bytes, (payload) => {
    name = nodeEnd(decodeHello(payload).from);
    decoder.stop();
  });
  return name;
};

export const clientName: NameReader = (bytes) => {
  const frames = new FrameReader(MAX_HELLO_BYTES);
  frames.push(bytes);
  return frames.next() ? readHello(frames.payload(new ByteReader(new Uint8Array(0)))).name : undefined;
};
