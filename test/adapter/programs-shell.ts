/**
 * Shells and what they start: every redirection of bash and dash, pipelines, inherited descriptors,
 * here documents, working directories, traps; make with a compiler; version control; transfer.
 */
import type { ProgramRow } from './programs.ts';

const REDIRECTIONS = `cd "$D"; echo one > f; echo two >> f; cat < f
      ls none > both 2>&1 || echo "status $?"
cat both; (echo out; echo err >&2) > o 2> e; cat o e; : > empty; echo more >> empty; cat empty
exec 5> five; echo to five >&5; (echo from a child >&5); echo again >&5; exec 5>&-; cat five
exec 6< five; read -r a <&6; read -r b <&6; echo "$b, $a"; cat <&6; exec 6<&-
exec 7<> both7; echo written >&7; echo second >&7; exec 7>&-; cat both7
cat > here <<END
a here document of $(basename here)
END
cat here; seq 1000 | grep 7 | wc -l > count; cat count; { echo a; echo b; } > group; cat group
while read -r line; do echo "[$line]"; done < group > loop; cat loop
exec 3>&1; exec > log; echo in the log; sh -c 'echo from sh'; exec 1>&3 3>&-; cat log
echo x > "a name with spaces"; cat "a name with spaces"; for i in 1 2 3; do echo $i; done >> loop
cat loop
(sleep 0.1; echo late) >> loop & wait; tail -n 1 loop; echo overwritten 1<> f; cat f
set -C; (echo no > f) 2>/dev/null || echo noclobber; echo yes >| f; cat f
cat none 2> /dev/null || echo none`;

