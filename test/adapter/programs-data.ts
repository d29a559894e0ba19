/**
 * Archivers, compressors, text tools, languages and data formats: the libraries underneath differ
 * in how they write (stdio, mmap, vectors, aio), which is why there are so many. What is longer
 * than a few lines is a file in jobs/.
 */
import type { ProgramRow } from './programs.ts';

/** Every engine that goes through libc's calls, and the ones that do not. */
function fio(engine: string, more: Partial<ProgramRow> = {}): ProgramRow {
  const call = `--name=v --filename="$D/f" --size=4m --bs=16k --ioengine=${engine} --verify=crc32c`;
  return {
    name: `fio verify=crc32c, ${engine}`,
    needs: ['fio'],
    script: `fio ${call} --rw=randwrite --iodepth=4 --fallocate=none --output="$T/out" > "$T/o" 2>&1
      status=$?; grep -o 'err= *[0-9]*' "$T/out"; stat -c %s "$D/f"; [ $status = 0 ] || exit 1
      fio ${call} --rw=read --verify_only --output="$T/o2" > "$T/o" 2>&1
      status=$?; grep -o 'err= *[0-9]*' "$T/o2"; exit $status`,
    // Each block holds the time of its writing.
    volatile: /^f$/,
    deadlineMs: 120_000,
    ...more,
  };
}

