/**
 * The VRRP state machine on the real link, with an election that opens whenever the wire lets it. The first
 * argument is `{instance, priority}`; each line that goes out says when it opened or shut (`voice`).
 */
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import { createVrrpLink } from '../../../src/adapters/vrrp/create-vrrp-link.ts';
import {
  INITIAL_ROUTER,
  stepVrrp,
  type VrrpEvent,
  type VrrpOutput,
  type VrrpRouter,
} from '../../../src/core/vrrp/router.ts';
import type { VrrpSettings } from '../../../src/core/vrrp/timers.ts';
import type { VrrpInstance } from '../../../src/model/vrrp.ts';
import { silentLog } from '../../../src/ports/log.ts';

const { instance, priority } = JSON.parse(process.argv[2] ?? '') as {
  readonly instance: VrrpInstance;
  readonly priority: number;
};
const settings: VrrpSettings = {
  version: instance.version,
  priority,
  intervalMs: instance.intervalMs,
  primary: instance.source,
  isPreempting: true,
  preemptDelayMs: 0,
};
const clock = createSystemClock();
const link = createVrrpLink({ clock, log: silentLog });
const end = new AbortController();
let router: VrrpRouter = INITIAL_ROUTER;
let cancelTimer = (): void => {};

const voice = (isOpen: boolean): void => {
  process.stdout.write(`${JSON.stringify({ isOpen, at: Date.now() })}\n`);
};

function step(event: VrrpEvent): void {
  const done = stepVrrp(router, event, clock.now(), settings);
  router = done.router;
  for (const output of done.outputs) act(output);
}

function act(output: VrrpOutput): void {
  if (output.kind === 'send') link.send(instance.key, output.priority, null);
  if (output.kind === 'yield') voice(false);
  if (output.kind === 'arm') {
    cancelTimer();
    cancelTimer = clock.schedule(output.at - clock.now(), () => step({ kind: 'timer' }));
  }
  if (output.kind === 'may-open') {
    step({ kind: 'opened' });
    voice(true);
  }
}

process.on('SIGTERM', () => {
  cancelTimer();
  if (router.kind === 'active') voice(false);
  step({ kind: 'shutdown' });
  end.abort();
  void link.close();
});
link.configure([instance]);
step({ kind: 'start' });
process.stdout.write('ready\n');
for await (const { advert } of link.receive(end.signal)) step({ kind: 'advert', advert });
