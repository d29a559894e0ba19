/**
 * The programs that the adapter is tried with, one row each: what is run, once in a local directory
 * and once below /kangaroo, and whether the two are to end alike.
 *
 * A row's script is for bash, with these variables:
 *
 *   D    the directory under test, empty     T      an empty local directory, also the current one
 *   IN   inputs, local, see inputs.ts        HTTP   address of a server with the files of IN
 *   JOBS the folder jobs/
 *
 * `same` means: the same standard output (with D and T replaced by their names), the same exit
 * status, the same names, bytes and modes below D at the first hop and, after a push, at the
 * destination. programs-data.ts and programs-shell.ts have more of them; programs.test.ts judges.
 */
import { DATA_PROGRAMS } from './programs-data.ts';
import { SHELL_PROGRAMS } from './programs-shell.ts';

export type Verdict = 'same' | 'differs' | 'unsupported';

export interface ProgramRow {
  /** 'cp -r': the program, and what of it. */
  readonly name: string;
  readonly script: string;
  /** Programs that must be installed, besides those of every Debian. */
  readonly needs?: readonly string[];
  /** Default: same. */
  readonly expect?: Verdict;
  /** Why it is not the same. */
  readonly why?: string;
  /** Files whose bytes are different each time, also locally: only their names are compared. */
  readonly volatile?: RegExp;
  readonly deadlineMs?: number;
  /** Why it cannot be run with AddressSanitizer's library, with or without us. */
  readonly unsanitized?: string;
}