export const SHELL_PROGRAMS: readonly ProgramRow[] = [
  { name: 'bash redirections', script: REDIRECTIONS },
  {
    name: 'dash redirections',
    needs: ['dash'],
    script: `cat > "$T/script" <<'SCRIPT'
${REDIRECTIONS}
SCRIPT
      dash "$T/script"`,
  },
  {
    name: 'bash: more of it',
    script: `cd "$D"; echo a &> all; ls none &>> all; wc -l < all; cat <<< 'a here string' > s
      cat s
      exec {fd}> named; echo to $fd >&$fd; exec {fd}>&-; wc -l < named; printf '%s\\n' x y > p
      mapfile -t lines < p; echo "\${lines[1]}"; echo "$(< p)"; diff <(sort -r p) <(cat p) > d
      cat d
      source <(echo 'echo sourced'); echo 'echo "script \${1}"' > run.sh; . ./run.sh arg
      bash run.sh two
      coproc cat; echo to coproc >&\${COPROC[1]}; read -r back <&\${COPROC[0]}; echo "$back" > c
      cat c`,
  },
  {
    name: 'a script in the directory',
    script: `printf '#!/bin/sh\\necho "it is $1"; pwd\\n' > "$D/job"; chmod +x "$D/job"
      "$D/job" run
      cd "$D" && ./job here; sh job again; sh -c ./job`,
  },
  {
    name: 'working directories',
    script: `mkdir -p "$D/a/b"; cd "$D/a"; pwd; echo x > f; cd b; echo y > ../g; cat ../f; cd ..
      ls; /bin/pwd
      cd ../a/b/..; ls -l | wc -l; (cd b && touch inside); find . | sort; cd "$T"
      cd - > /dev/null; pwd
      sh -c 'pwd; ls'; env -i PATH="$PATH" /bin/sh -c 'echo no environment'`,
  },
  {
    name: 'background writers to one file',
    script: `cd "$D"; for w in a b c d; do
        (for i in $(seq 200); do echo "$w $i"; done >> shared) & done; wait
      wc -l < shared; sort shared | cksum; for w in a b c d; do grep "^$w" shared | cksum; done`,
    volatile: /^shared$/,
  },
  {
    name: 'one descriptor, many children',
    script: `cd "$D"; (for i in $(seq 100); do sh -c "echo line $i"; done) > f; cksum < f
      (for i in $(seq 50); do read -r x; sh -c 'read -r y; echo "$y"'; done) < f > g
      cat g | cksum`,
  },
  {
    name: 'make, gcc, ld, ar',
    needs: ['make', 'gcc'],
    script: `cp -r "$IN/src" "$D/"; cd "$D/src"; make; ./hello; make; touch util.c; make
      make clean; ls`,
  },
  {
    name: 'gcc -o in the directory',
    needs: ['gcc'],
    script: `gcc -g0 -O2 -o "$D/hello" "$IN/src/main.c" "$IN/src/util.c"; "$D/hello"
      gcc -shared -fPIC -g0 -o "$D/libutil.so" "$IN/src/util.c"
      gcc -g0 -o "$T/linked" "$IN/src/main.c" "$D/libutil.so"
      strip "$D/hello" && "$D/hello"`,
  },
  {
    name: 'git init, commit',
    needs: ['git'],
    script: `export GIT_AUTHOR_DATE='2001-02-03T04:05:06Z' GIT_COMMITTER_DATE='2001-02-03T04:05:06Z'
      export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_OPTIONAL_LOCKS=0
      id='-c user.name=N -c user.email=n@example.org -c init.defaultBranch=main'
      cd "$D"; git $id init -q --template= . ; cp "$IN/text.txt" a; cp -r "$IN/tree" .
      git $id add .
      git $id commit -qm first; echo more >> a; git $id commit -qam second; git log --format=%H,%s
      git status --short; git fsck 2>&1; git $id gc -q; git log --stat --format=%s | cat`,
    // git has found out that there are no symbolic links, and notes that in config.
    volatile: /^\.git\/(index|config|objects\/pack\/.*|objects\/info\/.*)$/,
  },
  {
    name: 'git clone',
    needs: ['git'],
    script: `export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
      export GIT_AUTHOR_DATE='2001-02-03T04:05:06Z' GIT_COMMITTER_DATE='2001-02-03T04:05:06Z'
      id='-c user.name=N -c user.email=n@example.org -c init.defaultBranch=main'
      git $id init -q "$T/r"; cd "$T/r"; cp "$IN/text.txt" .; git $id add .
      git $id commit -qm first
      git $id clone -q --template= "file://$T/r" "$D/clone"; cd "$D/clone"; git log --format=%H
      cksum text.txt`,
    volatile: /^clone\/\.git\/(index|config|logs\/.*|objects\/pack\/.*|packed-refs)$/,
  },
  {
    name: 'rsync --inplace',
    needs: ['rsync'],
    script: `rsync -rtO --inplace "$IN/tree/" "$D/tree/"; rsync --inplace "$IN/random.bin" "$D/"
      rsync -rtO --inplace -i "$IN/tree/" "$D/tree/"
      rsync --inplace --no-whole-file "$IN/random.bin" "$D/"
      rsync -r "$D/tree/" "$T/back/"; diff -r "$IN/tree" "$T/back" && echo equal`,
  },
  {
    name: 'rsync',
    needs: ['rsync'],
    script: `rsync -a "$IN/tree/" "$D/tree/"; rsync -a -i "$IN/tree/" "$D/tree/"
      cp -r "$IN/tree" "$T/"; echo changed > "$T/tree/b.txt"; rm "$T/tree/run.sh"
      rsync -a --delete "$T/tree/" "$D/tree/"; ls "$D/tree"; cat "$D/tree/b.txt"`,
  },
  {
    name: 'curl -o',
    needs: ['curl'],
    script: `curl -s -o "$D/a" "$HTTP/random.bin"; cmp "$IN/random.bin" "$D/a" && echo equal
      curl -s -o "$D/b" "file://$IN/text.txt"; cd "$D"; curl -s -O "$HTTP/small.txt"; cat small.txt
      curl -s "file://$D/b" | cksum; curl -s -T "$D/b" -o "$D/put" "$HTTP/upload"; cat "$D/put"
      head -c 1000 "$IN/random.bin" > "$D/c"; curl -s -C - -o "$D/c" "$HTTP/random.bin"
      cksum < "$D/c"`,
    unsanitized: 'libp11-kit, which it loads, waits for itself at the exit',
  },
  {
    name: 'wget',
    needs: ['wget'],
    script: `wget -q -O "$D/a" "$HTTP/random.bin"; cksum < "$D/a"; cd "$D"; wget -q "$HTTP/text.txt"
      wget -q -nc "$HTTP/text.txt" || echo "status $?"; wget -q -P sub "$HTTP/small.txt"
      cat sub/small.txt`,
    unsanitized: 'libp11-kit, which it loads, waits for itself at the exit',
  },
  {
    name: 'GNU parallel',
    needs: ['parallel'],
    script: `export HOME="$T"; seq 20 | parallel --will-cite -j 4 "echo job {} > $D/f{}"
      seq 20 | parallel --will-cite -k "cat $D/f{}" > "$D/all"; cat "$D/all"
      seq 5 | parallel --will-cite -k --results "$D/r" 'echo {}; echo e{} >&2' 2> /dev/null
      ls "$D"`,
    deadlineMs: 120_000,
  },
  {
    name: 'GNU parallel, TMPDIR in the directory',
    needs: ['parallel'],
    script: `export HOME="$T" TMPDIR="$D"; seq 5 | parallel --will-cite -k 'echo {}; echo e{}'`,
    deadlineMs: 120_000,
  },
  {
    name: 'xargs -P',
    script: `cd "$D"; seq 40 | xargs -P 4 -I{} sh -c 'echo {} > f{}'; cat f* | sort -n | cksum
      ls | wc -l`,
  },
  {
    name: 'timeout, nohup, nice, env',
    script: `timeout 10 sh -c "echo t > $D/t"; nohup sh -c 'echo n' > "$D/n" 2>/dev/null < /dev/null
      nice sh -c "echo c > $D/c"; env -u NOTHING X=1 sh -c "echo \\$X > $D/e"; cat "$D"/*
      timeout 0.3 sh -c "while :; do echo x; done >> $D/loop"; echo "status $?"`,
    volatile: /^loop$/,
  },
  {
    name: 'a program that is killed',
    script: `sh -c 'echo before > "$D/f"; kill -9 $$; echo after >> "$D/f"' 2>/dev/null
      echo "status $?"
      cat "$D/f"; sh -c 'echo a > "$D/g"; kill -TERM $$' ; echo "status $?"; cat "$D/g"
      sh -c 'trap "echo trapped >> $D/g" TERM; kill -TERM $$; exit 7'; echo "status $?"
      cat "$D/g"`,
  },
];
