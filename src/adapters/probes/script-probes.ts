/**
 * Script checks: programs of the operator's, with keepalived's MISC_CHECK exit codes. The group of a program that runs
 * into the deadline is killed, and it is not started again while anything of it is left.
 */
import { formatEndpoint } from '../../model/address.ts';
import type { ScriptCheck } from '../../model/check.ts';
import type { Check } from '../../model/cluster.ts';
import type { CheckId } from '../../model/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import { type ProgramResult, type RunningProgram, startProgram } from '../programs/run-program.ts';
import { down, oneLine } from './failure-words.ts';
import type { Outcome, RunningProbe } from './probe.ts';

const OUTPUT_BYTES_MAX = 1_024;
/** Programs of one worker at once: they compete with the directors' own work. */
export const PROGRAMS_MAX = 64;
/**
 * The runner's deadline comes first, which does not count what this process stood still; this one is for where nobody
 * asks any more.
 */
const SPARE_MS = 5_000;

type Waiting = { readonly id: CheckId; readonly begin: () => void };

export class ScriptProbes {
  readonly #clock: Clock;
  /** What has not ended yet, also of checks that are gone. */
  readonly #running = new Map<CheckId, RunningProgram>();
  /** In order: their turn comes when a place is free and their last run has ended, or their deadline. */
  readonly #waiting = new Set<Waiting>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  start(check: Check, spec: ScriptCheck, done: (outcome: Outcome) => void): RunningProbe {
    const { timeoutMs } = check.spec;
    let isOver = false;
    let program: RunningProgram | null = null;
    const finish = (outcome: Outcome): void => {
      if (isOver) return;
      isOver = true;
      done(outcome);
    };
    const begin = (): void => {
      program = this.#run(check, spec);
      void program.result.then((result) => finish(outcomeOf(result, spec, timeoutMs)));
    };
    // One that was just killed may need a moment to die: the next probe, which comes at once after a failure, must
    // not count that as a second one.
    const waiting: Waiting = { id: check.id, begin };
    if (this.#mayBegin(check.id)) begin();
    else this.#waiting.add(waiting);
    const end = (): void => {
      isOver = true;
      this.#waiting.delete(waiting);
      program?.kill();
    };
    const expire = (): Outcome => {
      end();
      if (program === null) return this.#running.has(check.id) ? STILL_THERE : NO_PLACE;
      return down('timeout-script', `no end within ${timeoutMs} ms: killed`);
    };
    return { abort: end, expire };
  }

  #mayBegin(id: CheckId): boolean {
    return this.#running.size < PROGRAMS_MAX && !this.#running.has(id);
  }

  #run({ id, address, port, spec: { timeoutMs } }: Check, spec: ScriptCheck): RunningProgram {
    const { command, user } = spec;
    const program = startProgram(
      {
        command,
        user,
        env: {
          LEASEHOLD_CHECK: id,
          LEASEHOLD_ADDRESS: address,
          LEASEHOLD_PORT: `${port}`,
          LEASEHOLD_REAL_SERVER: formatEndpoint(address, port),
          LEASEHOLD_TIMEOUT_MS: `${timeoutMs}`,
        },
        timeoutMs: timeoutMs + SPARE_MS,
        maxOutputBytes: OUTPUT_BYTES_MAX,
        leftovers: 'kill',
      },
      { clock: this.#clock },
    );
    this.#running.set(id, program);
    void this.#follow(id, program);
    return program;
  }

  async #follow(id: CheckId, program: RunningProgram): Promise<void> {
    await program.gone;
    this.#running.delete(id);
    const next = [...this.#waiting].find((waiting) => this.#mayBegin(waiting.id));
    if (next === undefined) return;
    this.#waiting.delete(next);
    next.begin();
  }
}

const STILL_THERE = down('timeout-script', 'the last run was killed and has not ended yet');
const NO_PLACE: Outcome = {
  kind: 'local',
  detail: `${PROGRAMS_MAX} programs of checks run at once, and none ended in time`,
};

function outcomeOf(result: ProgramResult, { isDynamic }: ScriptCheck, timeoutMs: number): Outcome {
  switch (result.kind) {
    case 'timed-out':
      return down('timeout-script', `no end within ${timeoutMs} ms: killed`);
    case 'failed':
      // A program that this director does not have says nothing of the real server.
      return result.hasStarted === true
        ? down('script-failed', result.message)
        : { kind: 'local', detail: result.message };
    case 'exited':
      return outcomeOfCode(result.code, firstLine(result.output), isDynamic);
  }
}

/** keepalived's MISC_CHECK: 0 is up, 1 is down; with misc_dynamic 2 to 255 are up with a weight of code − 2. */
function outcomeOfCode(code: number, said: string, isDynamic: boolean): Outcome {
  const detail = `exit code ${code}${said === '' ? '' : `: ${said}`}`;
  if (code === 0) return { kind: 'up', detail };
  if (!isDynamic || code === 1) return down('script-failed', detail);
  return { kind: 'up', detail, weight: { kind: 'set', weight: code - 2 } };
}

const firstLine = (output: string): string => oneLine(output.trimStart().split('\n', 1)[0] ?? '');
