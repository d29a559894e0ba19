/**
 * How long a server takes to start on a spool of a million operations, and how much memory it and
 * its mover then have. Two shapes: 10,000 files with 100 writes each, and a million files.
 *
 * The spool is filled by the library while the destination is away. Every round starts the server
 * that the one before stopped, once stopped by SIGTERM and once, for information, by SIGKILL. The
 * server has started when its ready file is there; memory is read when both programs have come to
 * rest, at its highest.
 */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { connect } from '../dist/index.js';
import { summaryOf } from './support/measure.mjs';
import { processorSeconds, residentBytes } from './support/processes.mjs';
import { asMiB, asSeconds, boundRow } from './support/report.mjs';
import { makeDirectory } from './support/scratch.mjs';
import { BenchServer, untilQuiet } from './support/servers.mjs';

const PAYLOAD_BYTES = 64;
const START_MS_MAX = 10_000;
const RESIDENT_BYTES_MAX = 600e6;
/** Puts lined up before the next are made. */
const AT_ONCE = 1_000;

export const title = 'start with 1,000,000 spooled operations';

export async function run({ quick, rounds }) {
  const operations = quick ? 10_000 : 1_000_000;
  const shapes = [
    { name: `${count(operations / 100)} files x 100 writes`, files: operations / 100, writes: 100 },
    { name: `${count(operations)} files`, files: operations, writes: 1 },
  ];
  const rows = [];
  for (const [index, shape] of shapes.entries()) {
    const directory = makeDirectory(`million-${index}`);
    const server = new BenchServer({
      ...{ directory: join(directory, 'job'), name: 'job' },
      routes: ['archive=127.0.0.1:1'],
    });
    await server.start();
    await fill(server, shape);
    const work = `start with ${count(operations)} spooled operations, ${shape.name}`;
    const starts = { stop: [], kill: [] };
    for (let round = -1; round < Math.min(rounds, 5); round++) {
      for (const how of ['stop', 'kill']) {
        await server[how]();
        const start = await measureStart(server);
        if (round >= 0) starts[how].push(start);
      }
    }
    rows.push(rowOf(work, starts.stop, true));
    rows.push(rowOf(`${work}; after SIGKILL`, starts.kill, false));
    await server.stop();
  }
  return rows;
}

async function fill(server, { files, writes }) {
  const client = await connect({ server: server.socket });
  const block = randomBytes(PAYLOAD_BYTES);
  let puts = [];
  for (let file = 0; file < files; file++) {
    const above = `kangaroo://archive/d${Math.floor(file / 1_000)}`;
    if (file % 1_000 === 0) puts.push(client.mkdir(above));
    const address = `${above}/f${file % 1_000}`;
    for (let i = 0; i < writes; i++) {
      puts.push(client.write(address, i * PAYLOAD_BYTES, block));
      if (puts.length < AT_ONCE) continue;
      await Promise.all(puts);
      puts = [];
    }
  }
  await Promise.all(puts);
  await client.commit();
  await client.close();
}

async function measureStart(server) {
  const startMs = await server.start();
  await untilQuiet(server.pids, processorSeconds);
  const [serverPid, moverPid] = server.pids;
  const resident = residentBytes(serverPid);
  return {
    startMs,
    serverBytes: resident.highest,
    serverBytesNow: resident.now,
    moverBytes: residentBytes(moverPid).highest,
    processorSeconds: processorSeconds(serverPid) + processorSeconds(moverPid),
  };
}

function rowOf(work, starts, isJudged) {
  const of = (key) => summaryOf(starts.map((start) => start[key]));
  const [start, resident, now, mover] = [
    of('startMs'),
    of('serverBytes'),
    of('serverBytesNow'),
    of('moverBytes'),
  ];
  const reached = start.median <= START_MS_MAX && resident.median <= RESIDENT_BYTES_MAX;
  return boundRow({
    work,
    reach: isJudged ? '<= 10 s, <= 600 MB resident' : '',
    value: `${asSeconds(start.median)}, ${(resident.median / 1e6).toFixed(0)} MB`,
    isReached: isJudged ? reached : null,
    notes: [
      `server at rest ${asMiB(now.median)}, highest ${asMiB(resident.median)}; mover highest ` +
        `${asMiB(mover.median)}; ${of('processorSeconds').median.toFixed(1)} processor seconds ` +
        `until both were at rest; ${start.rounds} rounds`,
    ],
    data: { start, resident, now, mover },
  });
}

function count(value) {
  return value.toLocaleString('en');
}
