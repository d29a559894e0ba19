/**
 * The public face of the library: what `import ... from 'kangaroo'` gives.
 *
 * Everything a program needs to put files into a spool, read them back, and wait until they are
 * safe (`commit`) or have arrived (`push`). Errors are KangarooErrors, told apart by `code`. What
 * is not exported here may change in any release.
 */
export { type ErrorCode, explain, KangarooError } from './base/errors.ts';
export { type Address, formatAddress, isAddress, parseAddress } from './route/address.ts';
export {
  type AddressLike,
  type Attributes,
  type CallOptions,
  connect,
  type ConnectOptions,
  type Entry,
  type EntryKind,
  type FileFacts,
  Kangaroo,
  type MessagesOptions,
  type MkdirOptions,
  type PushOptions,
  type PushProgress,
  type ReadRange,
  type RemoveOptions,
  type ServerIdentity,
  type WriteStreamOptions,
} from './client/client.ts';
export type {
  DestinationReport,
  FileReport,
  MessagesReport,
  ServerMessage,
  StatusReport,
} from './client/report.ts';
export {
  type Failure,
  putFile,
  putFiles,
  type PutOptions,
  type PutProgress,
  type PutResult,
  putStream,
  type Skipped,
} from './client/put-tree.ts';
export {
  getFiles,
  type GetOptions,
  type GetProgress,
  type GetResult,
  getStream,
} from './client/get-tree.ts';
