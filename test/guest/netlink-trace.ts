/**
 * What really goes to the kernel: a tap of all netlink traffic (nlmon), recorded by tcpdump, read back as
 * the requests that change the IPVS table.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { decodeMessages, NLM_F_DUMP, NLM_F_REQUEST } from '../../src/wire/netlink.ts';
import {
  IPVS_CMD_DEL_DEST,
  IPVS_CMD_GET_DEST,
  IPVS_CMD_GET_INFO,
  IPVS_CMD_GET_SERVICE,
  IPVS_CMD_NEW_DEST,
  IPVS_CMD_NEW_SERVICE,
  IPVS_CMD_SET_DEST,
  IPVS_CMD_SET_SERVICE,
} from '../../src/wire/ipvs-common.ts';
import type { DesiredService } from '../../src/model/kernel.ts';
import type { IpvsKernel } from '../../src/ports/kernel.ts';
import type { ContractCase } from '../contract/contract-case.ts';
import { type IpvsWorld, ip, real, service, tcp } from '../contract/ipvs-kernel.contract.ts';
import { reconcile } from './ipvs-table.ts';

const GENL_MIN_ID = 0x10;
const NETLINK_GENERIC = 16;
const PCAP_HEADER_BYTES = 24;
const PCAP_RECORD_BYTES = 16;
/** The ring of a capture holds that many bytes for each frame, however short: long ones are answers. */
const SNAP_BYTES = 4096;
/** Of tcpdump: a ring for thousands of frames, all written at once. */
export const TRACE_OPTIONS = ['-s', `${SNAP_BYTES}`, '-B', '16384', '-U', '--immediate-mode'];
const NLMSG_FLAGS_OFFSET = 6;
/** The "cooked" header of linktype NETLINK: the last two bytes are the netlink protocol. */
const COOKED_BYTES = 16;

export type TracedRequest = {
  readonly command: number;
  readonly isDump: boolean;
  /** With the generic netlink header. */
  readonly body: Buffer;
};

/** Requests to generic netlink families, in order, of a capture that tcpdump made of an nlmon device. */
export function requestsIn(capture: Buffer): readonly TracedRequest[] {
  if (capture.length < PCAP_HEADER_BYTES) return [];
  assert.equal(capture.readUInt32LE(0), 0xa1b2c3d4, 'a capture of this machine');
  const requests: TracedRequest[] = [];
  let offset = PCAP_HEADER_BYTES;
  while (offset + PCAP_RECORD_BYTES <= capture.length) {
    const length = capture.readUInt32LE(offset + 8);
    const isCut = capture.readUInt32LE(offset + 12) > length;
    if (offset + PCAP_RECORD_BYTES + length > capture.length) break;
    const frame = capture.subarray(offset + PCAP_RECORD_BYTES, offset + PCAP_RECORD_BYTES + length);
    offset += PCAP_RECORD_BYTES + length;
    if (frame.readUInt16BE(COOKED_BYTES - 2) !== NETLINK_GENERIC) continue;
    if (isCut) {
      const flags = frame.readUInt16LE(COOKED_BYTES + NLMSG_FLAGS_OFFSET);
      assert.equal(flags & NLM_F_REQUEST, 0, 'a request is longer than what is recorded of it');
      continue;
    }
    const messages = decodeMessages(frame.subarray(COOKED_BYTES));
    assert.ok(messages.ok, messages.ok ? '' : messages.error);
    for (const { type, flags, body } of messages.value) {
      if (type <= GENL_MIN_ID || (flags & NLM_F_REQUEST) === 0 || body.length < 4) continue;
      const isDump = (flags & NLM_F_DUMP) === NLM_F_DUMP;
      requests.push({ command: body[0] ?? 0, isDump, body: Buffer.from(body) });
    }
  }
  return requests;
}

/**
 * Records while it works; the tap sees what the whole guest says to its kernel. A last question that the
 * work does not ask tells when the record is whole.
 */
