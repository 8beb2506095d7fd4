/** Kernel settings: set where the document says so, given back where it no longer does, looked at always. */
import { describe, expect, it } from 'vitest';
import { createSysctlKeeper } from '../../../src/agent/sysctl-keeper.ts';
import { err, ok, type Result } from '../../../src/lib/result.ts';
import type { ClusterSpec, RealServer, Sysctl } from '../../../src/model/cluster.ts';
import { directorId } from '../../../src/model/ids.ts';
import type { ChangedSysctls, SysctlLedger, Sysctls } from '../../../src/ports/sysctls.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { ANY_IPVS, anyService, anySpec, server } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const FORWARD = 'net.ipv4.ip_forward';
const REUSE = 'net.ipv4.vs.conn_reuse_mode';
const ANY_SERVERS: readonly RealServer[] = [server('10.90.0.21')];

class FakeSysctls implements Sysctls {
  readonly values = new Map<string, string>([
    [FORWARD, '0'],
    [REUSE, '1'],
  ]);
  readonly writes: string[] = [];
  refusal: string | null = null;
  readonly unreadable = new Set<string>();

  async read(
    names: readonly string[],
  ): Promise<ReadonlyMap<string, Result<string | null, string>>> {
    return new Map(
      names.map((name) => [
        name,
        this.unreadable.has(name) ? err('EIO') : ok(this.values.get(name) ?? null),
      ]),
    );
  }
  async write(name: string, value: string): Promise<Result<void, string>> {
    if (this.refusal !== null) return err(this.refusal);
    this.writes.push(`${name} ${value}`);
    this.values.set(name, value);
    return ok(undefined);
  }
}

class FakeSysctlLedger implements SysctlLedger {
  stored: ChangedSysctls = new Map();
  loadError: string | null = null;
  saveError: string | null = null;
  onSave: () => void = () => {};
  async load(): Promise<Result<ChangedSysctls, string>> {
    return this.loadError === null ? ok(this.stored) : err(this.loadError);
  }
  async save(changed: ChangedSysctls): Promise<Result<void, string>> {
    if (this.saveError !== null) return err(this.saveError);
    this.onSave();
    this.stored = new Map(changed);
    return ok(undefined);
  }
}

const specOf = (sysctls: Record<string, string>, servers = ANY_SERVERS): ClusterSpec => {
  const list = Object.entries(sysctls).map(([name, value]): Sysctl => ({ name, value }));
  return {
    ...anySpec([anyService({ realServers: servers })]),
    ipvs: { ...ANY_IPVS, sysctls: list },
  };
};

function setUp(spec: ClusterSpec | null) {
  const clock = new FakeClock();
  const sysctls = new FakeSysctls();
  const ledger = new FakeSysctlLedger();
  const log = new RecordingLog();
  const postponed = (_name: string, _to: string): string | null => null;
  const world = { clock, sysctls, ledger, log, spec, postponed };
  const keeper = createSysctlKeeper(
    { me: directorId('d1'), devices: new Map() },
    {
      sysctls,
      ledger,
      clock,
      log,
      spec: () => world.spec,
      postponed: (name, to) => world.postponed(name, to),
    },
  );
  const stop = new AbortController();
  const start = async (): Promise<void> => {
    void keeper.run(stop.signal);
    await clock.advance(10);
  };
  const change = async (next: ClusterSpec): Promise<void> => {
    world.spec = next;
    keeper.wake();
    await clock.advance(10);
  };
  const problems = (): string[] => keeper.state().findings.map(({ text }) => text);
  return Object.assign(world, { keeper, start, change, problems, stop });
}

