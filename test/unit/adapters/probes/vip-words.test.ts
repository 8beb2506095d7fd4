/** What people read of a look along a VIP's path, and that the line they are told to type is one. */
import { describe, expect, test } from 'vitest';
import { vipOutcome } from '../../../../src/adapters/probes/vip-words.ts';
import { parseWishes } from '../../../../src/cli/realserver-options.ts';
import type { VipCheck } from '../../../../src/model/check.ts';
import { ip } from '../../core/desired/spec-builders.ts';

const DR: VipCheck = { kind: 'vip', vip: null, ask: 'tcp', arp: 'fail', tunnel: null };
const through = (type: 'ipip' | 'gue' | 'gre', port = 0): VipCheck => ({
  ...DR,
  tunnel: { type, port },
});
const of = (spec: VipCheck = DR, vip = '10.90.0.100', address = '10.90.0.21') => ({
  vip: ip(vip),
  address: ip(address),
  port: 80,
  ask: 'tcp' as const,
  spec,
});

/** As the command line hands them over. */
function optionsOf(line: string) {
  const options: Record<string, string> = {};
  for (const [, name = '', value = ''] of line.matchAll(/--(\S+) (\S+)/g))
    options[name.replace('gue-port', 'guePort')] = value;
  return { ...options, vip: [options['vip'] ?? ''] };
}

test('every verdict has words of its own, no longer than a line', () => {
  const verdicts = [
    'answers',
    'handed-on',
    'refused',
    'prohibited',
    'silent-port',
    'vip-missing',
    'passes-on',
    'no-tunnel',
    'answers-arp',
    'silent',
    'unreachable',
  ] as const;
  for (const spec of [DR, through('gue', 6080)]) {
    const words = verdicts.map((verdict) => vipOutcome(verdict, of(spec), 1000).detail);
    expect(new Set(words).size).toBe(verdicts.length);
    for (const text of words) {
      expect(text).not.toContain('undefined');
      expect(text.length).toBeLessThan(200);
    }
  }
});

test('what is wrong is told first', () => {
  const told = (verdict: 'vip-missing' | 'answers-arp', vip: string, address: string): string =>
    vipOutcome(verdict, of(DR, vip, address), 1000).detail;
  expect(told('vip-missing', '10.90.0.100', '10.90.0.21')).toBe(
    'answers as 10.90.0.21, not as 10.90.0.100, which is not on its lo; there: leasehold realserver up --vip 10.90.0.100 --mode dr',
  );
  expect(told('answers-arp', '10.90.0.100', '10.90.0.21')).toMatch(
    /^answers ARP for 10\.90\.0\.100/,
  );
  expect(told('answers-arp', 'fd90::100', 'fd90::21')).toMatch(/^answers neighbour discovery for/);
});

test('silence of a tunnel is told as that, with the remedy', () => {
  const told = (spec: VipCheck): string => vipOutcome('silent', of(spec), 900).detail;
  expect(told(DR)).toBe(
    'is on its link, and answers neither as 10.90.0.100 nor as 10.90.0.21 within 900 ms',
  );
  expect(told(through('gre'))).toMatch(
    /nothing comes back from its gre tunnel within 900 ms; there:/,
  );
});

describe('the remedy', () => {
  const [ipip, gre] = [
    { kind: 'ipip', over: 4 },
    { kind: 'gre', over: 4 },
  ];
  test.each([
    ['DR', of(), null],
    ['ipip', of(through('ipip')), ipip],
    ['gre', of(through('gre')), gre],
    ['gue', of(through('gue', 6080)), { kind: 'gue', guePort: 6080 }],
    ['IPv6 in IPv4', of(through('ipip'), 'fd90::100'), ipip],
    ['IPv4 in IPv6', of(through('ipip'), '10.90.0.100', 'fd90::21'), { kind: 'ipip', over: 6 }],
  ])('of %s is a line that leasehold takes', (_, target, tunnel) => {
    const { detail } = vipOutcome('vip-missing', target, 1000);
    const line = /there: leasehold realserver up (.*)$/.exec(detail)?.[1] ?? '';
    expect(parseWishes(optionsOf(line), true)).toMatchObject({
      ok: true,
      value: [{ address: target.vip, tunnel }],
    });
  });
});
