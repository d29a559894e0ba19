/**
 * The table of settings as text: the example file that `kangaroo server --example-config` prints,
 * and the reference page. config/server.example.toml and config/REFERENCE.md are these two, written
 * by scripts/config-reference.mjs and compared with the table by a test. Pure.
 */
import { SERVER_SETTINGS, type Setting } from '../../base/config.ts';

const SETTINGS = Object.values(SERVER_SETTINGS);

const TYPE_TEXT: Readonly<Record<Setting['type'], string>> = {
  text: 'text',
  list: 'list of text; as an option, repeated',
  size: 'bytes, with an optional `K`, `M`, `G` or `T` (powers of 1024)',
  path: 'path; relative to the working directory',
  flag: '`true` or `false`',
};

/** Every key with its default or an example, as TOML. Only `name` is not commented out. */
export function exampleFile(): string {
  const opening = [
    '# Configuration of a Kangaroo server: kangaroo server --config FILE',
    '# Options override this file. Lines that are commented out show the default, or an example',
    '# where there is none. Made from the table in src/base/config.ts.',
  ];
  const blocks = SETTINGS.map((setting) => [
    '',
    ...comment(`${capital(setting.help)}. Default: ${setting.defaultText}.`),
    `${setting.key === 'name' ? '' : '# '}${setting.key} = ${toml(setting.example)}`,
  ]);
  return `${[...opening, ...blocks.flat()].join('\n')}\n`;
}

/** The reference page, as Markdown in the form that prettier leaves alone. */
export function referencePage(): string {
  const opening = [
    '# Settings of a Kangaroo server',
    '',
    'Made from the table in `src/base/config.ts` by `node scripts/config-reference.mjs`; change it',
    'there. A value is taken from the option, else the environment, else the file named with',
    '`--config`, else the default. The file is TOML; a key that is not listed here is refused.',
    '`server.example.toml` has every key. Bounds that cannot be set are in `src/base/limits.ts`.',
  ];
  const blocks = SETTINGS.map((setting) => [
    '',
    `## \`${setting.key}\``,
    '',
    `${capital(setting.help)}.`,
    '',
    `- option: \`${setting.flag}\``,
    `- environment: ${setting.env === null ? 'none' : `\`${setting.env}\``}`,
    `- value: ${TYPE_TEXT[setting.type]}`,
    `- default: ${setting.defaultText}`,
    `- in a file: \`${setting.key} = ${toml(setting.example)}\``,
  ]);
  return `${[...opening, ...blocks.flat()].join('\n')}\n`;
}

function toml(value: Setting['example']): string {
  return typeof value === 'object'
    ? `[${value.map((item) => JSON.stringify(item)).join(', ')}]`
    : JSON.stringify(value);
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Text as comment lines of at most 90 columns. */
function comment(text: string): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line.length + word.length > 90) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines.map((line) => `# ${line}`);
}
