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

export type Seen = {
  readonly outcome: Outcome;
  readonly tookMs: number;
};

export type Place = {
  readonly port?: number;
  readonly address?: IpAddress;
  readonly origin?: Partial<CheckOrigin>;
  /** Default 2 s: servers of tests answer at once, but the machine may be busy. */
  readonly timeoutMs?: number;
};

let number = 0;

export class OneProbe {
  readonly probes = new Probes({
    clock: createSystemClock(),
    random16: () => randomInt(0x1_0000),
  });

  async run(kind: CheckKind, place: Place = {}): Promise<Seen> {
    const timeoutMs = place.timeoutMs ?? 2_000;
    const origin = { ...ANY_ORIGIN, ...place.origin };
    const timing = { intervalMs: timeoutMs, timeoutMs, rise: 1, fall: 1, port: null };
    const check = {
      id: checkId(`one-${++number}`),
      address: place.address ?? LOOPBACK,
      port: place.port ?? 0,
      spec: { ...kind, ...timing, origin },
    };
    const startedAt = monotonicMs();
    const outcome = await new Promise<Outcome>((resolve) => {
      let isOver = false;
      const running = this.probes.start(check, (seen) => {
        if (isOver) throw new Error('a probe that is over must be silent');
        isOver = true;
        clearTimeout(timer);
        resolve(seen);
      });
      const timer = setTimeout(() => {
        if (isOver) return;
        isOver = true;
        resolve(running.expire());
      }, timeoutMs);
    });
    return { outcome, tookMs: monotonicMs() - startedAt };
  }

  /** `up: detail`, `refused: detail`, `local: detail`. */
  async tell(kind: CheckKind, place: Place = {}): Promise<string> {
    const { outcome } = await this.run(kind, place);
    return `${outcome.kind === 'down' ? outcome.reason : outcome.kind}: ${outcome.detail}`;
  }
}

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
