/**
 * The status document as a table for people, and as single lines for whoever watches without a
 * terminal. Says where data is, how fast it moves, and why it does not. Pure.
 */
import Table from 'cli-table3';
import { formatBytes, formatDuration } from '../../base/units.ts';
import { formatAddress } from '../../route/address.ts';
import type { DestinationReport, FileReport, StatusReport } from '../report.ts';
import type { Colors } from './io.ts';
import { counted, trimLines, visible } from './text.ts';

/** cli-table3 without its frame: columns, two spaces apart. */
export const PLAIN_TABLE = {
  chars: {
    ...{ top: '', 'top-mid': '', 'top-left': '', 'top-right': '' },
    ...{ bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '' },
    ...{ left: '', 'left-mid': '', mid: '', 'mid-mid': '' },
    ...{ right: '', 'right-mid': '', middle: '  ' },
  },
  style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
};

export function renderStatus(report: StatusReport, colors: Colors): string {
  const { server, spool } = report;
  const up = formatDuration(server.uptimeSeconds * 1_000);
  const lines = [
    `${colors.bold(visible(server.name))}  kangaroo ${visible(server.version)}, up ${up}`,
    `spool: ${spoolText(report, colors)}`,
  ];
  if (spool.state === 'failed') lines.push(colors.red('the spool disk failed; see the server log'));
  if (report.destinations.length === 0) return [...lines, 'nothing is in transit'].join('\n');
  lines.push('', destinationTable(report.destinations, colors));
  for (const destination of report.destinations) {
    if ((destination.files ?? []).length > 0) lines.push('', fileTable(destination, colors));
  }
  return lines.join('\n');
}

function spoolText({ spool }: StatusReport, colors: Colors): string {
  const used = `${formatBytes(spool.bytes)} of ${formatBytes(spool.limitBytes)}`;
  const oldest = formatDuration(spool.oldestSeconds * 1_000);
  const text =
    spool.operations === 0
      ? `empty, ${used}`
      : `${counted(spool.operations, 'operation')}, ${used}, the oldest ${oldest} old`;
  if (spool.state === 'ok') return text;
  const state = spool.reason === null ? spool.state : `${spool.state}: ${spool.reason}`;
  return `${text}, ${colors.yellow(state)}`;
}

/** One row each, and below it why it waits: a reason is too long for a column. */
function destinationTable(destinations: readonly DestinationReport[], colors: Colors): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ['destination', 'next hop', 'state', 'queued', 'speed', 'time left'].map(colors.dim),
  });
  for (const destination of destinations) {
    // While it waits, the speed is that of before and says nothing of the time left.
    const moves = destination.state !== 'waiting' && destination.bytesPerSecond > 0;
    const { bytesPerSecond, etaSeconds } = destination;
    table.push([
      visible(destination.name),
      visible(destination.nextHop),
      stateText(destination.state, colors),
      queuedText(destination),
      moves ? `${formatBytes(bytesPerSecond)}/s` : '-',
      moves && etaSeconds !== null ? formatDuration(etaSeconds * 1_000) : '-',
    ]);
  }
  const [head = '', ...rows] = trimLines(table.toString()).split('\n');
  const lines = rows.flatMap((row, i) => {
    const why = whyText(destinations[i] as DestinationReport);
    return why === '' ? [row] : [row, `  why: ${why}`];
  });
  return [head, ...lines].join('\n');
}

function fileTable(destination: DestinationReport, colors: Colors): string {
  const table = new Table({
    ...PLAIN_TABLE,
    head: ['file', 'state', 'queued', 'why'].map(colors.dim),
  });
  for (const file of destination.files ?? []) {
    table.push([
      visible(formatFile(destination.name, file)),
      stateText(file.state, colors),
      file.heldOperations > 0
        ? `${formatBytes(file.queuedBytes)}, ${file.heldOperations} held`
        : formatBytes(file.queuedBytes),
      visible(file.reason ?? ''),
    ]);
  }
  const omitted = destination.filesOmitted ?? 0;
  const more = omitted > 0 ? `\nand ${counted(omitted, 'more file')}` : '';
  return `${trimLines(table.toString())}${more}`;
}

function formatFile(name: string, { path }: FileReport): string {
  // A document's text is UTF-8 already; formatAddress would take it for bytes.
  return path.startsWith('kangaroo://') ? path : formatAddress(name, '') + path;
}

function queuedText({ queuedOperations, queuedBytes, heldOperations }: DestinationReport): string {
  if (queuedOperations === 0 && heldOperations === 0) return '-';
  const held = heldOperations > 0 ? `, ${heldOperations} held` : '';
  return `${formatBytes(queuedBytes)} in ${counted(queuedOperations, 'operation')}${held}`;
}

function whyText({ reason, retryInSeconds }: DestinationReport): string {
  const again = retryInSeconds === null ? '' : `next try in ${retryInSeconds} s`;
  return visible([reason ?? '', again].filter((part) => part !== '').join('; '));
}

function stateText(state: string, colors: Colors): string {
  switch (state) {
    case 'sending':
      return colors.green(state);
    case 'waiting':
      return colors.yellow(state);
    case 'held':
      return colors.red(state);
    default:
      return visible(state);
  }
}

/** One line a destination, for `--watch` without a terminal: numbers that always move left out. */
export function statusLines(report: StatusReport): string[] {
  const spool = `spool ${report.spool.state}, ${counted(report.spool.operations, 'operation')}`;
  const lines = report.destinations.map((destination) => {
    const why = visible(destination.reason ?? '');
    const parts = [destination.state, queuedText(destination), why].filter((part) => part !== '');
    return `${visible(destination.name)}: ${parts.join(', ')}`;
  });
  return [`${visible(report.server.name)}: ${spool}`, ...lines];
}
