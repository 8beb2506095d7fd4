/** Counters and rates of services and destinations: IPVS_STATS_ATTR_* of linux/ip_vs.h. */
import type { IpvsCounters, IpvsRates } from '../model/kernel.ts';
import { readU32, readU64, walkAttributes } from './netlink.ts';

export type Statistics = { readonly counters: IpvsCounters; readonly rates: IpvsRates };

/** Where the newest form of the statistics lies in a message; `statsOffset` -1: there are none. */
export type StatsPlace = { statsOffset: number; statsLength: number; statsType: number };

/** IPVS_STATS_ATTR_OUTBPS; what comes after it is padding. */
const LAST_VALUE = 10;

/** STATS64 has the greater number for services and destinations alike, and wins in any order. */
export function noteStats(seen: StatsPlace, type: number, offset: number, length: number): void {
  if (type < seen.statsType) return;
  seen.statsOffset = offset;
  seen.statsLength = length;
  seen.statsType = type;
}

/**
 * Widths differ (STATS: 32 bits but for bytes, STATS64: 64 bits): the attribute's own length tells.
 * Malformed statistics are none: the service or destination around them still counts.
 */
export function readStats(body: Uint8Array, { statsOffset, statsLength }: StatsPlace): Statistics {
  const values = Array.from({ length: LAST_VALUE + 1 }, () => 0);
  if (statsOffset < 0) return statisticsOf(values);
  const end = statsOffset + statsLength;
  const isWhole = walkAttributes(body, statsOffset, end, (type, offset, bytes) => {
    if (type > LAST_VALUE || bytes < 4) return;
    values[type] = bytes >= 8 ? readU64(body, offset) : readU32(body, offset);
  });
  return statisticsOf(isWhole ? values : []);
}

function statisticsOf(values: readonly number[]): Statistics {
  const group = (first: number): IpvsCounters => ({
    connections: values[first] ?? 0,
    packetsIn: values[first + 1] ?? 0,
    packetsOut: values[first + 2] ?? 0,
    bytesIn: values[first + 3] ?? 0,
    bytesOut: values[first + 4] ?? 0,
  });
  return { counters: group(1), rates: group(6) };
}
