/**
 * Messages as text: what happened to which file, why, and what a person can do about it. Pure.
 */
import type { ServerMessage } from '../report.ts';
import { formatBytes } from '../../base/units.ts';
import Table from 'cli-table3';
import type { Colors } from './io.ts';
import { PLAIN_TABLE } from './status-view.ts';
import { counted, trimLines, visible } from './text.ts';

export function renderMessages(messages: readonly ServerMessage[], colors: Colors): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ['id', 'since', 'state', 'what, why, and what to do'].map(colors.dim),
  });
  for (const message of messages) {
    const { id, since, state } = message;
    table.push([id, visible(since), stateText(state, colors), whatText(message)]);
  }
  return trimLines(table.toString());
}

function whatText(message: ServerMessage): string {
  const size = `${counted(message.operations, 'operation')}, ${formatBytes(message.bytes)}`;
  const lines = [
    visible(message.address),
    visible(`${message.operation} refused by ${message.server}: ${reasonText(message)} (${size})`),
  ];
  if (message.todo !== '') lines.push(visible(`to do: ${message.todo}`));
  return lines.join('\n');
}

/** One line, for --follow. */
export function messageLine(message: ServerMessage): string {
  const todo = message.todo === '' ? '' : ` (${message.todo})`;
  const { at, state, address, operation, server } = message;
  return visible(
    `${at} ${state} ${address}: ${operation} at ${server}: ${reasonText(message)}${todo}`,
  );
}

function reasonText({ reason, errno }: ServerMessage): string {
  return errno === '' || reason.includes(errno) ? reason : `${reason} (${errno})`;
}

function stateText(state: string, colors: Colors): string {
  if (state === 'mended') return colors.green(state);
  return state === 'discarded' ? colors.dim(state) : colors.red(visible(state));
}
