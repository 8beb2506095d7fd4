/** How long a takeover took, from the last sign of life of the dead to the first word here; and stand-ins. */
import { describe, expect, it } from 'vitest';
import { createGauges } from '../../../src/agent/gauges.ts';
import { NOTHING_RECONCILED } from '../../../src/agent/reconcile-state.ts';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { Heard } from '../../../src/core/election/hearing.ts';
import { initialState } from '../../../src/core/election/initial-state.ts';
import type { ElectionNotice } from '../../../src/core/election/notices.ts';
import type { Holding, Right } from '../../../src/core/election/state.ts';
import type { ClusterSpec } from '../../../src/model/cluster.ts';
import {
  directorId,
  epochOf,
  type GroupId,
  groupId,
  monoMs,
  revision,
} from '../../../src/model/ids.ts';
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
async function takeovers(
  heard: ReadonlyMap<string, number>,
  {
    begins = 'holder.killed',
    reason = null,
    held = [],
  }: {
    readonly begins?: ElectionNotice['kind'];
    readonly reason?: ElectionNotice['reason'];
    readonly held?: readonly (readonly [GroupId, Holding])[];
  } = {},
): Promise<readonly number[]> {
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
  const state = { heard: new Map([[dead, told]]), holdings: new Map(held) };
  await clock.advance(900);
  gauges.noticed(notice(begins, { director: dead }), state);
  gauges.noticed(notice('holder.opened', { group: web, reason }), state);
  gauges.noticed(notice('holder.opened', { group: mail, reason }), state);
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

  it('is measured where this director stands in, and not where its candidacy came to nothing', async () => {
    const heard = new Map([['web', 100]]);
    const begins = 'candidate.started';
    expect(await takeovers(heard, { begins, reason: 'stood-in' })).toEqual([0.8]);
    expect(await takeovers(heard, { begins })).toEqual([]);
  });

  it('is not measured where a stand-in gets the record of what it has already', async () => {
    const heard = new Map([['web', 100]]);
    expect(await takeovers(heard, { held: [[web, holdingOf('open')]] })).toEqual([]);
  });
});

function holdingOf(kind: 'owned' | 'open', right: Right = 'segment'): Holding {
  const base = { right, epoch: epochOf(revision(7)), since: monoMs(1), failures: 0, formers: [] };
  return kind === 'open'
    ? { ...base, kind, openedAt: monoMs(2), until: monoMs(9) }
    : { ...base, kind, mustProbe: true, preparedUntil: null, isOpening: false };
}

describe('what has left the document', () => {
  it('is told of no more: a group when it is given up here too, a director at once', async () => {
    const seen: string[] = [];
    const clock = new FakeClock();
    const gauges = createGauges({
      metrics: {
        ...silentMetrics,
        keepGroups: (groups) => void seen.push(`keep ${[...groups].join(' ')}`),
        peer: (director, seconds) => void seen.push(`${director} ${seconds}`),
      },
      clock,
      announcer: { counters: () => ({ sent: 0, failed: 0 }) },
      peerLink: { counters: () => LINK },
    });
    const lastHeard = new Map(['d1', 'd3'].map((id) => [directorId(id), monoMs(0)]));
    await clock.advance(500);
    const measure = (spec: ClusterSpec | null, holdings: ReadonlyMap<GroupId, Holding>): void =>
      gauges.measure({
        isStoreConnected: true,
        lagMs: 0,
        state: { ...initialState(monoMs(0)), lastHeard, holdings },
        timing: null,
        groups: [{ group: mail, leaseMs: null }],
        plane: () => ({
          spec,
          reconcile: NOTHING_RECONCILED,
          marks: null,
          health: () => null,
        }),
      });
    measure(null, new Map([[web, holdingOf('open', 'record')]]));
    expect(seen.splice(0)).toEqual(['keep mail web', 'd1 0.5', 'd3 0.5']);
    measure(parseSpec(), new Map());
    expect(seen).toEqual(['keep mail', 'd1 0.5', 'd3 null']);
  });
});

function parseSpec(): ClusterSpec {
  const parsed = parseClusterDocument({
    apiVersion: 'leasehold/v1',
    directors: { d1: { address: '10.90.0.11' }, d2: { address: '10.90.0.12' } },
    groups: { mail: { addresses: ['10.90.0.100/24'], interface: 'public' } },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value.spec;
}

describe('a stand-in', () => {
  const rig = () => {
    const seen: string[] = [];
    const gauges = createGauges({
      metrics: {
        ...silentMetrics,
        holder: (group, isHolder, epoch) => void seen.push(`holder ${group} ${isHolder} ${epoch}`),
        standIn: (group, role) => void seen.push(`${group} ${role}`),
        forgetStandIns: () => void seen.push('forget'),
        holdBasis: (basis) => void seen.push(`basis ${basis}`),
        vipsAnswered: (group) => void seen.push(`answered ${group}`),
      },
      clock: new FakeClock(),
      announcer: { counters: () => ({ sent: 0, failed: 0 }) },
      peerLink: { counters: () => LINK },
    });
    const measure = (...held: readonly (readonly [GroupId, Holding])[]): readonly string[] => {
      seen.length = 0;
      const state = {
        ...initialState(monoMs(0)),
        basis: 'segment',
        holdings: new Map(held),
      } as const;
      const groups = [web, mail].map((group) => ({ group, leaseMs: null }));
      const plane = () => ({
        spec: null,
        reconcile: NOTHING_RECONCILED,
        marks: null,
        health: () => null,
      });
      const rest = { isStoreConnected: false, lagMs: 0, timing: null, plane };
      gauges.measure({ ...rest, state, groups });
      return seen;
    };
    return { gauges, seen, measure };
  };

  it('is told apart from a holder, and from a candidate', () => {
    const { measure } = rig();
    expect(measure([web, holdingOf('open')], [mail, holdingOf('owned')])).toEqual([
      'basis segment',
      'forget',
      'web stand-in',
      'mail candidate',
    ]);
    expect(measure([web, holdingOf('open', 'record')])).toContain('web none');
    expect(measure([web, holdingOf('owned', 'record')])).toEqual([
      'basis null',
      'forget',
      'web none',
      'mail none',
    ]);
  });

  it('counts as holder from its opening on, without a lease that shows it', () => {
    const { gauges, seen } = rig();
    const state = initialState(monoMs(0));
    const opened = { group: web, epoch: epochOf(revision(7)) };
    gauges.noticed(notice('holder.opened', { ...opened, reason: 'stood-in' }), state);
    gauges.noticed(notice('holder.opened', opened), state);
    gauges.noticed(notice('vips.answered', { group: mail }), state);
    expect(seen).toEqual(['holder web true 7', 'answered mail']);
  });
});
