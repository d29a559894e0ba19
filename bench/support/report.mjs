/**
 * What a run says: the settings first, then a row for each workload as soon as it is measured, and
 * at the end the same as latest.json, latest.txt and the generated part of README.md.
 *
 * A row is what was done, the bound it is to keep, the value that is held against the bound, and
 * the two measurements behind it. Verdicts: reached, missed, not judged (with the reason), skipped
 * (with the reason).
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './machine.mjs';

const BEGIN = '<!-- last run: begin (written by run.mjs) -->';
const END = '<!-- last run: end -->';

/**
 * A row whose value is ours over theirs, by medians of `key`.
 * @param {object} options
 * @param {string} options.work
 * @param {object} options.ours summaries by key, see measure.mjs
 * @param {object} options.beside
 * @param {string} options.besideName
 * @param {number | null} options.most the bound; null: for information
 * @param {string} [options.key] default `value`
 * @param {(median: number) => string} options.format of one measurement
 * @param {string | null} [options.notJudged] why the bound says nothing here
 * @param {string[]} [options.notes]
 */
export function ratioRow(options) {
  const { work, ours, beside, besideName, most, format, key = 'value' } = options;
  const value = ours[key].median / beside[key].median;
  return {
    work,
    reach: most === null ? '' : `<= ${most.toFixed(2)}x`,
    value: `${value.toFixed(2)}x`,
    verdict: verdictOf(value <= (most ?? Infinity), most, options.notJudged),
    ours: spread(ours[key], format),
    beside: `${besideName} ${spread(beside[key], format)}`,
    notes: options.notes ?? [],
    data: { ratio: value, ours, beside },
  };
}

/** A row whose value is held against a fixed bound. */
export function boundRow({ work, reach, value, isReached, beside = '-', notes = [], data = {} }) {
  const verdict = isReached === null ? 'for information' : isReached ? 'reached' : 'missed';
  return { work, reach, value, verdict, ours: value, beside, notes, data };
}

export function skippedRow(work, reason) {
  return {
    work,
    reach: '',
    value: '-',
    verdict: `skipped: ${reason}`,
    ours: '-',
    beside: '-',
    notes: [],
    data: { skipped: reason },
  };
}

function verdictOf(isReached, most, notJudged) {
  if (most === null) return 'for information';
  if (notJudged !== undefined && notJudged !== null) return `not judged: ${notJudged}`;
  return isReached ? 'reached' : 'missed';
}

/** `0.54 s (0.51 s - 0.60 s of 7)`. */
function spread({ median, least, most, rounds }, format) {
  return `${format(median)} (${format(least)} - ${format(most)} of ${rounds})`;
}

export const asSeconds = (ms) => `${(ms / 1_000).toFixed(3)} s`;
export const asMilliseconds = (ms) => `${ms.toFixed(3)} ms`;
export const asMiB = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;

/** The lines that open a report. */
export function headerOf({ machine, versions, settings, startedAt }) {
  const list = (object) =>
    Object.entries(object)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ');
  return [
    `Kangaroo benches, ${startedAt}`,
    `machine:  ${list(machine)}`,
    `versions: ${list(versions)}`,
    `settings: ${list(settings)}`,
    'times are medians (least - most); a ratio is ours over the one beside it, same run, in turns',
  ].join('\n');
}

export function textOf(row) {
  const lines = [
    `${row.work}`,
    `  ${row.value}${row.reach === '' ? '' : `, to reach ${row.reach}`}: ${row.verdict}`,
  ];
  if (row.beside !== '-') lines.push(`  ours ${row.ours}`, `  beside ${row.beside}`);
  return [...lines, ...row.notes.map((note) => `  ${note}`)].join('\n');
}

/** Rows of cells as text, the first column to the left and the others to the right. */
export function textTable(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const padded = (text, column) =>
    column === 0 ? text.padEnd(widths[column]) : text.padStart(widths[column]);
  return rows.map((row) => row.map(padded).join('  ').trimEnd()).join('\n');
}

/** Writes the results of a run of all benches, or of some. */
export function writeResults(run) {
  const directory = join(root, 'bench/results');
  mkdirSync(directory, { recursive: true });
  const rows = run.benches.flatMap((bench) => bench.rows);
  writeFileSync(join(directory, 'latest.json'), `${JSON.stringify(run, null, 2)}\n`);
  const text = [headerOf(run), ...rows.map(textOf)].join('\n\n');
  writeFileSync(join(directory, 'latest.txt'), `${text}\n`);
}

/** Puts the table of a run between the markers of README.md. */
export function writeReadme(run) {
  const path = join(root, 'bench/README.md');
  const text = readFileSync(path, 'utf8');
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error('bench/README.md has lost its markers');
  const before = text.slice(0, begin + BEGIN.length);
  writeFileSync(path, `${before}\n${markdownOf(run)}\n${text.slice(end)}`);
}

function markdownOf(run) {
  const { machine, versions } = run;
  const rows = run.benches
    .flatMap((bench) => bench.rows)
    .map(({ work, reach, value, ours, beside, verdict }) =>
      [work, reach, value, ours, beside, verdict].map(cell).join(' | '),
    );
  return [
    `Measured ${run.startedAt.slice(0, 10)} at commit ${versions.commit}, Node ${versions.node},`,
    `${machine.processor}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.kernel},`,
    `${machine.fileSystem}.`,
    '',
    '| work | to reach | value | ours | beside it | verdict |',
    '|---|---|---|---|---|---|',
    ...rows.map((row) => `| ${row} |`),
  ].join('\n');
}

function cell(text) {
  return text.replaceAll('|', '\\|');
}
