/**
 * A whole cluster on one machine: etcd members, directors, real servers and a client, each a host of
 * its own on one bridge. Directors are namespaces of the running kernel, or User Mode Linux guests.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildTiming } from '../../src/config/timing.ts';
import type { StatusDocument } from '../../src/model/status.ts';
import {
  API_PORT,
  createGuestDirector,
  createNamespaceDirector,
  type DirectorHost,
  type DirectorKind,
} from './director-host.ts';
import { collectEvidence } from './evidence.ts';
import { addEtcdHosts, createLabEtcd, endpointsOf, type LabEtcd } from './lab-etcd.ts';
import { createNetwork, type Network } from './network.ts';
import { createRealServer, type RealServer } from './nginx.ts';
import { type Completed, GiveUp, PATIENCE_MS, waitFor } from './processes.ts';

export const CLIENT = 'client';
export const CLIENT_ADDRESS = '10.90.0.1';
/** What the documents call the gateway: it can be cut from directors that clients still see. */
export const ROUTER = 'router';
export const ROUTER_ADDRESSES = ['10.90.0.254', 'fd90::fe'] as const;
export const VIP = '10.90.0.100';
export const VIP6 = 'fd90::100';
export const SORRY_ADDRESS = '10.90.0.29';

export const CLIENT_ADDRESS6 = 'fd90::1';

export type Profile = 'fast' | 'default' | 'relaxed';

/** What bounds are made of: the timings of a profile, and what follows from them (design 4, 5). */
export type Bounds = {
  readonly suspectMs: number;
  readonly holdMs: number;
  /** D' = D (1 + m) + δ */
  readonly waitMs: number;
  /** From the holder's end to the heir's first answer, on a machine with other work. */
  readonly takeoverMs: number;
  /** From the end of the agent to the end of its VIPs in the kernel. */
  readonly kernelDropsMs: number;
};

export function boundsOf(profile: Profile): Bounds {
  const { heartbeatMs, suspectMs, holdMs, driftMargin, slackMs } = buildTiming({ profile });
  const waitMs = holdMs * (1 + driftMargin) + slackMs;
  return {
    suspectMs,
    holdMs,
    waitMs,
    takeoverMs: heartbeatMs + suspectMs + waitMs + 1000,
    kernelDropsMs: holdMs + slackMs,
  };
}

export type ClusterLabOptions = {
  readonly name: string;
  readonly kind: DirectorKind;
  /** Default 2. */
  readonly directors?: number;
  /** Default 1. */
  readonly etcdMembers?: number;
  /** The members run on the directors, one each, and lose their power with them. In namespaces only. */
  readonly isEtcdOnDirectors?: boolean;
  /**
   * Of the documents. Default: `default` for namespaces, and `relaxed` for guests, whose kernel has no
   * nftables for a plain device.
   */
  readonly profile?: Profile;
  /** Default 0; they are hosts rs1, rs2, … with addresses .21, .22, … */
  readonly realServers?: number;
  readonly hasSorryServer?: boolean;
  /** Directors have a second card `vec1`, logical name `inside`, as 10.91.0.11, fd91::11, …; guests only. */
  readonly hasInside?: boolean;
  /** Of each guest. Default 256. */
  readonly directorMemoryMb?: number;
  /** Their agents tell in `lag.jsonl` how long their main thread did not turn. Guests only. */
  readonly hasLagMeter?: boolean;
  /** Their agents tell in `wakes.jsonl` how late a loop like the hold loop's wakes. Namespaces only. */
  readonly hasWakeMeter?: boolean;
};

export interface ClusterLab {
  readonly profile: Profile;
  readonly network: Network;
  readonly etcd: LabEtcd;
  readonly directors: readonly DirectorHost[];
  readonly realServers: readonly RealServer[];
  readonly sorryServer: RealServer | null;
  director(name: string): DirectorHost;
  /** Starts the agents of all directors, or of those named, and waits until they listen. */
  startAgents(names?: readonly string[]): Promise<void>;
  /** Writes the document where the director sees it and runs `leasehold apply`. */
  apply(document: object, args?: readonly string[]): Promise<Completed>;
  /** As apply, but any code but 0 throws. */
  applyOk(document: object, args?: readonly string[]): Promise<void>;
  /** Writes a document and gives its path, as seen inside that director. */
  writeDocument(director: string, text: string): string;
  status(director: string): Promise<StatusDocument>;
  /** Waits until a director's status satisfies the test; gives it. */
  until(
    what: string,
    director: string,
    test: (status: StatusDocument) => boolean,
    timeoutMs?: number,
  ): Promise<StatusDocument>;
  /** Is this address on a director's device, in its kernel? */
  hasAddress(director: string, address: string): Promise<boolean>;
  /** Names of the directors whose kernel has the address. */
  directorsWith(address: string): Promise<readonly string[]>;
  collectEvidence(test: string): Promise<string>;
  close(): Promise<void>;
}

