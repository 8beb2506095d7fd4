import { describe, expect, it } from 'vitest';
import {
  type DrainProgress,
  type Explanation,
  type ServiceExplanation,
  WEIGHT_REASONS,
} from '../../../../src/core/service/explanation.ts';
import { decideFailOpen } from '../../../../src/core/service/fail-open.ts';
import { decideQuorum } from '../../../../src/core/service/quorum.ts';
import {
  describeDrain,
  describeQuorumEvent,
  explainRealServer,
  explainService,
} from '../../../../src/core/service/words.ts';
import { realServerId, serviceId } from '../../../../src/model/ids.ts';

const weight = { configured: 10, override: null, dynamic: null, full: 10, ramped: 10 };
const explanation = (fields: Partial<Explanation> = {}): Explanation => ({
  service: serviceId('web'),
  realServer: realServerId('10.0.0.1:80'),
  wantedWeight: 10,
  why: 'up',
  health: 'up',
  basis: 'majority',
  admin: 'ready',
  weight,
  fullAtMs: null,
  drain: null,
  ...fields,
});
const drain = (fields: Partial<DrainProgress> = {}): DrainProgress => ({
  cause: 'admin',
  sinceMs: 0,
  deadlineAtMs: null,
  first: { active: 30, inactive: 8, persistent: 2 },
  left: { active: 2, inactive: 1, persistent: 0 },
  end: null,
  ...fields,
});

describe('explainRealServer', () => {
  it('has a sentence of its own for every reason', () => {
    const sentences = WEIGHT_REASONS.map((why) => explainRealServer(explanation({ why })));
    expect(new Set(sentences).size).toBe(WEIGHT_REASONS.length);
  });

  it.each<[string, Partial<Explanation>, string]>([
    ['nothing more where nothing is odd', {}, 'it is up'],
    [
      'the step of a ramp',
      { why: 'slow-start', wantedWeight: 4, weight: { ...weight, ramped: 4 } },
      'weight 4 of 10',
    ],
    [
      'the weight of an operator',
      { wantedWeight: 7, weight: { ...weight, override: 7, full: 7, ramped: 7 } },
      'an operator set weight 7, the document has 10',
    ],
    [
      'the weight of the check',
      { wantedWeight: 3, weight: { ...weight, dynamic: 3, full: 3, ramped: 3 } },
      'its check asks for weight 3, the document has 10',
    ],
    [
      'how far a drain is',
      { why: 'admin-drain', wantedWeight: 0, drain: drain() },
      '2 active, 1 inactive connections left of 40 at first',
    ],
  ])('tells %s', (_, fields, text) => {
    expect(explainRealServer(explanation(fields))).toContain(text);
  });
});

describe('describeDrain', () => {
  it.each<[Partial<DrainProgress>, string]>([
    [{ left: null, first: null }, 'not known yet'],
    [{ left: { active: 0, inactive: 0, persistent: 5 } }, '5 persistence templates left of 40'],
    [{ end: 'gone' }, 'all its connections are gone'],
    [{ end: 'absent' }, 'nothing to wait for'],
    [{ end: 'deadline' }, 'with 2 active, 1 inactive connections left'],
    [{ end: 'deadline', left: null }, 'its deadline has passed'],
  ])('%j', (fields, text) => {
    expect(describeDrain(drain(fields))).toContain(text);
  });
});

describe('explainService', () => {
  const service = (fields: Partial<ServiceExplanation> = {}): ServiceExplanation => ({
    service: serviceId('web'),
    isHere: true,
    standby: null,
    quorum: decideQuorum({ need: 3, hysteresis: 1 }, { live: 5, total: 6 }, null),
    failOpen: decideFailOpen(null, { up: 5, down: 1 }),
    sorry: 'none',
    leaving: [],
    ...fields,
  });
  const lost = decideQuorum({ need: 3, hysteresis: 1 }, { live: 1, total: 6 }, true);

  it('tells the quorum with its bounds', () => {
    expect(explainService(service())).toEqual([
      'the quorum is there: weight 5 is live, it is lost below 2',
    ]);
    expect(explainService(service({ quorum: lost }))).toEqual([
      'the quorum is lost: weight 1 is live, it is back at 4',
    ]);
    const lowered = decideQuorum({ need: 9, hysteresis: 0 }, { live: 6, total: 6 }, null);
    expect(explainService(service({ quorum: lowered }))[0]).toContain('less than asked for');
  });

  it('tells what is not as on any day', () => {
    const failOpen = decideFailOpen(50, { up: 1, down: 5 });
    const leaving = [{ realServer: realServerId('10.0.0.9:80'), ...drain({ cause: 'leaving' }) }];
    const odd = service({ quorum: lost, isHere: false, failOpen, sorry: 'held-back', leaving });
    expect(explainService(odd)).toEqual([
      expect.stringContaining('lost'),
      expect.stringContaining('cold standby'),
      '1 of weight 6 is up, less than 50 %: fail-open keeps all in',
      expect.stringContaining('fail-open goes first'),
      expect.stringContaining('10.0.0.9:80 is no longer in the document: 2 active'),
    ]);
    expect(explainService(service({ sorry: 'answering' }))).toContain('the sorry server answers');
  });

  it('names the service in an event', () => {
    const event = { service: serviceId('web'), kind: 'quorum-down', decision: lost } as const;
    expect(describeQuorumEvent(event)).toMatch(/^web: the quorum is lost/);
  });
});
