import { describe, expect, it } from 'vitest';
import { createTrackLoop, type TrackLoop } from '../../../src/agent/track-loop.ts';
import type { Track, VipGroup } from '../../../src/model/cluster.ts';
import { groupId } from '../../../src/model/ids.ts';
import type { LinkState } from '../../../src/model/kernel.ts';
import { type Log, type LogFields, silentLog } from '../../../src/ports/log.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeTracker, type FakeScript } from '../../fakes/fake-tracker.ts';
import { SeededRandom } from '../../fakes/seeded-random.ts';
import {
  fileTrack,
  groupOf,
  interfaceTrack,
  processTrack,
  scriptTrack,
} from '../core/tracks/track-builders.ts';

const WEB = groupId('web');
const MAIL = groupId('mail');

const passes: FakeScript = { kind: 'exit', code: 0, ms: 10 };
const fails: FakeScript = { kind: 'exit', code: 1, ms: 10, output: 'nginx is not running\n' };

class Bench {
  readonly clock = new FakeClock();
  script: FakeScript = passes;
  readonly processes = new Map<string, number>();
  readonly files = new Map<string, string>();
  readonly lines: [string, LogFields][] = [];
  readonly gauges = new Map<string, boolean>();
  changes = 0;
  readonly tracker: FakeTracker;
  readonly loop: TrackLoop;
  readonly #end = new AbortController();
  #run: Promise<void> = Promise.resolve();

  constructor() {
    const log: Log = {
      ...silentLog,
      info: (fields, event) => this.lines.push([event, fields]),
      error: (fields, event) => this.lines.push([event, fields]),
    };
    this.tracker = new FakeTracker(
      {
        script: () => this.script,
        processes: (name) => this.processes.get(name) ?? 0,
        file: (path) => this.files.get(path) ?? null,
      },
      { clock: this.clock, random: new SeededRandom(1) },
    );
    this.loop = createTrackLoop(
      { devices: new Map([['public', 'eth0']]) },
      {
        tracker: this.tracker,
        clock: this.clock,
        log,
        metrics: {
          track: (group, track, isPassing) => this.gauges.set(`${group} ${track}`, isPassing),
          forgetTracks: () => this.gauges.clear(),
        },
        changed: () => this.changes++,
      },
    );
  }

  async start(...groups: VipGroup[]): Promise<void> {
    this.loop.setGroups(groups);
    this.#run = this.loop.run(this.#end.signal);
    this.changes = 0;
    await this.clock.advance(0);
  }

