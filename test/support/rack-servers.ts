/**
 * Real servers of the rack: guests with a kernel of their own, for what tunnels end in, and namespaces on
 * the wire inside, for NAT. Each answers HTTP and UDP with its name. What makes a guest a real server of a
 * VIP is done by `leasehold realserver`, in the guest.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { leaseholdArgv } from './director-host.ts';
import { bootGuest, type Guest } from './guest.ts';
import type { Network } from './network.ts';
import { nginxConfiguration } from './nginx.ts';
import { type Completed, type Daemon, PATIENCE_MS, waitFor } from './processes.ts';

export const HTTP_PORTS = [80, 8080, 8081, 8082, 8083, 8084, 8085, 8086] as const;
export const UDP_PORT = 5353;
/** Of the file below /slow/, how fast a connection gets it, and when it is given up: a move is long over by then. */
export const SLOW = {
  path: '/slow/file',
  bytes: 200_000,
  bytesPerSecond: 10_000,
  limitMs: 120_000,
} as const;

/** A shell line each that runs until it is killed. */
type Programs = { readonly nginx: readonly string[]; readonly udp: readonly string[] };

export interface GuestServer {
  readonly name: string;
  readonly address: string;
  readonly address6: string;
  readonly guest: Guest;
  /** `leasehold realserver` with these arguments, inside. */
  realserver(args: readonly string[]): Promise<Completed>;
  start(): Promise<void>;
  /** Ends nginx: its ports refuse from now on. */
  stop(): Promise<void>;
}

/** Boots a guest `rs…`; nothing runs in it yet. `udp`: the addresses at which it echoes. */
export async function bootGuestServer(
  network: Network,
  options: { readonly name: string; readonly last: number; readonly udp: readonly string[] },
): Promise<GuestServer> {
  const { name, last } = options;
  const address = `10.90.0.${last}`;
  const address6 = `fd90::${last}`;
  const guest = await bootGuest({
    name,
    network,
    addresses: [`${address}/24`, `${address6}/64`],
    memoryMb: 192,
    modules: ['ipv6'],
  });
  const programs = writePrograms(guest.directory, name, [address, address6, ...options.udp]);
  let nginx = 0;
  let udp = 0;
  return {
    name,
    address,
    address6,
    guest,
    realserver: (args) =>
      guest.exec(leaseholdArgv(['realserver', ...args]), { timeoutMs: PATIENCE_MS }),
    async start() {
      if (udp === 0) udp = await guest.spawn(programs.udp);
      nginx = await guest.spawn(programs.nginx);
      const listens = async (): Promise<boolean> =>
        (await guest.exec('exec 3<>/dev/tcp/127.0.0.1/80')).code === 0;
      await waitFor(`nginx of ${name} listens`, listens, { timeoutMs: PATIENCE_MS });
    },
    async stop() {
      await guest.execOk(`kill -TERM ${nginx}`);
      const isGone = async (): Promise<boolean> =>
        (await guest.exec('exec 3<>/dev/tcp/127.0.0.1/80')).code !== 0;
      await waitFor(`nginx of ${name} is gone`, isGone, { timeoutMs: PATIENCE_MS, intervalMs: 20 });
    },
  };
}

export interface InsideServer {
  readonly name: string;
  readonly address: string;
  readonly address6: string;
  isRunning(): boolean;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** A namespace on the wire inside, whose way out is the VIP that the holder has there. */
export async function addInsideServer(
  network: Network,
  options: {
    readonly name: string;
    readonly last: number;
    readonly gateways: readonly string[];
  },
): Promise<InsideServer> {
  const { name, last } = options;
  const address = `10.91.0.${last}`;
  const address6 = `fd91::${last}`;
  await network.addHost(name, [`${address}/24`, `${address6}/64`], 'inside');
  for (const gateway of options.gateways)
    await network.execOk(name, ['ip', 'route', 'replace', 'default', 'via', gateway]);
  const directory = join(network.directory, `inside-${name}`);
  const programs = writePrograms(directory, name, [address, address6]);
  let nginx: Daemon | null = null;
  let udp: Daemon | null = null;
  return {
    name,
    address,
    address6,
    isRunning: () => nginx?.isRunning() ?? false,
    async start() {
      udp ??= network.spawn(name, 'udp', programs.udp);
      nginx = network.spawn(name, 'nginx', programs.nginx);
      const listens = async (): Promise<boolean> =>
        (await network.exec(name, ['bash', '-c', 'exec 3<>/dev/tcp/127.0.0.1/80'])).code === 0;
      await waitFor(`nginx of ${name} listens`, listens, { timeoutMs: PATIENCE_MS });
    },
    async stop() {
      await nginx?.kill();
      nginx = null;
    },
  };
}

/** Answers each datagram with a name, from the address that it was sent to. */
const UDP_ECHO = `
import select, socket, sys
name, port, sockets = sys.argv[1].encode(), int(sys.argv[2]), []
for address in sys.argv[3:]:
    is6 = ':' in address
    s = socket.socket(socket.AF_INET6 if is6 else socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6 if is6 else socket.IPPROTO_IP, 78 if is6 else 15, 1)  # freebind
    s.bind((address, port))
    sockets.append(s)
while True:
    for s in select.select(sockets, [], [])[0]:
        data, sender = s.recvfrom(2048)
        s.sendto(name, sender)
`;

/** Configuration below `directory`, and how to run what it is for. */
export function writePrograms(directory: string, name: string, udp: readonly string[]): Programs {
  const prefix = join(directory, 'nginx');
  mkdirSync(join(prefix, 'slow'), { recursive: true });
  const options = { name, ports: HTTP_PORTS, slowRate: SLOW.bytesPerSecond };
  writeFileSync(join(prefix, 'nginx.conf'), nginxConfiguration(prefix, options));
  writeFileSync(join(prefix, SLOW.path), Buffer.alloc(SLOW.bytes, 0x2e));
  const echo = join(directory, 'udp-echo.py');
  writeFileSync(echo, UDP_ECHO);
  return {
    nginx: ['nginx', '-p', prefix, '-c', join(prefix, 'nginx.conf')],
    udp: ['python3', echo, name, String(UDP_PORT), ...udp],
  };
}
