/** Services on a bad day: the status, explanations and drains that an operator sees. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RealServerStatus, ServiceStatus } from '../../../src/model/status.ts';
import { createServices, createStatus } from '../../fakes/fake-agent-view.ts';
import { type Rig, startRig } from './harness.ts';

let rig: Rig;
beforeEach(async () => {
  rig = await startRig();
});
afterEach(() => rig.api.close());

const TRAFFIC = {
  connections: 1200,
  packetsIn: 90_000,
  packetsOut: 0,
  bytesIn: 1_234_567_890,
  bytesOut: 0,
};
const RATES = { connections: 12, packetsIn: 900, packetsOut: 0, bytesIn: 765_432, bytesOut: 0 };
const DRAIN = {
  cause: 'admin' as const,
  forMs: 61_000,
  deadlineInMs: 239_000,
  first: { active: 40, inactive: 3, persistent: 0 },
  left: { active: 17, inactive: 1, persistent: 1 },
  end: null,
};

function badService(): ServiceStatus {
  const [service] = createServices();
  const [up, down] = service?.realServers ?? [];
  if (service === undefined || up === undefined || down === undefined) throw new Error('none');
  const servers: RealServerStatus[] = [
    {
      ...up,
      why: 'slow-start',
      wantedWeight: 27,
      kernelWeight: 27,
      weight: 100,
      explanation: 'it came back a short while ago, and gets its weight in steps; weight 27 of 100',
      ramp: { weight: 27, of: 100, remainingMs: 75_000 },
      forward: 'dr',
      persistentConnections: 0,
      counters: TRAFFIC,
      rates: RATES,
    },
    { ...down, why: 'down-removed', explanation: 'its checks fail: it is removed until they pass' },
    {
      ...up,
      id: '10.90.0.23:80',
      address: '10.90.0.23',
      weight: 1,
      wantedWeight: 0,
      kernelWeight: 0,
      admin: 'drain',
      adminReason: 'disk full',
      why: 'admin-drain',
      explanation: 'it is being drained: no new connections, who is connected stays',
      drain: DRAIN,
    },
  ];
  return {
    ...service,
    realServers: servers,
    sorryServer: { id: '10.90.0.29:80', isActive: false, state: 'held-back' },
    isHere: true,
    quorum: {
      isUp: false,
      reason: 'lost',
      live: 100,
      total: 104,
      upAt: 104,
      downBelow: 101,
      isLowered: false,
      forMs: 61_000,
    },
    failOpen: { isOpen: true, percent: 99, up: 100, down: 3 },
    explanation: [
      'the quorum is lost: weight 100 is live, it is back at 104',
      '100 of weight 103 is up, less than 99 %: fail-open keeps all in',
      'the sorry server does not answer: fail-open goes first',
    ],
    leaving: [{ id: '10.90.0.24:80', ...DRAIN, cause: 'leaving', deadlineInMs: null }],
    connections: { active: 137, inactive: 32, persistent: 1 },
    counters: TRAFFIC,
    rates: RATES,
  };
}

function badDay(): void {
  const status = createStatus();
  const [web, mail] = status.groups;
  if (web === undefined || mail === undefined) throw new Error('none');
  const daemon = {
    state: 'backup' as const,
    interface: 'eth1',
    syncId: 52,
    maxLength: 1472,
    group: '224.0.0.81',
    port: 8848,
    ttl: 1,
  };
  mail.sync = {
    why: 'backup',
    detail:
      'held elsewhere: its connections are taken from there; it catches up before the group may come here',
    daemon,
    isRunning: true,
    isReady: false,
    remainingMs: 7200,
  };
  const [, ...others] = status.services;
  rig.view.statusDocument = {
    ...status,
    services: [badService(), ...others],
    ipvs: {
      ...status.ipvs,
      foreignServices: ['udp 10.90.0.7:53'],
      timeouts: { tcpS: 900, tcpFinS: 120, udpS: 300 },
      daemons: [
        { ...daemon, isForeign: false },
        { ...daemon, state: 'master', isForeign: true },
      ],
      settings: [
        {
          name: 'net.ipv4.vs.expire_quiescent_template',
          value: '0',
          severity: 'advice',
          text: 'net.ipv4.vs.expire_quiescent_template is 0: clients with a template keep going to a drained real server',
        },
      ],
      realServerSeries: { isExported: false, realServers: 37_000, limit: 2000 },
    },
  };
}

const screen = (name: string): string => `screens/${name}.txt`;

describe('the status on a bad day', () => {
  it('has no empty line below a long IPv6 address without a note', async () => {
    const id = '[2001:db8:1234:5678:9abc:def0:1234:5678]:65535';
    const [, web6] = createServices();
    const [server] = web6?.realServers ?? [];
    if (web6 === undefined || server === undefined) throw new Error('none');
    const services = [
      { ...web6, realServers: [{ ...server, id, votes: [], basis: 'majority' as const }] },
    ];
    rig.view.statusDocument = { ...createStatus(), services };
    const { out } = await rig.run('status', { columns: 80 });
    expect(out).toContain(id);
    expect(out.split('\n').filter((line) => line !== '' && line.trim() === '')).toEqual([]);
  });

  it.each([80, 160])('fits %s columns', async (columns) => {
    badDay();
    const { out, code } = await rig.run('status', { columns });
    expect(code).toBe(1);
    await expect(out).toMatchFileSnapshot(screen(`status-services-${columns}`));
    const table = out.slice(out.indexOf('SERVICE')).split('\n');
    expect(Math.max(...table.map((line) => line.length))).toBeLessThanOrEqual(columns);
  });

  it('tells timeouts and advice where it is wide', async () => {
    badDay();
    const { out } = await rig.run('status -o wide');
    expect(out).toContain('IPVS timeouts: tcp 900 s, tcp after FIN 120 s, udp 300 s');
    expect(out).toContain('advice: net.ipv4.vs.expire_quiescent_template is 0');
    expect(out).toContain(
      '      137 active, 32 inactive, 1 template; 12 connections/s, 765.4 kB/s in, 0 B/s out\n',
    );
    expect((await rig.run('status')).out).toContain('advice on kernel settings: 1');
  });

  it('calls a cold standby what it is', async () => {
    const [service, ...others] = createServices();
    if (service === undefined) throw new Error('none');
    const standby = { ...service, isHere: false, isProgrammed: false };
    rig.view.statusDocument = { ...createStatus(), services: [standby, ...others] };
    const { out } = await rig.run('status');
    expect(out).toContain('! cold standby: not in the table of this director');
    expect((await rig.run('explain service web-http')).out).toContain('web-http: cold standby');
  });
});

describe('explain', () => {
  it('tells a service and a real server in sentences', async () => {
    badDay();
    const service = await rig.run('explain service web-http');
    expect(service.code).toBe(0);
    await expect(service.out).toMatchFileSnapshot(screen('explain-service'));
    const server = await rig.run('explain rs web-http/10.90.0.23');
    await expect(server.out).toMatchFileSnapshot(screen('explain-rs'));
    const group = await rig.run('explain group mail');
    expect(group.out).toContain('backup daemon runs: eth1, id 52, 224.0.0.81 port 8848, ttl 1');
  });

  it('tells what each director has seen of a real server, and what would change the verdict', async () => {
    const run = { isUp: true, detail: 'connected', times: 412, latencyMs: 0.31 };
    const mine = [
      { ...run, lastedMs: 824_000, agoMs: 34_000 },
      {
        ...run,
        isUp: false,
        detail: 'connection refused',
        times: 17,
        lastedMs: 32_000,
        agoMs: 120,
      },
    ];
    const vote = { since: '2026-11-21T10:00:00.000Z', contrary: null, problem: null };
    rig.view.checkReports = {
      service: 'web-http',
      realServer: '10.90.0.22:80',
      director: 'd1',
      mode: 'all',
      checks: [
        {
          id: 'c1',
          kind: 'tcp',
          target: '10.90.0.22:80',
          intervalMs: 2000,
          timeoutMs: 500,
          rise: 2,
          fall: 2,
          isUp: true,
          basis: 'majority',
          voters: [
            {
              ...vote,
              director: 'd1',
              isHere: true,
              isUp: false,
              detail: 'connection refused',
              seen: mine,
              contrary: 0,
            },
            {
              ...vote,
              director: 'd2',
              isHere: false,
              isUp: true,
              detail: 'connected',
              seen: [{ ...run, times: 1, lastedMs: null, agoMs: null }],
            },
            {
              director: 'd3',
              isHere: false,
              isUp: null,
              since: null,
              detail: null,
              seen: [],
              contrary: null,
              problem: '/usr/local/bin/check does not exist',
            },
          ],
          change: ['d1 says down, and the others outvote it', 'it is down when 2 of 3 say so'],
        },
      ],
    };
    const { out, code } = await rig.run('explain rs web-http/10.90.0.22:80');
    expect(code).toBe(0);
    await expect(out).toMatchFileSnapshot(screen('explain-rs-checks'));
  });

  it('takes a director that tells none of this', async () => {
    expect((await rig.run('explain service web-http')).out).toContain('web-http: served');
    expect((await rig.run('explain rs web-http/10.90.0.22:80')).out).toContain('DOWN since');
  });

  it.each([
    ['explain service ftp', 'there is no virtual service "ftp"; known: web-http, web6-http, smtp'],
    ['explain rs web-http/10.9.9.9', 'known: 10.90.0.21:80, 10.90.0.22:80'],
    ['explain rs 10.9.9.9', 'does not name a real server'],
    ['explain group ftp', 'there is no VIP group "ftp"'],
  ])('%s names what there is', async (command, words) => {
    expect(await rig.run(command)).toMatchObject({ code: 2, err: expect.stringContaining(words) });
  });
});

describe('rs drain', () => {
  const record = (): unknown =>
    rig.store.peek(rig.keys.real('web-http' as never, '10.90.0.21:80' as never));
  const drained = (drain: Partial<typeof DRAIN> | { end: string } | null) => {
    const [service, ...others] = createServices();
    const [first, ...rest] = service?.realServers ?? [];
    if (service === undefined || first === undefined) throw new Error('none');
    const server: RealServerStatus =
      drain === null ? first : { ...first, admin: 'drain', drain: { ...DRAIN, ...drain } };
    rig.view.statusDocument = {
      ...createStatus(),
      services: [{ ...service, realServers: [server, ...rest] }, ...others],
    };
  };

  it('takes a deadline, and keeps it with the drain alone', async () => {
    const drain = await rig.run('rs drain web-http/10.90.0.21 --reason disk --deadline 10m');
    expect(drain).toMatchObject({ code: 0, out: 'web-http/10.90.0.21:80: drain, at most 600 s\n' });
    expect(record()).toMatchObject({ state: 'drain', deadlineMs: 600_000 });
    await rig.run('rs weight web-http/10.90.0.21 70000 --reason disk');
    expect(record()).toMatchObject({ state: 'drain', weight: 70_000, deadlineMs: 600_000 });
    const none = await rig.run('rs drain web-http/10.90.0.21 --reason disk --deadline none');
    expect(none.out).toContain('drain, as long as it takes');
    expect(record()).toMatchObject({ deadlineMs: 0 });
    expect((await rig.run('rs undrain web-http/10.90.0.21 --reason disk')).code).toBe(0);
    expect(record()).toEqual(expect.not.objectContaining({ deadlineMs: expect.anything() }));
    for (const bad of ['0s', '10', 'soon'])
      expect(
        (await rig.run(`rs drain web-http/10.90.0.21 --reason x --deadline ${bad}`)).code,
      ).toBe(2);
  });

  it('shows what is left until it is gone', async () => {
    drained(null);
    const steps = [
      () => drained({}),
      () => drained({}),
      () => drained({ left: { active: 2, inactive: 0, persistent: 0 }, deadlineInMs: 9000 }),
      () => drained({ end: 'gone' }),
    ];
    const { code, out, err } = await rig.run(
      'rs drain web-http/10.90.0.21 --reason disk --wait 1m',
      { onSleep: () => steps.shift()?.() },
    );
    expect(code).toBe(0);
    expect(err).toContain('no other real server');
    expect(out).toBe(`web-http/10.90.0.21:80: drain
connections of d1:
  17 active, 1 inactive, 1 template left of 43, deadline in 3m
  2 active, 0 inactive left of 43, deadline in 9s
  all connections are gone
`);
  });

  it('finds the real server however its IPv6 address is written', async () => {
    const [, web6] = createServices();
    const [server] = web6?.realServers ?? [];
    if (web6 === undefined || server === undefined) throw new Error('none');
    const drain = { ...DRAIN, end: 'gone' as const };
    const services = [{ ...web6, realServers: [{ ...server, admin: 'drain' as const, drain }] }];
    rig.view.statusDocument = { ...createStatus(), services };
    for (const text of ['FD90::21', '[fd90:0:0::21]'])
      expect(await rig.run(`rs drain web6-http/${text} --reason disk --wait 1m`)).toMatchObject({
        code: 0,
        out: expect.stringContaining('all connections are gone'),
      });
  });

  it('ends at the time limit, and when somebody else ends it', async () => {
    drained({});
    const late = await rig.run('rs drain web-http/10.90.0.21 --reason disk --wait 3s');
    expect(late).toMatchObject({ code: 4, err: expect.stringContaining('it goes on') });
    const steps = [() => drained(null)];
    const ended = await rig.run('rs drain web-http/10.90.0.21 --reason disk --wait 1m', {
      onSleep: () => steps.shift()?.(),
    });
    expect(ended).toMatchObject({ code: 3, err: expect.stringContaining('somebody else') });
  });

  it('says whose connections are shown where another director holds the group', async () => {
    drained({ end: 'absent' });
    const [web] = rig.view.statusDocument.groups;
    if (web !== undefined) web.holder = 'd2';
    const { code, out, err } = await rig.run(
      'rs drain web-http/10.90.0.21 --reason disk --wait 1m',
    );
    // "drain --wait && poweroff" must not cut those whom the holder serves.
    expect(code).toBe(4);
    expect(err).toContain(
      'd2 holds web: whether its connections are gone, d1 cannot tell; ask d2 with --api',
    );
    expect(out).toContain('connections of d1, which does not hold web: ask d2 with --api');
    expect(out).toContain('nothing to wait for here');
  });
});
