/**
 * The handshake: who dials says HELLO with the versions it speaks, its role, its sender id and a
 * method of authentication; the server answers WELCOME or an ERROR and hangs up.
 *
 *   dialled:   CONNECTED --HELLO--> GREETING --WELCOME--> READY
 *   accepted:  CONNECTED --(address allowed?)--> GREETING --HELLO--> READY
 *
 * Method 'address' needs no credential: the listener's --allow list has decided already (paper,
 * 4.1 item 4). Others take the same two fields.
 */
import { type Deadline } from '../base/deadline.ts';
import { KangarooError } from '../base/errors.ts';
import { NO_BYTES, NO_ID } from './operation.ts';
import { version } from '../base/version.ts';
import { type Connection } from './connection.ts';
import { HELLO_MAGIC, type Message, PROTOCOL_VERSION } from './messages.ts';

/** client: puts and asks. relay: another server's mover. mover: this spool's own mover. */
export type Role = 'client' | 'relay' | 'mover';
export const ROLES: readonly Role[] = ['client', 'relay', 'mover'];

/** Says HELLO. @throws KangarooError what the server refused, or NOT_YET */
export async function greet(
  connection: Connection,
  role: Role,
  senderId: string,
  deadline: Deadline,
): Promise<Message<'WELCOME'>> {
  const hello = {
    magic: HELLO_MAGIC,
    versionMin: PROTOCOL_VERSION,
    versionMax: PROTOCOL_VERSION,
    role,
    senderId,
    method: 'address',
    credential: NO_BYTES,
    software: `kangaroo ${version}`,
  };
  const what = `greet ${connection.peer}`;
  const welcome = await connection.ask('HELLO', hello, 'WELCOME', { deadline, what });
  return welcome;
}

/**
 * Checks a HELLO. Returns the role.
 * @throws KangarooError PROTOCOL, VERSION, DENIED
 */
export function checkHello(hello: Message<'HELLO'>): Role {
  if (hello.magic !== HELLO_MAGIC) throw new KangarooError('PROTOCOL', 'not a Kangaroo client');
  if (hello.versionMin > PROTOCOL_VERSION || hello.versionMax < PROTOCOL_VERSION) {
    const theirs = `${hello.versionMin}-${hello.versionMax}`;
    throw new KangarooError(
      'VERSION',
      `${hello.software} speaks protocol ${theirs}, this server speaks ${PROTOCOL_VERSION}`,
    );
  }
  if (hello.method !== 'address') {
    throw new KangarooError('DENIED', `authentication method '${hello.method}' is not known here`);
  }
  const role = ROLES.find((known) => known === hello.role);
  if (role === undefined) throw new KangarooError('PROTOCOL', `unknown role '${hello.role}'`);
  // Where senders are told apart it stands for the server's own spool.
  if (role !== 'mover' && hello.senderId === NO_ID) {
    throw new KangarooError('PROTOCOL', 'HELLO without a sender id');
  }
  return role;
}
