/** A machine in memory that does as Linux does, and can lose its power at any step. */
import { err, ok, type Result } from '../../src/lib/result.ts';
import { type IpAddress, parseIp } from '../../src/model/address.ts';
import type { BoundAddress, KernelError } from '../../src/model/kernel.ts';
import {
  type GuePort,
  type HostFacts,
  type HostLink,
  type HostStep,
  NOTHING_SAVED,
  REAL_SERVER_ADDRESS_PROTOCOL,
  type SavedHost,
} from '../../src/model/real-server-host.ts';
import type { RealServerHost, SavedHostStore } from '../../src/ports/real-server-host.ts';

export const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};

export class Killed extends Error {}

const DEVICES_OF: Readonly<Record<string, readonly [name: string, kind: string]>> = {
  ipip: ['tunl0', 'ipip'],
  sit: ['sit0', 'sit'],
  ip6_tunnel: ['ip6tnl0', 'ip6tnl'],
  ip_gre: ['gre0', 'gre'],
  ip6_gre: ['ip6gre0', 'ip6gre'],
};

export class FakeRealServer implements RealServerHost, SavedHostStore {
  readonly links: HostLink[] = [];
  readonly addresses: BoundAddress[] = [];
  readonly settings = new Map<string, number>();
  guePorts: GuePort[] | null = null;
  saved: SavedHost = NOTHING_SAVED;
  /** Every call that changed something, in order. */
  readonly log: string[] = [];
  /** Modules that this kernel does not have. */
  readonly withoutModules = new Set<string>();
  /** Kernels before 5.18 keep no tag of addresses. */
  keepsTags = true;
  /** The process is killed instead of this change (counted from 1); null: never. */
  killedAt: number | null = null;
  /** This step fails so. */
  failing: { readonly kind: HostStep['kind']; readonly error: KernelError } | null = null;
  #lockHolders = 0;

  constructor() {
    this.addLink('lo', { isLoopback: true, hasArp: false });
    this.addLink('eth0', {});
    this.bind('10.90.0.21', 'eth0', { prefix: 24 });
    for (const name of ['arp_ignore', 'arp_announce', 'rp_filter'])
      this.settings.set(`net/ipv4/conf/all/${name}`, 0);
  }

  addLink(name: string, fields: Partial<HostLink>): void {
    this.links.push({
      index: this.links.length + 1,
      name,
      kind: null,
      isUp: true,
      isLoopback: false,
      hasArp: true,
      innerProtocol: fields.kind === 'ip6tnl' ? 41 : null,
      ...fields,
    });
    for (const setting of ['arp_ignore', 'arp_announce', 'rp_filter'])
      this.settings.set(`net/ipv4/conf/${name}/${setting}`, 0);
    this.settings.set(`net/ipv6/conf/${name}/disable_ipv6`, 0);
  }

  bind(address: string, device: string, fields: Partial<BoundAddress> = {}): void {
    this.addresses.push({
      linkIndex: this.links.find(({ name }) => name === device)?.index ?? -1,
      address: ip(address),
      prefix: address.includes(':') ? 128 : 32,
      scope: 'global',
      label: null,
      validLifetimeS: null,
      protocol: this.keepsTags ? 0 : null,
      ...fields,
    });
  }

  /** All that `up` may change, for a comparison. */
  state(): unknown {
    return structuredClone({
      links: this.links,
      addresses: this.addresses,
      settings: Object.fromEntries(this.settings),
      guePorts: this.guePorts,
    });
  }

  async observe(
    settingsOf: (links: readonly HostLink[]) => readonly string[],
  ): Promise<Result<HostFacts, KernelError>> {
    const settings = new Map<string, number>();
    for (const path of settingsOf(this.links)) {
      const value = this.settings.get(path);
      if (value !== undefined) settings.set(path, value);
    }
    return ok({
      links: [...this.links],
      addresses: [...this.addresses],
      settings,
      guePorts: this.guePorts === null ? null : [...this.guePorts],
    });
  }

  async apply(step: HostStep): Promise<Result<void, KernelError>> {
    this.#change(JSON.stringify(step));
    if (this.failing?.kind === step.kind) return err(this.failing.error);
    return this.#apply(step);
  }

  async lock(): Promise<Result<{ release(): void }, string>> {
    if (this.#lockHolders > 0) return err('locked');
    this.#lockHolders++;
    return ok({ release: () => this.#lockHolders-- });
  }

  async load(): Promise<Result<SavedHost, string>> {
    return ok(structuredClone(this.saved));
  }

  async save(saved: SavedHost): Promise<Result<void, string>> {
    this.#change('save');
    this.saved = structuredClone(saved);
    return ok(undefined);
  }

  close(): void {}

  #change(what: string): void {
    if (this.killedAt !== null && this.log.length + 1 >= this.killedAt) throw new Killed(what);
    this.log.push(what);
  }

  #apply(step: HostStep): Result<void, KernelError> {
    switch (step.kind) {
      case 'load-module':
        return this.#load(step.module);
      case 'create-link':
        if (this.withoutModules.has(step.module))
          return err({ code: 'ENOTSUP', message: 'unknown device type' });
        this.addLink(step.name, { kind: step.linkKind, hasArp: false, isUp: false });
        return ok(undefined);
      case 'delete-link':
        this.#removeLink(step.index);
        return ok(undefined);
      case 'switch-link':
        return this.#changeLink(step.index, { isUp: step.isUp });
      case 'set-inner-protocol':
        return this.#changeLink(step.index, { innerProtocol: step.value });
      case 'set':
        this.settings.set(step.path, step.value);
        return ok(undefined);
      case 'add-gue-port':
        if (this.guePorts === null) return err({ code: 'UNAVAILABLE', message: 'no fou' });
        this.guePorts.push(step.port);
        return ok(undefined);
      case 'delete-gue-port':
        this.guePorts =
          this.guePorts?.filter(({ port }) => port !== step.port.port) ?? this.guePorts;
        return ok(undefined);
      case 'add-address':
        this.bind(step.address, step.device, {
          scope: 'host',
          protocol: this.keepsTags ? REAL_SERVER_ADDRESS_PROTOCOL : null,
        });
        return ok(undefined);
      case 'delete-address': {
        const at = this.addresses.findIndex(
          (one) => one.address === step.address && one.linkIndex === step.index,
        );
        if (at >= 0) this.addresses.splice(at, 1);
        return ok(undefined);
      }
    }
  }

  #load(module: string): Result<void, KernelError> {
    if (this.withoutModules.has(module))
      return err({ code: 'UNAVAILABLE', message: `the kernel module ${module} cannot be loaded` });
    if (module === 'fou') this.guePorts ??= [];
    const [name, kind] = DEVICES_OF[module] ?? [];
    if (name !== undefined && kind !== undefined)
      this.addLink(name, { kind, hasArp: false, isUp: false });
    return ok(undefined);
  }

  #changeLink(index: number, fields: Partial<HostLink>): Result<void, KernelError> {
    const at = this.links.findIndex((link) => link.index === index);
    const link = this.links[at];
    if (link === undefined) return err({ code: 'ENODEV', message: 'there is no such link' });
    this.links[at] = { ...link, ...fields };
    return ok(undefined);
  }

  #removeLink(index: number): void {
    const at = this.links.findIndex((link) => link.index === index);
    if (at >= 0) this.links.splice(at, 1);
  }
}
