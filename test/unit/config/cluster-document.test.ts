/** The cluster document is accepted as design 9 writes it, and its defaults are filled in. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  parseClusterDocument,
  parseClusterText,
  parseYaml,
} from '../../../src/config/cluster-document.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import type { ClusterSpec, RealServer } from '../../../src/model/cluster.ts';
import { realServerId } from '../../../src/model/ids.ts';
import { httpKind } from '../core/desired/spec-builders.ts';
import { minimal, withValue } from './documents.ts';

function specOf(document: unknown): ClusterSpec {
  const parsed = parseClusterDocument(document);
  if (!parsed.ok) throw new Error(formatProblems(parsed.error));
  return parsed.value.spec;
}

const realServer = (address: string, fields: Partial<RealServer> = {}) => ({
  id: `${address}:80`,
  address,
  port: 80,
  weight: 1,
  forward: 'dr',
  tunnel: null,
  upperThreshold: 0,
  lowerThreshold: 0,
  alpha: false,
  inhibitOnFailure: false,
  ...fields,
});

describe('the example in deploy/config', () => {
  const text = readFileSync(
    new URL('../../../deploy/config/cluster.yaml', import.meta.url),
    'utf8',
  );

  it('parses without a problem or a warning', () => {
    const parsed = parseClusterText(text);
    expect(parsed.ok ? parsed.value.warnings : formatProblems(parsed.error)).toEqual([]);
  });

  it('offers lines in comments that are right, but for the group that is not there', () => {
    const offered = text
      .replaceAll(
        /^ {4}# ((track|notify|weight|antiAffinity|connectionSync|quorum|slowStart|drain):|  - )/gm,
        '    $1',
      )
      .replaceAll(/^ {2}# ((web-both:|  [a-zA-Z]+:).*)$/gm, '  $1')
      .replace(/^# ipvs:/m, 'ipvs:');
    const parsed = parseClusterText(offered);
    expect(parsed.ok ? [] : parsed.error.map(({ path }) => path)).toEqual([
      'groups.web.antiAffinity[0]',
    ]);
  });

  it('gives the spec that it says', () => {
    const parsed = parseClusterText(text);
    if (!parsed.ok) throw new Error(formatProblems(parsed.error));
    const { spec, document } = parsed.value;
    expect(spec.directors).toEqual([
      { id: 'd1', address: '10.90.0.11', zone: null },
      { id: 'd2', address: '10.90.0.12', zone: null },
    ]);
    expect(spec.gateways).toEqual(['10.90.0.1']);
    expect(spec.timing.profile).toBe('default');
    expect(spec.groups).toEqual([
      {
        id: 'web',
        addresses: [
          { address: '10.90.0.100', prefix: 24, interface: 'public', label: null, scope: 'global' },
          { address: 'fd90::100', prefix: 64, interface: 'public', label: null, scope: 'global' },
        ],
        priorities: new Map([
          ['d1', 150],
          ['d2', 100],
        ]),
        preempt: { kind: 'never' },
        virtualRouterId: null,
        vrrp: null,
        weight: 1,
        antiAffinity: [],
        tracks: [],
        notify: null,
        connectionSync: null,
      },
    ]);
    expect(spec.services).toEqual([
      {
        id: 'web-http',
        group: 'web',
        keys: [{ kind: 'address', protocol: 'tcp', address: '10.90.0.100', port: 80 }],
        marks: [],
        scheduler: 'wlc',
        schedulerFlags: [],
        ops: false,
        persistence: { timeoutS: 50, prefix: 32, engine: null },
        check: {
          ...httpKind('http'),
          intervalMs: 2000,
          timeoutMs: 1000,
          rise: 2,
          fall: 2,
          port: null,
        },
        quorum: { need: 1, hysteresis: 0, up: null, down: null, timeoutMs: 10_000, user: null },
        failOpenPercent: null,
        slowStartMs: 0,
        weightSource: 'fixed',
        drain: { deadlineMs: 300_000 },
        realServers: [realServer('10.90.0.21'), realServer('10.90.0.22')],
        sorryServer: {
          id: '10.90.0.29:80',
          address: '10.90.0.29',
          port: 80,
          weight: 1,
          forward: 'dr',
          tunnel: null,
          inhibit: false,
        },
      },
    ]);
    expect(document).toMatchObject({ apiVersion: 'leasehold/v1' });
    expect(specOf(document)).toEqual(spec);
  });
});

describe('defaults', () => {
  it('are default timings, tcp, wlc, dr, weight 1, the port of the service, no check', () => {
    const spec = specOf(minimal());
    expect(spec.timing).toEqual({
      profile: 'default',
      heartbeatMs: 100,
      suspectMs: 250,
      roundMs: 100,
      holdMs: 500,
      permitMs: 125,
      slackMs: 20,
      driftMargin: 0.25,
      leaseTtlS: 10,
    });
    expect(spec.gateways).toEqual([]);
    expect(spec.checkers).toBeNull();
    expect(spec.services[0]).toMatchObject({
      keys: [{ kind: 'address', protocol: 'tcp', address: '10.90.0.100', port: 80 }],
      scheduler: 'wlc',
      persistence: null,
      check: null,
      sorryServer: null,
      realServers: [{ id: '10.90.0.21:80', port: 80, weight: 1, forward: 'dr' }, {}],
    });
  });

  it('verify certificates of https checks, and take any status 2xx', () => {
    const spec = specOf(withValue(['services', 'http', 'check'], { https: {} }));
    expect(spec.services[0]?.check).toMatchObject({
      kind: 'https',
      tls: { verify: true },
      requests: [{ status: [[200, 299]] }],
      intervalMs: 2000,
      timeoutMs: 1000,
    });
  });
});

describe('what may be given', () => {
  it('single timings, with the permit a quarter of hold', () => {
    const timing = {
      hold: '8s',
      round: '1600ms',
      heartbeat: '500ms',
      suspect: '2s',
      leaseTtl: '20s',
    };
    expect(specOf(withValue(['timing'], { ...timing, slack: '2s', drift: 0.1 })).timing).toEqual({
      profile: 'default',
      heartbeatMs: 500,
      suspectMs: 2000,
      roundMs: 1600,
      holdMs: 8000,
      permitMs: 2000,
      slackMs: 2000,
      driftMargin: 0.1,
      leaseTtlS: 20,
    });
  });

  it('addresses on two interfaces of one group, as an LVS-NAT pair needs', () => {
    const addresses = [
      '10.90.0.100/24',
      { address: '192.168.7.1/24', interface: 'inside', label: 'gw', scope: 'link' },
    ];
    expect(
      specOf(withValue(['groups', 'web', 'addresses'], addresses)).groups[0]?.addresses,
    ).toEqual([
      { address: '10.90.0.100', prefix: 24, interface: 'public', label: null, scope: 'global' },
      { address: '192.168.7.1', prefix: 24, interface: 'inside', label: 'gw', scope: 'link' },
    ]);
  });

  it.each([
    [200, [[200, 200]]],
    ['200-204', [[200, 204]]],
    [
      [200, '300-399'],
      [
        [200, 200],
        [300, 399],
      ],
    ],
  ])('status %j', (status, ranges) => {
    const spec = specOf(withValue(['services', 'http', 'check'], { http: { status } }));
    expect(spec.services[0]?.check).toMatchObject({
      kind: 'http',
      requests: [{ status: ranges }],
      tls: null,
    });
  });

  it.each([
    ['never', { kind: 'never' }],
    ['immediate', { kind: 'immediate' }],
    [{ after: '300s' }, { kind: 'after', ms: 300_000 }],
  ])('preempt %j', (preempt, parsed) => {
    expect(specOf(withValue(['groups', 'web', 'preempt'], preempt)).groups[0]?.preempt).toEqual(
      parsed,
    );
  });

  it('another port and another forwarding method for one real server', () => {
    const servers = [{ address: '10.90.0.21', port: 8080, forward: 'nat', weight: 7 }];
    expect(
      specOf(withValue(['services', 'http', 'realServers'], servers)).services[0]?.realServers,
    ).toEqual([
      realServer('10.90.0.21', {
        id: realServerId('10.90.0.21:8080'),
        port: 8080,
        forward: 'nat',
        weight: 7,
      }),
    ]);
  });

  it('a real server of the other family behind a tunnel', () => {
    const servers = [{ address: 'fd90:0::21', forward: 'tun' }];
    expect(
      specOf(withValue(['services', 'http', 'realServers'], servers)).services[0]?.realServers[0]
        ?.id,
    ).toBe('[fd90::21]:80');
  });

  it('a group without services: plain VIP high availability', () => {
    expect(specOf(withValue(['services'], undefined)).services).toEqual([]);
  });
});

describe('warnings', () => {
  it('tell what has no effect yet and what is probably a slip', () => {
    const document = {
      ...minimal(),
      checkers: 3,
      groups: {
        web: {
          addresses: [{ address: '10.90.0.100/24', advertise: false }],
          interface: 'public',
          virtualRouterId: 51,
          vrrp: { version: 3 },
        },
      },
      services: { http: { group: 'web', address: '10.90.0.100', port: 80, realServers: [] } },
    };
    const parsed = parseClusterDocument(document);
    if (!parsed.ok) throw new Error(formatProblems(parsed.error));
    expect(parsed.value.warnings.map(({ path, message }) => [path, message])).toEqual([
      ['groups.web.addresses[0].advertise', 'has no effect in this version yet'],
      ['checkers', 'there are only 2 directors: each runs every check'],
      ['services.http.realServers', 'is empty: nobody answers but a sorry server'],
    ]);
  });
});

describe('text', () => {
  it('may be JSON', () => {
    const parsed = parseClusterText(JSON.stringify(minimal(), null, 1));
    expect(parsed.ok && parsed.value.document).toEqual(minimal());
  });

  it.each([
    ['a duplicate key', 'a: 1\nb: 2\na: 3\n', 'line 3, column 1', /unique/],
    ['a syntax error', 'a: 1\nb: [1, 2\n', 'line 3, column 1', /./],
    ['two documents', 'a: 1\n---\nb: 2\n', 'line 2, column 1', /multiple documents/i],
    ['an unknown tag', 'a: !!js/function "x"\n', 'line 1, column 4', /tag/i],
  ])('with %s is refused with its place', (_, text, path, message) => {
    const parsed = parseClusterText(text);
    expect(parsed.ok).toBe(false);
    if (parsed.ok) return;
    expect(parsed.error[0]?.path).toBe(path);
    expect(parsed.error[0]?.message).toMatch(message);
  });

  it('that grows by nested aliases is refused', () => {
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
    for (const [i, name] of ['b', 'c', 'd', 'e', 'f'].entries()) {
      const before = 'abcdef'[i] ?? '';
      bomb.push(`${name}: &${name} [${Array.from({ length: 9 }, () => `*${before}`).join(', ')}]`);
    }
    const parsed = parseClusterText(bomb.join('\n'));
    expect(parsed.ok ? '' : formatProblems(parsed.error)).toMatch(/alias/i);
  });

  it('that is long and JSON is read as JSON, with line and column of what is none', () => {
    const services = Array.from({ length: 12_000 }, (_, i) => [`s${i}`, { realServers: [i] }]);
    const document = { pad: 'x'.repeat(900_000), services: Object.fromEntries(services) };
    const text = JSON.stringify(document, null, 1);
    expect(text.length).toBeGreaterThan(1_000_000);
    expect(parseYaml(text)).toEqual({ ok: true, value: document });
    const broken = parseYaml(`{"pad":"${'x'.repeat(1_000_000)}",\n"a":}}`);
    expect(broken.ok ? '' : formatProblems(broken.error)).toMatch(/line 2, column/);
  });

  it('longer than anybody writes is refused, with a remedy', () => {
    const parsed = parseClusterText(`# ${'x'.repeat(5_000_000)}`);
    expect(parsed.ok ? '' : formatProblems(parsed.error)).toMatch(/at most 5000000: one service/);
  });

  it('that is empty is refused', () => {
    const parsed = parseClusterText('');
    expect(parsed.ok ? '' : formatProblems(parsed.error)).toMatch(
      /document: an empty value does not fit/,
    );
  });
});
