/**
 * node:fs: synchronous calls, promises on several threads, streams, a child.
 */
import { execSync } from 'node:child_process';
import * as fs from 'node:fs';

const { D } = process.env;
const path = `${D}/a`;
fs.writeFileSync(path, 'hello\n');
fs.appendFileSync(path, 'more\n');
process.stdout.write(fs.readFileSync(path, 'utf8'));
const fd = fs.openSync(`${D}/b`, 'w+');
fs.writeSync(fd, 'abcdef', 10);
fs.ftruncateSync(fd, 12);
fs.fsyncSync(fd);
console.log(fs.fstatSync(fd).size, fs.readSync(fd, Buffer.alloc(5), 0, 5, 9));
fs.writevSync(fd, [Buffer.from('x'), Buffer.from('y')], 0);
fs.closeSync(fd);
fs.mkdirSync(`${D}/d/e`, { recursive: true });
fs.copyFileSync(path, `${D}/d/c`);
fs.renameSync(path, `${D}/d/e/r`);
fs.utimesSync(`${D}/d/c`, 1, 2);
console.log(fs.statSync(`${D}/d/c`).mtimeMs, fs.existsSync(path));
console.log(fs.readdirSync(D, { recursive: true }).sort());
try {
  fs.readFileSync(`${D}/none`);
} catch (error) {
  console.log(error.code);
}
await fs.promises.writeFile(`${D}/async`, Buffer.alloc(300_000, 7));
console.log((await fs.promises.readFile(`${D}/async`)).length);
await new Promise((done) => {
  const target = fs.createWriteStream(`${D}/stream`).on('finish', done);
  fs.createReadStream(`${D}/async`).pipe(target);
});
const write = (_, i) => fs.promises.writeFile(`${D}/p${i}`, String(i).repeat(1_000));
await Promise.all(Array.from({ length: 20 }, write));
console.log((await fs.promises.stat(`${D}/stream`)).size);
await fs.promises.rm(`${D}/d`, { recursive: true });
console.log((await fs.promises.readdir(D)).length);
execSync(`echo child > ${D}/child`);
