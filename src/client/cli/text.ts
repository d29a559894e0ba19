/**
 * Small pieces of text for a terminal. Pure.
 */

/** A name for a terminal: what could move its cursor or ring its bell is written as '\\x1b'. */
export function visible(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => {
    return `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

/** At most `columns` characters, the middle left out; control characters are made visible. */
export function shorten(text: string, columns: number): string {
  const shown = [...visible(text)];
  if (shown.length <= columns) return shown.join('');
  const headLength = Math.ceil((columns - 1) / 2);
  const tail = shown.slice(shown.length - (columns - 1 - headLength));
  return `${shown.slice(0, headLength).join('')}…${tail.join('')}`;
}

/** '1 file', '2 files'. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Without the spaces with which a table fills its last column: nobody wants to copy them. */
export function trimLines(text: string): string {
  return text.replace(/[ \t]+$/gm, '');
}
