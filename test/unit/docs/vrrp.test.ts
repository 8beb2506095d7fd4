/** What the document on VRRP says, held against the code. */
import { expect, it } from 'vitest';
import { BUDGET_WINDOW_MS, RECEIVE_BUDGET } from '../../../src/adapters/vrrp/vrrp-socket.ts';
import { CHECK_INTERVAL_MS } from '../../../src/adapters/vrrp/create-vrrp-link.ts';
import { parseClusterText } from '../../../src/config/cluster-document.ts';
import { DEFAULT_VRRP_INTERVAL_MS } from '../../../src/config/defaults.ts';
import { formatDuration } from '../../../src/config/durations.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import { CLAIM_QUIET_INTERVALS } from '../../../src/core/vrrp/router.ts';
import { VRRP_DROPS } from '../../../src/model/vrrp.ts';
import { read } from './documents.ts';

const text = read('docs/vrrp.md');

it('has an example that is accepted', () => {
  const parsed = parseClusterText(/```yaml\n([\s\S]+?)```/.exec(text)?.[1] ?? '');
  if (!parsed.ok) throw new Error(formatProblems(parsed.error));
  expect(parsed.value.spec.groups[0]?.vrrp?.neighbours).toEqual([
    { address: '10.90.0.14', ttlMin: 255, ttlMax: 255 },
  ]);
});

it('names every reason to drop, and none that is not', () => {
  const table = text.split('| reason |')[1]?.split('\n\n')[0] ?? '';
  const named = table
    .split('\n')
    .flatMap((row) => [...(row.split(' | ')[0] ?? '').matchAll(/`([a-z-]+)`/g)])
    .map(([, reason]) => reason);
  expect(new Set(named)).toEqual(new Set(VRRP_DROPS));
  expect(named).toHaveLength(VRRP_DROPS.length);
});

it('has the figures of the code', () => {
  const { 2: second, 3: third } = DEFAULT_VRRP_INTERVAL_MS;
  expect(text).toContain(
    `${formatDuration(second)} in version 2, ${formatDuration(third)} in version 3`,
  );
  expect(text).toContain(`more than ${RECEIVE_BUDGET} packets come in ${BUDGET_WINDOW_MS} ms`);
  expect(text).toContain(`silent for ${CLAIM_QUIET_INTERVALS} of its intervals`);
  expect(CHECK_INTERVAL_MS).toBe(1_000);
});
