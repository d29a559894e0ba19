/**
 * "Did you mean ...?": the known word that a mistyped one is nearest to, for settings and commands.
 * Pure.
 */

/** The candidate that fewest typing errors turn into `word`; null when none is near. */
export function nearest(word: string, candidates: readonly string[]): string | null {
  const normal = word.toLowerCase().replaceAll('_', '-');
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(normal.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(normal, candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Insertions, deletions and replacements from `a` to `b` (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
