/**
 * Tells notify programs and pipes what becomes of the groups here: in order, one program at a time per
 * group, beside the hold loop and never in its way.
 */
import {
  EMPTY_BOOK,
  type HoldingPhase,
  type Notification,
  type NotifyBook,
  stepNotify,
  stopNotify,
} from '../core/notify/transitions.ts';
import { finish, IDLE_LINE, join, keepNewest, startNext } from '../core/notify/waiting-line.ts';
import type { WaitingLine } from '../core/notify/waiting-line.ts';
import { commandsOf, environmentOf, fifoLineOf, priorityOf } from '../core/notify/words.ts';
import type { NotifySpec, VipGroup } from '../model/cluster.ts';
import type { HoldReason, IneligibleReason } from '../model/decision.ts';
import type { DirectorId, Epoch, GroupId } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { Notifier, NotifyResult } from '../ports/notifier.ts';

/** A group of the spec as it stands here; see `GroupObservation` for the words. */
export type ObservedGroup = {
  readonly group: Pick<VipGroup, 'id' | 'notify' | 'priorities'>;
  readonly phase: HoldingPhase;
  readonly epoch: Epoch | null;
  readonly ineligible: IneligibleReason | null;
  readonly reason: HoldReason | null;
  /** What tracks add to this director's priority. */
  readonly bonus: number;
};

export type NotifyLoop = {
  /** All groups of the spec, after each change; cheap where nothing changed. */
  observe(groups: readonly ObservedGroup[]): void;
  /**
   * No more is observed. `stop`: every group's STOP is told, within `END_MS`. `freeze`: nothing more is
   * told, because another process of this director goes on; programs that run are left to `close`.
   */
  end(how: 'stop' | 'freeze'): Promise<void>;
};

/** For all STOP programs together. */
export const END_MS = 2_000;
/** Programs that still run at the end get this long of it, so that STOP gets the rest. */
export const LAST_RUN_MS = 1_000;
/** Lines on their way to pipes; beyond it they are dropped. */
const LINES_MAX = 256;

type Entry = Notification & { readonly spec: NotifySpec };

export function createNotifyLoop(
  options: { readonly me: DirectorId },
  ports: {
    readonly notifier: Pick<Notifier, 'run' | 'writeFifo'>;
    readonly clock: Clock;
    readonly log: Log;
    readonly metrics: Pick<Metrics, 'notifyFinished'>;
  },
): NotifyLoop {
  return new Loop(options.me, ports);
}

class Loop implements NotifyLoop {
  readonly #me: DirectorId;
  readonly #ports: Parameters<typeof createNotifyLoop>[1];
  readonly #lines = new Map<GroupId, WaitingLine<Entry>>();
  /** As the spec has them now, or had them last. */
  readonly #specs = new Map<GroupId, NotifySpec>();
  readonly #brokenPipes = new Map<string, string>();
  readonly #underway = new Set<Promise<void>>();
  /** Aborts what ran before the end. */
  readonly #overtime = new AbortController();
  #book: NotifyBook = EMPTY_BOOK;
  #pipeLines = 0;
  #isEnded = false;

  constructor(me: DirectorId, ports: Parameters<typeof createNotifyLoop>[1]) {
    this.#me = me;
    this.#ports = ports;
  }