async function traced(
  kernel: IpvsKernel,
  work: () => Promise<void>,
): Promise<readonly TracedRequest[]> {
  execFileSync('sh', [
    '-c',
    'modprobe nlmon; ip link add nlmon0 type nlmon; ip link set nlmon0 up',
  ]);
  const file = '/run/trace.pcap';
  const tcpdump = spawn('tcpdump', ['-i', 'nlmon0', ...TRACE_OPTIONS, '-w', file]);
  const ended = new Promise((resolve) => {
    tcpdump.on('exit', resolve);
  });
  await new Promise<void>((resolve, reject) => {
    let said = '';
    tcpdump.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('listening on')) resolve();
    });
    tcpdump.on('exit', () => reject(new Error(`tcpdump: ${said}`)));
  });
  try {
    await work();
    await kernel.capability();
    return await whole(file);
  } finally {
    tcpdump.kill('SIGINT');
    await ended;
    execFileSync('ip', ['link', 'delete', 'nlmon0']);
  }
}

const isEnd = ({ command }: TracedRequest): boolean => command === IPVS_CMD_GET_INFO;

async function whole(file: string): Promise<readonly TracedRequest[]> {
  for (let look = 0; look < 400; look += 1) {
    const requests = requestsIn(readFileSync(file));
    const end = requests.findIndex(isEnd);
    if (end >= 0) return requests.slice(0, end);
    // oxlint-disable-next-line no-await-in-loop -- tcpdump writes when it comes to it
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
  throw new Error('the capture has no end');
}

const SERVICES = 20;
const DESTINATIONS = 50;

const table: readonly DesiredService[] = Array.from({ length: SERVICES }, (_, s) => ({
  ...service(tcp('10.90.0.100', 1000 + s)),
  destinations: Array.from({ length: DESTINATIONS }, (_unused, d) =>
    real(`10.91.${s}.${d + 1}`, 1000 + s),
  ),
}));

/** The table with other destinations in one service. */
const changed = (
  index: number,
  change: (destinations: DesiredService['destinations']) => DesiredService['destinations'],
): readonly DesiredService[] =>
  table.map((one, i) => (i === index ? { ...one, destinations: change(one.destinations) } : one));

async function changesOf(
  kernel: IpvsKernel,
  to: readonly DesiredService[],
): Promise<readonly TracedRequest[]> {
  const requests = await traced(kernel, async () => {
    assert.deepEqual((await reconcile(kernel, to)).failures, []);
  });
  const asked = requests.filter(({ isDump }) => isDump).map(({ command }) => command);
  // The tap works: the pass has asked for the services, and for the destinations of each.
  assert.equal(asked.filter((command) => command === IPVS_CMD_GET_SERVICE).length, 1);
  assert.equal(asked.filter((command) => command === IPVS_CMD_GET_DEST).length, SERVICES);
  return requests.filter(({ isDump }) => !isDump);
}

const names = (request: TracedRequest, address: string): boolean =>
  request.body.includes(Buffer.from(ip(address).split('.').map(Number)));

export const traceCases: readonly ContractCase<IpvsWorld>[] = [
  {
    name: 'one changed weight is one request about one destination, and no change is none',
    run: async ({ kernel }) => {
      assert.deepEqual((await reconcile(kernel, table)).failures, []);
      const heavier = changed(7, (destinations) =>
        destinations.map((each) => (each.address === '10.91.7.13' ? { ...each, weight: 5 } : each)),
      );
      const requests = await changesOf(kernel, heavier);
      assert.deepEqual(
        requests.map(({ command }) => command),
        [IPVS_CMD_SET_DEST],
      );
      assert.ok(requests.every((each) => names(each, '10.90.0.100') && names(each, '10.91.7.13')));
      assert.deepEqual(await changesOf(kernel, heavier), []);
    },
  },
  {
    name: 'what comes, changes and goes is asked for once each, and nothing else',
    run: async ({ kernel }) => {
      assert.deepEqual((await reconcile(kernel, table)).failures, []);
      const other = changed(3, (destinations) => [
        ...destinations.slice(1),
        real('10.91.3.200', 1003),
      ]).map((one, i) => (i === 4 ? { ...one, scheduler: 'rr' } : one));
      const grown = [...other, { ...service(tcp('10.90.0.100', 2000)), destinations: [] }];
      const requests = await changesOf(kernel, grown);
      assert.deepEqual(
        requests.map(({ command }) => command),
        [IPVS_CMD_NEW_DEST, IPVS_CMD_DEL_DEST, IPVS_CMD_SET_SERVICE, IPVS_CMD_NEW_SERVICE],
      );
      const [added, deleted] = requests;
      assert.ok(added !== undefined && names(added, '10.91.3.200'));
      assert.ok(deleted !== undefined && names(deleted, '10.91.3.1'));
    },
  },
];
