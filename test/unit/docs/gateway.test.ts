/** What the document on the gateway says, held against the code. */
import { expect, it } from 'vitest';
import { CATALOGUE } from '../../../src/adapters/prom/catalogue.ts';
import { parseClusterText } from '../../../src/config/cluster-document.ts';
import { DEFAULT_ISOLATION_MODE } from '../../../src/config/defaults.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import {
  CANDIDATE_FALL,
  CANDIDATE_RISE,
  GATEWAY_LOST_BONUS,
  HOLDER_FALL,
  HOLDER_RISE,
} from '../../../src/core/tracks/gateway-track.ts';
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
  const { gatewayReachable, gatewayLastAnswer } = CATALOGUE;
  expect(named).toEqual([gatewayReachable.name, gatewayLastAnswer.name]);
});

it('links to what there is', () => {
  for (const link of linksOf(FILE)) {
    const [file = '', anchor = ''] = link.split('#');
    expect(anchorsOf(read(`docs/${file}`))).toContain(anchor);
  }
});
