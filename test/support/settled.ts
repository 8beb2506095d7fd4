/** A settled cluster: every agent runs and agrees with the kernels on who holds the VIP. */
import { type ClusterLab, clusterDocument, VIP } from './cluster-lab.ts';
import type { DirectorHost } from './director-host.ts';
import { ageMs, GiveUp, PATIENCE_MS, sleep, waitFor } from './processes.ts';

export type Settled = {
  readonly holder: DirectorHost;
  /** One that does not hold, and all of those. */
  readonly other: DirectorHost;
  readonly others: readonly DirectorHost[];
};

/** Starts what does not run, waits until one director holds `web`, and gives it and the others. */
export async function settle(lab: ClusterLab, timeoutMs = PATIENCE_MS): Promise<Settled> {
  const look = async (): Promise<string | null> => {
    // One that was asked to end may do so late.
    for (const director of lab.directors)
      if (!(await director.isAgentRunning())) await lab.startAgents([director.name]);
    for (const director of lab.directors) await forgive(lab, director);
    return await agreedHolder(lab);
  };
  const name = await waitFor('one director holds, and all know', look, {
    timeoutMs,
    intervalMs: 100,
  });
  const others = lab.directors.filter((each) => each.name !== name);
  const [other] = others;
  if (other === undefined) throw new GiveUp('a cluster of one has no other');
  return { holder: lab.director(name), other, others };
}

/**
 * Node compiles what an agent does first while it does it, for some eight seconds, beside its main thread and in it.
 * Directors have processors for that; in a lab all of them share two, and the rounds of `fast` come too late.
 */
const COMPILED_MS = 10_000;

/** Process ids of the agents that run just then. In namespaces only. */
export const agentsOf = (lab: ClusterLab) => (): readonly number[] =>
  lab.directors.flatMap((director) => {
    try {
      return [director.agentPid()];
    } catch {
      return []; // It is off, or ends.
    }
  });

/** Waits until every agent has run long enough that no move of a group waits for its compiler. In namespaces only. */
export async function compiled(lab: ClusterLab): Promise<void> {
  const ages = lab.directors.map((director) => ageMs(director.agentPid()));
  const restMs = COMPILED_MS - Math.min(...ages);
  if (restMs > 0) await sleep(restMs);
}

/**
 * Waits until that director holds `web`. Who is ready first takes a group that nobody had: where that was another one,
 * it is asked to hand over.
 */
export async function heldBy(lab: ClusterLab, name: string): Promise<void> {
  const look = async (): Promise<boolean> => {
    const [holder, ...more] = await lab.directorsWith(VIP);
    if (holder === name && more.length === 0) return true;
    const argv = ['switchover', 'web', '--to', name, '--reason', 'lab'];
    await forgive(lab, lab.director(name));
    if (holder !== undefined && more.length === 0) await lab.director(holder).cli(argv);
    return false;
  };
  await waitFor(`${name} holds`, look, { timeoutMs: PATIENCE_MS, intervalMs: 100 });
}

/**
 * Applies a document whose groups a director is to hold, and waits until it holds them. Who is ready first takes a group
 * that nobody had, whatever the document then says of coming back: so they preempt until the best has them.
 */
export async function applyHeldBy(
  lab: ClusterLab,
  director: string,
  document: object,
): Promise<void> {
  const { groups } = document as { readonly groups: Readonly<Record<string, object>> };
  const preempting = Object.entries(groups).map(
    ([name, fields]) => [name, { ...fields, preempt: 'immediate' }] as const,
  );
  await lab.applyOk({ ...document, groups: Object.fromEntries(preempting) });
  const names = Object.keys(groups);
  const look = async (): Promise<boolean> => {
    await forgive(lab, lab.director(director));
    const status = await lab.status(director);
    const held = status.groups.filter(({ state }) => state === 'held-here').map(({ name }) => name);
    return names.every((name) => held.includes(name));
  };
  await waitFor(`${director} holds them`, look, { timeoutMs: PATIENCE_MS, intervalMs: 100 });
  await lab.applyOk(document);
}

/** Has all directors join before there is a group to take: the best one takes it, whoever started first. */
export async function allJoin(lab: ClusterLab): Promise<void> {
  await lab.applyOk(clusterDocument(lab, { groups: {} }));
  for (const { name } of lab.directors)
    await lab.until('all have joined', name, ({ directors }) => {
      const open = directors.filter((each) => each.session === 'open' && each.isAlive);
      return open.length === lab.directors.length;
    });
}

/** Waits until every director would ask all others for promises. */
export async function scopesNameAll(lab: ClusterLab): Promise<void> {
  const count = lab.directors.length;
  const look = async (): Promise<boolean> => {
    const peers = await Promise.all(lab.directors.map(({ name }) => peersOf(lab, name)));
    return peers.every((each) => each.length === count - 1);
  };
  await waitFor('the scopes name all', look, { timeoutMs: PATIENCE_MS, intervalMs: 100 });
}

/** Whom a director asks for promises, by its record in etcd; throws where there is none. */
export async function peersOf(lab: ClusterLab, director: string): Promise<readonly string[]> {
  const key = `/leasehold/lab/run/scope/${director}`;
  const value = await lab.etcd.etcdctl(['get', '--print-value-only', key]);
  return (JSON.parse(value) as { peers: readonly string[] }).peers;
}

/** Starts an agent anew that lost a group too often lately: the faults were the tests', or the machine's. */
async function forgive(lab: ClusterLab, director: DirectorHost): Promise<void> {
  const { groups } = await lab.status(director.name);
  const isPassedOver = groups.some(({ holder, candidates }) => {
    const own = candidates.find((each) => each.director === director.name);
    return own?.reason === 'flapping' && holder !== director.name;
  });
  if (!isPassedOver) return;
  await director.signalAgent('SIGTERM');
  await director.agentEnded(8000);
  await lab.startAgents([director.name]);
}

async function agreedHolder(lab: ClusterLab): Promise<string | null> {
  const [name, ...more] = await lab.directorsWith(VIP);
  if (name === undefined || more.length > 0) return null;
  for (const director of lab.directors) {
    const status = await lab.status(director.name);
    const group = status.groups.find((each) => each.name === 'web');
    const isAlive = status.directors.filter((each) => each.inSpec).every((each) => each.isAlive);
    const isAgreed = group?.holder === name && group.candidates.every((each) => each.eligible);
    if (!isAgreed || !isAlive || !status.ready) return null;
  }
  return name;
}

/** The MAC of a director's device. */
export async function macOf(director: DirectorHost): Promise<string> {
  return (await director.execOk(`cat /sys/class/net/${director.device}/address`)).trim();
}
