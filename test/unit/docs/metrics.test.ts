/** docs/metrics.md against the catalogue: every series of services and real servers, with its labels and meaning. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_METRIC_REAL_SERVERS } from '../../../src/config/agent-file.ts';
import { CATALOGUE, type MetricSpec } from '../../../src/adapters/prom/catalogue.ts';
import { SERVICE_CATALOGUE } from '../../../src/adapters/prom/service-catalogue.ts';
import { read } from './documents.ts';

const text = read('docs/metrics.md');
const rows = new Map(
  [...text.matchAll(/^\| `(leasehold_\w+)` \| (.*?) \| (.+) \|$/gm)].map(
    ([, name = '', labels = '', meaning = '']) => [name, { labels, meaning }],
  ),
);
const documented: readonly MetricSpec[] = Object.values<MetricSpec>(CATALOGUE).filter(
  ({ name }) =>
    Object.values(SERVICE_CATALOGUE).some((spec) => spec.name === name) ||
    /_sync_|_ipvs_problems$/.test(name),
);

describe('docs/metrics.md', () => {
  it('names what is exported, and nothing else', () => {
    expect(documented.length).toBeGreaterThan(30);
    expect([...rows.keys()].toSorted()).toEqual(documented.map(({ name }) => name).toSorted());
  });

  it.each(documented)('tells labels and meaning of $name', ({ name, labels, help }) => {
    const row = rows.get(name);
    expect(row?.labels).toBe(labels.map((label) => `\`${label}\``).join(', ') || 'none');
    expect(row?.meaning).toBe(help);
  });

  it('tells the limit of real servers', () => {
    expect(text).toContain(`more than ${DEFAULT_METRIC_REAL_SERVERS} real servers`);
  });
});
