/**
 * Tells of services that lose or regain their quorum: the log of this director, the cluster's events where it
 * holds the group, and the document's programs, of one service one after the other and each change once.
 */
import type { Desired } from '../core/desired/desired-state.ts';
import { deriveQuorumEvents, type QuorumEvent } from '../core/service/quorum.ts';
import { describeQuorumEvent } from '../core/service/words.ts';
import type { ClusterSpec, Quorum, VirtualService } from '../model/cluster.ts';
import type { DirectorId, GroupId, ServiceId } from '../model/ids.ts';
import type { EventRecord } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Notifier } from '../ports/notifier.ts';

/** So many programs of a service may wait behind the one that runs; beyond it only the newest counts. */
export const WAITING_MAX = 8;

export type QuorumPorts = {
  readonly notifier: Pick<Notifier, 'run'>;
  readonly clock: Pick<Clock, 'wallTime'>;
  readonly log: Log;
  readonly record: (event: EventRecord) => void;
  readonly spec: () => ClusterSpec | null;
  readonly holds: (group: GroupId) => boolean;
};

type Entry = {
  readonly event: QuorumEvent;
  readonly group: GroupId;
  readonly command: readonly string[];
  readonly quorum: Quorum;
  readonly isHeld: boolean;
};
type Line = { running: Entry | null; waiting: Entry[] };

export class QuorumDesk {
  readonly #me: DirectorId;
  readonly #ports: QuorumPorts;
  readonly #lines = new Map<ServiceId, Line>();
  readonly #end = new AbortController();

  constructor(me: DirectorId, ports: QuorumPorts) {
    this.#me = me;
    this.#ports = ports;
  }

  /** After each decision; `before` as it was decided last, or as the table told at the start. */
  decided(before: Desired['quorums'], { serviceExplanations }: Desired): void {
    const after = new Map(
      [...serviceExplanations].map(([service, { quorum }]) => [service, quorum] as const),
    );
    const events = deriveQuorumEvents(before, after);
    if (events.length === 0 || this.#end.signal.aborted) return;
    const services = new Map((this.#ports.spec()?.services ?? []).map((one) => [one.id, one]));
    for (const event of events) {
      const service = services.get(event.service);
      if (service !== undefined) this.#tell(event, service);
    }
  }

  /** Programs that run are killed; those that wait never run. */
  end(): void {
    this.#end.abort();
    for (const line of this.#lines.values()) line.waiting = [];
  }

  #tell(event: QuorumEvent, { group, quorum }: VirtualService): void {
    const { log, clock, record, holds } = this.#ports;
    const isUp = event.kind === 'quorum-up';
    const message = describeQuorumEvent(event);
    const { live, upAt, downBelow, reason } = event.decision;
    const severity = isUp ? 'info' : 'warn';
    const kind = isUp ? 'quorum.regained' : 'quorum.lost';
    log[severity]({ service: event.service, vipGroup: group, live, upAt, downBelow, reason }, kind);
    const isHeld = holds(group);
    // Every director decides it alike; its holder says it for all.
    if (isHeld)
      record({
        v: 1,
        at: clock.wallTime(),
        director: this.#me,
        severity,
        kind,
        subject: event.service,
        message,
        reason,
        epoch: null,
        by: null,
      });
    const command = isUp ? quorum.up : quorum.down;
    if (command !== null) this.#queue({ event, group, command, quorum, isHeld });
  }

  #queue(entry: Entry): void {
    const { service } = entry.event;
    const line = this.#lines.get(service) ?? { running: null, waiting: [] };
    this.#lines.set(service, line);
    line.waiting.push(entry);
    if (line.waiting.length > WAITING_MAX) {
      const dropped = line.waiting.length - 1;
      line.waiting = [entry];
      this.#ports.log.warn({ service, dropped }, 'quorum.skipped');
    }
    if (line.running === null) void this.#work(service, line);
  }

  async #work(service: ServiceId, line: Line): Promise<void> {
    for (let next = line.waiting.shift(); next !== undefined; next = line.waiting.shift()) {
      line.running = next;
      await this.#run(next);
      line.running = null;
    }
    this.#lines.delete(service);
  }

  async #run({ event, group, command, quorum, isHeld }: Entry): Promise<void> {
    const { notifier, log } = this.#ports;
    const { timeoutMs, user } = quorum;
    const { live, upAt, downBelow } = event.decision;
    const environment = {
      LEASEHOLD_DIRECTOR: this.#me,
      LEASEHOLD_GROUP: group,
      LEASEHOLD_SERVICE: event.service,
      LEASEHOLD_QUORUM: event.kind === 'quorum-up' ? 'UP' : 'DOWN',
      LEASEHOLD_LIVE: `${live}`,
      LEASEHOLD_UP_AT: `${upAt}`,
      LEASEHOLD_DOWN_BELOW: `${downBelow}`,
      LEASEHOLD_HELD: isHeld ? '1' : '0',
    };
    const job = { command, environment, user, timeoutMs };
    const result = await notifier.run(job, this.#end.signal);
    const fields = { service: event.service, command };
    if (result.kind === 'failed')
      log.warn(
        { ...fields, error: result.message, output: result.output },
        'quorum.command-failed',
      );
    if (result.kind === 'timed-out') log.warn({ ...fields, timeoutMs }, 'quorum.command-timed-out');
  }
}
