import { describe, expect, it } from 'vitest';
import { NO_DAEMON_MS, SyncDesk } from '../../../src/agent/sync-desk.ts';
import { directorId, groupId, monoMs } from '../../../src/model/ids.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { group } from '../core/election/election-driver.ts';

const WEB = groupId('web');
const PLAIN = groupId('plain');
const SYNC = {
  syncId: 1,
  interface: 'public',
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  maxLength: null,
  catchUpMs: 5000,
};
const GROUPS = [group(WEB, { connectionSync: SYNC }), group(PLAIN)];
const DEVICES = new Map([['public', 'eth0']]);
const SERVICES: never[] = [];

function setUp(held: ReadonlySet<typeof WEB> = new Set()) {
  const desk = new SyncDesk();
  const derive = () =>
    desk.derive({
      me: directorId('d1'),
      devices: DEVICES,
      groups: GROUPS,
      held,
      services: SERVICES,
    });
  const desired = derive();
  const awaited = (ms: number): string[] => [...desk.awaited(desk.ready(monoMs(ms)), monoMs(ms))];
  return { desk, derive, desired, awaited };
}

describe('connection sync of a director', () => {
  it('is derived anew only where something else came in', () => {
    const { derive, desired } = setUp();
    expect(derive()).toBe(desired);
    expect(desired.daemons).toMatchObject([{ state: 'backup', interface: 'eth0' }]);
  });

  it('is told of for the groups that have it', () => {
    const { desk } = setUp();
    expect([...desk.ready(monoMs(0)).keys()]).toEqual([WEB]);
  });

  it('is waited for until the daemon has listened for long enough, told when', () => {
    const { desk, desired, awaited } = setUp();
    desk.observe(desired.daemons, monoMs(100));
    expect(awaited(100)).toEqual([WEB]);
    expect(desk.nextInMs(monoMs(100))).toBe(5000);
    expect(awaited(5100)).toEqual([]);
    expect(desk.nextInMs(monoMs(5100))).toBe(Infinity);
    desk.observe([], monoMs(6000));
    desk.observe(desired.daemons, monoMs(7000));
    expect(awaited(7000), 'anew after it was stopped').toEqual([WEB]);
  });

  it('of a daemon that does not run is waited for no longer than a while, each time', () => {
    const { desk, desired, awaited } = setUp();
    desk.observe(null, monoMs(0));
    expect(awaited(NO_DAEMON_MS - 1)).toEqual([WEB]);
    expect(awaited(NO_DAEMON_MS)).toEqual([]);
    desk.observe(desired.daemons, monoMs(NO_DAEMON_MS));
    expect(awaited(NO_DAEMON_MS), 'now there is something to wait for').toEqual([WEB]);
    desk.observe([], monoMs(NO_DAEMON_MS + 1));
    expect(awaited(NO_DAEMON_MS + 2)).toEqual([WEB]);
  });

  it('is nothing to wait for while the group is here', () => {
    const { desk, desired, awaited } = setUp(new Set([WEB]));
    expect(desired.daemons).toMatchObject([{ state: 'master' }]);
    desk.observe([], monoMs(0));
    expect(awaited(0)).toEqual([]);
  });
});
