/**
 * What the programs of the matrix read: the same bytes, modes and times on every machine.
 */
import { chmodSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { payload } from '../support/pattern.ts';

const TIME_S = 1_000_000_000;

function patternBytes(seed: number, bytes: number): Buffer {
  return payload({ seed, generation: 0, file: 0, put: 0 }, 0, bytes);
}

const MAKEFILE = `CFLAGS = -O1 -g0
hello: main.o libutil.a
\t$(CC) -o $@ main.o libutil.a
libutil.a: util.o
\tar rcs $@ util.o
main.o util.o: util.h
clean:
\trm -f *.o *.a hello
`;

/** Makes them below `directory`, which must be empty. */
export function makeInputs(directory: string): void {
  const put = (path: string, text: string | Uint8Array, mode = 0o644): void => {
    mkdirSync(join(directory, path, '..'), { recursive: true });
    writeFileSync(join(directory, path), text);
    chmodSync(join(directory, path), mode);
  };
  const lines = Array.from({ length: 2_000 }, (_, i) => `line ${i + 1} ${(i * 7919) % 1009}`);
  put('text.txt', `${lines.join('\n')}\n`);
  put('small.txt', 'first line\nsecond line\nthird line, the last one\n');
  put('random.bin', patternBytes(1, 3 * 1024 * 1024 + 123));
  const holes = Buffer.alloc(600_000);
  holes.set(patternBytes(2, 5_000), 0);
  holes.set(patternBytes(3, 5_000), 400_000);
  put('holes.bin', holes);
  put('tree/b.txt', 'a needle in here\n');
  put('tree/run.sh', '#!/bin/sh\necho it runs\necho "with $0" >&2\n', 0o755);
  put('tree/private', patternBytes(4, 4_097), 0o600);
  put('tree/empty', '');
  put('tree/deep/er/a.txt', `${lines.slice(0, 300).join('\n')}\nneedle\n`);
  put('tree/deep/.hidden', 'hidden\n');
  put('tree/deep/\u00e9 name', 'accents\n');
  mkdirSync(join(directory, 'tree/nothing'));
  put('src/Makefile', MAKEFILE);
  put('src/util.h', 'int twice(int);\n');
  put('src/util.c', '#include "util.h"\nint twice(int n) { return 2 * n; }\n');
  put(
    'src/main.c',
    '#include <stdio.h>\n#include "util.h"\n' +
      'int main(void) { printf("hello %d\\n", twice(21)); return 0; }\n',
  );
  setTimes(directory);
}

function setTimes(path: string): void {
  if (statSync(path).isDirectory()) {
    for (const name of readdirSync(path)) setTimes(join(path, name));
  }
  utimesSync(path, TIME_S, TIME_S);
}
