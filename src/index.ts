/** Kvorum's public surface. */
export { jsonCodec, stringCodec } from './client/codecs.ts';
export type { ConnectOptions } from './client/connect.ts';
export type * from './client/store_types.ts';
export type { ConfigInput } from './config.ts';
export { connect } from './connect.ts';
export { type OpenOptions, open } from './embedded.ts';
export { type ErrorCode, KvError } from './errors.ts';
export { silentLogger } from './observability/logger.ts';
export { pinoLogger } from './observability/pino_logger.ts';
export { type Server, type ServerOptions, startServer } from './server.ts';
