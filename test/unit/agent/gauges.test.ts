/** How long a takeover took: from the last sign of life of the dead to the first word here. */
import { describe, expect, it } from 'vitest';
import { createGauges } from '../../../src/agent/gauges.ts';
import { Heard } from '../../../src/core/election/hearing.ts';
import type { ElectionNotice } from '../../../src/core/election/notices.ts';
import { directorId, epochOf, groupId, monoMs, revision } from '../../../src/model/ids.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { silentMetrics } from '../../fakes/silent-metrics.ts';

const dead = directorId('d1');
const web = groupId('web');
const mail = groupId('mail');
const LINK = {
  sent: 0,
  received: 0,
  unknown: 0,
  rejected: { malformed: 0, unauthentic: 0, replayed: 0 },
};

const notice = (kind: ElectionNotice['kind'], fields: Partial<ElectionNotice>): ElectionNotice => ({
  severity: 'warn',
  kind,
  group: null,
  director: null,
  epoch: null,
  reason: null,
  message: '',
  ...fields,
});

/** What is measured where a director dies that named these groups at these times; groups open at 900. */
async function takeovers(heard: ReadonlyMap<string, number>): Promise<readonly number[]> {
  const clock = new FakeClock();
  const measured: number[] = [];
  const gauges = createGauges({
    metrics: { ...silentMetrics, takeover: (seconds) => void measured.push(seconds) },
    clock,
    announcer: { counters: () => ({ sent: 0, failed: 0 }) },
    peerLink: { counters: () => LINK },
  });
  let told = Heard.nothing;
  for (const [group, at] of heard) {
    const armed = [{ group: groupId(group), epoch: epochOf(revision(7)) }];
    told = told.next(armed, monoMs(at));
  }
  const state = { heard: new Map([[dead, told]]) };
  await clock.advance(900);
  gauges.noticed(notice('holder.killed', { director: dead }), state);
  gauges.noticed(notice('holder.opened', { group: web }), state);
  gauges.noticed(notice('holder.opened', { group: mail }), state);
  return measured;
}

describe('the time of a takeover', () => {
  it('is counted from what was heard last, to the first group that opens', async () => {
    const heard = new Map([
      ['web', 100],
      ['mail', 120],
    ]);
    expect(await takeovers(heard)).toEqual([0.78]);
  });

  it('is not measured where the dead never held anything', async () => {
    expect(await takeovers(new Map())).toEqual([]);
  });
});
