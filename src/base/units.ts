/**
 * Sizes and durations as people write and read them.
 *
 * SIZE is bytes with an optional K, M, G or T, powers of 1024; a fraction is allowed in front of a
 * unit ('1.5G'). A duration is a number with ms, s, m or h. Parsing is exact about what it takes
 * and names what it refuses; formatting rounds, and is for eyes only. Pure.
 */
import { KangarooError } from './errors.ts';

const SIZE_UNITS = ['', 'K', 'M', 'G', 'T'] as const;
const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * Bytes of '64M', '1.5G' or '4096'. `what` names the setting in the error.
 * @throws KangarooError USAGE
 */
export function parseSize(text: string, what = 'size'): number {
  const match = /^(\d+)(\.\d+)?([KMGT])?$/i.exec(text.trim());
  const unit = SIZE_UNITS.findIndex((letter) => letter === (match?.[3] ?? '').toUpperCase());
  const bytes = Number(`${match?.[1] ?? ''}${match?.[2] ?? ''}`) * 1024 ** unit;
  const fractionOfByte = match?.[2] !== undefined && unit === 0;
  if (match === null || fractionOfByte || !Number.isSafeInteger(Math.round(bytes))) {
    throw new KangarooError('USAGE', `${what} '${text}' is not a size`, {
      hint: 'write bytes with an optional K, M, G or T, for example 64M',
    });
  }
  return Math.round(bytes);
}

/**
 * Milliseconds of '500ms', '30s', '5m' or '2h'. A bare number has no unit and is refused.
 * @throws KangarooError USAGE
 */
export function parseDuration(text: string, what = 'duration'): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text.trim());
  const unitMs = DURATION_UNITS_MS[match?.[2] ?? ''];
  const ms = Math.round(Number(match?.[1]) * (unitMs ?? Number.NaN));
  if (!Number.isSafeInteger(ms)) {
    throw new KangarooError('USAGE', `${what} '${text}' is not a duration`, {
      hint: 'write 500ms, 30s, 5m or 2h',
    });
  }
  return ms;
}

/** '0 B', '1.5 KiB', '64 MiB': three digits that matter. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  // What would be rounded up to 1024 of a unit is shown as one of the next.
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  const text = value.toFixed(digits);
  return `${digits === 0 ? text : text.replace(/\.?0+$/, '')} ${units[unit]}`;
}

/** A size that `parseSize` reads back as the same number: '64M', '1000'. */
export function writeSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value > 0 && value % 1024 === 0 && unit < SIZE_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value}${SIZE_UNITS[unit]}`;
}

/** '350 ms', '4.2 s', '3 min 5 s', '2 h 10 min', '3 d 4 h'. */
export function formatDuration(ms: number): string {
  if (!Number.isFinite(ms)) return 'for ever';
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1).replace(/\.0$/, '')} s`;
  const seconds = Math.round(ms / 1_000);
  const parts: readonly (readonly [string, number])[] = [
    ['d', Math.floor(seconds / 86_400)],
    ['h', Math.floor(seconds / 3_600) % 24],
    ['min', Math.floor(seconds / 60) % 60],
    ['s', seconds % 60],
  ];
  const first = parts.findIndex(([, count]) => count > 0);
  return parts
    .slice(first, first + 2)
    .filter(([, count]) => count > 0)
    .map(([unit, count]) => `${count} ${unit}`)
    .join(' ');
}
