/**
 * Sets the kernel settings that the document names, and only those; gives back what they were where it no
 * longer names them; and looks at all that matter for what the document asks of this director.
 */
import {
  BACKUP_ONLY,
  judgedSysctls,
  judgeSysctls,
  type SysctlFinding,
  type SysctlValues,
} from '../core/sysctls/judge-sysctls.ts';
import { Wakeup } from '../lib/async.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { DirectorId } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { ChangedSysctl, ChangedSysctls, SysctlLedger, Sysctls } from '../ports/sysctls.ts';
import { waitFor } from './wait-for.ts';

export type SysctlState = {
  /** Settings that could not be made come first; then what was judged. */
  readonly findings: readonly SysctlFinding[];
  /** As last read. */
  readonly values: SysctlValues;
  /** What leasehold has set, and what each was before. */
  readonly changed: ChangedSysctls;
};

export type SysctlKeeper = {
  state(): SysctlState;
  /** The document may be another one. */
  wake(): void;
  run(signal: AbortSignal): Promise<void>;
};

export type SysctlPorts = {
  readonly sysctls: Sysctls;
  readonly ledger: SysctlLedger;
  readonly clock: Clock;
  readonly log: Log;
  /** Null: there is no usable document, and nothing is touched. */
  readonly spec: () => ClusterSpec | null;
  /** Why it must not be written yet, a sentence; null: it may. Whoever says so wakes it when it may. */
  readonly postponed?: (name: string, to: string) => string | null;
};

/** Somebody may change a setting at any time, and ip_vs brings its own when it is loaded. */
const CHECK_MS = 10_000;

const NOTHING_KNOWN: SysctlState = { findings: [], values: new Map(), changed: new Map() };

export type SysctlOptions = {
  readonly me: DirectorId;
  /** Logical interface name to device. */
  readonly devices: ReadonlyMap<string, string>;
};

export function createSysctlKeeper(options: SysctlOptions, ports: SysctlPorts): SysctlKeeper {
  return new Keeper(options, ports);
}

class Keeper implements SysctlKeeper {
  readonly #options: SysctlOptions;
  readonly #ports: SysctlPorts;
  readonly #wakeup = new Wakeup();
  /** As it is on disk; null: not read yet. */
  #changed: ChangedSysctls | null = null;
  #state = NOTHING_KNOWN;

  constructor(options: SysctlOptions, ports: SysctlPorts) {
    this.#options = options;
    this.#ports = ports;
  }

  state(): SysctlState {
    return this.#state;
  }

  wake(): void {
    this.#wakeup.wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#pass();
      await waitFor(this.#wakeup, CHECK_MS, this.#ports.clock, signal);
    }
  }

