/** The timings: what this version's gate needs, and the relations between them (design 4, 5). */
import { describe } from 'vitest';
import { type BadCase, itFindsEach } from './documents.ts';

const TIMINGS: readonly BadCase[] = [
  [
    'the fast profile',
    ['timing'],
    { profile: 'fast' },
    'timing.profile',
    /gate of this version is the address lifetime/,
  ],
  [
    'the default profile',
    ['timing'],
    { profile: 'default' },
    'timing.profile',
    /gate of this version is the address lifetime/,
  ],
  [
    'a hold under 3 s',
    ['timing'],
    { hold: '2900ms', round: '500ms' },
    'timing.hold',
    /out of range/,
  ],
  ['a slack under 1.1 s', ['timing'], { slack: '1s' }, 'timing.slack', /1\.1 s late/],
  [
    'a round over a fifth of hold',
    ['timing'],
    { round: '700ms' },
    'timing.round',
    /a fifth of hold/,
  ],
  [
    'a suspect under 2.5 heartbeats',
    ['timing'],
    { suspect: '2s' },
    'timing.suspect',
    /2\.5 heartbeats/,
  ],
  ['a lease under 5 s', ['timing'], { leaseTtl: '4s' }, 'timing.leaseTtl', /out of range/],
  ['a lease under hold', ['timing'], { hold: '20s' }, 'timing.leaseTtl', /shorter than hold/],
  [
    'a lease of half seconds',
    ['timing'],
    { leaseTtl: '10500ms' },
    'timing.leaseTtl',
    /whole seconds/,
  ],
  ['a drift of 0.001', ['timing'], { drift: 0.001 }, 'timing.drift', /less than a steered clock/],
  [
    'a heartbeat without unit',
    ['timing'],
    { heartbeat: 1000 },
    'timing.heartbeat',
    /1000 does not fit/,
  ],
];

describe('timing', () => itFindsEach(TIMINGS));
