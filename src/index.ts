/** Kvorum's public surface. */

export type { Middleware, ServiceCall } from './api/pipeline.ts';
export type { GrantKeys, RoleGrant, StoreAuth } from './client/auth_types.ts';
export { jsonCodec, stringCodec } from './client/codecs.ts';
export type { ConnectOptions } from './client/connect.ts';
export type * from './client/lease_types.ts';
export type * from './client/lock_types.ts';
export type * from './client/snapshot_types.ts';
export type * from './client/store_types.ts';
export type * from './client/upkeep_types.ts';
export type { ConfigInput } from './config.ts';
export { connect } from './connect.ts';
export { type EmbeddedStore, type OpenOptions, open } from './embedded.ts';
export { type ErrorCode, KvError } from './errors.ts';
export { silentLogger } from './observability/logger.ts';
export { pinoLogger } from './observability/pino_logger.ts';
export { attachReader } from './readers.ts';
export { type Server, type ServerOptions, startServer } from './server.ts';
export type { ReaderHandle } from './threads/mailbox.ts';
export type { Reader, ReaderPutOptions, ReaderSnapshot } from './threads/reader.ts';
export type { ReaderScanOptions } from './threads/reader_scan.ts';
export type { ReaderFunction, ReaderThread } from './threads/reader_thread.ts';
