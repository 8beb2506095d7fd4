/** The announcer's real schedule and pacing over a sender that records frames instead of sending them. */
import { type FrameSender, PacedAnnouncer } from '../../src/adapters/announce/paced-announcer.ts';
import type { DueFrame } from '../../src/adapters/announce/schedule.ts';
import { err, ok, type Result } from '../../src/lib/result.ts';
import type { MonoMs } from '../../src/model/ids.ts';
import type { Announcement, Announcer } from '../../src/ports/announcer.ts';
import type { Clock } from '../../src/ports/clock.ts';
import { type Log, silentLog } from '../../src/ports/log.ts';

export type RecordedFrame = DueFrame & { readonly at: number };

/** At `frameLimit` the oldest record is dropped, so that long simulations stay bounded. */
export class FakeAnnouncer implements Announcer {
  readonly frames: RecordedFrame[] = [];
  readonly #failures = new Map<string, string>();
  readonly #paced: PacedAnnouncer;

  constructor(
    ports: {
      readonly clock: Clock;
      readonly log?: Log;
      readonly onFrame?: (frame: DueFrame) => void;
    },
    frameLimit = 100_000,
  ) {
    const sender: FrameSender = {
      send: (frame): Result<void, string> => {
        const failure = this.#failures.get(frame.device);
        if (failure !== undefined) return err(failure);
        ports.onFrame?.(frame);
        if (this.frames.length >= frameLimit) this.frames.shift();
        this.frames.push({ ...frame, at: ports.clock.now() });
        return ok(undefined);
      },
      close: () => {},
    };
    this.#paced = new PacedAnnouncer(sender, { clock: ports.clock, log: ports.log ?? silentLog });
  }

  /** From now on the device refuses every frame with this error; null heals it. */
  failDevice(device: string, error: string | null): void {
    if (error === null) this.#failures.delete(device);
    else this.#failures.set(device, error);
  }

  announce(vips: readonly Announcement[]): void {
    this.#paced.announce(vips);
  }

  repeat(vips: readonly Announcement[]): void {
    this.#paced.repeat(vips);
  }

  limit(vips: readonly Announcement[], until: MonoMs): void {
    this.#paced.limit(vips, until);
  }

  stop(vips: readonly Announcement[]): void {
    this.#paced.stop(vips);
  }

  counters(): { readonly sent: number; readonly failed: number } {
    return this.#paced.counters();
  }

  close(): void {
    this.#paced.close();
  }
}
