/** VIP groups: tracks, notify programs, weights and anti-affinity, good and bad. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import type { VipGroup } from '../../../src/model/cluster.ts';
import { type BadCase, itFindsEach, minimal, problemsOf, withValue } from './documents.ts';

const web = ['groups', 'web'] as const;
const track = [...web, 'track'];
const notify = [...web, 'notify'];
const check = '/usr/local/bin/check';

const BAD: readonly BadCase[] = [
  ['a track without kind', track, [{ weight: 5 }], 'groups.web.track[0]', /no kind/],
  [
    'a track of two kinds',
    track,
    [{ process: 'nginx', file: '/run/x' }],
    'groups.web.track[0]',
    /process, file/,
  ],
  ['a track that is a word', track, ['eth1'], 'groups.web.track[0]', /"eth1" does not fit/],
  [
    'a slip in a track',
    track,
    [{ interface: 'eth1', wieght: 3 }],
    'groups.web.track[0].wieght',
    /did you mean "weight"/,
  ],
  [
    'an interval for a file',
    track,
    [{ file: '/run/x', interval: '1s' }],
    'groups.web.track[0].interval',
    /means nothing for a track of kind file/,
  ],
  [
    'a quorum for a script',
    track,
    [{ script: check, quorum: 2 }],
    'groups.web.track[0].quorum',
    /means nothing/,
  ],
  ['weight 0', track, [{ interface: 'eth1', weight: 0 }], 'groups.web.track[0].weight', /nothing/],
  [
    'weight 254',
    track,
    [{ interface: 'eth1', weight: 254 }],
    'groups.web.track[0].weight',
    /out of range/,
  ],
  [
    'weight -254',
    track,
    [{ interface: 'eth1', weight: -254 }],
    'groups.web.track[0].weight',
    /out of range/,
  ],
  [
    'a path for an interface',
    track,
    [{ interface: '/dev/eth1' }],
    'groups.web.track[0].interface',
    /does not fit/,
  ],
  [
    'a device of 16 characters that is no name',
    track,
    [{ interface: 'enp129s0f1np1+vf' }],
    'groups.web.track[0].interface',
    /too long for a device/,
  ],
  [
    'a relative script',
    track,
    [{ script: 'check -q' }],
    'groups.web.track[0].script',
    /"check" is no absolute path/,
  ],
  [
    'a script for a shell',
    track,
    [{ script: `${check} && reboot` }],
    'groups.web.track[0].script',
    /only a shell/,
  ],
  [
    'a script with quotes',
    track,
    [{ script: `${check} "a b"` }],
    'groups.web.track[0].script',
    /only a shell/,
  ],
  ['an empty script', track, [{ script: [] }], 'groups.web.track[0].script', /0 entries/],
  ['a script of spaces', track, [{ script: '  ' }], 'groups.web.track[0].script', /no absolute/],
  [
    'a zero byte in a script',
    track,
    [{ script: [check, 'a\0b'] }],
    'groups.web.track[0].script',
    /zero byte/,
  ],
  [
    'a timeout over the interval',
    track,
    [{ script: check, timeout: '1001ms' }],
    'groups.web.track[0].timeout',
    /1001ms is longer than the interval \(1s\)/,
  ],
  [
    'an interval of 50 ms',
    track,
    [{ script: check, interval: '50ms' }],
    'groups.web.track[0].interval',
    /out of range/,
  ],
  ['rise 0', track, [{ script: check, rise: 0 }], 'groups.web.track[0].rise', /out of range/],
  [
    'a user with a space',
    track,
    [{ script: check, user: 'no body' }],
    'groups.web.track[0].user',
    /does not fit/,
  ],
  [
    'a user without its group',
    track,
    [{ script: check, user: 'nobody:' }],
    'groups.web.track[0].user',
    /does not fit/,
  ],
  [
    'a process name longer than the kernel keeps',
    track,
    [{ process: 'very-long-program' }],
    'groups.web.track[0].process',
    /17 bytes/,
  ],
  [
    'a relative program',
    track,
    [{ process: 'bin/nginx' }],
    'groups.web.track[0].process',
    /neither a name nor an absolute path/,
  ],
  [
    'a delay of two hours',
    track,
    [{ process: 'nginx', delay: '2h' }],
    'groups.web.track[0].delay',
    /out of range/,
  ],
  ['a relative file', track, [{ file: 'maint' }], 'groups.web.track[0].file', /does not fit/],
  [
    'the same script twice',
    track,
    [{ script: `${check} a` }, { script: [check, 'a'], weight: 3 }],
    'groups.web.track[1]',
    /watches what groups\.web\.track\[0\] watches/,
  ],
  ['notify that tells nobody', notify, { timeout: '5s' }, 'groups.web.notify', /tells nobody/],
  [
    'a relative notify program',
    notify,
    { master: 'up.sh' },
    'groups.web.notify.master',
    /no absolute path/,
  ],
  ['a relative pipe', notify, { fifo: 'run/pipe' }, 'groups.web.notify.fifo', /does not fit/],
  [
    'a notify timeout of 50 ms',
    notify,
    { any: check, timeout: '50ms' },
    'groups.web.notify.timeout',
    /out of range/,
  ],
  [
    'a slip in notify',
    notify,
    { any: check, mastr: check },
    'groups.web.notify.mastr',
    /did you mean "master"/,
  ],
  ['weight 0 of a group', [...web, 'weight'], 0, 'groups.web.weight', /out of range/],
  [
    'anti-affinity with itself',
    [...web, 'antiAffinity'],
    ['web'],
    'groups.web.antiAffinity[0]',
    /the group itself/,
  ],
  [
    'anti-affinity with an unknown group',
    [...web, 'antiAffinity'],
    ['db'],
    'groups.web.antiAffinity[0]',
    /unknown group "db"/,
  ],
  ['a zone with a space', ['directors', 'd1', 'zone'], 'rack 1', 'directors.d1.zone', /not fit/],
  ['a gateway that is a VIP', ['gateway'], ['10.90.0.100'], 'gateway[0]', /a VIP of group "web"/],
  ['a gateway twice', ['gateway'], ['10.90.0.1', '10.90.0.1'], 'gateway[1]', /twice/],
];

describe('group rules', () => itFindsEach(BAD));

function groupOf(extra: Readonly<Record<string, unknown>>): VipGroup {
  const document = withValue(['groups', 'web'], { ...minimal().groups.web, ...extra });
  const parsed = parseClusterDocument(document);
  if (!parsed.ok) throw new Error(formatProblems(parsed.error));
  const [group] = parsed.value.spec.groups;
  if (group === undefined) throw new Error('the group is gone');
  return group;
}

describe('tracks', () => {
  it('of every kind are read, with the defaults of keepalived', () => {
    const { tracks } = groupOf({
      track: [
        { interface: 'eth1' },
        { script: '/usr/local/bin/check-nginx  -q', interval: '2s' },
        { process: 'nginx' },
        { file: '/run/maint' },
      ],
    });
    expect(tracks).toEqual([
      { id: 'interface eth1', kind: 'interface', device: 'eth1', weight: null },
      {
        id: 'script /usr/local/bin/check-nginx -q',
        kind: 'script',
        command: ['/usr/local/bin/check-nginx', '-q'],
        intervalMs: 2000,
        timeoutMs: 2000,
        rise: 1,
        fall: 1,
        initFail: false,
        user: null,
        weight: null,
      },
      {
        id: 'process nginx',
        kind: 'process',
        process: 'nginx',
        quorum: 1,
        delayMs: 0,
        weight: null,
      },
      { id: 'file /run/maint', kind: 'file', path: '/run/maint', initFail: false, weight: null },
    ]);
  });

  it('take every value of design 9', () => {
    const { tracks } = groupOf({
      track: [
        {
          script: [check, 'two words'],
          interval: '2s',
          timeout: '1s',
          rise: 2,
          fall: 3,
          weight: -20,
          user: 'nobody:adm',
          initFail: true,
        },
        { process: '/usr/sbin/a-long-program-name', quorum: 2, delay: '500ms', weight: 253 },
        { file: '/run/maint', weight: 1, initFail: true },
        { interface: 'a-long-logical-name', weight: -253 },
      ],
    });
    expect(tracks).toMatchObject([
      {
        command: [check, 'two words'],
        timeoutMs: 1000,
        rise: 2,
        fall: 3,
        weight: -20,
        user: 'nobody:adm',
        initFail: true,
      },
      { process: '/usr/sbin/a-long-program-name', quorum: 2, delayMs: 500, weight: 253 },
      { weight: 1, initFail: true },
      { device: 'a-long-logical-name', weight: -253 },
    ]);
  });

  it('have ids of their own within a group, whatever they are', () => {
    const word = fc.stringMatching(/^[a-z]{1,8}$/);
    const any = fc.oneof(
      word.map((name) => ({ interface: name })),
      word.map((name) => ({ script: `/${name}` })),
      word.map((name) => ({ process: name })),
      word.map((name) => ({ file: `/${name}` })),
    );
    fc.assert(
      fc.property(fc.array(any, { maxLength: 8 }), (list) => {
        const isUnique = new Set(list.map((entry) => JSON.stringify(entry))).size === list.length;
        expect(problemsOf(withValue(track, list)).length === 0).toBe(isUnique);
        if (isUnique)
          expect(new Set(groupOf({ track: list }).tracks.map(({ id }) => id)).size).toBe(
            list.length,
          );
      }),
    );
  });
});

describe('notify', () => {
  it('takes a text or a list for each state, 10 s by default', () => {
    expect(
      groupOf({ notify: { master: '/etc/up.sh web', any: ['/etc/any.sh', 'a b'] } }).notify,
    ).toEqual({
      master: ['/etc/up.sh', 'web'],
      backup: null,
      fault: null,
      stop: null,
      any: ['/etc/any.sh', 'a b'],
      fifo: null,
      timeoutMs: 10_000,
      user: null,
    });
  });

  it('may be a pipe alone', () => {
    expect(
      groupOf({ notify: { fifo: '/run/pipe', user: 'nobody:adm', timeout: '3s' } }).notify,
    ).toEqual({
      master: null,
      backup: null,
      fault: null,
      stop: null,
      any: null,
      fifo: '/run/pipe',
      timeoutMs: 3000,
      user: 'nobody:adm',
    });
  });
});

describe('placement', () => {
  it('reads weight, anti-affinity, zones and gateways', () => {
    const parsed = parseClusterDocument({
      ...minimal(),
      gateway: ['10.90.0.1', 'fd90::1'],
      directors: {
        d1: { address: '10.90.0.11', zone: 'rack-1' },
        d2: { address: '10.90.0.12' },
      },
      groups: {
        web: { ...minimal().groups.web, weight: 5, antiAffinity: ['db'] },
        db: { addresses: ['10.90.0.101/24'], interface: 'public' },
      },
    });
    if (!parsed.ok) throw new Error(formatProblems(parsed.error));
    const { spec, warnings } = parsed.value;
    expect(warnings).toEqual([]);
    expect(spec.gateways).toEqual(['10.90.0.1', 'fd90::1']);
    expect(spec.directors.map(({ zone }) => zone)).toEqual(['rack-1', null]);
    expect(spec.groups).toMatchObject([
      { weight: 5, antiAffinity: ['db'] },
      { weight: 1, antiAffinity: [], tracks: [], notify: null },
    ]);
  });

  it('knows its groups once each', () => {
    const document = {
      ...minimal(),
      groups: {
        web: { ...minimal().groups.web, antiAffinity: ['db', 'db'] },
        db: { addresses: ['10.90.0.101/24'], interface: 'public' },
      },
    };
    expect(problemsOf(document)).toEqual([
      {
        path: 'groups.web.antiAffinity[1]',
        message: '"db" is in the list twice',
        allowed: 'db',
      },
    ]);
  });

  it('stops at 255 groups', () => {
    const groups = (count: number) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, i) => [
          `g${i}`,
          { addresses: [`10.91.${i}.1/24`], interface: 'public' },
        ]),
      );
    const document = (count: number) => ({ ...minimal(), groups: groups(count), services: {} });
    expect(problemsOf(document(255))).toEqual([]);
    expect(
      problemsOf({
        ...document(255),
        groups: { ...groups(255), more: { addresses: ['10.92.0.1/24'], interface: 'public' } },
      }).map(({ path }) => path),
    ).toEqual(['groups']);
  });
});
