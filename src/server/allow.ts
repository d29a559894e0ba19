/**
 * Who may connect over TCP: this machine always, others by --allow ADDRESS/BITS (the paper's
 * address-based authentication, 4.1 item 4). Closed by default. Pure.
 */
import { BlockList, isIP, isIPv6 } from 'node:net';
import { KangarooError } from '../base/errors.ts';

const LOOPBACK = ['127.0.0.0/8', '::1/128'];

export class AllowList {
  readonly #list = new BlockList();

  /** @throws KangarooError USAGE for what is no network */
  constructor(networks: readonly string[]) {
    for (const network of [...LOOPBACK, ...networks]) {
      const [, address = '', digits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(network) ?? [];
      const family = isIPv6(address) ? 'ipv6' : 'ipv4';
      const most = family === 'ipv6' ? 128 : 32;
      const bits = digits === undefined ? most : Number(digits);
      if (isIP(address) === 0 || bits > most) {
        throw new KangarooError('USAGE', `--allow ${network}: not ADDRESS/BITS`);
      }
      this.#list.addSubnet(address, bits, family);
    }
  }

  allows(address: string | undefined): boolean {
    if (address === undefined || isIP(address) === 0) return false;
    const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
    const plain = mapped ?? address;
    return this.#list.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4');
  }
}
