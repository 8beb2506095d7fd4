/** Single probes of any kind, without schedule and threads: what comes of each, and that nothing of it is left. */
import { randomInt } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import type { Outcome } from '../../../src/adapters/probes/probe.ts';
import { Probes } from '../../../src/adapters/probes/run-probe.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import {
  ANY_ORIGIN,
  type CheckKind,
  type CheckOrigin,
  type HttpCheck,
  type HttpRequest,
  type TlsOptions,
} from '../../../src/model/check.ts';
import { checkId } from '../../../src/model/ids.ts';
import { monotonicMs } from '../../support/processes.ts';
import { LOOPBACK } from '../prober.contract.ts';

export type Place = {
  readonly port?: number;
  readonly address?: IpAddress;
  readonly origin?: Partial<CheckOrigin>;
  /** Default 10 s: servers of tests answer at once, but the machine may be busy. */
  readonly timeoutMs?: number;
};

let number = 0;

const BEAT_MS = 10;

/** As in the prober's threads: time for which this process stands still does not count. Gives what cancels it. */
function afterAwake(ms: number, action: () => void): () => void {
  let leftMs = ms;
  let heardAt = monotonicMs();
  const beat = (): void => {
    const now = monotonicMs();
    leftMs -= Math.min(now - heardAt, 2 * BEAT_MS);
    heardAt = now;
    if (leftMs <= 0) action();
    else timer = setTimeout(beat, BEAT_MS);
  };
  let timer = setTimeout(beat, BEAT_MS);
  return () => clearTimeout(timer);
}

export class OneProbe {
  readonly probes = new Probes({
    clock: createSystemClock(),
    random16: () => randomInt(0x1_0000),
  });

  async run(kind: CheckKind, place: Place = {}): Promise<Outcome> {
    const timeoutMs = place.timeoutMs ?? 10_000;
    const origin = { ...ANY_ORIGIN, ...place.origin };
    const timing = { intervalMs: timeoutMs, timeoutMs, rise: 1, fall: 1, port: null };
    const check = {
      id: checkId(`one-${++number}`),
      address: place.address ?? LOOPBACK,
      port: place.port ?? 0,
      spec: { ...kind, ...timing, origin },
    };
    return await new Promise<Outcome>((resolve) => {
      let isOver = false;
      const running = this.probes.start(check, (seen) => {
        if (isOver) throw new Error('a probe that is over must be silent');
        isOver = true;
        cancel();
        resolve(seen);
      });
      const cancel = afterAwake(timeoutMs, () => {
        if (isOver) return;
        isOver = true;
        resolve(running.expire());
      });
    });
  }

  /** `up: detail`, `refused: detail`, `local: detail`. */
  async tell(kind: CheckKind, place: Place = {}): Promise<string> {
    return wordsOf(await this.run(kind, place));
  }
}

export const wordsOf = (outcome: Outcome): string =>
  `${outcome.kind === 'down' ? outcome.reason : outcome.kind}: ${outcome.detail}`;

export const TLS: TlsOptions = {
  verify: true,
  name: null,
  ca: null,
  cert: null,
  key: null,
  daysLeft: null,
};

export const REQUEST: HttpRequest = {
  method: 'GET',
  path: '/',
  host: null,
  headers: [],
  body: null,
  status: [[200, 299]],
  digest: null,
  match: null,
  noMatch: null,
};

export const http = (
  request: Partial<HttpRequest> = {},
  fields: Partial<HttpCheck> = {},
): HttpCheck => ({
  kind: 'http',
  version: '1.1',
  requests: [{ ...REQUEST, ...request }],
  bodyMax: 65_536,
  tls: null,
  ...fields,
});

export const https = (tls: Partial<TlsOptions>, request: Partial<HttpRequest> = {}): HttpCheck =>
  http(request, { kind: 'https', tls: { ...TLS, ...tls } });

/** Of this process. */
export const openSockets = (): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // The descriptor of this very listing.
    }
  }).length;
