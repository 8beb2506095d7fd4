/**
 * An agent whose IPVS is a table in memory, for kernels that have none; all else of it is real. Arguments are
 * agent.yaml and the path of a record: a line for each batch of operations that the kernel gets, and one for each
 * lot of probes that failed, with the times of both (`recording.ts` reads them).
 */
import { appendFileSync } from 'node:fs';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createSystemRandom } from '../../src/adapters/clock/system-random.ts';
import { tuneEngine } from '../../src/adapters/machine/engine.ts';
import { runAgent } from '../../src/agent-process.ts';
import type { Check } from '../../src/model/cluster.ts';
import type { CheckId } from '../../src/model/ids.ts';
import type { IpvsOperation } from '../../src/model/kernel.ts';
import type { IpvsKernel } from '../../src/ports/kernel.ts';
import type { ProbeBatch, Prober } from '../../src/ports/prober.ts';
import { FakeIpvsKernel } from '../fakes/fake-kernel.ts';
import { monotonicMs } from './processes.ts';
import type { RecordedFailure, RecordedOperation, RecordLine } from './recording.ts';

const [file, record] = process.argv.slice(2);
if (file === undefined || record === undefined) throw new Error('AGENT_YAML RECORD_FILE');

tuneEngine();
const clock = createSystemClock();
/** What is to be added to the agent's own times to have those that all processes share. */
const offsetMs = monotonicMs() - clock.now();
const write = (line: RecordLine): void => appendFileSync(record, `${JSON.stringify(line)}\n`);

const stopping = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stopping.abort());

process.exitCode = await runAgent({
  file,
  isDev: false,
  version: 'test',
  signal: stopping.signal,
  clock,
  random: createSystemRandom(),
  stdout: (text) => process.stdout.write(text),
  stderr: (text) => process.stderr.write(text),
  adapt: (adapters) => ({
    ...adapters,
    ipvs: recordedKernel(new FakeIpvsKernel()),
    prober: recordedProber(adapters.prober),
  }),
});

function recordedKernel(kernel: IpvsKernel): IpvsKernel {
  return {
    capability: () => kernel.capability(),
    dump: () => kernel.dump(),
    apply: (operations) => {
      const atMs = monotonicMs();
      const results = kernel.apply(operations);
      write({ operations: operations.map((operation) => recorded(operation, atMs)) });
      return results;
    },
    timeouts: () => kernel.timeouts(),
    daemons: () => kernel.daemons(),
    visitConnections: (visit, signal) => kernel.visitConnections(visit, signal),
    close: () => kernel.close(),
  };
}

function recorded(operation: IpvsOperation, atMs: number): RecordedOperation {
  const { op } = operation;
  if (!('destination' in operation)) return { op, target: null, weight: null, atMs };
  const { destination } = operation;
  const target = `${destination.address}:${destination.port}`;
  return { op, target, weight: 'weight' in destination ? destination.weight : null, atMs };
}

function recordedProber(prober: Prober): Prober {
  const targets = new Map<CheckId, string>();
  const batches = (signal: AbortSignal): AsyncIterable<ProbeBatch> => {
    const found = prober.results?.(signal);
    if (found === undefined) throw new Error('a prober without columns');
    return found;
  };
  return {
    ...(prober.limit === undefined ? {} : { limit: prober.limit }),
    setChecks: (checks: readonly Check[]) => {
      targets.clear();
      for (const { id, address, port } of checks) targets.set(id, `${address}:${port}`);
      prober.setChecks(checks);
    },
    probeSoon: (check, afterMs) => prober.probeSoon(check, afterMs),
    observations: (signal) => prober.observations(signal),
    async *results(signal) {
      for await (const batch of batches(signal)) {
        const failures = failuresIn(batch, targets);
        if (failures.length > 0) write({ failures });
        yield batch;
      }
    },
    close: () => prober.close(),
  };
}

function failuresIn(
  { checks, at, said }: ProbeBatch,
  targets: ReadonlyMap<CheckId, string>,
): RecordedFailure[] {
  return checks.flatMap((check, n) => {
    const target = targets.get(check);
    if (target === undefined || said[n]?.isUp !== false) return [];
    return [{ target, atMs: (at[n] ?? Number.NaN) + offsetMs }];
  });
}
