/**
 * The rhythm of scripts: each in its interval, never twice at once, not all at the same time, and no more
 * than a few together. The clock and the way to start a program are arguments: tests have their own.
 */
import type { TrackSight } from '../../model/track.ts';
import type { Clock } from '../../ports/clock.ts';
import { KILL_GRACE_MS, type ProgramResult, type RunningProgram } from '../programs/run-program.ts';
import type { ScriptTarget } from './track-protocol.ts';

/** First runs spread over this, or over the interval where that is shorter. */
const START_SPREAD_MS = 1000;
/** One that cannot be killed (a dead disk) gives its place to others after this. */
const UNKILLABLE_MS = 2 * KILL_GRACE_MS;
const DETAIL_LENGTH_MAX = 200;

export type ScriptRunsOptions = { readonly maxConcurrent: number };

export type ScriptRunsWorld = {
  readonly clock: Clock;
  /** Uniform, 0 ≤ x < 1. */
  readonly random: () => number;
  readonly start: (target: ScriptTarget) => RunningProgram;
  readonly seen: (target: string, sight: TrackSight) => void;
};

type Script = {
  readonly target: ScriptTarget;
  /** When the rhythm has its next turn. */
  dueAt: number;
  cancel: () => void;
  /** When a program that has not ended yet was last told as failed; null: there is none. */
  toldAt: number | null;
  isWaiting: boolean;
};

export class ScriptRuns {
  readonly #world: ScriptRunsWorld;
  readonly #maxConcurrent: number;
  readonly #scripts = new Map<string, Script>();
  /** In order of their turns; may name scripts that left meanwhile. */
  #waiting: Script[] = [];
  /** Every program that has not ended, also of scripts that left: one that returns waits for it. */
  readonly #programs = new Map<string, RunningProgram>();
  #places = 0;

  constructor(options: ScriptRunsOptions, world: ScriptRunsWorld) {
    this.#maxConcurrent = options.maxConcurrent;
    this.#world = world;
  }

  set(targets: readonly ScriptTarget[]): void {
    const wanted = new Map(targets.map((target) => [target.id, target]));
    for (const [id, script] of this.#scripts) if (!wanted.has(id)) this.#drop(id, script);
    for (const [id, target] of wanted) if (!this.#scripts.has(id)) this.#add(id, target);
  }

  /** Kills everything; resolves when it is gone, or cannot be killed. */
  async close(): Promise<void> {
    this.set([]);
    const limit = new AbortController();
    const gone = Promise.all([...this.#programs.values()].map((program) => program.gone));
    await Promise.race([gone, this.#world.clock.sleep(UNKILLABLE_MS, limit.signal)]);
    limit.abort();
  }

  #add(id: string, target: ScriptTarget): void {
    const spreadMs = Math.min(START_SPREAD_MS, target.intervalMs) * this.#world.random();
    const dueAt = this.#world.clock.now() + spreadMs;
    const script: Script = {
      target,
      dueAt,
      cancel: () => {},
      toldAt: null,
      isWaiting: false,
    };
    this.#scripts.set(id, script);
    this.#arm(script);
  }

  #drop(id: string, script: Script): void {
    this.#scripts.delete(id);
    script.cancel();
    this.#programs.get(id)?.kill();
    this.#waiting = this.#waiting.filter((other) => other !== script);
  }

  #arm(script: Script): void {
    const { clock } = this.#world;
    script.cancel = clock.schedule(script.dueAt - clock.now(), () => this.#turn(script));
  }

  #turn(script: Script): void {
    const { intervalMs, id } = script.target;
    const now = this.#world.clock.now();
    // Turns that were missed while the machine stood still are not made up for.
    const missed = Math.floor(Math.max(0, now - script.dueAt) / intervalMs);
    script.dueAt += intervalMs * (1 + missed);
    this.#arm(script);
    if (script.toldAt !== null && now - script.toldAt >= intervalMs) this.#tellStuck(script, now);
    if (this.#programs.has(id) || script.isWaiting) return;
    if (this.#places < this.#maxConcurrent) this.#start(script);
    else {
      script.isWaiting = true;
      this.#waiting.push(script);
    }
  }

  /** It takes longer to die than its interval: that is one more failure, though nothing was started. */
  #tellStuck(script: Script, now: number): void {
    const { id, timeoutMs } = script.target;
    script.toldAt = now;
    const detail = `no end within ${timeoutMs} ms, and it is still there`;
    this.#world.seen(id, { kind: 'script', isPassing: false, detail });
  }

  #start(script: Script): void {
    const program = this.#world.start(script.target);
    script.isWaiting = false;
    this.#places++;
    this.#programs.set(script.target.id, program);
    void this.#follow(script, program);
  }

  async #follow(script: Script, program: RunningProgram): Promise<void> {
    const { clock, seen } = this.#world;
    const { target } = script;
    const result = await program.result;
    script.toldAt = clock.now();
    if (this.#scripts.get(target.id) === script) seen(target.id, sightOf(result, target));
    void program.gone.then(() => {
      this.#programs.delete(target.id);
      script.toldAt = null;
    });
    const limit = new AbortController();
    await Promise.race([program.gone, clock.sleep(UNKILLABLE_MS, limit.signal)]);
    limit.abort();
    this.#places--;
    const next = this.#waiting.shift();
    if (next !== undefined) this.#start(next);
  }
}

function sightOf(result: ProgramResult, { timeoutMs }: ScriptTarget): TrackSight {
  switch (result.kind) {
    case 'exited': {
      const said = firstLineOf(result.output);
      const detail = `exit code ${result.code}${said === '' ? '' : `: ${said}`}`;
      return { kind: 'script', isPassing: result.code === 0, detail };
    }
    case 'timed-out':
      return { kind: 'script', isPassing: false, detail: `no end within ${timeoutMs} ms` };
    case 'failed':
      return { kind: 'script', isPassing: false, detail: result.message };
  }
}

/** Without what would confuse a terminal or a log. */
function firstLineOf(output: string): string {
  const [line = ''] = output.trimStart().split('\n', 1);
  return line
    .replaceAll(/[\p{Cc}\p{Cf}\uFFFD]/gu, ' ')
    .trim()
    .slice(0, DETAIL_LENGTH_MAX);
}