  async #pass(): Promise<void> {
    const spec = this.#ports.spec();
    if (spec === null) return;
    const failures: SysctlFinding[] = [];
    const changed = await this.#load(failures);
    const wanted = new Map(spec.ipvs.sysctls.map(({ name, value }) => [name, value]));
    const judged = [...judgedSysctls(this.#options.devices), BACKUP_ONLY];
    const names = new Set([...wanted.keys(), ...(changed?.keys() ?? []), ...judged]);
    const values = await this.#read([...names], failures);
    if (changed !== null) {
      await this.#set(wanted, values, failures);
      await this.#giveBack(wanted, { spec, values }, failures);
    }
    this.#tell({
      findings: [...failures, ...judgeSysctls({ ...this.#options, spec, values })],
      values,
      changed: this.#changed ?? NOTHING_KNOWN.changed,
    });
  }

  /** Null: what was changed before is not known, so nothing may be changed now. */
  async #load(failures: SysctlFinding[]): Promise<ChangedSysctls | null> {
    if (this.#changed !== null) return this.#changed;
    const loaded = await this.#ports.ledger.load();
    if (loaded.ok) this.#changed = loaded.value;
    else failures.push(failed('ipvs.sysctls', null, `no setting is changed: ${loaded.error}`));
    return this.#changed;
  }

  async #read(
    names: readonly string[],
    failures: SysctlFinding[],
  ): Promise<Map<string, string | null>> {
    const values = new Map<string, string | null>();
    for (const [name, value] of await this.#ports.sysctls.read(names))
      if (value.ok) values.set(name, value.value);
      else failures.push(failed(name, null, `${name} cannot be read: ${value.error}`));
    return values;
  }

  async #set(
    wanted: ReadonlyMap<string, string>,
    values: Map<string, string | null>,
    failures: SysctlFinding[],
  ): Promise<void> {
    for (const [name, value] of wanted) {
      const now = values.get(name);
      if (now === undefined || now === value) continue;
      if (now === null) {
        failures.push(failed(name, null, absentText(name, value)));
        continue;
      }
      if (this.#isPostponed(name, { from: now, to: value }, failures)) continue;
      const was = this.#changed?.get(name)?.was ?? now;
      const isKept = await this.#keep(name, { was, set: value }, failures);
      if (isKept) await this.#write(name, { from: now, to: value }, values, failures);
    }
  }

  #isPostponed(
    name: string,
    { from, to }: { readonly from: string; readonly to: string },
    failures: SysctlFinding[],
  ): boolean {
    const why = this.#ports.postponed?.(name, to) ?? null;
    if (why === null) return false;
    const text = `${name} is ${from} and not yet ${to}: ${why}`;
    failures.push({ name, value: from, severity: 'advice', text });
    return true;
  }

  /** Only what is still as it was set: whoever changed it since has the last word. */
  async #giveBack(
    wanted: ReadonlyMap<string, string>,
    { spec, values }: { readonly spec: ClusterSpec; readonly values: Map<string, string | null> },
    failures: SysctlFinding[],
  ): Promise<void> {
    for (const [name, { was, set }] of this.#changed ?? []) {
      const now = values.get(name);
      // What cannot be read now is looked at again in the next pass.
      if (wanted.has(name) || now === undefined) continue;
      if (now === set && now !== was) {
        const harm = this.#harmOf(name, was, { spec, values });
        if (harm !== null) {
          failures.push({ name, value: now, severity: 'advice', text: keptText(name, now, harm) });
          continue;
        }
        if (this.#isPostponed(name, { from: now, to: was }, failures)) continue;
        const isBack = await this.#write(name, { from: now, to: was }, values, failures);
        if (!isBack) continue;
      }
      await this.#keep(name, null, failures);
    }
  }

  /** What would not work any more that works now; null: nothing that is known. */
  #harmOf(
    name: string,
    was: string,
    { spec, values }: { readonly spec: ClusterSpec; readonly values: SysctlValues },
  ): string | null {
    const problemWith = (known: SysctlValues): string | null =>
      judgeSysctls({ ...this.#options, spec, values: known }).find(
        (one) => one.name === name && one.severity === 'problem',
      )?.text ?? null;
    if (problemWith(values) !== null) return null;
    return problemWith(new Map([...values, [name, was]]));
  }

  async #write(
    name: string,
    { from, to }: { readonly from: string; readonly to: string },
    values: Map<string, string | null>,
    failures: SysctlFinding[],
  ): Promise<boolean> {
    const { sysctls, log } = this.#ports;
    const written = await sysctls.write(name, to);
    if (!written.ok) {
      failures.push(failed(name, from, `${name} is ${from} and not ${to}: ${written.error}`));
      return false;
    }
    const read = (await sysctls.read([name])).get(name);
    const now = read?.ok === true ? read.value : from;
    values.set(name, now);
    log.info({ name, from, to: now }, 'sysctl.set');
    if (now === to) return true;
    failures.push(failed(name, now, `${name} is ${now ?? 'gone'} though ${to} was written to it`));
    return false;
  }

  /** Null: nothing is to be given back any more. False where that is not on disk. */
  async #keep(
    name: string,
    change: ChangedSysctl | null,
    failures: SysctlFinding[],
  ): Promise<boolean> {
    const known = this.#changed?.get(name) ?? null;
    if (known?.was === change?.was && known?.set === change?.set) return true;
    const next = new Map(this.#changed);
    if (change === null) next.delete(name);
    else next.set(name, change);
    const saved = await this.#ports.ledger.save(next);
    if (saved.ok) this.#changed = next;
    else
      failures.push(
        failed(name, null, `${name} is left alone, for what it was cannot be kept: ${saved.error}`),
      );
    return saved.ok;
  }

  #tell(state: SysctlState): void {
    const before = new Set(this.#state.findings.map(({ text }) => text));
    const now = new Set(state.findings.map(({ text }) => text));
    for (const { severity, text } of state.findings)
      if (severity === 'problem' && !before.has(text))
        this.#ports.log.warn({ problem: text }, 'sysctl.refused');
    for (const { severity, text } of this.#state.findings)
      if (severity === 'problem' && !now.has(text))
        this.#ports.log.info({ problem: text }, 'sysctl.recovered');
    this.#state = state;
  }
}

const failed = (name: string, value: string | null, text: string): SysctlFinding => ({
  name,
  value,
  severity: 'problem',
  text,
});

const keptText = (name: string, value: string, harm: string): string =>
  `the document no longer names ${name}, but it stays ${value}. As it was before: ${harm}`;

const absentText = (name: string, value: string): string =>
  name.startsWith('net.ipv4.vs.')
    ? `${name} cannot be set to ${value}: this kernel has none; load ip_vs, or use a kernel that has it, or take it out of the document`
    : `${name} cannot be set to ${value}: this kernel has none; take it out of the document`;
