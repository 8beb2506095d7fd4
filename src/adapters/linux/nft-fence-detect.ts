/** Which fence this kernel can build, found by building it; and the removal of whatever is built. */
import { err, ok, type Result } from '../../lib/result.ts';
import type { KernelError } from '../../model/kernel.ts';
import type { Fence, FenceKind } from '../../ports/fence.ts';
import { deleteTable } from '../../wire/nftables.ts';
import type { KernelPorts } from './kernel-socket.ts';
import { planInstall } from './nft-fence-plan.ts';
import { FENCE_TABLE, fenceScheme } from './nft-fence-rules.ts';
import { failureOf, NftSocket } from './nft-fence-socket.ts';
import { createNftFence } from './nft-fence.ts';

/** Name of the tables that a try makes and removes; nothing in them is managed. */
const SCRATCH_TABLE = 'leasehold-scratch';
/** The best one first. */
const KINDS: readonly FenceKind[] = ['netdev', 'arp-inet-ip6', 'bridge'];
/** Every network namespace has it. */
const LOOPBACK = { index: 1, name: 'lo' };

/** No netlink socket of that protocol, or no subsystem behind it: there can be no fence either. */
const NO_NFTABLES: readonly string[] = ['UNAVAILABLE', 'EINVAL'];

export type FenceOptions = {
  /** Names of the devices that the VIPs are on: family bridge is for bridges alone. Empty: not known yet. */
  readonly devices: readonly string[];
  /** Tries only these; left out: all. */
  readonly kinds?: readonly FenceKind[];
};

export type DetectedFence = {
  readonly fence: Fence | null;
  /** One sentence for people: which one, and why no better one. */
  readonly detail: string;
};

/** The best fence that this kernel builds, in the network namespace of the process. */
export async function detectFence(
  ports: KernelPorts,
  options: FenceOptions,
): Promise<DetectedFence> {
  const socket = new NftSocket(ports);
  const reasons: string[] = [];
  try {
    for (const kind of KINDS) {
      if (options.kinds?.includes(kind) === false) continue;
      // oxlint-disable-next-line no-await-in-loop -- the next is tried only where the former fails
      const refusal = await tryKind(socket, kind, options.devices);
      if (refusal === null)
        return {
          fence: createNftFence(kind, ports),
          detail: [`nftables, family ${kind}`, ...reasons].join('; not '),
        };
      reasons.push(`${kind}: ${refusal}`);
    }
  } finally {
    socket.close();
  }
  return { fence: null, detail: `this kernel builds no fence: ${reasons.join('; ')}` };
}

/** Null: it works. Else why not. */
async function tryKind(
  socket: NftSocket,
  kind: FenceKind,
  devices: readonly string[],
): Promise<string | null> {
  if (kind === 'bridge') {
    const refusal = await whyNotBridged(socket, devices);
    if (refusal !== null) return refusal;
  }
  const scheme = fenceScheme(kind, SCRATCH_TABLE);
  const tables = scheme.tables.map(({ table }) => table);
  const swept = await socket.removeTables(tables);
  if (!swept.ok) return swept.error.message;
  const nothing = scheme.tables.map(() => null);
  const made = await socket.transact(planInstall(scheme, nothing, [LOOPBACK]));
  if (!made.ok) return made.error.message;
  const failure = failureOf(made.value, 'build it');
  if (failure !== null) return failure.message;
  const removed = await socket.transact(tables.map((table) => deleteTable(table)));
  return removed.ok
    ? (failureOf(removed.value, 'remove it')?.message ?? null)
    : removed.error.message;
}

async function whyNotBridged(
  socket: NftSocket,
  devices: readonly string[],
): Promise<string | null> {
  const links = await socket.links();
  if (!links.ok) return links.error.message;
  const bridges = new Set([...links.value.values()].flatMap((e) => (e.isBridge ? [e.name] : [])));
  const plain = devices.find((name) => !bridges.has(name));
  if (plain !== undefined) return `${plain} is no bridge`;
  return devices.length === 0 && bridges.size === 0 ? 'there is no bridge' : null;
}

/** Removes every fence of this network namespace, of whatever family; gives the families it was in. */
export async function uninstallFences(
  ports: KernelPorts,
): Promise<Result<readonly FenceKind[], KernelError>> {
  const socket = new NftSocket(ports);
  try {
    const there: FenceKind[] = [];
    for (const kind of KINDS) {
      const tables = fenceScheme(kind, FENCE_TABLE).tables.map(({ table }) => table);
      // oxlint-disable-next-line no-await-in-loop -- one socket
      const removed = await socket.removeTables(tables);
      if (!removed.ok)
        return NO_NFTABLES.includes(removed.error.code) ? ok([]) : err(removed.error);
      if (removed.value.length > 0) there.push(kind);
    }
    return ok(there);
  } finally {
    socket.close();
  }
}
