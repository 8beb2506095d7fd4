import { describe, expect, it } from 'vitest';
import { deriveSync, type SyncInput } from '../../../../src/core/desired/sync-daemons.ts';
import {
  decideSyncReady,
  type SeenDaemons,
  stepSeenDaemons,
} from '../../../../src/core/desired/sync-readiness.ts';
import type { ConnectionSync, VipGroup } from '../../../../src/model/cluster.ts';
import { directorId, groupId } from '../../../../src/model/ids.ts';
import type { DesiredService, IpvsDaemon } from '../../../../src/model/kernel.ts';
import { ip } from './spec-builders.ts';

const ME = directorId('d1');
const CATCH_UP_MS = 5000;

const sync = (fields: Partial<ConnectionSync> = {}): ConnectionSync => ({
  syncId: 51,
  interface: 'public',
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  maxLength: null,
  catchUpMs: CATCH_UP_MS,
  ...fields,
});

const group = (id: string, connectionSync: ConnectionSync | null, fields = {}): VipGroup => ({
  id: groupId(id),
  addresses: [],
  priorities: null,
  preempt: { kind: 'never' },
  virtualRouterId: null,
  vrrp: null,
  weight: 1,
  antiAffinity: [],
  tracks: [],
  notify: null,
  connectionSync,
  ...fields,
});

const daemon = (state: IpvsDaemon['state'], fields: Partial<IpvsDaemon> = {}): IpvsDaemon => ({
  state,
  interface: 'eth0',
  syncId: 51,
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  maxLength: null,
  ...fields,
});

const derive = (
  groups: readonly VipGroup[],
  held: readonly string[],
  fields: Partial<SyncInput> = {},
) => {
  const derived = deriveSync({
    me: ME,
    groups,
    held: new Set(held.map(groupId)),
    devices: new Map([
      ['public', 'eth0'],
      ['back', 'eth1'],
    ]),
    services: [],
    ...fields,
  });
  const why = Object.fromEntries([...derived.explanations].map(([id, one]) => [id, one.why]));
  return { ...derived, why };
};

describe('deriveSync', () => {
  const A = group('a', sync({ syncId: 1 }));
  const B = group('b', sync({ syncId: 2 }));

  it('is master for groups held, backup for the others, both where it has both', () => {
    const both = [group('a', sync()), group('b', sync())];
    expect(derive(both, ['a', 'b']).daemons).toEqual([daemon('master')]);
    expect(derive(both, []).daemons).toEqual([daemon('backup')]);
    const mixed = derive(both, ['b']);
    expect(mixed.daemons).toEqual([daemon('backup'), daemon('master')]);
    expect(mixed.why).toEqual({ a: 'backup', b: 'master' });
  });

  it('tells with the id of the group, and takes all ids where groups have several', () => {
    expect(derive([A, B], ['b']).daemons).toEqual([
      daemon('backup', { syncId: 0 }),
      daemon('master', { syncId: 2 }),
    ]);
    const moved = derive([A, B], ['a']);
    expect(moved.daemons).toContainEqual(daemon('backup', { syncId: 0 }));
    expect(moved.daemons).toContainEqual(daemon('master', { syncId: 1 }));
  });

  it('listens to nobody while it serves a group, where a kernel that listens forwards nothing', () => {
    const isBackupOnly = true;
    const both = derive([A, B], ['b'], { isBackupOnly });
    expect(both.daemons).toEqual([daemon('master', { syncId: 2 })]);
    expect(both.why).toEqual({ a: 'backup-only', b: 'master' });
    expect(derive([A, B], [], { isBackupOnly }).daemons).toEqual([daemon('backup', { syncId: 0 })]);
    // What is about to come, or not silent yet, is served too, synced or not.
    const serving = new Set([groupId('b')]);
    expect(derive([A, B], [], { isBackupOnly, serving }).daemons).toEqual(both.daemons);
    const plain = derive([A, group('b', null)], [], { isBackupOnly, serving });
    expect(plain).toMatchObject({ daemons: [], why: { a: 'backup-only', b: 'off' } });
    expect(derive([A, B], [], { serving }).daemons).toEqual([daemon('backup', { syncId: 0 })]);
  });

  it('asks for no length that the kernel would change', () => {
    const lengths = (fields: Partial<ConnectionSync>) =>
      derive([group('a', sync(fields)), group('b', sync(fields))], ['a']).daemons.map(
        ({ state, maxLength }) => `${state} ${maxLength}`,
      );
    expect(lengths({ maxLength: 800 })).toEqual(['master 800', 'backup 1024']);
    const six = { group: ip('ff02::81'), maxLength: 65_507 };
    expect(lengths(six)).toEqual(['master 65487', 'backup 65487']);
  });

  it('takes one id only where all groups have it', () => {
    expect(derive([A], []).daemons).toEqual([daemon('backup', { syncId: 1 })]);
  });

  it('runs nothing where no group asks for it', () => {
    const off = derive([group('a', null)], ['a']);
    expect(off).toMatchObject({ daemons: [], why: { a: 'off' } });
  });

  it('uses the device of this director, address, port, ttl and length', () => {
    const own = { interface: 'back', group: ip('ff02::81'), port: 9000, ttl: 5, maxLength: 1400 };
    expect(derive([group('a', sync(own))], ['a']).daemons).toEqual([
      daemon('master', { ...own, interface: 'eth1' }),
    ]);
  });

  it.each<[string, VipGroup, string]>([
    [
      'a group that it can never hold',
      group('z', sync(), { priorities: new Map() }),
      'not-candidate',
    ],
    ['an interface that it does not have', group('z', sync({ interface: 'lost' })), 'no-interface'],
    ['other settings beside an earlier group', group('z', sync({ port: 1 })), 'differs'],
    ['another length beside an earlier group', group('z', sync({ maxLength: 900 })), 'differs'],
  ])('says so of %s, and serves the others', (_, odd, why) => {
    const derived = derive([group('a', sync()), odd], []);
    expect(derived.daemons).toEqual([daemon('backup')]);
    expect(derived.why).toEqual({ a: 'backup', z: why });
  });

  it('does not let a group without interface decide for the others', () => {
    const derived = derive([group('z', sync({ interface: 'lost' })), group('a', sync())], []);
    expect(derived.daemons).toEqual([daemon('backup')]);
  });

  it('runs nothing beside real servers of another family: the kernel refuses', () => {
    const services: DesiredService[] = [
      {
        key: { kind: 'address', protocol: 'tcp', address: ip('10.0.0.1'), port: 80 },
        scheduler: 'wlc',
        flags: 0,
        timeoutS: 0,
        persistencePrefix: 32,
        persistenceEngine: null,
        destinations: [
          {
            address: ip('fd00::1'),
            port: 80,
            forward: 'tun',
            tunnel: { type: 'ipip', port: 0, checksum: 'nocsum' },
            weight: 1,
            upperThreshold: 0,
            lowerThreshold: 0,
          },
        ],
      },
    ];
    expect(derive([A], ['a'], { services })).toMatchObject({
      daemons: [],
      why: { a: 'mixed-families' },
    });
  });
});

