/** What the document on the gateway says, held against the code. */
import { expect, it } from 'vitest';
import { CATALOGUE } from '../../../src/adapters/prom/catalogue.ts';
import { parseClusterText } from '../../../src/config/cluster-document.ts';
import { DEFAULT_ISOLATION_MODE } from '../../../src/config/defaults.ts';
import { buildTiming, takeoverWaitMs } from '../../../src/config/timing.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import {
  CANDIDATE_FALL,
  CANDIDATE_RISE,
  GATEWAY_LOST_BONUS,
  HOLDER_FALL,
  HOLDER_RISE,
} from '../../../src/core/tracks/gateway-track.ts';
import { HOLD_BASES } from '../../../src/model/decision.ts';
import { anchorsOf, inlineCodeOf, linksOf, read } from './documents.ts';

const FILE = 'docs/gateway.md';
const text = read(FILE).replaceAll(/\s+/g, ' ');

it('has an example that is accepted, without a warning', () => {
  const parsed = parseClusterText(/```yaml\n([\s\S]+?)```/.exec(read(FILE))?.[1] ?? '');
  if (!parsed.ok) throw new Error(formatProblems(parsed.error));
  expect(parsed.value.warnings).toEqual([]);
  expect(parsed.value.spec.isolation).toEqual({
    policy: 'gateway',
    targets: ['10.90.0.1', '192.0.2.1'],
    mode: 'all',
  });
});

it('has the figures of the code', () => {
  expect(text).toContain(`with ${-GATEWAY_LOST_BONUS} less in priority`);
  expect(text).toContain(`after ${CANDIDATE_FALL} silent seconds`);
  expect(text).toContain(`a holder after ${HOLDER_FALL}.`);
  expect(text).toContain(`as back after ${CANDIDATE_RISE} answers, a holder after ${HOLDER_RISE}.`);
  expect(text).toContain(`each must answer | \`${DEFAULT_ISOLATION_MODE}\` |`);
});

it('names the metrics as they are', () => {
  const named = inlineCodeOf(FILE).filter((code) => code.startsWith('leasehold_'));
  const { holdBasis, standIn, standInCandidate, vipsAnswered } = CATALOGUE;
  const { gatewayReachable, gatewayLastAnswer } = CATALOGUE;
  const told = [holdBasis, standIn, standInCandidate, vipsAnswered];
  expect(named).toEqual(
    [...told, gatewayReachable, gatewayLastAnswer].map((metric) => metric.name),
  );
  for (const basis of HOLD_BASES) expect(inlineCodeOf(FILE)).toContain(basis);
});

it('links to what there is', () => {
  for (const link of linksOf(FILE)) {
    const [file = '', anchor = ''] = link.split('#');
    expect(anchorsOf(read(file === '' ? FILE : `docs/${file}`))).toContain(anchor);
  }
});

it('names events that there are', () => {
  const table = read(FILE).split('| event | |')[1]?.split('\n\n')[0] ?? '';
  const rows = [...table.matchAll(/^\| `([a-z]+\.[a-z]+)`/gm)].map(([, kind = '']) => kind);
  expect(rows.length).toBeGreaterThan(4);
  const source = read('src/core/election/notices.ts');
  expect(rows.filter((kind) => !source.includes(`'${kind}'`))).toEqual([]);
});

it('quotes what a candidate is said to do', () => {
  const source = read('src/agent/group-status.ts');
  const table = read(FILE).split('| what it says | |')[1]?.split('\n\n')[0] ?? '';
  const quoted = [...table.matchAll(/^\| `([^`]+)` \|/gm)].map(([, words = '']) => words);
  expect(quoted.length).toBeGreaterThan(6);
  const fragments = quoted.flatMap((words) => words.split(/\bd[13]\b|\d+|[…:]/));
  const whole = fragments.map((fragment) => fragment.trim()).filter((one) => one.includes(' '));
  expect(whole.filter((one) => !source.includes(one))).toEqual([]);
});

const seconds = (ms: number): string =>
  ms < 1000 ? `${Math.trunc(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

it.each(['fast', 'default', 'relaxed'] as const)('has the times of %s', (profile) => {
  const timing = buildTiming({ profile });
  const waitMs = takeoverWaitMs(timing);
  const { roundMs, suspectMs, holdMs, driftMargin } = timing;
  expect(waitMs).toBe(holdMs * (1 + driftMargin) + timing.slackMs);
  const silenceMs = Math.max(waitMs, suspectMs + 2 * roundMs);
  const rankMs = 2 * roundMs + 0.25 * waitMs;
  // Five probes, each with its time for an answer.
  const probeMs = 5 * Math.ceil(waitMs / 5);
  const cells = [silenceMs, rankMs, probeMs].map(seconds).join(' | ');
  const row = text.split(`| \`${profile}\` | ${cells} | `)[1] ?? '';
  const told = Number.parseFloat(row) * 1000;
  expect(told, cells).toBeGreaterThanOrEqual((silenceMs + probeMs) * 0.98);
  expect(told).toBeLessThanOrEqual((silenceMs + probeMs + 2 * roundMs) * 1.02);
});

it('has the figures of the probing, as they stand in the code', () => {
  const { count, intervalMs } = { count: 2, intervalMs: 20 };
  expect(read('src/core/election/probing.ts')).toContain(
    `SHORT = { count: ${count}, intervalMs: ${intervalMs} }`,
  );
  expect(read('src/core/election/probing.ts')).toContain('LONG_COUNT = 5;');
  expect(read('src/core/election/probing.ts')).toContain('YIELD_MS = 100;');
  expect(read('src/core/election/candidate.ts')).toContain('DOWN_INTERVALS = 4;');
  expect(read('src/core/election/candidate.ts')).toContain('RANK_ROUNDS = 2;');
  expect(read('src/core/election/candidate.ts')).toContain('RANK_DRIFT = 0.25;');
  expect(text).toContain(`two probes, ${intervalMs} ms apart`);
  expect(text).toContain("five times over `D'`");
  expect(text).toContain('opens after 100 ms');
  expect(text).toContain(`openings ${count * intervalMs} ms, and ${count * intervalMs + 100} ms`);
});
