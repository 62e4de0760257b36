/**
 * What each frame of a client does to its connection (RFC 9113, section 6).
 *
 * Invariants: a header block is decoded even where its stream is of no use, as the compression's state is shared; flow control is given back as data arrives, because what is kept
 * of it is bounded by those who keep it; frames for a stream that we have reset are passed over, as the client may not know it yet.
 */
import {
  FLAG,
  FRAME,
  type FrameReader,
  MAX_FRAME_BYTES,
  MAX_WINDOW,
  readU32,
  SETTING,
  writePing,
  writeReset,
  writeSettings,
  writeSettingsAck,
  writeWindowUpdate,
} from './frames.ts';
import { HeaderDecoder, type HeaderList } from './hpack/decoder.ts';
import { Http2Error, REASON } from './http2_error.ts';
import { areTrailers, fieldOf, type RequestHead, requestHeadOf } from './request_head.ts';
import { Http2Stream, type StreamHost, type StreamReceiver } from './stream.ts';

const HEADER_TABLE_BYTES = 4_096;
const MAX_HEADER_LIST_BYTES = 16 * 1024;
/** Of one header block, compressed, with all its CONTINUATIONs. */
const MAX_HEADER_BLOCK_BYTES = 32 * 1024;
const MAX_CONTINUATIONS = 8;
const STREAM_WINDOW = 1024 * 1024;
const CONNECTION_WINDOW = 16 * 1024 * 1024;
const MAX_SETTINGS = 64;
const SETTINGS_COST = 20;
const EMPTY_DATA_COST = 20;
const DEFAULT_WINDOW = 65_535;

/** A header block that has begun. */
interface OpenBlock {
  readonly streamId: number;
  readonly end: boolean;
  readonly parts: Buffer[];
  bytes: number;
}

/** The connection that the frames belong to. */
export interface FrameHost extends StreamHost {
  readonly streams: Map<number, Http2Stream>;
  readonly maxStreams: number;
  /** The client's newest stream. */
  lastStreamId: number;
  /** No new streams: we are closing. */
  readonly leaving: boolean;
  nowMs(): number;
  /** A request begins. What it gives takes the request's data; undefined: the answer has been given already. */
  request(stream: Http2Stream, head: RequestHead, end: boolean): StreamReceiver | undefined;
  /** The client has reset a stream, or made us do it. @throws Http2Error ENHANCE_YOUR_CALM */
  chargeReset(): void;
  /** The client has sent something that moves nothing on. @throws Http2Error ENHANCE_YOUR_CALM */
  chargeIdle(cost: number): void;
}

