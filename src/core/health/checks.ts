/** Which probe jobs a spec needs: equal type, target and parameters are one check (design 8). */
import { hash64Hex } from '../../lib/hash.ts';
import { runSteps } from '../../lib/steps.ts';
import { formatEndpoint, type IpAddress } from '../../model/address.ts';
import { usesPort } from '../../model/check.ts';
import type {
  Check,
  CheckSpec,
  CheckTree,
  ClusterSpec,
  RealServer,
  VirtualService,
} from '../../model/cluster.ts';
import { type CheckId, checkId, type RealServerId, type ServiceId } from '../../model/ids.ts';
import type { Compound } from './compound.ts';

export type DerivedChecks = {
  /** In the order of the spec; each once. */
  readonly checks: readonly Check[];
  /** What real servers with several checks go by; those that others are made of come first. */
  readonly compounds: readonly Compound[];
  /** By `realServerKey`: a check or a compound; a real server without an entry is unchecked. */
  readonly byRealServer: ReadonlyMap<string, CheckId>;
  /** Of every check: true where a real server that uses it is to be down before the first vote. */
  readonly alphaByCheck: ReadonlyMap<CheckId, boolean>;
};

/** Key of one real server within the whole spec; NUL occurs in neither part. */
export const realServerKey = (service: ServiceId, realServer: RealServerId): string =>
  `${service}\u0000${realServer}`;

/** A document that another one follows is asked again, and tens of thousands of hashes take a while. */
const known = new WeakMap<ClusterSpec, DerivedChecks>();

/** Sorry servers are never checked: they are what is left when every check has failed. */
export const deriveChecks = (spec: ClusterSpec): DerivedChecks => runSteps(deriveChecksSteps(spec));

/** The same in pieces. */
export function* deriveChecksSteps(spec: ClusterSpec): Generator<undefined, DerivedChecks> {
  const derived = known.get(spec) ?? (yield* deriveAnew(spec));
  known.set(spec, derived);
  return derived;
}

function* deriveAnew(spec: ClusterSpec): Generator<undefined, DerivedChecks> {
  const book = new CheckBook();
  const byRealServer = new Map<string, CheckId>();
  for (const service of spec.services)
    for (const realServer of service.realServers) {
      const tree = treeOf(service, realServer);
      if (tree === null) continue;
      yield;
      const target = { ...targetOf(service), ...realServer };
      byRealServer.set(realServerKey(service.id, realServer.id), book.add(tree, target));
    }
  const { checks, compounds, alphaByCheck } = book;
  return {
    checks: [...checks.values()],
    compounds: [...compounds.values()],
    byRealServer,
    alphaByCheck,
  };
}

const treeOf = (service: VirtualService, { check }: RealServer): CheckTree | null =>
  check === undefined ? service.check : check;

type Target = Pick<RealServer, 'address' | 'port' | 'alpha' | 'tunnel'> & ServiceTarget;

/** What a look along the VIP's path asks; null where others mark the packets. */
type ServiceTarget = { readonly vip: IpAddress | null; readonly ask: 'tcp' | 'echo' };

function targetOf({ keys: [key], marks: [mark] }: VirtualService): ServiceTarget {
  const place = key?.kind === 'address' ? key : mark;
  return { vip: place?.address ?? null, ask: place?.protocol === 'tcp' ? 'tcp' : 'echo' };
}

class CheckBook {
  readonly checks = new Map<CheckId, Check>();
  readonly compounds = new Map<CheckId, Compound>();
  readonly alphaByCheck = new Map<CheckId, boolean>();
  /** A service's check is one object, however many real servers have it. */
  readonly #texts = new WeakMap<CheckSpec, string>();

  add(tree: CheckTree, target: Target): CheckId {
    if (!('of' in tree)) return this.#addCheck(tree, target);
    const of = [...new Set(tree.of.map((part) => this.add(part, target)))];
    const [only] = of;
    if (only !== undefined && of.length === 1) return only;
    const id = checkId(hash64Hex(`${tree.kind} ${of.toSorted().join(' ')}`));
    const leaves = [
      ...new Set(of.flatMap((member) => this.compounds.get(member)?.leaves ?? [member])),
    ];
    const alpha = target.alpha || this.compounds.get(id)?.alpha === true;
    this.compounds.set(id, { id, mode: tree.kind, of, leaves, alpha });
    return id;
  }

  #addCheck(spec: CheckSpec, target: Target): CheckId {
    // Another one's MAC address is not on this real server's path.
    const address = (spec.kind === 'vip' ? null : spec.address) ?? target.address;
    const hasPort = asksPort(spec, target);
    const port = hasPort ? (spec.port ?? target.port) : 0;
    const filled = fillIn(spec, { ...target, address, port });
    // A file says the same whatever the real server, unless its name says which.
    const place = spec.kind === 'file' ? '' : `${address} ${port}`;
    const id = checkId(hash64Hex(`${place} ${this.#textOf(filled)}`));
    if (!this.checks.has(id))
      this.checks.set(id, { id, address, port, spec: { ...filled, port: hasPort ? port : null } });
    this.alphaByCheck.set(id, target.alpha || this.alphaByCheck.get(id) === true);
    return id;
  }

  #textOf(spec: CheckSpec): string {
    const text = this.#texts.get(spec) ?? canonicalText(spec);
    this.#texts.set(spec, text);
    return text;
  }
}

