/**
 * Why a stream or a whole connection of HTTP/2 ends (RFC 9113, section 7). Never leaves http2/: callers see streams that were closed.
 */

export const REASON = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
} as const;

/** What the other side did wrong. With a stream only that stream is reset, else the connection ends with GOAWAY. */
export class Http2Error extends Error {
  override readonly name = 'Http2Error';
  readonly reason: number;
  readonly streamId: number;

  constructor(reason: number, message: string, streamId = 0) {
    super(message);
    this.reason = reason;
    this.streamId = streamId;
  }
}