export const DATA_PROGRAMS: readonly ProgramRow[] = [
  {
    name: 'tar c',
    script: `tar cf "$D/t.tar" -C "$IN" tree random.bin; tar tf "$D/t.tar"
      tar rf "$D/t.tar" -C "$IN" small.txt
      tar czf "$D/t.tgz" -C "$IN" --mtime=@0 tree; tar tzf "$D/t.tgz" | wc -l
      cp -r "$IN/tree" "$D/"
      tar cf - --mtime=@0 -C "$D" tree | tar tf - | sort; tar df "$D/t.tar" -C "$IN" && echo equal`,
  },
  {
    name: 'tar x',
    script: `tar cf "$T/t.tar" -C "$IN" tree random.bin; tar xf "$T/t.tar" -C "$D"; ls -R "$D"
      stat -c '%n %a %Y' "$D"/tree/*; cp "$T/t.tar" "$D/t.tar"; cd "$D"; mkdir x; tar xf t.tar -C x
      tar xf t.tar --strip-components=1 tree/run.sh; diff -r tree x/tree && echo equal`,
  },
  {
    name: 'gzip',
    script: `cp "$IN/text.txt" "$D/a"; gzip -n -k "$D/a"; gzip -n < "$D/a" > "$D/b.gz"
      gzip -n "$D/a"; ls "$D"
      gunzip -c "$D/b.gz" | cksum; gunzip "$D/a.gz" 2>&1; zcat "$D/b.gz" | cmp - "$D/a" && ls "$D"`,
  },
  {
    name: 'bzip2',
    needs: ['bzip2'],
    script: `cp "$IN/text.txt" "$D/a"; bzip2 -k "$D/a"; bunzip2 -c "$D/a.bz2" | cksum
      bzip2 -f "$D/a"
      bzip2 -t "$D/a.bz2" && ls "$D"; bunzip2 "$D/a.bz2"; ls "$D"`,
  },
  {
    name: 'xz',
    needs: ['xz'],
    script: `cp "$IN/text.txt" "$D/a"; xz -T1 -k "$D/a"; xz -dc "$D/a.xz" | cksum
      xz -T1 -f "$D/a"; xz -l "$D/a.xz" | wc -l
      unxz "$D/a.xz"; ls "$D"`,
  },
  {
    name: 'zip, unzip',
    needs: ['zip', 'unzip'],
    script: `cd "$IN"; zip -q -X -r "$D/z.zip" tree small.txt; cd "$D"; unzip -q z.zip
      diff -r tree "$IN/tree" && echo equal
      unzip -l z.zip | tail -n 1; zip -q -X z.zip -d small.txt; unzip -tq z.zip
      zip -q -X z.zip small.txt; ls`,
    // The time of small.txt is that of its extraction.
    volatile: /^z\.zip$/,
  },
  {
    name: 'sed -i',
    script: `cp "$IN/text.txt" "$D/a"; sed -i 's/line/LINE/' "$D/a"; sed -i.bak '1,5d' "$D/a"
      ls "$D"; head -n 2 "$D/a"
      sed -n '1w '"$D"'/w' "$D/a"; cat "$D/w"; sed 's/a/b/' "$D/a" > "$D/c"; cksum < "$D/c"`,
  },
  {
    name: 'grep -r',
    script: `cp -r "$IN/tree" "$D/"; grep -r needle "$D/tree" | sort; grep -rlc e "$D/tree" | sort
      grep -c . "$IN/text.txt"
      cd "$D"; grep -rn needle . | sort; grep nothing tree/b.txt || echo "status $?"`,
  },
  {
    name: 'awk',
    script: `cd "$D"
      awk '{ print $2 > ("out" NR % 3) } END { print NR > "count" }' "$IN/text.txt"; cat count
      cksum out*
      awk 'FNR == 1 { print FILENAME, $0 }' out*; awk '{ print | "sort -r > sorted" }' out1
      head -n 2 sorted
      awk 'BEGIN { while ((getline line < "count") > 0) print line; system("echo sys >> count") }'
      cat count`,
  },
  {
    name: 'patch',
    needs: ['patch'],
    script: `cp "$IN/text.txt" "$D/a"; cp "$D/a" "$T/b"; sed -i '10,12s/line/LINE/' "$T/b"
      (cd "$T"; diff -u "$D/a" b | sed 1,2d | sed '1i --- a\\n+++ a' > p) ; cd "$D"
      patch -s -b a < "$T/p"; cmp a "$T/b" && ls
      patch -s -R a < "$T/p"; cmp a "$IN/text.txt" && echo back`,
  },
  {
    name: 'diff, cmp, cksum, comm',
    script: `cp "$IN/text.txt" "$D/a"; sed 5d "$D/a" > "$D/b"; diff "$D/a" "$D/b"
      cmp "$D/a" "$D/b"; cmp "$D/a" "$D/a" && echo equal
      cd "$D"; sha256sum a b > sums; sha256sum -c sums; comm -3 a b; paste a b | head -n 1; wc a b
      od -c a | head -n 2`,
  },
  {
    name: 'openssl',
    needs: ['openssl'],
    script: `openssl dgst -sha256 -out "$D/sum" "$IN/random.bin"; sed 's/.*=//' "$D/sum"
      cp "$IN/random.bin" "$D/r"
      key='-aes-128-cbc -K 00112233445566778899aabbccddeeff -iv 00'
      openssl enc $key -in "$D/r" -out "$D/e" 2>/dev/null
      openssl enc -d $key -in "$D/e" -out "$D/d" 2>/dev/null
      cmp "$D/r" "$D/d" && echo equal; openssl rand -out "$D/rand" 1000; stat -c %s "$D/rand"
      openssl base64 -in "$D/sum" -out "$D/b64"`,
    volatile: /^(rand|sum|b64)$/,
  },
  {
    name: 'sqlite3',
    needs: ['sqlite3'],
    script: `s() { sqlite3 "$D/db" "$@"; }; s 'create table t(a integer primary key, b text)'
      s "begin; with recursive n(i) as (select 1 union all select i+1 from n where i<2000)
        insert into t select i, 'row '||i from n; commit"
      s 'select count(*), sum(a) from t'
      s 'delete from t where a % 3 = 0; vacuum; select count(*) from t'
      s 'begin; insert into t values(99999, 1); rollback;
        select count(*) from t; pragma integrity_check'
      ls "$D"`,
  },
  {
    name: 'sqlite3, journal_mode=MEMORY',
    needs: ['sqlite3'],
    script: `sqlite3 "$D/db" 'pragma journal_mode=memory; pragma locking_mode=exclusive;
        create table t(a, b); insert into t values(1, 2); create index i on t(b);
        insert into t select a+1, b+1 from t; select * from t'
      ls "$D"; sqlite3 "$D/db" '.dump' | cksum`,
  },
  {
    name: 'sqlite3, journal_mode=WAL',
    needs: ['sqlite3'],
    script: `sqlite3 "$D/db" 'pragma journal_mode=wal; create table t(a, b);
        insert into t values(1, 2); select * from t'
      ls "$D"
      sqlite3 "$D/db" 'insert into t values(3, 4); select sum(a) from t;
        pragma journal_mode=delete'
      ls "$D"`,
  },
  {
    name: 'python3 open',
    needs: ['python3'],
    script: `python3 "$JOBS/basics.py"`,
  },
  {
    name: 'python3 os',
    needs: ['python3'],
    script: `python3 "$JOBS/os.py"`,
  },
  {
    name: 'python3 shutil, pathlib, tempfile, glob',
    needs: ['python3'],
    script: `python3 "$JOBS/files.py"`,
  },
  {
    name: 'python3 tempfile.TemporaryFile',
    needs: ['python3'],
    script: `python3 "$JOBS/unnamed.py"`,
  },
  {
    name: 'python3 mmap',
    needs: ['python3'],
    script: `cp "$IN/random.bin" "$D/r"; python3 "$JOBS/mapped.py"`,
  },
  {
    name: 'python3 subprocess, threads, fork',
    needs: ['python3'],
    script: `python3 "$JOBS/processes.py"`,
    volatile: /^shared$/,
  },
  {
    name: 'python3, 1,000 files open at once',
    needs: ['python3'],
    script: `ulimit -n 4096 2>/dev/null; python3 "$JOBS/thousand.py"`,
  },
  {
    name: 'python3, beyond 4 GiB',
    needs: ['python3'],
    script: `python3 "$JOBS/far.py"`,
  },
  {
    name: 'numpy tofile, fromfile, memmap, save',
    needs: ['python3'],
    script: `PY=python3; python3 -c 'import numpy' 2>/dev/null || PY=/usr/bin/python3
      $PY "$JOBS/arrays.py"`,
  },
  {
    name: 'perl',
    needs: ['perl'],
    script: `perl "$JOBS/job.pl"
      cp "$IN/text.txt" "$D/t"; perl -pi -e 's/line/row/' "$D/t"; head -n 1 "$D/t"
      perl -i.bak -ne 'print if $. > 3' "$D/t"; ls "$D"`,
  },
  {
    name: 'node',
    needs: ['node'],
    script: `node "$JOBS/job.mjs"; echo 'console.log(1)' > "$D/s.mjs"; node "$D/s.mjs"`,
  },
  {
    name: 'java',
    needs: ['java', 'javac'],
    script: `javac -d "$T" "$JOBS/Job.java" && java -Xshare:auto -cp "$T" Job
      cp "$T/Job.class" "$D/"; java -cp "$D" Job 2>&1 | head -n 1`,
    deadlineMs: 120_000,
  },
  {
    name: 'gfortran unformatted',
    needs: ['gfortran'],
    script: `gfortran -o "$T/u" "$JOBS/unformatted.f90" && "$T/u"`,
  },
  {
    name: 'HDF5 tools',
    needs: ['h5import', 'h5dump'],
    script: `seq 1000 > "$T/n.txt"
      printf '%s\\n' 'PATH data' 'INPUT-CLASS TEXTIN' 'RANK 1' 'DIMENSION-SIZES 1000' \\
        'OUTPUT-CLASS IN' 'OUTPUT-SIZE 32' > "$T/c"
      h5import "$T/n.txt" -c "$T/c" -o "$D/a.h5"; h5ls "$D/a.h5"
      h5dump -d /data "$D/a.h5" | tail -n 5
      h5repack -f GZIP=5 "$D/a.h5" "$D/z.h5"; h5diff "$D/a.h5" "$D/z.h5" && echo equal
      h5copy -i "$D/a.h5" -o "$D/b.h5" -s data -d other
      h5ls "$D/b.h5"; h5stat "$D/z.h5" | grep -c .`,
    volatile: /^(z|b|a)\.h5$/,
    unsanitized: 'libp11-kit, which they load, waits for itself at the exit',
  },
  ...['sync', 'psync', 'vsync', 'pvsync', 'pvsync2', 'posixaio', 'libaio', 'mmap'].map((name) =>
    fio(name),
  ),
  fio('io_uring', {
    expect: 'unsupported',
    why: 'io_uring is refused with ENOSYS, and this engine has no other way',
  }),
];
