/** The small tools of config: durations, near words, paths and the lines that people read. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DURATION_PATTERN, formatDuration, parseDuration } from '../../../src/config/durations.ts';
import { editDistance, nearestWord } from '../../../src/config/nearest.ts';
import { formatProblems, joinPath } from '../../../src/config/problem.ts';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { directorSpecProblems } from '../../../src/config/spec-on-director.ts';
import { directorId } from '../../../src/model/ids.ts';
import { minimal } from './documents.ts';

describe('durations', () => {
  it.each([
    ['250ms', 250],
    ['5s', 5000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['0s', 0],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toEqual({ ok: true, value: ms });
  });

  it.each(['', '5', 's', '-5s', '1.5s', '5 s', '5S', '1h30m', '5d', '1e3s', '9999999999s', '5s\n'])(
    '%j is none',
    (text) => {
      expect(parseDuration(text).ok).toBe(false);
      expect(new RegExp(DURATION_PATTERN).test(text)).toBe(false);
    },
  );

  it('survive being written and read', () => {
    fc.assert(
      fc.property(fc.nat(999_999_999), (ms) => {
        expect(parseDuration(formatDuration(ms))).toEqual({ ok: true, value: ms });
      }),
    );
  });

  it.each([
    [0, '0ms'],
    [1500, '1500ms'],
    [60_000, '1m'],
    [7_200_000, '2h'],
  ])('%d ms is written %s', (ms, text) => expect(formatDuration(ms)).toBe(text));
});

describe('near words', () => {
  it('are found within a third of their length', () => {
    expect(nearestWord('servces', ['groups', 'services'])).toBe('services');
    expect(nearestWord('Scheduler', ['scheduler'])).toBe('scheduler');
    expect(nearestWord('track', ['timing', 'groups'])).toBeNull();
    expect(nearestWord('x', [])).toBeNull();
  });

  it('the distance is a metric', () => {
    const word = fc.string({ maxLength: 8, unit: fc.constantFrom('a', 'b', 'c') });
    fc.assert(
      fc.property(word, word, word, (a, b, c) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b) === 0).toBe(a === b);
        expect(editDistance(a, c)).toBeLessThanOrEqual(editDistance(a, b) + editDistance(b, c));
        expect(editDistance(a, b)).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
      }),
    );
  });
});

describe('problems as text', () => {
  it('are one line each, with path, fault and remedy', () => {
    const path = joinPath(joinPath(joinPath('', 'services'), 'web.http'), 'realServers');
    expect(
      formatProblems([
        { path: joinPath(path, 3), message: 'is bad', allowed: 'good ones' },
        { path: '', message: 'is empty', allowed: '' },
      ]),
    ).toBe('services["web.http"].realServers[3]: is bad (allowed: good ones)\ndocument: is empty');
  });
});

describe('a spec on one director', () => {
  const addresses = ['10.90.0.100/24', { address: '10.90.0.101/24', label: 'web' }];
  const document = { ...minimal(), groups: { web: { addresses, interface: 'public' } } };
  const problemsFor = (director: string, interfaces: Record<string, string>, change = {}) => {
    const parsed = parseClusterDocument({ ...document, ...change });
    if (!parsed.ok) throw new Error(formatProblems(parsed.error));
    return directorSpecProblems(parsed.value.spec, {
      director: directorId(director),
      interfaces: new Map(Object.entries(interfaces)),
    }).map(({ path, message }) => `${path}: ${message}`);
  };

  it('is fine where its interfaces are mapped', () => {
    expect(problemsFor('d1', { public: 'eth0' })).toEqual([]);
  });

  it('lacks an interface, address by address', () => {
    expect(problemsFor('d1', { inside: 'eth1' })).toEqual([
      'groups.web.addresses[0].interface: agent.yaml of "d1" maps no device to "public"',
      'groups.web.addresses[1].interface: agent.yaml of "d1" maps no device to "public"',
    ]);
  });

  it('has a label too long for the device', () => {
    expect(problemsFor('d1', { public: 'enp129s0f1np' })).toEqual([
      'groups.web.addresses[1].label: "enp129s0f1np:web" has 16 characters',
    ]);
  });

  it('tracks an interface by a logical name that agent.yaml does not map', () => {
    const track = [{ interface: 'eth7' }, { interface: 'storage-network-1' }];
    const groups = { web: { addresses: addresses.slice(0, 1), interface: 'public', track } };
    expect(problemsFor('d1', { public: 'eth0' }, { groups })).toEqual([
      'groups.web.track[1].interface: agent.yaml of "d1" maps no device to "storage-network-1"',
    ]);
    const interfaces = { public: 'eth0', 'storage-network-1': 'eth3' };
    expect(problemsFor('d1', interfaces, { groups })).toEqual([]);
  });

  it('does not name the director', () => {
    expect(problemsFor('d9', { public: 'eth0' })).toEqual([
      'directors: does not name this director, "d9"',
    ]);
  });

  it('may leave a group to other directors', () => {
    const groups = { web: { addresses, interface: 'public', priorities: { d1: 100 } } };
    expect(problemsFor('d2', {}, { groups })).toEqual([]);
  });
});
