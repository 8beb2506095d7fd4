/** Who is told that a service lost or regained its quorum, and in which order. */
import { describe, expect, it } from 'vitest';
import { QuorumDesk, WAITING_MAX } from '../../../src/agent/quorum-desk.ts';
import { deriveDesired, NO_FACTS } from '../../../src/core/desired/desired-state.ts';
import { directorId, serviceId } from '../../../src/model/ids.ts';
import type { EventRecord } from '../../../src/model/records.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeNotifier } from '../../fakes/fake-notifier.ts';
import { ANY_QUORUM, anyService, anySpec, server } from '../core/desired/spec-builders.ts';
import { inputOf, RecordingLog } from './reconcile-loop.fixture.ts';

const WEB = serviceId('web');
const COMMANDS = { ...ANY_QUORUM, up: ['/bin/up', 'now'], down: ['/bin/down'], user: 'nobody' };

function setUp({ isHeld = true, quorum = COMMANDS } = {}) {
  const clock = new FakeClock();
  const notifier = new FakeNotifier({ clock });
  const log = new RecordingLog();
  const events: EventRecord[] = [];
  const service = anyService({ realServers: [server('10.90.0.21', { weight: 3 })], quorum });
  const desk = new QuorumDesk(directorId('d1'), {
    notifier,
    clock,
    log,
    record: (event) => events.push(event),
    spec: () => anySpec([service]),
    holds: () => isHeld,
  });
  let before: ReadonlyMap<typeof WEB, boolean> = new Map();
  const decide = (isUp: boolean): void => {
    const input = inputOf([service], isUp ? [] : ['10.90.0.21']);
    const desired = deriveDesired({ ...input, facts: { ...NO_FACTS, quorums: before } });
    desk.decided(before, desired);
    before = desired.quorums;
  };
  const ran = (): (string | undefined)[] => notifier.jobs.map(({ command }) => command[0]);
  return { clock, notifier, log, events, desk, decide, ran };
}

describe('a change of the quorum', () => {
  it('is no news while a service comes up with it', () => {
    const { decide, events, notifier, log } = setUp();
    decide(true);
    decide(true);
    expect([events, notifier.jobs, log.lines]).toEqual([[], [], []]);
  });

  it('is told once each way, with the numbers behind it', async () => {
    const { clock, decide, events, notifier, log } = setUp();
    decide(true);
    decide(false);
    decide(false);
    await clock.advance(10);
    decide(true);
    await clock.advance(10);
    expect(
      events.map(({ kind, severity, subject, message }) => [kind, severity, subject, message]),
    ).toEqual([
      ['quorum.lost', 'warn', 'web', 'web: the quorum is lost: weight 0 is live, it is back at 1'],
      [
        'quorum.regained',
        'info',
        'web',
        'web: the quorum is there: weight 3 is live, it is lost below 1',
      ],
    ]);
    expect(log.events()).toEqual(['quorum.lost', 'quorum.regained']);
    expect(notifier.jobs.map(({ command, user, timeoutMs }) => [command, user, timeoutMs])).toEqual(
      [
        [['/bin/down'], 'nobody', 10_000],
        [['/bin/up', 'now'], 'nobody', 10_000],
      ],
    );
    expect(notifier.jobs[1]?.environment).toEqual({
      LEASEHOLD_DIRECTOR: 'd1',
      LEASEHOLD_GROUP: 'web',
      LEASEHOLD_SERVICE: 'web',
      LEASEHOLD_QUORUM: 'UP',
      LEASEHOLD_LIVE: '3',
      LEASEHOLD_UP_AT: '1',
      LEASEHOLD_DOWN_BELOW: '1',
      LEASEHOLD_HELD: '1',
    });
  });

  it('is no event of the cluster where the group is elsewhere; the program runs all the same', async () => {
    const { decide, events, notifier, ran } = setUp({ isHeld: false });
    decide(false);
    expect(events).toEqual([]);
    expect(ran()).toEqual(['/bin/down']);
    expect(notifier.jobs[0]?.environment['LEASEHOLD_HELD']).toBe('0');
  });

  it('without programs is told all the same', () => {
    const { decide, events, notifier } = setUp({
      quorum: { ...ANY_QUORUM, up: null, down: null, user: 'nobody' } as never,
    });
    decide(false);
    expect(events).toHaveLength(1);
    expect(notifier.jobs).toEqual([]);
  });
});

describe('its programs', () => {
  it('run one after the other in the order of the changes, also after one that hangs', async () => {
    const { clock, notifier, decide, ran, log } = setUp();
    notifier.outcome = ({ command }) => ({
      tookMs: command[0] === '/bin/down' ? null : 5,
      result: { kind: 'ok' },
    });
    decide(false);
    decide(true);
    decide(false);
    await clock.advance(9000);
    expect(ran()).toEqual(['/bin/down']);
    await clock.advance(2000);
    expect(ran()).toEqual(['/bin/down', '/bin/up', '/bin/down']);
    const [first, second] = notifier.jobs;
    expect(second?.startedAt).toBe(first?.endedAt);
    await clock.advance(20_000);
    expect(log.of('quorum.command-timed-out')).toHaveLength(2);
  });

  it('do not pile up behind one that hangs: the newest counts', async () => {
    const { clock, notifier, decide, ran, log } = setUp();
    notifier.outcome = () => ({ tookMs: null, result: { kind: 'ok' } });
    for (let i = 0; i <= WAITING_MAX + 1; i++) decide(i % 2 === 1);
    await clock.advance(60_000);
    expect(log.of('quorum.skipped')).toEqual([{ service: 'web', dropped: WAITING_MAX }]);
    expect(ran()).toEqual(['/bin/down', '/bin/up']);
  });

  it('that fail are told of with what they wrote', async () => {
    const { clock, notifier, decide, log } = setUp();
    const result = { kind: 'failed', message: 'exit status 3', output: 'no route' } as const;
    notifier.outcome = () => ({ tookMs: 1, result });
    decide(false);
    await clock.advance(10);
    expect(log.of('quorum.command-failed')).toEqual([
      { service: 'web', command: ['/bin/down'], error: 'exit status 3', output: 'no route' },
    ]);
  });

  it('end with the agent, and none is started after it', async () => {
    const { clock, notifier, decide, ran, desk } = setUp();
    notifier.outcome = () => ({ tookMs: null, result: { kind: 'ok' } });
    decide(false);
    decide(true);
    desk.end();
    decide(false);
    await clock.advance(60_000);
    expect(ran()).toEqual(['/bin/down']);
    expect(notifier.jobs[0]?.endedAt).toBe(0);
  });
});