describe('sync readiness', () => {
  const web = group('web', sync());
  const NOBODY: SeenDaemons = new Map();
  const running = daemon('backup', { maxLength: 1472 });
  const decide = (seen: SeenDaemons, nowMs: number, held: readonly string[] = []) =>
    decideSyncReady({
      group: web,
      explanation: derive([web], held).explanations.get(web.id) ?? null,
      seen,
      nowMs,
    });

  it('is there when the backup daemon has run for long enough', () => {
    const seen = stepSeenDaemons(NOBODY, [running], 1000);
    expect(decide(seen, 1000)).toEqual({
      value: false,
      reason: 'catching-up',
      remainingMs: CATCH_UP_MS,
    });
    expect(decide(seen, 999 + CATCH_UP_MS)).toMatchObject({ value: false, remainingMs: 1 });
    expect(decide(seen, 1000 + CATCH_UP_MS)).toMatchObject({ value: true, reason: 'caught-up' });
  });

  it('begins anew when the daemon was stopped or runs otherwise than before', () => {
    const seen = stepSeenDaemons(NOBODY, [running], 0);
    const other = stepSeenDaemons(seen, [{ ...running, syncId: 0 }], 9000);
    expect(decide(other, 9000)).toMatchObject({ value: false, reason: 'no-daemon' });
    const back = stepSeenDaemons(other, [running], 9500);
    expect(decide(back, 9500)).toMatchObject({ reason: 'catching-up', remainingMs: CATCH_UP_MS });
    const gone = stepSeenDaemons(seen, [], 9000);
    expect(decide(gone, 9000)).toMatchObject({ value: false, reason: 'no-daemon' });
  });

  it('goes on counting while the kernel is not asked, and where nothing changed', () => {
    const seen = stepSeenDaemons(NOBODY, [running], 0);
    expect(stepSeenDaemons(seen, null, 9000)).toBe(seen);
    expect(stepSeenDaemons(seen, [running], 9000)).toBe(seen);
  });

  it('is not waited for where the group is held, has no sync, or can never sync here', () => {
    expect(decide(NOBODY, 0, ['web'])).toMatchObject({ value: true, reason: 'held' });
    const facts = { seen: NOBODY, nowMs: 0 };
    const none = decideSyncReady({ group: group('x', null), explanation: null, ...facts });
    expect(none).toMatchObject({ value: true, reason: 'not-synced' });
    const lost = group('x', sync({ interface: 'lost' }));
    const explanation = derive([lost], []).explanations.get(lost.id) ?? null;
    expect(decideSyncReady({ group: lost, explanation, ...facts }).reason).toBe('not-synced');
  });

  it('is not there before anything was derived', () => {
    const facts = { seen: NOBODY, nowMs: 0 };
    expect(decideSyncReady({ group: web, explanation: null, ...facts }).value).toBe(false);
  });
});