/** Builds everything but the agents and etcd, which are started by the test. */
export async function createClusterLab(options: ClusterLabOptions): Promise<ClusterLab> {
  const network = await createNetwork({ name: options.name });
  try {
    return await build(network, options);
  } catch (cause) {
    await network.close();
    throw cause;
  }
}

async function build(network: Network, options: ClusterLabOptions): Promise<ClusterLab> {
  await network.addHost(CLIENT, [`${CLIENT_ADDRESS}/24`, `${CLIENT_ADDRESS6}/64`]);
  await network.addHost(ROUTER, [`${ROUTER_ADDRESSES[0]}/24`, `${ROUTER_ADDRESSES[1]}/64`]);
  const isEtcdApart = options.isEtcdOnDirectors !== true;
  const members = numbers(isEtcdApart ? (options.etcdMembers ?? 1) : (options.directors ?? 2));
  const addresses = members.map((number) => `10.90.0.${(isEtcdApart ? 30 : 10) + number}`);
  const etcdHosts = isEtcdApart ? await addEtcdHosts(network, addresses) : [];
  const endpoints = endpointsOf(addresses);
  const realServers = [];
  for (const number of numbers(options.realServers ?? 0))
    realServers.push(await addRealServer(network, `rs${number}`, 20 + number));
  const sorryServer =
    options.hasSorryServer === true ? await addRealServer(network, 'sorry', 29) : null;
  const key = randomBytes(32).toString('hex');
  const create = options.kind === 'guest' ? createGuestDirector : createNamespaceDirector;
  const directors = await Promise.all(
    numbers(options.directors ?? 2).map((number) =>
      create({
        network,
        name: `d${number}`,
        address: `10.90.0.${10 + number}`,
        addresses: [`10.90.0.${10 + number}/24`, `fd90::${10 + number}/64`],
        ...(options.directorMemoryMb === undefined ? {} : { memoryMb: options.directorMemoryMb }),
        ...(options.hasLagMeter === undefined ? {} : { hasLagMeter: options.hasLagMeter }),
        ...(options.hasWakeMeter === undefined ? {} : { hasWakeMeter: options.hasWakeMeter }),
        ...(options.hasInside === true
          ? { inside: [`10.91.0.${10 + number}/24`, `fd91::${10 + number}/64`] }
          : {}),
        config: (device, directory) =>
          agentConfig({
            name: `d${number}`,
            interfaces: { public: device, ...(options.hasInside === true && { inside: 'vec1' }) },
            directory,
            key,
            endpoints,
          }),
      }),
    ),
  );
  const hosts = isEtcdApart ? etcdHosts : directors.map(({ name }) => name);
  const etcd = createLabEtcd(network, { hosts, addresses, control: CLIENT });
  const profile = options.profile ?? (options.kind === 'guest' ? 'relaxed' : 'default');
  return assemble({ profile, network, etcd, directors, realServers, sorryServer });
}

async function addRealServer(network: Network, host: string, last: number): Promise<RealServer> {
  await network.addHost(host, [`10.90.0.${last}/24`, `fd90::${last}/64`]);
  return createRealServer(network, host, `10.90.0.${last}`);
}