export class IncomingFrames {
  /** The client's settings have arrived. */
  greeted = false;
  readonly #connection: FrameHost;
  readonly #decoder = new HeaderDecoder({
    maxTableBytes: HEADER_TABLE_BYTES,
    maxListBytes: MAX_HEADER_LIST_BYTES,
  });
  #block: OpenBlock | undefined;
  #window = CONNECTION_WINDOW;
  /** The largest stream that we have reset: what comes for it and those before may have been sent before the client knew. */
  #resetUpTo = 0;

  constructor(connection: FrameHost) {
    this.#connection = connection;
  }

  /** Our side of the preface. */
  begin(): void {
    const { sender, maxStreams } = this.#connection;
    writeSettings(sender.out, [
      [SETTING.MAX_CONCURRENT_STREAMS, maxStreams],
      [SETTING.INITIAL_WINDOW_SIZE, STREAM_WINDOW],
      [SETTING.MAX_HEADER_LIST_SIZE, MAX_HEADER_LIST_BYTES],
    ]);
    writeWindowUpdate(sender.out, 0, CONNECTION_WINDOW - DEFAULT_WINDOW);
  }

  resetByUs(streamId: number): void {
    if (streamId > this.#resetUpTo) this.#resetUpTo = streamId;
  }

  /** @throws Http2Error */
  handle(frame: FrameReader): void {
    const { type } = frame;
    if (this.#block !== undefined && type !== FRAME.CONTINUATION) {
      throw wrong('a header block that is not finished');
    }
    if (!this.greeted && type !== FRAME.SETTINGS) throw wrong('settings must come first');
    switch (type) {
      case FRAME.DATA:
        return this.#data(frame);
      case FRAME.HEADERS:
        return this.#headers(frame);
      case FRAME.PRIORITY:
        return this.#priority(frame);
      case FRAME.RST_STREAM:
        return this.#reset(frame);
      case FRAME.SETTINGS:
        return this.#settings(frame);
      case FRAME.PUSH_PROMISE:
        throw wrong('clients push nothing');
      case FRAME.PING:
        return this.#ping(frame);
      case FRAME.GOAWAY:
        return this.#goAway(frame);
      case FRAME.WINDOW_UPDATE:
        return this.#windowUpdate(frame);
      case FRAME.CONTINUATION:
        return this.#continuation(frame);
      default:
        // Extensions are to be passed over (section 5.5).
        this.#connection.chargeIdle(1);
    }
  }

  #data(frame: FrameReader): void {
    const { streamId, flags, payload } = frame;
    if (streamId === 0) throw wrong('DATA without a stream');
    const length = payload.length;
    this.#window -= length;
    if (this.#window < 0) throw new Http2Error(REASON.FLOW_CONTROL_ERROR, 'more data than the window allows');
    const end = (flags & FLAG.END_STREAM) !== 0;
    const data = (flags & FLAG.PADDED) === 0 ? payload : withoutPadding(payload);
    const stream = this.#streamFor(streamId, 'DATA');
    if (this.#window < CONNECTION_WINDOW / 2) {
      writeWindowUpdate(this.#connection.sender.out, 0, CONNECTION_WINDOW - this.#window);
      this.#window = CONNECTION_WINDOW;
    }
    if (stream === undefined) return;
    stream.receiveWindow -= length;
    if (stream.receiveWindow < 0) {
      throw new Http2Error(REASON.FLOW_CONTROL_ERROR, 'more data than the window allows', streamId);
    }
    stream.receivedBytes += data.length;
    if (stream.contentLength >= 0 && wrongLength(stream, end)) {
      throw new Http2Error(REASON.PROTOCOL_ERROR, 'data are not as long as was said', streamId);
    }
    if (end) stream.remoteEnd();
    else if (data.length === 0) this.#connection.chargeIdle(EMPTY_DATA_COST);
    else if (stream.receiveWindow < STREAM_WINDOW / 2) {
      writeWindowUpdate(this.#connection.sender.out, streamId, STREAM_WINDOW - stream.receiveWindow);
      stream.receiveWindow = STREAM_WINDOW;
    }
    stream.receiver?.data(data, end);
  }

  #headers(frame: FrameReader): void {
    const { streamId, flags } = frame;
    if (streamId % 2 === 0) throw wrong(`HEADERS on stream ${streamId}`);
    let { payload } = frame;
    if ((flags & FLAG.PADDED) !== 0) payload = withoutPadding(payload);
    if ((flags & FLAG.PRIORITY) !== 0) {
      if (payload.length < 5) throw wrong('HEADERS that are cut off');
      payload = payload.subarray(5);
    }
    const end = (flags & FLAG.END_STREAM) !== 0;
    if ((flags & FLAG.END_HEADERS) !== 0) this.#blockDone(streamId, end, payload);
    else this.#block = { streamId, end, parts: [payload], bytes: payload.length };
  }

  #continuation(frame: FrameReader): void {
    const block = this.#block;
    if (block === undefined || frame.streamId !== block.streamId) throw wrong('CONTINUATION of nothing');
    block.parts.push(frame.payload);
    block.bytes += frame.payload.length;
    if (block.bytes > MAX_HEADER_BLOCK_BYTES || block.parts.length > MAX_CONTINUATIONS + 1) {
      throw new Http2Error(REASON.ENHANCE_YOUR_CALM, 'headers are too long');
    }
    if ((frame.flags & FLAG.END_HEADERS) === 0) return;
    this.#block = undefined;
    this.#blockDone(block.streamId, block.end, Buffer.concat(block.parts));
  }

  #blockDone(streamId: number, end: boolean, block: Buffer): void {
    const connection = this.#connection;
    const fields = this.#decoder.decode(block);
    if (streamId <= connection.lastStreamId) {
      this.#trailers(streamId, end, fields);
      return;
    }
    connection.lastStreamId = streamId;
    const { maxStreams, streams } = connection;
    if (connection.leaving || streams.size >= maxStreams) {
      if (!connection.leaving) connection.chargeReset();
      writeReset(connection.sender.out, streamId, REASON.REFUSED_STREAM);
      this.resetByUs(streamId);
      return;
    }
    if (fields === undefined) {
      throw new Http2Error(REASON.ENHANCE_YOUR_CALM, 'the header list is too long', streamId);
    }
    const head = requestHeadOf(fields);
    if (head === undefined) throw new Http2Error(REASON.PROTOCOL_ERROR, 'malformed headers', streamId);
    const stream = new Http2Stream(streamId, connection, STREAM_WINDOW, connection.nowMs());
    stream.contentLength = contentLengthOf(fields, streamId);
    if (end && stream.contentLength > 0) {
      throw new Http2Error(REASON.PROTOCOL_ERROR, 'data are not as long as was said', streamId);
    }
    streams.set(streamId, stream);
    if (end) stream.remoteEnd();
    stream.receiver = connection.request(stream, head, end);
  }

  #trailers(streamId: number, end: boolean, fields: HeaderList | undefined): void {
    const stream = this.#streamFor(streamId, 'HEADERS');
    if (stream === undefined) return;
    if (!end || fields === undefined || !areTrailers(fields) || wrongLength(stream, true)) {
      throw new Http2Error(REASON.PROTOCOL_ERROR, 'malformed trailers', streamId);
    }
    stream.remoteEnd();
    stream.receiver?.data(Buffer.alloc(0), true);
  }

  /** The stream that takes a frame; undefined where the frame is to be passed over. @throws Http2Error */
  #streamFor(streamId: number, what: string): Http2Stream | undefined {
    const stream = this.#connection.streams.get(streamId);
    if (stream === undefined) {
      if (streamId % 2 === 0 || streamId > this.#connection.lastStreamId) {
        throw wrong(`${what} on stream ${streamId}, which is not open`);
      }
      if (streamId > this.#resetUpTo) {
        throw new Http2Error(REASON.STREAM_CLOSED, `${what} on stream ${streamId}, which has ended`);
      }
      this.#connection.chargeIdle(1);
      return undefined;
    }
    if (stream.remoteEnded) {
      throw new Http2Error(REASON.STREAM_CLOSED, `${what} after the end of the request`, streamId);
    }
    return stream;
  }

  #priority({ streamId, payload }: FrameReader): void {
    if (streamId === 0) throw wrong('PRIORITY without a stream');
    this.#connection.chargeIdle(1);
    if (payload.length !== 5) throw wrongSize('PRIORITY', streamId);
  }

  #reset({ streamId, payload }: FrameReader): void {
    if (payload.length !== 4) throw wrongSize('RST_STREAM');
    if (streamId === 0 || streamId > this.#connection.lastStreamId) throw wrong('RST_STREAM of no stream');
    this.#connection.chargeReset();
    this.#connection.streams.get(streamId)?.abort();
  }

  #settings({ streamId, flags, payload }: FrameReader): void {
    if (streamId !== 0) throw wrong('SETTINGS of a stream');
    if ((flags & FLAG.ACK) !== 0) {
      if (payload.length !== 0) throw wrongSize('SETTINGS');
      if (!this.greeted) throw wrong('settings must come first');
      this.#connection.chargeIdle(1);
      return;
    }
    if (payload.length % 6 !== 0 || payload.length > 6 * MAX_SETTINGS) throw wrongSize('SETTINGS');
    if (this.greeted) this.#connection.chargeIdle(SETTINGS_COST);
    this.greeted = true;
    for (let at = 0; at < payload.length; at += 6) {
      this.#setting(payload.readUInt16BE(at), readU32(payload, at + 2));
    }
    writeSettingsAck(this.#connection.sender.out);
  }

  #setting(id: number, value: number): void {
    const { sender, streams } = this.#connection;
    switch (id) {
      case SETTING.HEADER_TABLE_SIZE:
        sender.encoder.tableSize(value);
        return;
      case SETTING.ENABLE_PUSH:
        if (value > 1) throw wrong(`ENABLE_PUSH ${value}`);
        return;
      case SETTING.INITIAL_WINDOW_SIZE: {
        if (value > MAX_WINDOW) throw new Http2Error(REASON.FLOW_CONTROL_ERROR, 'a window that is too large');
        const change = value - sender.initialStreamWindow;
        sender.initialStreamWindow = value;
        for (const stream of streams.values()) {
          stream.sendWindow += change;
          if (stream.sendWindow > MAX_WINDOW) {
            throw new Http2Error(REASON.FLOW_CONTROL_ERROR, 'a window that is too large');
          }
        }
        return;
      }
      case SETTING.MAX_FRAME_SIZE:
        if (value < MAX_FRAME_BYTES || value > 2 ** 24 - 1) throw wrong(`MAX_FRAME_SIZE ${value}`);
        // Larger frames would only keep other streams waiting.
        sender.maxFrameBytes = Math.min(value, 4 * MAX_FRAME_BYTES);
        return;
      default:
      // MAX_CONCURRENT_STREAMS is about pushed streams, MAX_HEADER_LIST_SIZE is advice, and others are to be ignored.
    }
  }

  #ping({ streamId, flags, payload }: FrameReader): void {
    if (streamId !== 0) throw wrong('PING of a stream');
    if (payload.length !== 8) throw wrongSize('PING');
    this.#connection.chargeIdle(1);
    if ((flags & FLAG.ACK) === 0) writePing(this.#connection.sender.out, FLAG.ACK, payload);
  }

  #goAway({ streamId, payload }: FrameReader): void {
    if (streamId !== 0) throw wrong('GOAWAY of a stream');
    if (payload.length < 8) throw wrongSize('GOAWAY');
    // It concerns streams that we would open: there are none.
    this.#connection.chargeIdle(1);
  }

  #windowUpdate({ streamId, payload }: FrameReader): void {
    if (payload.length !== 4) throw wrongSize('WINDOW_UPDATE');
    this.#connection.chargeIdle(1);
    const increment = readU32(payload, 0) & MAX_WINDOW;
    const { sender, streams, lastStreamId } = this.#connection;
    if (streamId === 0) {
      if (increment === 0) throw wrong('a window that grows by 0');
      sender.window += increment;
      if (sender.window > MAX_WINDOW) {
        throw new Http2Error(REASON.FLOW_CONTROL_ERROR, 'a window that is too large');
      }
      return;
    }
    const stream = streams.get(streamId);
    if (stream === undefined) {
      if (streamId % 2 === 0 || streamId > lastStreamId) throw wrong('WINDOW_UPDATE of no stream');
      return;
    }
    if (increment === 0) throw new Http2Error(REASON.PROTOCOL_ERROR, 'a window that grows by 0', streamId);
    stream.sendWindow += increment;
    if (stream.sendWindow > MAX_WINDOW) {
      throw new Http2Error(REASON.FLOW_CONTROL_ERROR, 'a window that is too large', streamId);
    }
  }
}

function withoutPadding(payload: Buffer): Buffer {
  const padding = payload[0];
  if (padding === undefined || padding >= payload.length) throw wrong('more padding than there is payload');
  return payload.subarray(1, payload.length - padding);
}

function contentLengthOf(fields: HeaderList, streamId: number): number {
  const text = fieldOf(fields, 'content-length');
  if (text === undefined) return -1;
  if (!/^\d{1,15}$/.test(text)) throw new Http2Error(REASON.PROTOCOL_ERROR, 'content-length', streamId);
  return Number(text);
}

function wrongLength(stream: Http2Stream, end: boolean): boolean {
  const { contentLength, receivedBytes } = stream;
  if (contentLength < 0) return false;
  return end ? receivedBytes !== contentLength : receivedBytes > contentLength;
}

function wrong(what: string): Http2Error {
  return new Http2Error(REASON.PROTOCOL_ERROR, what);
}

function wrongSize(what: string, streamId = 0): Http2Error {
  return new Http2Error(REASON.FRAME_SIZE_ERROR, `${what} of a wrong size`, streamId);
}