describe('a setting that the document names', () => {
  it('is set, after what it was is on disk', async () => {
    const world = setUp(specOf({ [REUSE]: '0' }));
    world.ledger.onSave = () => expect(world.sysctls.writes).toEqual([]);
    await world.start();
    expect(world.sysctls.writes).toEqual([`${REUSE} 0`]);
    expect([...world.ledger.stored]).toEqual([[REUSE, { was: '1', set: '0' }]]);
    expect(world.keeper.state().changed).toEqual(world.ledger.stored);
    expect(world.log.of('sysctl.set')).toEqual([{ name: REUSE, from: '1', to: '0' }]);
  });

  it('waits while it must not be written yet, says why, and is written when it is woken', async () => {
    const world = setUp(specOf({ [REUSE]: '0', [FORWARD]: '1' }));
    world.postponed = (name, to) => (name === REUSE && to === '0' ? 'not while it serves' : null);
    await world.start();
    expect(world.sysctls.writes).toEqual([`${FORWARD} 1`]);
    expect(world.keeper.state().findings[0]).toEqual({
      name: REUSE,
      value: '1',
      severity: 'advice',
      text: `${REUSE} is 1 and not yet 0: not while it serves`,
    });
    world.postponed = () => null;
    world.keeper.wake();
    await world.clock.advance(10);
    expect(world.sysctls.values.get(REUSE)).toBe('0');
    expect(world.problems()).toEqual([]);
    world.postponed = (_, to) => (to === '1' ? 'not back yet' : null);
    await world.change(specOf({ [FORWARD]: '1' }));
    expect(world.sysctls.values.get(REUSE)).toBe('0');
    world.postponed = () => null;
    world.keeper.wake();
    await world.clock.advance(10);
    expect(world.sysctls.values.get(REUSE)).toBe('1');
  });

  it('that is as wanted already is not written, and not given back later', async () => {
    const world = setUp(specOf({ [REUSE]: '1' }));
    await world.start();
    await world.change(specOf({}));
    expect(world.sysctls.writes).toEqual([]);
    expect(world.ledger.stored.size).toBe(0);
  });

  it('is set again when somebody changes it, and is given back as it was at first', async () => {
    const world = setUp(specOf({ [REUSE]: '0' }));
    await world.start();
    world.sysctls.values.set(REUSE, '2');
    await world.clock.advance(10_000);
    expect(world.sysctls.values.get(REUSE)).toBe('0');
    await world.change(specOf({}));
    expect(world.sysctls.values.get(REUSE)).toBe('1');
    expect(world.ledger.stored.size).toBe(0);
  });

  it('with another value keeps what it was at first', async () => {
    const world = setUp(specOf({ [REUSE]: '0' }));
    await world.start();
    await world.change(specOf({ [REUSE]: '2' }));
    expect([...world.ledger.stored]).toEqual([[REUSE, { was: '1', set: '2' }]]);
  });

  it('is given back by a new process, too', async () => {
    const world = setUp(specOf({}));
    world.sysctls.values.set(REUSE, '0');
    world.ledger.stored = new Map([[REUSE, { was: '1', set: '0' }]]);
    await world.start();
    expect(world.sysctls.values.get(REUSE)).toBe('1');
  });

  it('is not given back where somebody has the last word by now', async () => {
    const world = setUp(specOf({}));
    world.sysctls.values.set(REUSE, '2');
    world.ledger.stored = new Map([[REUSE, { was: '1', set: '0' }]]);
    await world.start();
    expect(world.sysctls.writes).toEqual([]);
    expect(world.ledger.stored.size).toBe(0);
  });

  it('that this kernel does not have is a problem with its remedy', async () => {
    const world = setUp(specOf({ 'net.ipv4.vs.est_nice': '5' }));
    await world.start();
    expect(world.problems()).toEqual([
      'net.ipv4.vs.est_nice cannot be set to 5: this kernel has none; load ip_vs, or use a kernel that has it, or take it out of the document',
    ]);
    world.sysctls.values.set('net.ipv4.vs.est_nice', '0');
    await world.clock.advance(10_000);
    expect(world.sysctls.values.get('net.ipv4.vs.est_nice')).toBe('5');
    expect(world.problems()).toEqual([]);
    expect(world.log.events()).toContain('sysctl.recovered');
  });

  it('that cannot be written is a problem, told once and tried again', async () => {
    const world = setUp(specOf({ [REUSE]: '0' }));
    world.sysctls.refusal = '/proc/sys is read-only here';
    await world.start();
    await world.clock.advance(30_000);
    expect(world.problems()).toEqual([`${REUSE} is 1 and not 0: /proc/sys is read-only here`]);
    expect(world.log.of('sysctl.refused')).toHaveLength(1);
    world.sysctls.refusal = null;
    await world.clock.advance(10_000);
    expect(world.problems()).toEqual([]);
  });

  it('is left alone where what it was cannot be kept, or what was changed is not known', async () => {
    const full = setUp(specOf({ [REUSE]: '0' }));
    full.ledger.saveError = 'no space left on device';
    await full.start();
    expect(full.sysctls.writes).toEqual([]);
    expect(full.problems()[0]).toMatch(/left alone.*no space left/);
    const blind = setUp(specOf({ [REUSE]: '0' }));
    blind.ledger.loadError = 'is no such file of this version';
    await blind.start();
    expect(blind.sysctls.writes).toEqual([]);
    expect(blind.problems()[0]).toMatch(/no setting is changed/);
  });

  it('that cannot be read is neither written nor given back', async () => {
    const world = setUp(specOf({ [REUSE]: '0' }));
    world.sysctls.unreadable.add(REUSE);
    world.ledger.stored = new Map([[REUSE, { was: '1', set: '2' }]]);
    await world.start();
    await world.change(specOf({}));
    expect(world.sysctls.writes).toEqual([]);
    expect(world.ledger.stored.size).toBe(1);
  });
});

describe('without a document', () => {
  it('nothing is read, set or given back', async () => {
    const world = setUp(null);
    world.ledger.stored = new Map([[REUSE, { was: '1', set: '0' }]]);
    world.sysctls.values.set(REUSE, '0');
    await world.start();
    await world.clock.advance(30_000);
    expect(world.sysctls.writes).toEqual([]);
    expect(world.keeper.state().values.size).toBe(0);
  });
});

describe('a setting that the document no longer names', () => {
  it('stays as long as services would fail without it', async () => {
    const nat = [server('10.90.0.21', { forward: 'nat' })];
    const world = setUp(specOf({ [FORWARD]: '1' }, nat));
    await world.start();
    await world.change(specOf({}, nat));
    expect(world.sysctls.values.get(FORWARD)).toBe('1');
    expect(world.keeper.state().findings).toMatchObject([
      { name: FORWARD, value: '1', severity: 'advice' },
    ]);
    expect(world.problems()[0]).toMatch(/no longer names .* stays 1.* reaches a client of web/);
    await world.change(specOf({}));
    expect(world.sysctls.values.get(FORWARD)).toBe('0');
    expect(world.ledger.stored.size).toBe(0);
  });
});

describe('what nobody asked to be set', () => {
  it('is not set, and is told where the document needs it otherwise', async () => {
    const nat = [server('10.90.0.21', { forward: 'nat' })];
    const world = setUp(specOf({}, nat));
    await world.start();
    expect(world.sysctls.writes).toEqual([]);
    expect(world.keeper.state().findings).toMatchObject([
      { name: FORWARD, value: '0', severity: 'problem' },
    ]);
    expect(world.problems()[0]).toMatch(/no answer of a NAT real server reaches a client of web/);
    await world.change(specOf({ [FORWARD]: '1' }, nat));
    expect(world.problems()).toEqual([]);
  });
});
