/**
 * Socket options that the netlink library does not offer, set on its descriptor through libc.
 * Without NETLINK_NO_ENOBUFS a single overrun of the receive buffer makes the library abort the
 * whole process. Sources: linux/netlink.h, asm-generic/socket.h, netlink(7).
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import koffi from 'koffi';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import { SOL_SOCKET } from '../raw-sockets/socket-numbers.ts';

export const SO_RCVBUFFORCE = 33;
const SO_MEMINFO = 55;
/** Numbers of 32 bits that SO_MEMINFO gives, and which of them is the count of drops. */
const MEMINFO_LENGTH = 9;
const MEMINFO_DROPS = 8;
export const SOL_NETLINK = 270;
export const NETLINK_NO_ENOBUFS = 5;
export const NETLINK_CAP_ACK = 10;
export const NETLINK_EXT_ACK = 11;

export type NetlinkRow = { readonly inode: string; readonly drops: number };

/** Path of the table that lists this process's netlink sockets with their drop counters. */
export const NETLINK_TABLE = '/proc/self/net/netlink';

/** The row of a socket in the text of the table: columns sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode. */
export function findNetlinkRow(table: string, protocol: number, port: number): NetlinkRow | null {
  for (const line of table.split('\n').slice(1)) {
    const columns = line.trim().split(/\s+/);
    if (columns.length < 10) continue;
    if (Number(columns[1]) !== protocol || Number(columns[2]) !== port) continue;
    return { drops: Number(columns[8]), inode: columns[9] ?? '' };
  }
  return null;
}

/**
 * Makes the socket survive overruns and gives it `receiveBytes` of buffer beyond the sysctl limit
 * (needs CAP_NET_ADMIN; without it the limited size stays). Gives its descriptor; the error says what protection
 * is missing.
 */
export function protectSocket(
  protocol: number,
  port: number,
  receiveBytes: number,
): Result<number, string> {
  try {
    const row = findNetlinkRow(readFileSync(NETLINK_TABLE, 'utf8'), protocol, port);
    if (row === null) return err(`no row for port ${port} in ${NETLINK_TABLE}`);
    const descriptor = findDescriptor(`socket:[${row.inode}]`);
    if (descriptor === null) return err(`no descriptor for inode ${row.inode}`);
    const setsockopt = koffi
      .load(null)
      .func('int setsockopt(int fd, int level, int name, const int *value, uint32_t length)');
    const set = (level: number, name: number, value: number): boolean =>
      setsockopt(descriptor, level, name, [value], 4) === 0;
    // These three are conveniences: an older kernel or a missing capability only makes us poorer.
    set(SOL_SOCKET, SO_RCVBUFFORCE, receiveBytes);
    set(SOL_NETLINK, NETLINK_CAP_ACK, 1);
    set(SOL_NETLINK, NETLINK_EXT_ACK, 1);
    if (!set(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)) return err('NETLINK_NO_ENOBUFS is refused');
    return ok(descriptor);
  } catch (error) {
    return err(messageOf(error));
  }
}

let getsockopt: ReturnType<ReturnType<typeof koffi.load>['func']> | null = null;

/** Messages that the kernel could not deliver to the socket so far; null where it does not say (before Linux 4.12). */
export function readDropped(descriptor: number): number | null {
  getsockopt ??= koffi
    .load(null)
    .func(
      'int getsockopt(int fd, int level, int name, _Out_ uint32_t *value, _Inout_ uint32_t *length)',
    );
  const values = new Uint32Array(MEMINFO_LENGTH);
  const length = [values.byteLength];
  if (getsockopt(descriptor, SOL_SOCKET, SO_MEMINFO, values, length) !== 0) return null;
  return values[MEMINFO_DROPS] ?? null;
}

function findDescriptor(target: string): number | null {
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`) === target) return Number(name);
    } catch {
      // The descriptor of the directory listing itself is gone by now.
    }
  }
  return null;
}