function asksPort(spec: CheckSpec, target: ServiceTarget): boolean {
  if (spec.kind === 'vip') return (spec.ask ?? target.ask) === 'tcp';
  return usesPort(spec.kind) || spec.kind === 'script';
}

/** `{address}` and `{port}` in what names a program or a file; and the path of a VIP. */
function fillIn(spec: CheckSpec, target: Target): CheckSpec {
  if (spec.kind === 'vip') {
    const { type, port } = target.tunnel ?? { type: 'ipip', port: 0 };
    const tunnel = target.tunnel === null ? null : { type, port };
    return { ...spec, vip: spec.vip ?? target.vip, ask: spec.ask ?? target.ask, tunnel };
  }
  const fill = (text: string): string =>
    text.replaceAll('{address}', target.address).replaceAll('{port}', `${target.port}`);
  if (spec.kind === 'file' && spec.path.includes('{')) return { ...spec, path: fill(spec.path) };
  if (spec.kind === 'script' && spec.command.some((word) => word.includes('{')))
    return { ...spec, command: spec.command.map(fill) };
  return spec;
}

/**
 * Which check each new check of `after` takes the place of: the one that the same real server, at the
 * same address and port, had in `before`. Other parameters are no reason to forget what is known of it.
 */
export const inheritChecks = (
  before: ClusterSpec,
  after: ClusterSpec,
): ReadonlyMap<CheckId, CheckId> => runSteps(inheritChecksSteps(before, after));

/** The same in pieces. */
export function* inheritChecksSteps(
  before: ClusterSpec,
  after: ClusterSpec,
): Generator<undefined, ReadonlyMap<CheckId, CheckId>> {
  const old = deriveChecks(before);
  const next = deriveChecks(after);
  const inherited = new Map<CheckId, CheckId>();
  const [oldParts, newParts] = [partsOf(old), partsOf(next)];
  // Only where a check is another one, which is rare, does anybody ask where its real server is.
  let endpoints: { readonly before: Endpoints; readonly after: Endpoints } | null = null;
  for (const [key, root] of next.byRealServer) {
    yield;
    const was = old.byRealServer.get(key);
    if (was === undefined || was === root) continue;
    for (const id of newParts.leavesOf(root)) {
      if (old.alphaByCheck.has(id) || inherited.has(id)) continue;
      endpoints ??= {
        before: yield* endpointsOf(before),
        after: yield* endpointsOf(after),
      };
      if (endpoints.before.get(key) !== endpoints.after.get(key)) continue;
      // Of several, the one of its kind; else what was known of the real server as a whole.
      const kind = newParts.kindOf(id);
      const twin = oldParts.leavesOf(was).find((leaf) => oldParts.kindOf(leaf) === kind);
      inherited.set(id, twin ?? was);
    }
  }
  return inherited;
}

type Parts = {
  readonly leavesOf: (root: CheckId) => readonly CheckId[];
  readonly kindOf: (check: CheckId) => string;
};

function partsOf(derived: DerivedChecks): Parts {
  const compounds = new Map(derived.compounds.map((compound) => [compound.id, compound]));
  let checks: ReadonlyMap<CheckId, Check> | null = null;
  return {
    leavesOf: (root) => compounds.get(root)?.leaves ?? [root],
    kindOf: (id) => {
      checks ??= new Map(derived.checks.map((check) => [check.id, check]));
      return checks.get(id)?.spec.kind ?? '';
    },
  };
}

/** By `realServerKey`. */
type Endpoints = ReadonlyMap<string, string>;

function* endpointsOf(spec: ClusterSpec): Generator<undefined, Endpoints> {
  const endpoints = new Map<string, string>();
  for (const service of spec.services)
    for (const { id, address, port } of service.realServers) {
      endpoints.set(realServerKey(service.id, id), formatEndpoint(address, port));
      yield;
    }
  return endpoints;
}

/**
 * The same on every director, whatever the order in which a document or a version of this program names things;
 * what is not said takes no part, and the port is the target's.
 */
function canonicalText(spec: CheckSpec): string {
  const { address: _address, port: _port, ...said } = spec;
  return JSON.stringify(canonical(said));
}

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== 'object' || value === null) return value;
  return Object.entries(value)
    .filter(([, part]) => part !== null && part !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, part]) => [key, key === 'status' ? sortRanges(part) : canonical(part)]);
}

/** Which of several ranges of statuses is named first means nothing. */
const sortRanges = (ranges: unknown): unknown =>
  Array.isArray(ranges) ? ranges.map((range) => JSON.stringify(range)).toSorted() : ranges;
