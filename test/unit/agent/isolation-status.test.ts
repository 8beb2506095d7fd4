/** What a director would go by without etcd, and what is wrong with it, in words. */
import { describe, expect, it } from 'vitest';
import { isolationProblems, isolationStatus } from '../../../src/agent/isolation-status.ts';
import type { Isolation } from '../../../src/model/cluster.ts';
import { monoMs } from '../../../src/model/ids.ts';
import { ip } from '../core/desired/spec-builders.ts';

describe('the isolation', () => {
  const ask = (fields: Partial<Isolation>, answeredAt: readonly (readonly [string, number])[]) =>
    isolationStatus(
      { policy: 'gateway', mode: 'any', targets: [ip('10.90.0.1'), ip('192.0.2.1')], ...fields },
      {
        wasAsked: true,
        answeredAt: new Map(answeredAt.map(([address, at]) => [ip(address), monoMs(at)])),
      },
      monoMs(10_000),
    );
  const lately = [['10.90.0.1', 9000]] as const;

  it('tells when each target answered this director last', () => {
    expect(ask({}, lately)).toEqual({
      policy: 'gateway',
      mode: 'any',
      isReachable: true,
      targets: [
        { address: '10.90.0.1', answeredMsAgo: 1000 },
        { address: '192.0.2.1', answeredMsAgo: null },
      ],
    });
  });

  it('is a problem, with what to do, when no target answers, or not all that must', () => {
    expect(isolationProblems(ask({}, lately))).toEqual([]);
    expect(isolationProblems(ask({ mode: 'all' }, lately))).toEqual([
      'not every gateway target answers (192.0.2.1): without etcd and the other directors the VIPs would fall silent; ping them, see cable and firewall, or name others under isolation.targets',
    ]);
    for (const mode of ['any', 'all'] as const) {
      const [problem] = isolationProblems(ask({ mode }, [['10.90.0.1', 7000]]));
      expect(problem).toContain('no gateway target answers (10.90.0.1, 192.0.2.1):');
    }
  });

  it('is none where nothing rests on it, or nothing was asked yet', () => {
    expect(isolationProblems(ask({ policy: 'release' }, []))).toEqual([]);
    const unasked = isolationStatus(
      { policy: 'gateway', mode: 'any', targets: [ip('10.90.0.1')] },
      { wasAsked: false, answeredAt: new Map() },
      monoMs(1),
    );
    expect([unasked.isReachable, isolationProblems(unasked)]).toEqual([null, []]);
  });
});
