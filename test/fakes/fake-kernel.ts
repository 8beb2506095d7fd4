/**
 * Linux in memory: links and addresses with lifetimes, and an IPVS table. Same outcomes and error codes
 * as the real adapters (the contract suites run on both). Time comes from the Clock port only.
 */
import { AsyncQueue } from '../../src/lib/async.ts';
import { err, ok, type Result } from '../../src/lib/result.ts';
import { familyOf, formatIp, ipToBytes, type IpAddress } from '../../src/model/address.ts';
import { familyOfKey, SCHEDULERS } from '../../src/model/cluster.ts';
import { monoMs, type MonoMs } from '../../src/model/ids.ts';
import {
  ADDRESS_PROTOCOL,
  formatServiceKey,
  IP_VS_SVC_F_HASHED,
  IP_VS_SVC_F_PERSISTENT,
  type BindRequest,
  type BoundAddress,
  type IpvsConnection,
  type IpvsControlOperation,
  type IpvsCounters,
  type IpvsDaemon,
  type IpvsDestination,
  type IpvsOperation,
  type IpvsService,
  type IpvsServiceKey,
  type IpvsTable,
  type IpvsTableOperation,
  type IpvsTimeouts,
  type KernelError,
  type KernelEvent,
  type LinkState,
  type ObservedDestination,
} from '../../src/model/kernel.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type {
  ConnectionReading,
  ConnectionVisit,
  IpvsCapability,
  IpvsKernel,
  NetworkKernel,
} from '../../src/ports/kernel.ts';

type AddressKey = Pick<BoundAddress, 'linkIndex' | 'address' | 'prefix'>;
type Entry = {
  readonly key: AddressKey;
  readonly scope: BoundAddress['scope'];
  readonly label: string | null;
  readonly protocol: number | null;
  /** Null: for ever. */
  expiresAt: MonoMs | null;
  cancel: () => void;
};

const refuse = (code: string, what: string): Result<never, KernelError> =>
  err({ code, message: `${what}: ${code}` });

/** How a watcher's queue is bounded, as in the adapter. */
const QUEUED_EVENTS = 32_768;

export type FakeNetworkOptions = {
  /**
   * Real kernels look for expired addresses at most once per second: how late (ms) an address goes.
   * Default 0. A simulation may draw up to 1000.
   */
  readonly expiryLagMs?: () => number;
};

/** One director's links and addresses. They survive the crash of the agent, not `reboot`. */
export class FakeNetworkKernel implements NetworkKernel {
  readonly #clock: Clock;
  readonly #expiryLagMs: () => number;
  readonly #links = new Map<number, LinkState>();
  readonly #addresses = new Map<string, Entry>();
  readonly #watchers = new Set<AsyncQueue<KernelEvent>>();
  readonly #failures: { readonly call: NetworkCall; readonly code: string }[] = [];
  readonly #refused = new Set<IpAddress>();
  #nextIndex = 1;

  constructor(clock: Clock, options: FakeNetworkOptions = {}) {
    this.#clock = clock;
    this.#expiryLagMs = options.expiryLagMs ?? (() => 0);
  }

  async links(): Promise<Result<readonly LinkState[], KernelError>> {
    return this.#failure('links') ?? ok([...this.#links.values()]);
  }

  async addresses(): Promise<Result<readonly BoundAddress[], KernelError>> {
    return this.#failure('addresses') ?? ok(this.boundNow());
  }