const FILE_PROGRAMS: readonly ProgramRow[] = [
  {
    name: 'cp',
    script: `cp "$IN/random.bin" "$D/a"; cp "$D/a" "$D/b"; cp "$D/b" "$T/c"
      cmp "$IN/random.bin" "$T/c"; cp "$IN/small.txt" "$D/a"; cat "$D/a"
      cp "$D/none" "$D/x" 2>&1 || echo "status $?"`,
  },
  {
    name: 'cp -p',
    script: `cp -p "$IN/tree/run.sh" "$IN/tree/private" "$D/"; cp -p "$D/run.sh" "$D/again.sh"
      stat -c '%n %a %s %Y %F' "$D"/*`,
  },
  {
    name: 'cp -r',
    script: `cp -r "$IN/tree" "$D/"; cp -r "$D/tree" "$D/second"; cp -r "$D/second" "$T/back"
      diff -r "$IN/tree" "$T/back" && echo equal`,
  },
  {
    name: 'cp --sparse, --reflink',
    script: `cp --sparse=always "$IN/holes.bin" "$D/s"; cp --reflink=auto "$D/s" "$D/r"
      cmp "$IN/holes.bin" "$D/r"; stat -c '%n %s' "$D"/*`,
  },
  {
    name: 'mv',
    script: `cp "$IN/random.bin" "$T/a"; mv "$T/a" "$D/a"; mv "$D/a" "$D/b"; mkdir "$D/sub"
      mv "$D/b" "$D/sub/"; mv "$D/sub" "$D/dir"; cp "$IN/small.txt" "$D/back"; mv "$D/back" "$T/"
      cat "$T/back"; echo new > "$D/n"; echo old > "$D/o"; mv -n "$D/n" "$D/o"; mv "$D/n" "$D/o"
      cat "$D/o"; mv "$D/none" "$D/x" 2>&1 || echo "status $?"; find "$D" | sort`,
  },
  {
    name: 'cat',
    script: `cat "$IN/text.txt" "$IN/random.bin" > "$D/x"; cat "$D/x" "$D/x" | cksum
      cat - "$D/x" < "$IN/small.txt" >> "$D/y"; cat -n "$IN/small.txt" > "$D/n"; cat "$D/n"
      cat "$D" 2>&1 || echo "status $?"`,
  },
  {
    name: 'dd seek, skip, notrunc',
    script: `dd if="$IN/random.bin" of="$D/a" bs=4096 status=none
      dd if="$IN/text.txt" of="$D/a" bs=1000 seek=3 count=5 conv=notrunc status=none
      dd if="$IN/text.txt" of="$D/b" bs=512 seek=20 status=none
      dd if="$D/a" of="$D/c" bs=777 skip=2 count=9 status=none; cksum < "$D/c"
      dd if="$D/a" bs=1 skip=5000 count=100 status=none | cksum`,
  },
  {
    name: 'dd conv=fsync, fdatasync',
    script: `dd if="$IN/random.bin" of="$D/a" bs=1M conv=fsync status=none &&
      cmp "$IN/random.bin" "$D/a"
      dd if="$IN/text.txt" of="$D/b" bs=64k conv=fdatasync status=none && cksum < "$D/b"`,
  },
  {
    name: 'dd oflag=append, direct, dsync',
    script: `for i in 1 2 3; do
        dd if="$IN/small.txt" of="$D/a" oflag=append conv=notrunc status=none; done; cat "$D/a"
      dd if=/dev/zero of="$D/z" bs=4096 count=8 oflag=dsync status=none; cksum < "$D/z"
      dd if="$IN/text.txt" of="$D/e" conv=excl status=none
      dd if="$IN/text.txt" of="$D/e" conv=excl status=none 2>&1 || echo "status $?"`,
  },
  {
    name: 'dd of a file beyond 4 GiB',
    script: `truncate -s 5G "$D/big"
      dd if="$IN/text.txt" of="$D/big" bs=4096 seek=1100000 conv=notrunc \\
        status=none; stat -c %s "$D/big"
      dd if="$D/big" bs=4096 skip=1099999 count=3 status=none | cksum
      tail -c 100 "$D/big" | cksum; rm "$D/big"`,
  },
  {
    name: 'tee',
    script: `cat "$IN/text.txt" | tee "$D/a" "$D/b" | cksum; echo more | tee -a "$D/a" > "$D/c"
      cksum < "$D/a"; seq 100000 | tee "$D/d" | tail -n 1`,
  },
  {
    name: 'head, tail',
    script: `cp "$IN/text.txt" "$D/a"; head -n 3 "$D/a"; head -c 100 "$D/a" | cksum
      head -n -1990 "$D/a"; tail -n 3 "$D/a"; tail -c 50 "$D/a"; tail -n +1998 "$D/a"
      (head -n 2; head -n 2) < "$D/a"; head -n 20 "$D/a" > "$D/b"; tail -n 1 < "$D/b"`,
  },
  {
    name: 'split',
    script: `cd "$D"; split -b 700k "$IN/random.bin" part.; split -l 500 -d "$IN/text.txt" lines.
      cat part.* | cmp - "$IN/random.bin" && ls`,
  },
  {
    name: 'sort -o',
    script: `cp "$IN/text.txt" "$D/a"; sort -r -o "$D/a" "$D/a"; head -n 3 "$D/a"
      sort -u "$IN/text.txt" "$D/a" > "$D/b"; mkdir "$D/tmp"
      sort -S 64k -T "$D/tmp" "$D/a" | cksum`,
  },
  {
    name: 'truncate',
    script: `cp "$IN/text.txt" "$D/a"; truncate -s 1000 "$D/a"; truncate -s +3000 "$D/a"
      truncate -s 70000 "$D/new"; truncate -s '%4096' "$D/a"; truncate -r "$D/a" "$D/like"
      stat -c '%n %s' "$D"/*; cksum < "$D/a"`,
  },
  {
    name: 'install',
    script: `install -m 750 "$IN/tree/run.sh" "$D/run"; install -d -m 700 "$D/x/y"
      install -D -m 640 "$IN/small.txt" "$D/p/q/small"
      stat -c '%n %a' "$D/run" "$D/x/y" "$D/p/q/small"
      "$D/run" | head -n 1`,
  },
  {
    name: 'touch',
    script: `touch "$D/a"; touch -d '2001-02-03 04:05:06.789 UTC' "$D/b"; touch -r "$D/b" "$D/a"
      stat -c '%n %s %y' "$D/a" "$D/b"; touch -c "$D/none"; echo x > "$D/c"; touch -d @1 "$D/c"
      stat -c %Y "$D/c"; touch "$D/no/c" 2>&1 || echo "status $?"`,
  },
  {
    name: 'ls -lR',
    script: `cp -r "$IN/tree" "$D/"
      ls -lR "$D" | awk '/^-/ { print $1, $5, $9 } /^d/ { print $1, $9 }'
      ls -1 "$D/tree" "$D/none" 2>&1 || echo "status $?"; ls -d "$D"/tree/*
      ls -a "$D/tree" | head -n 3`,
  },
  {
    name: 'find',
    script: `cp -r "$IN/tree" "$D/"; find "$D" -type f -size +1k | sort
      find "$D" -name '*.txt' | sort
      find "$D" -type d -printf '%P %d\\n' | sort; find "$D" -empty | sort
      find "$D" -name '*.txt' -exec cksum {} + | sort; find "$D" -name b.txt -delete
      find "$D" | wc -l`,
  },
  {
    name: 'du -b',
    script: `cp -r "$IN/tree" "$D/"; find "$D/tree" -type f -exec du -b {} + | sort -k 2
      all=$(du -sb "$D/tree" | cut -f 1)
      for size in $(find "$D/tree" -type d -printf '%s '); do all=$((all - size)); done
      echo "$all"`,
  },
  {
    name: 'du',
    script: `cp "$IN/random.bin" "$D/"; du "$D/random.bin"; truncate -s 10M "$D/hole"
      du "$D/hole"`,
    expect: 'differs',
    why: 'blocks are counted from the size: a hole counts as much as data',
  },
  {
    name: 'rm -r',
    script: `cp -r "$IN/tree" "$D/"; cp -r "$IN/tree" "$D/two"; rm "$D/tree/run.sh"; rm -r "$D/tree"
      rm -r "$D/two/deep" && ls "$D/two"; rm "$D/none" 2>&1 || echo "status $?"; rm -f "$D/none"
      rm "$D/two" 2>&1 || echo "status $?"; rmdir "$D/two" 2>&1 || echo "status $?"`,
  },
  {
    name: 'mkdir, rmdir',
    script: `mkdir "$D/a"; mkdir "$D/a" 2>&1 || echo "status $?"; mkdir -p "$D/a/b/c" "$D/x"
      mkdir -m 700 "$D/m"; stat -c %a "$D/m"; rmdir "$D/x"; mkdir "$D/no/x" 2>&1 || echo "status $?"
      rmdir -p "$D/a/b/c" 2>/dev/null; find "$D" | sort`,
  },
  {
    name: 'chmod',
    script: `cp "$IN/small.txt" "$D/a"; chmod 600 "$D/a"; chmod u+x,g+r "$D/a"; stat -c %a "$D/a"
      mkdir "$D/d"; chmod 750 "$D/d"; stat -c %a "$D/d"; umask 077; echo x > "$D/b"
      stat -c %a "$D/b"`,
  },
  {
    name: 'test, stat, realpath, df',
    script: `cp "$IN/small.txt" "$D/a"; for t in e f d r w s h; do [ -$t "$D/a" ] && echo $t; done
      [ -d "$D" ] && echo directory; [ -e "$D/none" ] || echo none; stat -c '%s %F %h %a' "$D/a"
      realpath "$D/../$(basename "$D")/./a"; df "$D" > /dev/null && echo df
      cd "$D" && pwd && cat a`,
  },
  {
    name: 'ln -s',
    script: `cp "$IN/small.txt" "$D/a"; ln -s a "$D/l" && cat "$D/l"`,
    expect: 'unsupported',
    why: 'no symbolic links: EPERM',
  },
  {
    name: 'ln',
    script: `cp "$IN/small.txt" "$D/a"; ln "$D/a" "$D/l" && cat "$D/l"`,
    expect: 'unsupported',
    why: 'no hard links: EPERM',
  },
  {
    name: 'mkfifo',
    script: `mkfifo "$D/p" && ls "$D"`,
    expect: 'unsupported',
    why: 'no special files: EPERM',
  },
  {
    name: 'a file with a slash behind its name',
    script: `echo x > "$D/a"; cat "$D/a/" 2>&1; stat "$D/a/" 2>&1; ls "$D/a/" 2>&1; rm "$D/a/" 2>&1
      mv "$D/a/" "$D/b" 2>&1; [ -e "$D/a/" ] || echo none; mkdir "$D/d/" && ls -d "$D/d/"`,
  },
  {
    name: 'a path below a file',
    script: `echo x > "$D/a"; cat "$D/a/b" 2>&1; stat "$D/a/b" 2>&1; echo y > "$D/a/c"`,
    expect: 'differs',
    why: 'what is not there is ENOENT, also where ENOTDIR would be more exact',
  },
  {
    name: 'flock',
    needs: ['flock'],
    script: `flock "$D/lock" sh -c 'echo locked
      flock -n "$0" echo twice || echo "busy $?"' "$D/lock"
      flock -n "$D/lock" echo again`,
  },
];

export const PROGRAMS: readonly ProgramRow[] = [
  ...FILE_PROGRAMS,
  ...DATA_PROGRAMS,
  ...SHELL_PROGRAMS,
];
