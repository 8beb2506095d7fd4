/** Counters and rates of services and destinations: IPVS_STATS_ATTR_* of linux/ip_vs.h. */
import type { IpvsCounters, IpvsRates } from '../model/kernel.ts';
import {
  align4,
  ATTRIBUTE_HEADER_BYTES,
  NLA_TYPE_MASK,
  readU16,
  readU32,
  readU64,
} from './netlink.ts';

export type Statistics = { readonly counters: IpvsCounters; readonly rates: IpvsRates };

/** IPVS_STATS_ATTR_OUTBPS; what comes after it is padding. */
const LAST_VALUE = 10;

/** One for all that never saw a packet, which are most of a large table. */
const NO_COUNTS: IpvsCounters & IpvsRates = {
  connections: 0,
  packetsIn: 0,
  packetsOut: 0,
  bytesIn: 0,
  bytesOut: 0,
};

/** Reads the statistics of one service or destination after the other, and makes nothing for those it knows. */
export class StatsReader {
  /** By attribute: counters from 1, rates from 6. */
  readonly #values = new Float64Array(LAST_VALUE + 1);

  /**
   * Widths differ (STATS: 32 bits but for bytes, STATS64: 64 bits): the attribute's own length tells.
   * Malformed statistics are none: the service or destination around them still counts. `start` -1: none.
   */
  read(body: Uint8Array, start: number, length: number): void {
    const values = this.#values.fill(0);
    if (start < 0) return;
    const end = start + length;
    let offset = start;
    while (end - offset >= ATTRIBUTE_HEADER_BYTES) {
      const size = readU16(body, offset);
      if (size < ATTRIBUTE_HEADER_BYTES || size > end - offset) {
        values.fill(0);
        return;
      }
      const type = readU16(body, offset + 2) & NLA_TYPE_MASK;
      const bytes = size - ATTRIBUTE_HEADER_BYTES;
      const at = offset + ATTRIBUTE_HEADER_BYTES;
      if (type <= LAST_VALUE && bytes >= 4)
        values[type] = bytes >= 8 ? readU64(body, at) : readU32(body, at);
      offset += align4(size);
    }
  }

  isSame({ counters, rates }: Statistics): boolean {
    return this.#isGroup(1, counters) && this.#isGroup(6, rates);
  }

  statistics(): Statistics {
    return { counters: this.#group(1), rates: this.#group(6) };
  }

  #isGroup(first: number, group: IpvsCounters | IpvsRates): boolean {
    const values = this.#values;
    return (
      values[first] === group.connections &&
      values[first + 1] === group.packetsIn &&
      values[first + 2] === group.packetsOut &&
      values[first + 3] === group.bytesIn &&
      values[first + 4] === group.bytesOut
    );
  }

  #group(first: number): IpvsCounters & IpvsRates {
    if (this.#isGroup(first, NO_COUNTS)) return NO_COUNTS;
    const at = (index: number): number => this.#values[first + index] ?? 0;
    return {
      connections: at(0),
      packetsIn: at(1),
      packetsOut: at(2),
      bytesIn: at(3),
      bytesOut: at(4),
    };
  }
}