  async end(): Promise<void> {
    this.#end.abort();
    await this.clock.settle(this.#run);
    await this.tracker.close();
    await this.clock.advance(5_000);
  }
}

const link = (name: string, changes: Partial<LinkState> = {}): LinkState => ({
  index: 2,
  name,
  mac: null,
  isAdminUp: true,
  isRunning: true,
  mtu: 1500,
  ...changes,
});
const linksOf = (...links: LinkState[]) => new Map(links.map((one) => [one.name, one]));

describe('a script track', () => {
  const web = groupOf('web', [scriptTrack({ rise: 2, fall: 2 })]);

  it('forbids holding when it failed often enough, and allows it again', async () => {
    const bench = new Bench();
    await bench.start(web);
    expect([bench.loop.obstacle(WEB), bench.loop.isSettled(WEB)]).toEqual([null, false]);
    await bench.clock.advance(1_100);
    expect([bench.loop.obstacle(WEB), bench.loop.isSettled(WEB)]).toEqual([null, true]);
    expect(bench.changes).toBe(1);

    bench.script = fails;
    await bench.clock.advance(1_000);
    expect(bench.loop.obstacle(WEB)).toBeNull();
    await bench.clock.advance(1_000);
    expect(bench.loop.obstacle(WEB)).toBe('track-failed');
    expect(bench.loop.detail(WEB)).toBe('script check fails: exit code 1: nginx is not running');
    expect(bench.changes).toBe(2);
    expect(bench.gauges.get('web script check')).toBe(false);

    bench.script = passes;
    await bench.clock.advance(2_000);
    expect([bench.loop.obstacle(WEB), bench.loop.detail(WEB)]).toEqual([null, null]);
    expect(bench.gauges.get('web script check')).toBe(true);
    await bench.end();
  });

  it('says since when, and logs each change once', async () => {
    const bench = new Bench();
    bench.script = { kind: 'missing', message: '/bin/check does not exist' };
    await bench.start(web);
    const startedAt = bench.clock.wallTime();
    expect(bench.loop.explain(WEB)).toEqual([
      {
        id: 'script check',
        kind: 'script',
        isPassing: true,
        detail: 'not seen yet',
        since: startedAt,
      },
    ]);
    await bench.clock.advance(5_000);
    const [view] = bench.loop.explain(WEB);
    expect(view).toMatchObject({ isPassing: false, detail: '/bin/check does not exist' });
    expect(view?.since).not.toBe(startedAt);
    expect(bench.lines).toEqual([
      [
        'track.changed',
        {
          track: 'script check',
          kind: 'script',
          isPassing: false,
          detail: '/bin/check does not exist',
          groups: ['web'],
        },
      ],
    ]);
    await bench.end();
  });

  it('that hangs fails at its timeout and never runs twice at once', async () => {
    const bench = new Bench();
    bench.script = { kind: 'hang' };
    await bench.start(groupOf('web', [scriptTrack({ intervalMs: 1000, timeoutMs: 2500 })]));
    await bench.clock.advance(3_500);
    expect(bench.loop.detail(WEB)).toBe('script check fails: no end within 2500 ms');
    await bench.clock.advance(26_500);
    // Every third turn finds the place free.
    expect(bench.tracker.started).toBe(10);
    await bench.end();
  });
});

describe('weights', () => {
  it('move the bonus only', async () => {
    const bench = new Bench();
    bench.processes.set('nginx', 2);
    bench.files.set('/run/maint', '3');
    await bench.start(
      groupOf('web', [
        scriptTrack({ weight: -20 }),
        processTrack({ weight: 30 }),
        fileTrack({ weight: 5 }),
      ]),
    );
    await bench.clock.advance(2_000);
    expect([bench.loop.obstacle(WEB), bench.loop.bonus(WEB)]).toEqual([null, 45]);
    bench.script = fails;
    bench.processes.delete('nginx');
    bench.files.set('/run/maint', '-1');
    await bench.clock.advance(2_000);
    expect([bench.loop.obstacle(WEB), bench.loop.bonus(WEB)]).toEqual([null, -25]);
    expect(bench.changes).toBeGreaterThan(3);
    await bench.end();
  });

  it('of a group that is not known are none', () => {
    const { loop } = new Bench();
    expect([loop.obstacle(WEB), loop.bonus(WEB), loop.isSettled(WEB)]).toEqual([null, 0, true]);
    expect(loop.explain(WEB)).toEqual([]);
  });
});

describe('a process track', () => {
  it('counts as gone after its delay, without another look', async () => {
    const bench = new Bench();
    bench.processes.set('nginx', 1);
    await bench.start(groupOf('web', [processTrack({ delayMs: 1250 })]));
    await bench.clock.advance(1_600);
    bench.processes.delete('nginx');
    await bench.clock.advance(500);
    // Seen as gone at 2000.
    expect(bench.loop.explain(WEB)[0]?.detail).toBe('0 running, 1 wanted (counts after 1250 ms)');
    await bench.clock.advance(1_100);
    expect(bench.loop.obstacle(WEB)).toBeNull();
    await bench.clock.advance(100);
    expect(bench.loop.detail(WEB)).toBe('process nginx fails: 0 running, 1 wanted');
    await bench.end();
    expect(bench.clock.pending).toBe(0);
  });

  it('is the reason for looking at processes at all', async () => {
    const bench = new Bench();
    await bench.start(groupOf('web', [fileTrack()]));
    await bench.clock.advance(10_000);
    expect(bench.tracker.looks).toBe(0);
    bench.loop.setGroups([groupOf('web', [processTrack(), processTrack({ process: 'haproxy' })])]);
    await bench.clock.advance(10_000);
    // One look for both.
    expect(bench.tracker.looks).toBe(21);
    bench.loop.setGroups([]);
    await bench.clock.advance(10_000);
    expect(bench.tracker.looks).toBe(21);
    await bench.end();
  });
});

describe('an interface track', () => {
  const groups = [
    groupOf('web', [interfaceTrack()]),
    groupOf('mail', [interfaceTrack({ device: 'public', weight: -50 })]),
  ];

  it('follows the links, by logical name where there is one', async () => {
    const bench = new Bench();
    await bench.start(...groups);
    expect([...bench.loop.devices()].toSorted()).toEqual(['eth0', 'eth1']);
    expect(bench.loop.obstacle(WEB)).toBeNull();
    bench.loop.setLinks(linksOf(link('eth0'), link('eth1')));
    expect([bench.loop.obstacle(WEB), bench.loop.bonus(MAIL), bench.changes]).toEqual([null, 0, 1]);
    bench.loop.setLinks(linksOf(link('eth0', { isRunning: false })));
    expect(bench.loop.detail(WEB)).toBe('interface eth1 fails: device eth1 does not exist here');
    expect(bench.loop.bonus(MAIL)).toBe(-50);
    expect(bench.changes).toBe(2);
    // Nothing new: nobody is told.
    bench.loop.setLinks(linksOf(link('eth0', { isAdminUp: false })));
    expect(bench.changes).toBe(2);
    expect(bench.loop.explain(MAIL)[0]?.detail).toBe('device eth0 is down or has no carrier');
    await bench.end();
  });

  it('that comes with a new spec is judged at once', async () => {
    const bench = new Bench();
    await bench.start();
    bench.loop.setLinks(linksOf(link('eth1', { isRunning: false })));
    expect(bench.changes).toBe(0);
    bench.loop.setGroups(groups);
    expect(bench.loop.obstacle(WEB)).toBe('track-failed');
    expect(bench.gauges.get('web interface eth1')).toBe(false);
    expect(bench.changes).toBe(1);
    await bench.end();
  });
});

describe('equal tracks', () => {
  it('of several groups run once and fail together, under their own names and weights', async () => {
    const bench = new Bench();
    bench.script = fails;
    await bench.start(
      groupOf('web', [scriptTrack()]),
      groupOf('mail', [scriptTrack({ id: 'script other', weight: -9 })]),
    );
    await bench.clock.advance(10_000);
    expect(bench.tracker.started).toBe(10);
    expect(bench.loop.detail(WEB)).toContain('script check fails');
    expect([bench.loop.obstacle(MAIL), bench.loop.bonus(MAIL)]).toEqual([null, -9]);
    expect(bench.gauges).toEqual(
      new Map([
        ['web script check', false],
        ['mail script other', false],
      ]),
    );
    await bench.end();
  });

  it('with different rise and fall share the run only', async () => {
    const bench = new Bench();
    await bench.start(
      groupOf('web', [scriptTrack({ fall: 1 })]),
      groupOf('mail', [scriptTrack({ fall: 3 })]),
    );
    await bench.clock.advance(1_500);
    const before = bench.tracker.started;
    bench.script = fails;
    await bench.clock.advance(1_000);
    expect(bench.tracker.started).toBe(before + 1);
    expect([bench.loop.obstacle(WEB), bench.loop.obstacle(MAIL)]).toEqual(['track-failed', null]);
    await bench.end();
  });
});

describe('a new spec', () => {
  const failing = (changes: Partial<Track & { kind: 'script' }> = {}) =>
    groupOf('web', [scriptTrack(changes)]);

  it('keeps the state and the rhythm of what stays', async () => {
    const bench = new Bench();
    bench.script = fails;
    await bench.start(failing());
    await bench.clock.advance(3_000);
    const [before] = bench.loop.explain(WEB);
    const [started, changes] = [bench.tracker.started, bench.changes];
    bench.loop.setGroups([failing(), groupOf('mail', [])]);
    expect(bench.loop.explain(WEB)).toEqual([before]);
    expect(bench.changes).toBe(changes);
    await bench.clock.advance(1_000);
    expect(bench.tracker.started).toBe(started + 1);
    await bench.end();
  });

  it('with other settings goes on from what is known', async () => {
    const bench = new Bench();
    bench.script = fails;
    await bench.start(failing());
    await bench.clock.advance(3_000);
    const [before] = bench.loop.explain(WEB);
    bench.loop.setGroups([failing({ intervalMs: 5000, rise: 3, id: 'script renamed' })]);
    expect(bench.loop.explain(WEB)).toEqual([{ ...before, id: 'script renamed' }]);
    expect(bench.loop.obstacle(WEB)).toBe('track-failed');
    await bench.end();
  });

  it('goes on from what was seen, where the same was asked twice', async () => {
    const bench = new Bench();
    bench.script = fails;
    const slow = groupOf('mail', [scriptTrack({ intervalMs: 1000 })]);
    await bench.start(slow, failing({ intervalMs: 50 }));
    await bench.clock.advance(100);
    expect([bench.loop.isSettled(MAIL), bench.loop.isSettled(WEB)]).toEqual([false, true]);
    bench.loop.setGroups([failing({ intervalMs: 2000 })]);
    expect(bench.loop.obstacle(WEB)).toBe('track-failed');
    await bench.end();
  });

  it('that drops a failing track, or gives it a weight, is told', async () => {
    const bench = new Bench();
    bench.script = fails;
    await bench.start(failing());
    await bench.clock.advance(3_000);
    const before = bench.changes;
    bench.loop.setGroups([failing({ weight: -5 })]);
    expect([bench.loop.obstacle(WEB), bench.loop.bonus(WEB)]).toEqual([null, -5]);
    expect(bench.changes).toBe(before + 1);
    bench.loop.setGroups([groupOf('web', [])]);
    expect(bench.loop.bonus(WEB)).toBe(0);
    expect(bench.gauges.size).toBe(0);
    expect(bench.changes).toBe(before + 2);
    const { started } = bench.tracker;
    await bench.clock.advance(5_000);
    expect(bench.tracker.started).toBe(started);
    await bench.end();
  });

  it('may come before the loop runs: the first look is not lost', async () => {
    const bench = new Bench();
    bench.files.set('/run/maint', '1');
    bench.loop.setGroups([groupOf('web', [fileTrack()])]);
    await bench.clock.advance(30_000);
    expect(bench.loop.obstacle(WEB)).toBeNull();
    await bench.start(groupOf('web', [fileTrack()]));
    await bench.clock.advance(1);
    expect(bench.loop.detail(WEB)).toBe('file /run/maint fails: holds 1');
    await bench.end();
  });
});

describe('the end', () => {
  it('of the tracker is an error, that of the loop is not', async () => {
    const bench = new Bench();
    await bench.start(groupOf('web', [scriptTrack()]));
    await bench.tracker.close();
    await bench.clock.advance(1);
    expect(bench.lines.map(([event]) => event)).toEqual(['tracker.ended']);
    const other = new Bench();
    await other.start(groupOf('web', [scriptTrack()]));
    await other.end();
    expect(other.lines).toEqual([]);
  });
});