  observe(groups: readonly ObservedGroup[]): void {
    if (this.#isEnded) return;
    const observations = groups.flatMap(({ group, bonus, ...seen }) => {
      if (group.notify === null) {
        this.#specs.delete(group.id);
        return [];
      }
      this.#specs.set(group.id, group.notify);
      return [{ ...seen, group: group.id, priority: priorityOf(group, this.#me, bonus) }];
    });
    const { book, notifications } = stepNotify(this.#book, observations, this.#ports.clock.now());
    this.#book = book;
    for (const notification of notifications) this.#tell(notification);
  }

  async end(how: 'stop' | 'freeze'): Promise<void> {
    if (this.#isEnded) return;
    this.#isEnded = true;
    if (how === 'freeze') {
      for (const [group, line] of this.#lines) this.#lines.set(group, { ...line, waiting: [] });
      return;
    }
    const cancel = this.#ports.clock.schedule(LAST_RUN_MS, () => this.#overtime.abort());
    for (const notification of stopNotify(this.#book)) this.#tell(notification);
    const limit = new AbortController();
    await Promise.race([this.#idle(), this.#ports.clock.sleep(END_MS, limit.signal)]);
    limit.abort();
    cancel();
    const late = [...this.#lines].flatMap(([group, { running }]) => (running ? [group] : []));
    if (late.length > 0) this.#ports.log.warn({ groups: late }, 'notify.abandoned');
  }

  /** Nothing runs and nothing is on its way. */
  async #idle(): Promise<void> {
    while (this.#underway.size > 0) await Promise.all(this.#underway);
  }

  #tell(notification: Notification): void {
    const { group, state, epoch, reason } = notification;
    const spec = this.#specs.get(group);
    if (state === 'STOP') this.#specs.delete(group);
    if (spec === undefined) return;
    this.#ports.log.info({ vipGroup: group, state, epoch, reason }, 'notify.told');
    if (spec.fifo !== null) this.#follow(this.#write(spec.fifo, spec.user, notification));
    if (commandsOf(spec, notification).length > 0) this.#queue({ ...notification, spec });
  }

  #queue(entry: Entry): void {
    const { group, state } = entry;
    const line = this.#lines.get(group) ?? IDLE_LINE;
    if (this.#isEnded) this.#lines.set(group, keepNewest(line, entry));
    else {
      const joined = join(line, entry);
      this.#lines.set(group, joined.line);
      const { dropped } = joined;
      if (dropped > 0) this.#ports.log.warn({ vipGroup: group, state, dropped }, 'notify.skipped');
    }
    this.#advance(group);
  }

  #advance(group: GroupId): void {
    const line = this.#lines.get(group) ?? IDLE_LINE;
    const next = startNext(line);
    if (next === line) return;
    this.#lines.set(group, next);
    if (next.running !== null) this.#follow(this.#run(next.running));
  }

  async #run(entry: Entry): Promise<void> {
    // A STOP that is told at the end has the rest of it; what ran before has not.
    const isLast = this.#isEnded && entry.state === 'STOP';
    const signal = isLast ? new AbortController().signal : this.#overtime.signal;
    const { timeoutMs, user } = entry.spec;
    const environment = environmentOf(entry, this.#me);
    for (const command of commandsOf(entry.spec, entry)) {
      const job = { command, environment, user, timeoutMs };
      this.#note(entry, command, await this.#ports.notifier.run(job, signal));
    }
    const line = this.#lines.get(entry.group) ?? IDLE_LINE;
    if (line.waiting.length === 0) this.#lines.delete(entry.group);
    else this.#lines.set(entry.group, finish(line));
    this.#advance(entry.group);
  }

  #note(entry: Entry, command: readonly string[], result: NotifyResult): void {
    const { log, metrics } = this.#ports;
    const { group, state, spec } = entry;
    const fields = { vipGroup: group, state, command };
    switch (result.kind) {
      case 'ok':
        metrics.notifyFinished(state, 'ok');
        return;
      case 'failed':
        metrics.notifyFinished(state, 'failed');
        log.warn({ ...fields, error: result.message, output: result.output }, 'notify.failed');
        return;
      case 'timed-out':
        metrics.notifyFinished(state, 'timeout');
        log.warn({ ...fields, timeoutMs: spec.timeoutMs }, 'notify.timed-out');
        return;
    }
  }

  async #write(path: string, user: string | null, notification: Notification): Promise<void> {
    const { notifier, log } = this.#ports;
    if (this.#pipeLines >= LINES_MAX) {
      log.warn({ path, vipGroup: notification.group }, 'notify.pipe-line-dropped');
      return;
    }
    this.#pipeLines++;
    const result = await notifier.writeFifo({ path, line: fifoLineOf(notification), user });
    this.#pipeLines--;
    const before = this.#brokenPipes.get(path) ?? null;
    const now = result.kind === 'failed' ? result.message : null;
    if (now === before) return;
    if (now === null) this.#brokenPipes.delete(path);
    else this.#brokenPipes.set(path, now);
    if (now === null) log.info({ path }, 'notify.pipe-recovered');
    else log.warn({ path, error: now }, 'notify.pipe-failed');
  }

  #follow(work: Promise<void>): void {
    const done = work.finally(() => {
      this.#underway.delete(done);
    });
    this.#underway.add(done);
  }
}
