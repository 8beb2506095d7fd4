/** The loop of the marks on a kernel in memory. */
import { describe, expect, it } from 'vitest';
import { createMarkLoop } from '../../../src/agent/mark-loop.ts';
import type { ClusterSpec, VirtualService } from '../../../src/model/cluster.ts';
import { formatMarkEntry } from '../../../src/model/marks.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeMarks } from '../../fakes/fake-marks.ts';
import { anyService, anySpec, ip } from '../core/desired/spec-builders.ts';
import { RecordingLog, recordingMetrics } from './reconcile-loop.fixture.ts';

const shop = (...ports: readonly number[]): VirtualService =>
  anyService({
    id: 'shop',
    keys: [{ kind: 'fwmark', family: 4, mark: 7 }],
    marks: [
      {
        address: ip('10.90.0.100'),
        protocol: 'tcp',
        ports: ports.map((port) => ({ from: port, to: port })),
      },
    ],
  });
const WEB = anySpec([shop(80, 443), anyService({ id: 'mail', port: 25 })]);
const BOTH = ['tcp 10.90.0.100:443 mark 7 for shop', 'tcp 10.90.0.100:80 mark 7 for shop'];

function setUp(spec: ClusterSpec | null = WEB) {
  const clock = new FakeClock();
  const marks = new FakeMarks();
  const log = new RecordingLog();
  const { calls, metrics } = recordingMetrics();
  const ending = new AbortController();
  const document = { spec };
  const loop = createMarkLoop({}, { marks, clock, log, metrics, spec: () => document.spec });
  const world = {
    clock,
    marks,
    log,
    calls,
    end: () => ending.abort(),
    loop,
    running: Promise.resolve(),
    start: async () => {
      world.running = loop.run(ending.signal);
      await clock.advance(500);
    },
    seen: () => marks.contents?.entries.map(formatMarkEntry).toSorted() ?? null,
    /** The document is another one from now on. */
    change: async (next: ClusterSpec | null) => {
      document.spec = next;
      loop.wake();
      await clock.advance(500);
    },
  };
  return world;
}

/** Runs, as wanted, and nothing written down yet. */
async function converged() {
  const world = setUp();
  await world.start();
  expect(world.seen()).toEqual(BOTH);
  world.marks.calls.length = 0;
  world.log.lines.length = 0;
  return world;
}

describe('mark loop: from the document to the kernel', () => {
  it('writes the marks at the start and says so', async () => {
    const { loop, log, seen, start } = setUp();
    await start();
    expect(seen()).toEqual(BOTH);
    expect(loop.state()).toMatchObject({ problem: null, driftRepaired: 0 });
    expect(loop.state().problems.size).toBe(0);
    expect(loop.state().entries).toHaveLength(2);
    expect(log.of('marks.written')).toEqual([
      {
        reason: 'missing',
        entries: 2,
        added: ['tcp 10.90.0.100:80 mark 7', 'tcp 10.90.0.100:443 mark 7'],
        removed: [],
      },
    ]);
  });

  it('adopts a table that is as wanted without a word', async () => {
    const first = setUp();
    await first.start();
    const contents = first.marks.contents;
    const second = setUp();
    second.marks.disturb(contents);
    await second.start();
    expect(new Set(second.marks.calls)).toEqual(new Set(['observe']));
    expect(second.log.lines).toEqual([]);
  });

  it('touches nothing without a usable spec', async () => {
    const { marks, change, seen, start } = setUp(null);
    await start();
    expect(marks.calls).toEqual([]);
    await change(WEB);
    await change(null);
    expect(seen()).toEqual(BOTH);
  });

  it('changes what the document changes and touches nothing else', async () => {
    const { marks, change, log, seen } = await converged();
    await change(anySpec([shop(80, 8080)]));
    expect(seen()).toEqual([
      'tcp 10.90.0.100:80 mark 7 for shop',
      'tcp 10.90.0.100:8080 mark 7 for shop',
    ]);
    expect(marks.calls.filter((call) => call !== 'observe')).toEqual(['change']);
    expect(log.events().filter((event) => event !== 'marks.changed')).toEqual(['marks.written']);
  });

  it('removes the table when no service asks for marks any more, and is then quiet', async () => {
    const { clock, marks, change, seen } = await converged();
    await change(anySpec([anyService()]));
    expect(seen()).toBeNull();
    marks.calls.length = 0;
    await clock.advance(59_000);
    expect(marks.calls).toEqual([]);
  });

  it('asks the kernel once a minute, and for no notifications, where nobody ever asked for marks', async () => {
    const { clock, marks, start } = setUp(anySpec([anyService()]));
    await start();
    await clock.advance(100_000);
    expect(marks.calls).toEqual(['observe', 'observe']);
    expect(marks.watchers).toBe(0);
  });

  it('removes what an earlier life left', async () => {
    const earlier = setUp();
    await earlier.start();
    const { marks, seen, start } = setUp(anySpec([anyService()]));
    marks.disturb(earlier.marks.contents);
    await start();
    expect(seen()).toBeNull();
  });
});