  async bind(requests: readonly BindRequest[]): Promise<readonly Result<void, KernelError>[]> {
    return requests.map((request) => this.#failure('bind') ?? this.#bindOne(request));
  }

  async unbind(addresses: readonly AddressKey[]): Promise<readonly Result<void, KernelError>[]> {
    return addresses.map((key) => {
      const failure = this.#failure('unbind');
      if (failure !== null) return failure;
      this.#remove(keyText(key));
      return ok(undefined);
    });
  }

  async *watch(signal: AbortSignal): AsyncIterable<KernelEvent> {
    const queue = new AsyncQueue<KernelEvent>(QUEUED_EVENTS);
    this.#watchers.add(queue);
    queue.push({ kind: 'resync', reason: 'start' });
    const end = (): void => queue.end();
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    try {
      for await (const event of queue) {
        if (signal.aborted) return;
        yield event;
      }
    } finally {
      signal.removeEventListener('abort', end);
      this.#watchers.delete(queue);
    }
  }

  close(): void {
    for (const queue of this.#watchers) queue.end();
    this.#watchers.clear();
  }

  /** Adds a link that is up and returns its index. */
  addLink(name: string, mac: LinkState['mac'] = null): number {
    const index = this.#nextIndex++;
    this.#setLink({ index, name, mac, isAdminUp: true, isRunning: true, mtu: 1500 });
    return index;
  }

  /** The link is gone with all its addresses. */
  removeLink(index: number): void {
    const link = this.#links.get(index);
    if (link === undefined) return;
    for (const [text, entry] of this.#addresses)
      if (entry.key.linkIndex === index) this.#remove(text);
    this.#links.delete(index);
    this.#tell({
      kind: 'link',
      link: { ...link, isAdminUp: false, isRunning: false },
      isGone: true,
    });
  }

  /** The cable: the addresses stay. */
  setCarrier(index: number, isRunning: boolean): void {
    const link = this.#links.get(index);
    if (link !== undefined) this.#setLink({ ...link, isRunning: isRunning && link.isAdminUp });
  }

  /** `ip link set up|down`: down takes the IPv6 addresses away, as Linux does. */
  setAdminUp(index: number, isAdminUp: boolean): void {
    const link = this.#links.get(index);
    if (link === undefined) return;
    if (!isAdminUp)
      for (const [text, { key }] of this.#addresses)
        if (key.linkIndex === index && familyOf(key.address) === 6) this.#remove(text);
    this.#setLink({ ...link, isAdminUp, isRunning: isAdminUp });
  }

  /** What an operator or another program binds: for ever and without our tag. */
  addForeignAddress(key: AddressKey, label: string | null = null): void {
    this.#insert({ ...key, scope: 'global', label, validLifetimeS: null }, null);
  }

  /** What an operator or another program takes away. */
  removeAddress(key: AddressKey): void {
    this.#remove(keyText(key));
  }

  /** The next `count` items of that call fail with `code` and do nothing. */
  failNext(call: NetworkCall, code: string, count = 1): void {
    for (let i = 0; i < count; i++) this.#failures.push({ call, code });
  }

  /** Whether binds of the address fail with EACCES, as those of IPv6 do where it is switched off. */
  setRefused(address: IpAddress, isRefused: boolean): void {
    if (isRefused) this.#refused.add(address);
    else this.#refused.delete(address);
  }

  /** As after lost notifications. */
  resync(reason: string): void {
    this.#tell({ kind: 'resync', reason });
  }

  /** The state of a machine that has just started: links stay, every address is gone, watchers end. */
  reboot(): void {
    for (const entry of this.#addresses.values()) entry.cancel();
    this.#addresses.clear();
    this.close();
  }

  /** Synchronous look for checkers of a simulation. */
  boundNow(): readonly BoundAddress[] {
    const now = this.#clock.now();
    return [...this.#addresses.values()].map((entry) => observed(entry, now));
  }

  isBound(address: IpAddress): boolean {
    return [...this.#addresses.values()].some(({ key }) => key.address === address);
  }

  linkNamed(name: string): LinkState | null {
    return [...this.#links.values()].find((link) => link.name === name) ?? null;
  }

  #bindOne(request: BindRequest): Result<void, KernelError> {
    const what = `bind ${request.address}/${request.prefix} on link ${request.linkIndex}`;
    const limit = familyOf(request.address) === 6 ? 128 : 32;
    if (!this.#links.has(request.linkIndex)) return refuse('ENODEV', what);
    if (request.prefix > limit || request.validLifetimeS === 0) return refuse('EINVAL', what);
    if (this.#refused.has(request.address)) return refuse('EACCES', what);
    this.#insert(request, ADDRESS_PROTOCOL);
    return ok(undefined);
  }

  #insert(request: BindRequest, protocol: number | null): void {
    const { linkIndex, address, prefix } = request;
    const text = keyText(request);
    const known = this.#addresses.get(text);
    known?.cancel();
    const isIpv4 = familyOf(address) === 4;
    const label = isIpv4 ? (request.label ?? this.#links.get(linkIndex)?.name ?? null) : null;
    const entry: Entry = {
      key: { linkIndex, address, prefix },
      scope: known?.scope ?? (isIpv4 ? request.scope : ipv6Scope(address)),
      label: known === undefined ? label : known.label,
      protocol: protocol ?? known?.protocol ?? null,
      expiresAt: null,
      cancel: () => {},
    };
    if (request.validLifetimeS !== null) {
      const ms = request.validLifetimeS * 1000 + this.#expiryLagMs();
      entry.expiresAt = monoMs(this.#clock.now() + request.validLifetimeS * 1000);
      entry.cancel = this.#clock.schedule(ms, () => this.#remove(text));
    }
    this.#addresses.set(text, entry);
    this.#tell({ kind: 'address', address: observed(entry, this.#clock.now()), isGone: false });
  }

  #remove(text: string): void {
    const entry = this.#addresses.get(text);
    if (entry === undefined) return;
    entry.cancel();
    this.#addresses.delete(text);
    this.#tell({ kind: 'address', address: observed(entry, this.#clock.now()), isGone: true });
  }

  #setLink(link: LinkState): void {
    this.#links.set(link.index, link);
    this.#tell({ kind: 'link', link, isGone: false });
  }

  #tell(event: KernelEvent): void {
    for (const queue of this.#watchers) queue.push(event);
  }

  #failure(call: NetworkCall): Result<never, KernelError> | null {
    const i = this.#failures.findIndex((failure) => failure.call === call);
    const [failure] = i < 0 ? [] : this.#failures.splice(i, 1);
    return failure === undefined ? null : refuse(failure.code, `${call} (injected)`);
  }
}

export type NetworkCall = 'links' | 'addresses' | 'bind' | 'unbind';

const keyText = (key: AddressKey): string => `${key.linkIndex} ${key.address}/${key.prefix}`;

/** The kernel derives the scope of an IPv6 address and ignores what was asked. */
const ipv6Scope = (address: IpAddress): BoundAddress['scope'] => {
  if (address === '::1') return 'host';
  return /^fe[89ab]/.test(address) ? 'link' : 'global';
};

function observed(entry: Entry, now: MonoMs): BoundAddress {
  const left = entry.expiresAt === null ? null : Math.max(0, entry.expiresAt - now);
  return {
    ...entry.key,
    scope: entry.scope,
    label: entry.label,
    validLifetimeS: left === null ? null : Math.floor(left / 1000),
    protocol: entry.protocol,
  };
}

type Statistics = Pick<ObservedDestination, 'counters' | 'rates'>;
type Stored = {
  service: IpvsService;
  destinations: Map<string, ObservedDestination>;
  statistics: Statistics;
};
type Endpoint = { readonly address: IpAddress; readonly port: number };

const NO_COUNTERS: IpvsCounters = {
  connections: 0,
  packetsIn: 0,
  packetsOut: 0,
  bytesIn: 0,
  bytesOut: 0,
};
const NO_STATISTICS: Statistics = { counters: NO_COUNTERS, rates: NO_COUNTERS };
/** As Linux has them at the start (ip_vs_proto_tcp.c, ip_vs_proto_udp.c). */
const DEFAULT_TIMEOUTS: IpvsTimeouts = { tcpS: 900, tcpFinS: 120, udpS: 300 };
/** Seconds that are too many in ticks of a millisecond. */
const TOO_LONG_S = 2_147_484;
/** What fits an Ethernet frame: the kernel's choice where none was made. */
const SYNC_LENGTH = 1472;
/** How many connections a visitor gets at a time. */
const VISITED_AT_ONCE = 100;

const destinationText = (endpoint: Endpoint): string => `${endpoint.address} ${endpoint.port}`;

export type FakeIpvsOptions = {
  /** Devices that a sync daemon finds; by default it finds any. */
  readonly devices?: readonly string[];
};

/** One director's IPVS. It survives the crash of the agent, not `reboot`. */
export class FakeIpvsKernel implements IpvsKernel {
  readonly #devices: readonly string[] | null;
  readonly #services = new Map<string, Stored>();
  readonly #failures: {
    readonly matches: (op: IpvsTableOperation) => boolean;
    readonly code: string;
  }[] = [];
  readonly #controlFailures: { readonly op: IpvsControlOperation['op']; readonly code: string }[] =
    [];
  readonly #applied: IpvsTableOperation[] = [];
  readonly #controlled: IpvsControlOperation[] = [];
  readonly #daemons = new Map<IpvsDaemon['state'], IpvsDaemon>();
  #timeouts = DEFAULT_TIMEOUTS;
  #connections: readonly IpvsConnection[] = [];
  #missing: string | null = null;
  #dumpFailure: string | null = null;

  constructor(options: FakeIpvsOptions = {}) {
    this.#devices = options.devices ?? null;
  }

  async capability(): Promise<IpvsCapability> {
    if (this.#missing !== null) return { available: false, detail: this.#missing };
    return { available: true, version: '1.2.1', detail: 'IPVS in memory', tableSize: 4096 };
  }

  async dump(): Promise<Result<IpvsTable, KernelError>> {
    if (this.#missing !== null) return refuse('UNAVAILABLE', this.#missing);
    if (this.#dumpFailure !== null) {
      const code = this.#dumpFailure;
      this.#dumpFailure = null;
      return refuse(code, 'dump (injected)');
    }
    return ok(this.table());
  }

  async apply(operations: readonly IpvsOperation[]): Promise<readonly Result<void, KernelError>[]> {
    return operations.map((operation) => {
      if (this.#missing !== null) return refuse('UNAVAILABLE', this.#missing);
      const code = isControl(operation) ? this.#control(operation) : this.#change(operation);
      return code === null ? ok(undefined) : refuse(code, operation.op);
    });
  }

  async timeouts(): Promise<Result<IpvsTimeouts, KernelError>> {
    return this.#missing === null ? ok(this.#timeouts) : refuse('UNAVAILABLE', this.#missing);
  }

  async daemons(): Promise<Result<readonly IpvsDaemon[], KernelError>> {
    if (this.#missing !== null) return refuse('UNAVAILABLE', this.#missing);
    return ok([...this.#daemons.values()]);
  }

  async visitConnections(
    visit: ConnectionVisit,
    signal: AbortSignal,
  ): Promise<Result<ConnectionReading, KernelError>> {
    if (this.#missing !== null) return refuse('UNAVAILABLE', this.#missing);
    let connections = 0;
    while (connections < this.#connections.length) {
      if (signal.aborted) return ok({ connections, unreadable: 0, isWhole: false });
      const some = this.#connections.slice(connections, connections + VISITED_AT_ONCE);
      connections += some.length;
      if (!(await visit(some))) return ok({ connections, unreadable: 0, isWhole: false });
    }
    return ok({ connections, unreadable: 0, isWhole: !signal.aborted });
  }

  close(): void {}

  /** The table now; for checkers and assertions. */
  table(): IpvsTable {
    return {
      services: [...this.#services.values()].map(({ service, destinations, statistics }) => ({
        ...service,
        ...statistics,
        destinations: [...destinations.values()],
      })),
    };
  }

  /** Every change of the table since the last call, in order; refused ones too. */
  takeApplied(): readonly IpvsTableOperation[] {
    return this.#applied.splice(0);
  }

  /** Every other operation since the last call, in order; refused ones too. */
  takeControlled(): readonly IpvsControlOperation[] {
    return this.#controlled.splice(0);
  }

  /** Changes the kernel behind the agent's back; throws where the kernel would refuse. */
  drift(...operations: readonly IpvsOperation[]): void {
    for (const operation of operations) {
      const code = isControl(operation) ? this.#controlOne(operation) : this.#applyOne(operation);
      if (code !== null) throw new Error(`drift ${operation.op}: ${code}`);
    }
  }

  /** `ipvsadm -C` by somebody's hand. */
  flush(): void {
    this.#services.clear();
  }

  /** Open connections of a real server, as a drain waits for them. */
  setConnections(
    service: IpvsServiceKey,
    endpoint: Endpoint,
    active: number,
    inactive = 0,
    persistent = 0,
  ): void {
    this.#setDestination(service, endpoint, {
      activeConnections: active,
      inactiveConnections: inactive,
      persistentConnections: persistent,
    });
  }

  /** What the counters and rates of a service, or of one of its real servers, shall be. */
  setStatistics(
    service: IpvsServiceKey,
    endpoint: Endpoint | null,
    statistics: Partial<Statistics>,
  ): void {
    if (endpoint !== null) return this.#setDestination(service, endpoint, statistics);
    const stored = this.#services.get(formatServiceKey(service));
    if (stored === undefined) throw new Error('no such virtual service');
    stored.statistics = { ...stored.statistics, ...statistics };
  }

  /** What /proc/net/ip_vs_conn shall have. */
  setConnectionTable(connections: readonly IpvsConnection[]): void {
    this.#connections = connections;
  }

  /** The next change of the table that matches fails with `code` and does nothing. */
  failNext(code: string, matches: (op: IpvsTableOperation) => boolean = () => true): void {
    this.#failures.push({ matches, code });
  }

  /** The next other operation of that kind fails with `code` and does nothing. */
  failNextControl(code: string, op: IpvsControlOperation['op']): void {
    this.#controlFailures.push({ op, code });
  }

  failNextDump(code: string): void {
    this.#dumpFailure = code;
  }

  /** A reason: there is no IPVS in this kernel. Null: it is there (with an empty table if it was not). */
  setMissing(reason: string | null): void {
    if (reason !== null) this.reboot();
    this.#missing = reason;
  }

  reboot(): void {
    this.#services.clear();
    this.#daemons.clear();
    this.#timeouts = DEFAULT_TIMEOUTS;
    this.#connections = [];
  }

  #change(operation: IpvsTableOperation): string | null {
    const i = this.#failures.findIndex((failure) => failure.matches(operation));
    const [failure] = i < 0 ? [] : this.#failures.splice(i, 1);
    this.#applied.push(operation);
    return failure?.code ?? this.#applyOne(operation);
  }

  #control(operation: IpvsControlOperation): string | null {
    const i = this.#controlFailures.findIndex(({ op }) => op === operation.op);
    const [failure] = i < 0 ? [] : this.#controlFailures.splice(i, 1);
    this.#controlled.push(operation);
    return failure?.code ?? this.#controlOne(operation);
  }

  /** Null: done, or done already. Else the errno's name, as the adapter reports it. */
  #applyOne(operation: IpvsTableOperation): string | null {
    switch (operation.op) {
      case 'add-service':
      case 'set-service':
        return this.#putService(operation.op === 'add-service', operation.service);
      case 'delete-service':
        this.#services.delete(formatServiceKey(operation.service));
        return null;
      case 'add-destination':
      case 'set-destination':
        return this.#putDestination(operation);
      case 'delete-destination':
        this.#services
          .get(formatServiceKey(operation.service))
          ?.destinations.delete(destinationText(operation.destination));
        return null;
    }
  }

  #controlOne(operation: IpvsControlOperation): string | null {
    switch (operation.op) {
      case 'zero':
        return this.#zero(operation.service);
      case 'set-timeouts': {
        const { tcpS, tcpFinS, udpS } = operation.timeouts;
        if (Math.max(tcpS, tcpFinS, udpS) >= TOO_LONG_S) return 'EINVAL';
        this.#timeouts = {
          tcpS: tcpS === 0 ? this.#timeouts.tcpS : tcpS,
          tcpFinS: tcpFinS === 0 ? this.#timeouts.tcpFinS : tcpFinS,
          udpS: udpS === 0 ? this.#timeouts.udpS : udpS,
        };
        return null;
      }
      case 'new-daemon':
        return this.#startDaemon(operation.daemon);
      case 'delete-daemon':
        this.#daemons.delete(operation.daemon.state);
        return null;
    }
  }

  #zero(key: IpvsServiceKey | null): string | null {
    const stored = key === null ? undefined : this.#services.get(formatServiceKey(key));
    if (key !== null && stored === undefined) return 'ESRCH';
    for (const one of stored === undefined ? this.#services.values() : [stored]) {
      one.statistics = NO_STATISTICS;
      for (const [text, destination] of one.destinations)
        one.destinations.set(text, { ...destination, ...NO_STATISTICS });
    }
    return null;
  }

  #startDaemon(daemon: IpvsDaemon): string | null {
    const isMulticast = /^(22[4-9]|23\d)\.|^ff..:/.test(daemon.group);
    if (!isMulticast || this.#hasMixed()) return 'EINVAL';
    if (this.#daemons.has(daemon.state)) return null;
    if (this.#devices?.includes(daemon.interface) === false) return 'ENODEV';
    const maxLength = daemon.maxLength ?? SYNC_LENGTH;
    this.#daemons.set(daemon.state, { ...daemon, maxLength });
    return null;
  }

  /** A real server of another family than its service: the sync messages cannot tell of it. */
  #hasMixed(): boolean {
    return [...this.#services.values()].some(({ service, destinations }) =>
      [...destinations.values()].some(
        ({ address }) => familyOf(address) !== familyOfKey(service.key),
      ),
    );
  }

  #putService(isAdd: boolean, service: IpvsService): string | null {
    const text = formatServiceKey(service.key);
    const known = this.#services.get(text);
    if (known === undefined && !isAdd) return 'ESRCH';
    if (known !== undefined && isAdd) return null;
    if (!SCHEDULERS.some((scheduler) => scheduler === service.scheduler)) return 'ENOENT';
    if (service.persistenceEngine !== null && service.persistenceEngine !== 'sip') return 'ENOENT';
    const isIpv6 = familyOfKey(service.key) === 6;
    const prefix = service.persistencePrefix;
    if (isIpv6 && (prefix < 1 || prefix > 128)) return 'EINVAL';
    const flags = service.flags & ~IP_VS_SVC_F_HASHED;
    const timeoutS = (flags & IP_VS_SVC_F_PERSISTENT) === 0 ? 0 : service.timeoutS;
    const stored = { ...service, flags, timeoutS };
    if (known !== undefined) known.service = stored;
    else
      this.#services.set(text, {
        service: stored,
        destinations: new Map(),
        statistics: NO_STATISTICS,
      });
    return null;
  }

  #putDestination(
    operation: Extract<IpvsTableOperation, { op: 'add-destination' | 'set-destination' }>,
  ): string | null {
    const { destination } = operation;
    const stored = this.#services.get(formatServiceKey(operation.service));
    if (stored === undefined) return 'ESRCH';
    const isMixed = familyOf(destination.address) !== familyOfKey(operation.service);
    if (isMixed && (destination.forward !== 'tun' || this.#daemons.size > 0)) return 'EINVAL';
    if (destination.weight > 0x7fff_ffff) return 'ERANGE';
    if (destination.lowerThreshold > destination.upperThreshold) return 'ERANGE';
    if (destination.tunnel?.type === 'gue' && destination.tunnel.port === 0) return 'EINVAL';
    const text = destinationText(destination);
    const known = stored.destinations.get(text);
    if (operation.op === 'set-destination' && known === undefined) return 'ENOENT';
    if (operation.op === 'add-destination' && known !== undefined) return null;
    stored.destinations.set(text, { ...IDLE, ...known, ...pick(destination) });
    return null;
  }

  #setDestination(
    service: IpvsServiceKey,
    endpoint: Endpoint,
    change: Partial<ObservedDestination>,
  ): void {
    const destinations = this.#services.get(formatServiceKey(service))?.destinations;
    const known = destinations?.get(destinationText(endpoint));
    if (destinations === undefined || known === undefined) throw new Error('no such real server');
    destinations.set(destinationText(endpoint), { ...known, ...change });
  }
}

const CONTROL_OPS: readonly string[] = ['zero', 'set-timeouts', 'new-daemon', 'delete-daemon'];
const isControl = (operation: IpvsOperation): operation is IpvsControlOperation =>
  CONTROL_OPS.includes(operation.op);

const IDLE = {
  activeConnections: 0,
  inactiveConnections: 0,
  persistentConnections: 0,
  ...NO_STATISTICS,
};

/** Only what the kernel keeps: the address in canonical form. */
const pick = (destination: IpvsDestination): IpvsDestination => ({
  address: formatIp(ipToBytes(destination.address)),
  port: destination.port,
  forward: destination.forward,
  tunnel: destination.tunnel,
  weight: destination.weight,
  upperThreshold: destination.upperThreshold,
  lowerThreshold: destination.lowerThreshold,
});
