/** Tells when real servers begin to drain and when their drains are over, each once. */
import { describeDrain } from '../core/service/words.ts';
import { type Drain, type Drains, NO_DRAINS } from '../core/service/drain.ts';
import type { Log } from '../ports/log.ts';

/** Lines of one step; many real servers may leave at once. */
const TOLD_MAX = 20;

export class DrainTeller {
  readonly #log: Log;
  #before = NO_DRAINS;

  constructor(log: Log) {
    this.#log = log;
  }

  look(drains: Drains): void {
    if (drains === this.#before) return;
    const before = this.#before;
    this.#before = drains;
    const begun: Drain[] = [];
    const ended: Drain[] = [];
    for (const [id, drain] of drains) {
      const known = before.get(id) ?? null;
      if (known?.cause !== drain.cause && drain.end === null) begun.push(drain);
      if (drain.end !== null && (known === null || known.end === null)) ended.push(drain);
    }
    this.#say(begun, 'drain.started');
    this.#say(ended, 'drain.ended');
    // Taken back by the operator, or named by the document again.
    const stopped = [...before].filter(([id, { end }]) => end === null && !drains.has(id));
    this.#say(
      stopped.map(([, drain]) => drain),
      'drain.stopped',
    );
  }

  #say(drains: readonly Drain[], event: string): void {
    for (const drain of drains.slice(0, TOLD_MAX)) {
      const { service, realServer, key, cause } = drain;
      this.#log.info({ service, realServer, key, cause, detail: describeDrain(drain) }, event);
    }
    if (drains.length > TOLD_MAX)
      this.#log.info({ more: drains.length - TOLD_MAX }, `${event}-more`);
  }
}