describe('mark loop: what others do', () => {
  it('writes a flushed table again as soon as the kernel tells', async () => {
    const { calls, clock, log, loop, marks, seen } = await converged();
    await clock.advance(1000);
    marks.disturb(null);
    await clock.advance(0);
    expect(seen()).toEqual(BOTH);
    expect(loop.state().driftRepaired).toBe(1);
    expect(calls).toContainEqual(['driftRepaired', 'mark', 2]);
    expect(log.of('marks.repaired')).toMatchObject([{ reason: 'missing' }]);
  });

  it('finds what the kernel did not tell within two seconds', async () => {
    const { clock, marks, seen } = await converged();
    marks.disturb(null, true);
    await clock.advance(2000);
    expect(seen()).toEqual(BOTH);
  });

  it('repairs altered rules, and a single entry without touching the rest', async () => {
    const { clock, loop, marks, seen } = await converged();
    const entries = marks.contents?.entries ?? [];
    marks.disturb({ isIntact: false, entries });
    await clock.advance(300);
    expect(marks.contents?.isIntact).toBe(true);
    expect(marks.calls).toContain('replace');
    marks.calls.length = 0;
    marks.disturb({ isIntact: true, entries: entries.slice(1) });
    await clock.advance(300);
    expect(seen()).toEqual(BOTH);
    expect(marks.calls).toContain('change');
    expect(marks.calls).not.toContain('replace');
    expect(loop.state().driftRepaired).toBe(2);
  });

  it('counts as drift also after a new document that says the same of marks', async () => {
    const { change, clock, loop, marks } = await converged();
    await change(anySpec([shop(80, 443), anyService({ id: 'mail', port: 26 })]));
    expect(loop.state().driftRepaired).toBe(0);
    marks.disturb(null);
    await clock.advance(300);
    expect(loop.state().driftRepaired).toBe(1);
  });

  it('writes all of it anew where a change is refused', async () => {
    const { change, marks, seen } = await converged();
    marks.fail('change', { code: 'EEXIST', message: 'change: EEXIST' });
    await change(anySpec([shop(81)]));
    expect(seen()).toEqual(['tcp 10.90.0.100:81 mark 7 for shop']);
  });

  it('is not kept busy by one who deletes the table again and again, and says so', async () => {
    const { clock, log, loop, marks } = await converged();
    marks.afterCall = (call) => {
      if (call === 'replace') marks.disturb(null);
    };
    marks.disturb(null);
    await clock.advance(10_000);
    expect(marks.calls.filter((call) => call === 'replace').length).toBeLessThan(110);
    expect(loop.state().problem).toBe('the table of marks was changed by somebody else at once');
    expect(log.of('marks.refused')).toHaveLength(1);
    marks.afterCall = () => {};
    await clock.advance(11_000);
    expect(loop.state().problem).toBeNull();
    expect(log.of('marks.recovered')).toHaveLength(1);
  });
});

