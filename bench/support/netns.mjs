/**
 * A slow link: two network namespaces joined by a pair of virtual interfaces, each way held to a
 * rate by tc's token bucket (tbf). The near side is where the job runs, the far side where the
 * destination is. Needs root; everything is gone with the namespaces.
 */

import { hasProgram, runProgram } from './program.mjs';
import { onEnd } from './scratch.mjs';

const NEAR = '10.231.77.1';
export const FAR = '10.231.77.2';
/** Addresses of the link, for --allow. */
export const LINK_RANGE = '10.231.77.0/24';

const BURST = '64kb';
/** How long a packet may wait in the queue of the link. */
export const QUEUE = '50ms';
export const MTU = 1500;
/** Of a full frame, what is payload of TCP: less Ethernet, IP, and TCP with its time stamps. */
const PAYLOAD_SHARE = (MTU - 52) / (MTU + 14);
let links = 0;

/** Why there can be no such link here; null when there can. */
export function whyNoLink() {
  if (process.getuid() !== 0) return 'it needs root for network namespaces';
  const missing = ['ip', 'tc'].find((program) => !hasProgram(program));
  return missing === undefined ? null : `${missing} is not installed (iproute2)`;
}

/** What tc has to be told so that payload gets through at `bytesPerSecond`. */
export function megabitsForPayload(bytesPerSecond) {
  return Number(((bytesPerSecond * 8) / 1e6 / PAYLOAD_SHARE).toFixed(3));
}

/**
 * @param {number} megabits per second, each way
 * @returns {Promise<{ near: string[], far: string[], settings: string, hold: Function }>} `near`
 *   and `far` are what to put before a command line so that it runs on that side; `hold` holds the
 *   link, each way, to another rate and bucket from now on
 */
export async function makeLink(megabits) {
  const name = `kgb-${process.pid}-${++links}`;
  const sides = [
    { space: `${name}-near`, device: 'near0', address: NEAR },
    { space: `${name}-far`, device: 'far0', address: FAR },
  ];
  for (const { space } of sides) {
    await ip('netns', 'add', space);
    onEnd(() => ip('netns', 'del', space));
  }
  const [near, far] = sides;
  const peer = ['peer', 'name', far.device, 'netns', far.space];
  await ip('-n', near.space, 'link', 'add', near.device, 'type', 'veth', ...peer);
  for (const { space, device, address } of sides) {
    await ip('-n', space, 'addr', 'add', `${address}/24`, 'dev', device);
    await ip('-n', space, 'link', 'set', 'lo', 'up');
    await ip('-n', space, 'link', 'set', device, 'up');
  }
  const hold = async (rate, burst = BURST) => {
    const bucket = ['tbf', 'rate', `${rate}mbit`, 'burst', burst, 'latency', QUEUE];
    for (const { space, device } of sides) {
      await runProgram('tc', ['-n', space, 'qdisc', 'replace', 'dev', device, 'root', ...bucket]);
    }
  };
  await hold(megabits);
  return {
    near: ['ip', 'netns', 'exec', near.space],
    far: ['ip', 'netns', 'exec', far.space],
    settings: `tbf rate ${megabits}mbit burst ${BURST} latency ${QUEUE}, MTU ${MTU}`,
    hold,
  };
}

async function ip(...argv) {
  await runProgram('ip', argv);
}
