/**
 * Directory trees as a list of lines, so that two of them can be compared and a difference read.
 */
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface TreeOptions {
  /** Relative paths of files whose size and bytes do not count. */
  readonly volatile?: RegExp | undefined;
  readonly modes?: boolean;
}

/** 'PATH KIND MODE SIZE SHA-256' of everything below `directory`, sorted by path. */
export function linesOfTree(directory: string, options: TreeOptions = {}): string[] {
  const { volatile, modes = true } = options;
  const lines: string[] = [];
  const visit = (relative: string): void => {
    const path = join(directory, relative);
    for (const name of readdirSync(path, { encoding: 'latin1' }).sort()) {
      const bytesName = Buffer.from(name, 'latin1').toString('utf8');
      const child = relative === '' ? bytesName : `${relative}/${bytesName}`;
      const stat = lstatSync(join(directory, child));
      const mode = modes ? (stat.mode & 0o777).toString(8) : '-';
      if (stat.isDirectory()) {
        lines.push(`${child} directory ${mode}`);
        visit(child);
      } else if (volatile?.test(child) === true) {
        lines.push(`${child} file ${mode}`);
      } else {
        const hash = stat.isFile() ? hashOf(join(directory, child)) : 'no file';
        lines.push(`${child} file ${mode} ${stat.size} ${hash}`);
      }
    }
  };
  visit('');
  return lines;
}

/** What of `wanted` is missing and what is too much, for people; '' when they are equal. */
export function differenceOf(wanted: readonly string[], found: readonly string[]): string {
  const [want, have] = [new Set(wanted), new Set(found)];
  return [
    ...wanted.filter((line) => !have.has(line)).map((line) => `- ${line}`),
    ...found.filter((line) => !want.has(line)).map((line) => `+ ${line}`),
  ].join('\n');
}

function hashOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16);
}