describe('mark loop: a kernel that refuses', () => {
  const NO_NFTABLES = {
    code: 'ENOTSUP',
    message: 'write the table of marks: ENOTSUP: load the module nf_tables',
  };

  it('names cause and remedy for the services concerned, and tries again', async () => {
    const { clock, log, loop, marks, seen, start } = setUp();
    marks.fail('replace', NO_NFTABLES);
    await start();
    const problem =
      'packets get no mark: write the table of marks: ENOTSUP: load the module nf_tables; ' +
      'or leave "marks" out of the document and let another tool set the mark';
    expect(loop.state().problem).toBe(problem);
    expect([...loop.state().problems]).toEqual([['shop', problem]]);
    await clock.advance(60_000);
    expect(log.of('marks.refused')).toEqual([{ problem, services: ['shop'] }]);
    const tries = marks.calls.filter((call) => call === 'replace').length;
    expect(tries).toBeGreaterThan(5);
    expect(tries).toBeLessThan(20);
    marks.heal();
    await clock.advance(10_000);
    expect(seen()).toEqual(BOTH);
    expect(loop.state().problem).toBeNull();
    expect(log.of('marks.recovered')).toEqual([{ problem }]);
  });

  it('says that the table cannot be read, and keeps what it read last', async () => {
    const { clock, loop, marks } = await converged();
    marks.fail('observe', { code: 'TIMEOUT', message: 'dump the maps: TIMEOUT' });
    await clock.advance(3000);
    expect(loop.state().problem).toBe('the table of marks cannot be read: dump the maps: TIMEOUT');
    expect(loop.state().entries).toHaveLength(2);
  });

  it("is nobody's problem where nobody asks for marks", async () => {
    const { log, loop, marks, start } = setUp(anySpec([anyService()]));
    marks.fail('observe', { code: 'EPERM', message: 'no' });
    await start();
    expect(loop.state()).toMatchObject({ problem: null, problems: new Map() });
    expect(log.lines.filter(({ level }) => level !== 'debug')).toEqual([]);
  });

  it('tells a service what another one has, once, and gives it the rest', async () => {
    const rival = { ...shop(443, 444), id: anyService({ id: 'rival' }).id };
    const { change, log, loop, seen, start } = setUp(anySpec([shop(80, 443), rival]));
    await start();
    expect(seen()).toContain('tcp 10.90.0.100:444 mark 7 for rival');
    expect([...loop.state().problems.keys()]).toEqual(['rival']);
    await change(anySpec([shop(80, 443), rival]));
    expect(log.of('marks.conflicted')).toHaveLength(1);
  });
});

describe('mark loop: the end', () => {
  it('leaves the table at the end of the run, and takes it away when it is told to', async () => {
    const world = await converged();
    const { end, loop, marks, seen } = world;
    end();
    await world.running;
    expect(seen()).toEqual(BOTH);
    expect(marks.watchers).toBe(0);
    await loop.remove();
    expect(seen()).toBeNull();
    expect(loop.state().entries).toEqual([]);
  });

  it('ends while it waits to try again', async () => {
    const world = setUp();
    const { clock, end, marks, start } = world;
    marks.fail('observe', { code: 'EPERM', message: 'no' });
    await start();
    end();
    await world.running;
    const calls = marks.calls.length;
    await clock.advance(60_000);
    expect(marks.calls).toHaveLength(calls);
    expect(world.loop.state().problem).toMatch(/cannot be read/);
  });

  it('says when the table could not be taken away', async () => {
    const { loop, marks } = await converged();
    marks.fail('remove', { code: 'EPERM', message: 'remove: EPERM' });
    expect(await loop.remove()).toEqual({
      ok: false,
      error: 'the table of firewall marks: remove: EPERM',
    });
  });
});
