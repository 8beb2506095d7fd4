/** Short questions from the client's namespace: who answered each. */
import { CLIENT } from './cluster-lab.ts';
import type { Network } from './network.ts';

export type Question = {
  /** As in a URL: IPv6 in brackets. */
  readonly host: string;
  readonly port: number;
  /** The client's own address; default: as its kernel chooses. */
  readonly from?: string;
};

/** The name that answered each of `count` requests, one after the other, each on a new connection. */
export async function askHttp(
  network: Network,
  { host, port, from }: Question,
  count: number,
): Promise<readonly string[]> {
  const url = `http://${host}:${port}/?[1-${count}]`;
  const source = from === undefined ? [] : ['--interface', from];
  const options = ['-s', '-S', '-m', '3', '--fail-early', '-H', 'Connection: close'];
  const done = await network.exec(CLIENT, ['curl', ...options, ...source, url]);
  if (done.code !== 0) throw new Error(`${url}: ${done.stderr.trim()}`);
  return done.stdout.trim().split('\n');
}

const UDP_CLIENT = `
import socket, sys
host, port, count, source = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
for _ in range(count):
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)
    if source: s.bind((source, 0))
    s.settimeout(2)
    s.connect((host, port))
    s.send(b'who')
    print(s.recv(64).decode())
    s.close()
`;

/** As askHttp, in datagrams, each from a port of its own. */
export async function askUdp(
  network: Network,
  { host, port, from }: Question,
  count: number,
): Promise<readonly string[]> {
  const bare = host.replaceAll(/[[\]]/g, '');
  const args = [bare, String(port), String(count), from ?? ''];
  const done = await network.exec(CLIENT, ['python3', '-c', UDP_CLIENT, ...args]);
  if (done.code !== 0) throw new Error(`udp ${host}:${port}: ${done.stderr.trim()}`);
  return done.stdout.trim().split('\n');
}

/** How often each name is in the list. */
export function tally(names: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
