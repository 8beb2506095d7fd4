/** What is seen along a VIP's path, and what it means. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  judgePath,
  type VipEvidence,
  type VipVerdict,
} from '../../../../src/adapters/probes/vip-verdict.ts';

const NOTHING: VipEvidence = {
  ask: 'tcp',
  arp: 'unasked',
  hasMac: false,
  tcp: 'nothing',
  hasEcho: false,
  isAlive: false,
  error: 'none',
};

/** What is seen; the verdict meanwhile, and at the end. */
const CASES: readonly (readonly [string, Partial<VipEvidence>, VipVerdict | null, VipVerdict])[] = [
  ['nothing at all', {}, null, 'unreachable'],
  ['its MAC address alone', { hasMac: true, arp: 'quiet' }, null, 'silent'],
  ['an accepted segment', { tcp: 'accepted' }, 'answers', 'answers'],
  [
    'the same before it can have said who has the VIP',
    { tcp: 'accepted', arp: 'asked' },
    null,
    'answers',
  ],
  ['the same, and quiet', { tcp: 'accepted', arp: 'quiet' }, 'answers', 'answers'],
  ['an answer for the VIP', { tcp: 'accepted', arp: 'answered' }, 'answers-arp', 'answers-arp'],
  [
    'the same with a closed port',
    { tcp: 'refused', arp: 'answered' },
    'answers-arp',
    'answers-arp',
  ],
  ['a closed port', { tcp: 'refused', arp: 'asked' }, 'refused', 'refused'],
  ['an echo of the VIP, where TCP is asked', { hasEcho: true, isAlive: true }, null, 'silent-port'],
  ['an echo of the VIP, where it is asked', { ask: 'echo', hasEcho: true }, 'answers', 'answers'],
  ['a segment, where an echo is asked', { ask: 'echo', tcp: 'refused' }, null, 'unreachable'],
  ['life at its own address only', { hasMac: true, isAlive: true }, null, 'vip-missing'],
  ['no way to the VIP from it', { hasMac: true, error: 'unreachable' }, null, 'vip-missing'],
  ['packets that it passes on', { isAlive: true, error: 'expired' }, null, 'passes-on'],
  ['those, with an echo of the VIP', { hasEcho: true, error: 'expired' }, 'handed-on', 'handed-on'],
  ['a filter', { error: 'prohibited' }, 'prohibited', 'prohibited'],
  ['no such tunnel', { error: 'no-tunnel' }, 'no-tunnel', 'no-tunnel'],
];

test.each(CASES)('%s', (_, seen, meanwhile, atTheEnd) => {
  expect(judgePath({ ...NOTHING, ...seen }, false)).toBe(meanwhile);
  expect(judgePath({ ...NOTHING, ...seen }, true)).toBe(atTheEnd);
});

const evidence: fc.Arbitrary<VipEvidence> = fc.record({
  ask: fc.constantFrom('tcp', 'echo'),
  arp: fc.constantFrom('unasked', 'asked', 'quiet', 'answered'),
  hasMac: fc.boolean(),
  tcp: fc.constantFrom('nothing', 'accepted', 'refused'),
  hasEcho: fc.boolean(),
  isAlive: fc.boolean(),
  error: fc.constantFrom('none', 'expired', 'unreachable', 'prohibited', 'no-tunnel'),
});

test('something is said in the end, and what was said before stands', () => {
  fc.assert(
    fc.property(evidence, (seen) => {
      const [early, late] = [judgePath(seen, false), judgePath(seen, true)];
      expect(late).not.toBeNull();
      if (early !== null) expect(late).toBe(early);
    }),
  );
});

test('who answers for the VIP is never up, and nobody is up who did not answer as the VIP', () => {
  fc.assert(
    fc.property(evidence, fc.boolean(), (seen, isOver) => {
      const verdict = judgePath(seen, isOver);
      const isUp = verdict === 'answers' || verdict === 'handed-on';
      if (!isUp) return;
      expect(seen.arp).not.toBe('answered');
      expect(seen.hasEcho || (seen.ask === 'tcp' && seen.tcp === 'accepted')).toBe(true);
    }),
  );
});
