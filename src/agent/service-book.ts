/**
 * The services of the status where there are very many: made piece by piece when somebody asks, so that the
 * hold loop never waits for people, and told from memory to those who cannot wait.
 */
import type { ClusterSpec } from '../model/cluster.ts';
import type { MonoMs } from '../model/ids.ts';
import type { ServiceStatus } from '../model/status.ts';
import type { Clock } from '../ports/clock.ts';
import { type ServiceStatusInput, serviceStatuses, serviceStatusSteps } from './service-status.ts';

/** Destinations: so many take a few milliseconds. */
export const AT_ONCE_MAX = 500;
/** Who asks again so soon gets the same. */
const FRESH_MS = 1000;
/** Documents that follow each other faster than their services are made keep nobody waiting for ever. */
const TRIES_MAX = 4;

export class ServiceBook {
  readonly #clock: Pick<Clock, 'now' | 'sleep'>;
  #made: {
    readonly services: ServiceStatus[];
    readonly spec: ClusterSpec;
    readonly at: MonoMs;
  } | null = null;
  #making: Promise<void> | null = null;

  constructor(clock: Pick<Clock, 'now' | 'sleep'>) {
    this.#clock = clock;
  }

  /** At once: as they are, or where there are very many as they were; none before the first `prepare`. */
  services(input: ServiceStatusInput): ServiceStatus[] {
    if (countDestinations(input.spec) <= AT_ONCE_MAX) return serviceStatuses(input);
    const made = this.#made;
    return made !== null && made.spec === input.spec ? made.services : [];
  }

  /** Until `services` are not older than a second. Many who ask at once share the work. */
  async prepare(input: () => ServiceStatusInput): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const now = input();
      if (now.spec === null || countDestinations(now.spec) <= AT_ONCE_MAX) return;
      const made = this.#made;
      if (made?.spec === now.spec && this.#clock.now() - made.at < FRESH_MS) return;
      this.#making ??= this.#make(now, now.spec).finally(() => {
        this.#making = null;
      });
      // oxlint-disable-next-line no-await-in-loop -- another document may have come meanwhile
      await this.#making;
    }
  }

  async #make(input: ServiceStatusInput, spec: ClusterSpec): Promise<void> {
    const steps = serviceStatusSteps(input);
    for (;;) {
      const step = steps.next();
      if (step.done === true) {
        this.#made = { services: step.value, spec, at: this.#clock.now() };
        return;
      }
      await this.#clock.sleep(0);
    }
  }
}

/** A real server of a service with ranges is one in each of its IPVS services. */
const countDestinations = (spec: ClusterSpec | null): number =>
  (spec?.services ?? []).reduce(
    (sum, { realServers, keys }) => sum + realServers.length * keys.length,
    0,
  );