function numbers(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

/** Writes the cluster key and gives the contents of agent.yaml. */
export function agentConfig(agent: {
  readonly name: string;
  readonly interfaces: Readonly<Record<string, string>>;
  readonly directory: string;
  readonly key: string;
  readonly endpoints: readonly string[];
}): object {
  const keyFile = join(agent.directory, 'cluster.key');
  writeFileSync(keyFile, `${agent.key}\n`, { mode: 0o600 });
  return {
    director: agent.name,
    cluster: 'lab',
    etcd: { endpoints: agent.endpoints },
    interfaces: agent.interfaces,
    api: { listen: `127.0.0.1:${API_PORT}` },
    keyFile,
    stateDir: join(agent.directory, 'state'),
  };
}

type Built = Pick<
  ClusterLab,
  'profile' | 'network' | 'etcd' | 'directors' | 'realServers' | 'sorryServer'
>;

function assemble(built: Built): ClusterLab {
  const { network, directors } = built;
  let documents = 0;
  const director = (name: string): DirectorHost => {
    const found = directors.find((each) => each.name === name);
    if (found === undefined) throw new Error(`no director ${name} in this lab`);
    return found;
  };
  const writeDocument = (name: string, text: string): string => {
    documents += 1;
    const file = join(director(name).directory, `cluster-${documents}.yaml`);
    writeFileSync(file, text);
    return file;
  };
  const status = async (name: string): Promise<StatusDocument> =>
    readStatus(director(name), await director(name).get('/api/v1/status'));
  const apply: ClusterLab['apply'] = async (document, args = []) => {
    const through = await firstRunning(directors);
    const file = writeDocument(through.name, JSON.stringify(document, null, 2));
    return await through.cli(['apply', '-f', file, '--yes', ...args]);
  };
  const hasAddress: ClusterLab['hasAddress'] = async (name, address) => {
    const { stdout } = await director(name).exec('ip -o address show');
    return stdout.includes(` ${address}/`);
  };
  return {
    ...built,
    director,
    writeDocument,
    status,
    apply,
    hasAddress,
    startAgents: (names) => startAgents(directors, names),
    async applyOk(document, args) {
      const done = await apply(document, args);
      if (done.code !== 0)
        throw new Error(`apply: code ${done.code}: ${done.stdout}${done.stderr}`);
    },
    until: (what, name, test, timeoutMs = PATIENCE_MS) =>
      waitFor(
        what,
        async () => {
          const seen = await status(name);
          return test(seen) ? seen : null;
        },
        { timeoutMs, intervalMs: 50 },
      ),
    async directorsWith(address) {
      const found = await Promise.all(
        directors.map(async (each) => ({
          name: each.name,
          has: await hasAddress(each.name, address),
        })),
      );
      return found.filter((each) => each.has).map((each) => each.name);
    },
    collectEvidence: (test) => collectEvidence(test, { ...built, client: CLIENT }),
    async close() {
      await built.etcd.close();
      await network.close();
    },
  };
}

function readStatus(
  director: DirectorHost,
  answer: { readonly status: number; readonly body: string },
): StatusDocument {
  if (answer.status !== 200)
    throw new Error(`${director.name}: status answers ${answer.status}: ${answer.body}`);
  return JSON.parse(answer.body) as StatusDocument;
}

async function startAgents(
  directors: readonly DirectorHost[],
  names: readonly string[] = directors.map((each) => each.name),
): Promise<void> {
  await Promise.all(
    directors
      .filter((each) => names.includes(each.name))
      .map(async (each) => {
        await each.startAgent();
        await waitFor(`the agent of ${each.name} listens`, () => listens(each), {
          timeoutMs: PATIENCE_MS,
          intervalMs: 100,
        });
      }),
  );
}

async function listens(director: DirectorHost): Promise<boolean> {
  if ((await director.get('/livez')).status === 200) return true;
  if (await director.isAgentRunning()) return false;
  throw new GiveUp(`it ended: ${director.agentLog().slice(-2000)}`);
}

async function firstRunning(directors: readonly DirectorHost[]): Promise<DirectorHost> {
  for (const each of directors) if (await each.isAgentRunning()) return each;
  throw new Error('no agent runs');
}

/** A document with one VIP group `web` (v4 and v6) on the directors of the lab, d1 preferred. */
export function clusterDocument(
  lab: { readonly directors: readonly DirectorHost[]; readonly profile: Profile },
  rest: object = {},
): object {
  const priorities = lab.directors.map((each, index) => [each.name, 150 - 50 * index]);
  return {
    apiVersion: 'leasehold/v1',
    timing: { profile: lab.profile },
    gateway: ROUTER_ADDRESSES,
    directors: Object.fromEntries(
      lab.directors.map((each) => [each.name, { address: each.address }]),
    ),
    groups: {
      web: {
        addresses: [`${VIP}/24`, `${VIP6}/64`],
        interface: 'public',
        virtualRouterId: 51,
        priorities: Object.fromEntries(priorities),
        preempt: 'never',
      },
    },
    ...rest,
  };
}
