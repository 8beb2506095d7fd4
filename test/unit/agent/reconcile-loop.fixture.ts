/** A reconcile loop on a kernel in memory, with everything it says and measures written down. */
import {
  createReconcileLoop,
  type Decided,
  type ReconcileInput,
  type ReconcileOptions,
} from '../../../src/agent/reconcile-loop.ts';
import { deriveChecks } from '../../../src/core/health/checks.ts';
import { err, ok, type Result } from '../../../src/lib/result.ts';
import type { VirtualService } from '../../../src/model/cluster.ts';
import type { CheckStatus } from '../../../src/model/health.ts';
import { directorId } from '../../../src/model/ids.ts';
import { formatServiceKey, type IpvsTableOperation } from '../../../src/model/kernel.ts';
import type { Ledger } from '../../../src/ports/ledger.ts';
import type { Log } from '../../../src/ports/log.ts';
import type { Metrics } from '../../../src/ports/metrics.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeIpvsKernel } from '../../fakes/fake-kernel.ts';
import { anySpec } from '../core/desired/spec-builders.ts';

export class RecordingLog implements Log {
  readonly lines: { readonly level: string; readonly event: string; readonly fields: unknown }[] =
    [];
  readonly error = this.#at('error');
  readonly warn = this.#at('warn');
  readonly info = this.#at('info');
  readonly debug = this.#at('debug');
  child(): Log {
    return this;
  }
  events(): string[] {
    return this.lines.map((line) => line.event);
  }
  of(event: string): unknown[] {
    return this.lines.filter((line) => line.event === event).map((line) => line.fields);
  }
  #at(level: string) {
    return (fields: unknown, event: string): void => void this.lines.push({ level, event, fields });
  }
}

/** Every call as `[name, ...arguments]`. */
export function recordingMetrics(): { calls: unknown[][]; metrics: Metrics } {
  const calls: unknown[][] = [];
  const metrics = new Proxy(
    {},
    {
      get:
        (_, name) =>
        (...args: unknown[]) =>
          void calls.push([name, ...args]),
    },
  ) as Metrics;
  return { calls, metrics };
}

export class FakeLedger implements Ledger {
  stored: ReadonlySet<string> = new Set();
  loadError: string | null = null;
  saveError: string | null = null;
  readonly saves: string[][] = [];
  onSave: () => void = () => {};

  async load(): Promise<Result<ReadonlySet<string>, string>> {
    return this.loadError === null ? ok(this.stored) : err(this.loadError);
  }

  async save(services: ReadonlySet<string>): Promise<Result<void, string>> {
    if (this.saveError !== null) return err(this.saveError);
    this.stored = new Set(services);
    this.saves.push([...services]);
    this.onSave();
    return ok(undefined);
  }
}

/** Everything up unless named in `down`. */
export function inputOf(
  services: readonly VirtualService[],
  down: readonly string[] = [],
): ReconcileInput {
  const spec = anySpec(services);
  const { checks, byRealServer } = deriveChecks(spec);
  const statuses = new Map(
    checks.map((check): [typeof check.id, CheckStatus] => [
      check.id,
      { isUp: !down.includes(check.address), basis: 'majority', votesUp: 1, votesDown: 0 },
    ]),
  );
  return { spec, checks: byRealServer, overrides: [], statuses };
}

export function setUp(options: Partial<ReconcileOptions> = {}) {
  const clock = new FakeClock();
  const kernel = new FakeIpvsKernel();
  const counts = { dumps: 0, capability: 0, applies: 0, running: 0, most: 0 };
  const ledger = new FakeLedger();
  const log = new RecordingLog();
  const { calls, metrics } = recordingMetrics();
  const decisions: Decided[] = [];
  const world = {
    clock,
    decisions,
    kernel,
    ledger,
    log,
    calls,
    counts,
    input: null as ReconcileInput | null,
    /** Virtual time that the kernel takes for one apply. */
    applyMs: 0,
  };
  const loop = createReconcileLoop(options, {
    me: directorId('d1'),
    devices: new Map([['public', 'eth0']]),
    kernel: {
      timeouts: () => kernel.timeouts(),
      daemons: () => kernel.daemons(),
      capability: async () => {
        counts.capability++;
        return kernel.capability();
      },
      dump: async () => {
        counts.dumps++;
        return kernel.dump();
      },
      apply: async (operations) => {
        counts.applies++;
        counts.most = Math.max(counts.most, ++counts.running);
        if (world.applyMs > 0) await clock.sleep(world.applyMs);
        counts.running--;
        return kernel.apply(operations);
      },
    },
    ledger,
    clock,
    log,
    metrics,
    input: () => world.input,
    decided: (decision) => decisions.push(decision),
  });
  const stop = new AbortController();
  const start = (): Promise<void> => loop.run(stop.signal);
  return Object.assign(world, { loop, start, stop });
}

/** `tcp 10.90.0.100:80 wlc` and under it `10.90.0.21 w1`, as the kernel has it. */
export const tableOf = (kernel: FakeIpvsKernel): string[] =>
  kernel
    .table()
    .services.flatMap((service) => [
      `${formatServiceKey(service.key)} ${service.scheduler}`,
      ...service.destinations.map(({ address, weight }) => `  ${address} w${weight}`),
    ]);

export const opsOf = (operations: readonly IpvsTableOperation[]): string[] =>
  operations.map(({ op }) => op);
