/**
 * Alert rules and dashboard: every metric, label and label value they name is exported, alerts explain
 * themselves, panels have ids and places of their own.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { CATALOGUE, type MetricSpec } from '../../../src/adapters/prom/catalogue.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

const METRICS = new Map<string, MetricSpec>(
  Object.values<MetricSpec>(CATALOGUE).flatMap((spec): [string, MetricSpec][] =>
    spec.type === 'histogram'
      ? ['_bucket', '_sum', '_count'].map((tail) => [`${spec.name}${tail}`, spec])
      : [[spec.name, spec]],
  ),
);
/** Of the process, by the library. */
const PROCESS_METRICS = ['leasehold_process_start_time_seconds'];
/** On every sample: by the exporter, by Prometheus. */
const COMMON_LABELS = ['cluster', 'director', 'job', 'instance'];
/** Where the values that labels may have are written down. */
const VALUE_TEXT = [
  'src/ports/metrics.ts',
  'src/model/decision.ts',
  'src/model/kernel.ts',
  'src/adapters/prom/prom-metrics.ts',
].map(read);

/** Every fault of a PromQL expression, by names alone. */
function faultsOf(expression: string): readonly string[] {
  const bare = expression.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""');
  const names = [...bare.matchAll(/\b(?:leasehold_\w+|up)\b/g)].map(([name]) => name);
  const faults: string[] = [];
  if (names.length === 0) faults.push('names no metric');
  const labels = new Set([...COMMON_LABELS, 'le']);
  for (const name of names) {
    const spec = METRICS.get(name);
    const isKnown = spec !== undefined || name === 'up' || PROCESS_METRICS.includes(name);
    if (!isKnown) faults.push(`${name} is not exported`);
    for (const label of spec?.labels ?? []) labels.add(label);
  }
  for (const [, list = ''] of bare.matchAll(/\b(?:by|on|without|ignoring)\s*\(([^)]*)\)/g))
    for (const label of list.split(',').map((part) => part.trim()))
      if (!labels.has(label)) faults.push(`no metric here has the label ${label}`);
  for (const [, name = '', matchers = ''] of expression.matchAll(/\b(\w+)\{([^}]*)\}/g))
    faults.push(...matcherFaults(name, matchers));
  for (const [open, close] of ['()', '{}', '[]'])
    if (bare.split(open ?? '').length !== bare.split(close ?? '').length)
      faults.push(`${open} and ${close} do not pair`);
  return faults;
}

function matcherFaults(name: string, matchers: string): readonly string[] {
  const own = [...COMMON_LABELS, ...(METRICS.get(name)?.labels ?? [])];
  return [...matchers.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)].flatMap(
    ([, label = '', , value = '']) => {
      if (!own.includes(label)) return [`${name} has no label ${label}`];
      const isFixed = !value.startsWith('$') && !COMMON_LABELS.includes(label);
      return isFixed && !VALUE_TEXT.some((text) => text.includes(`'${value}'`))
        ? [`${name}: ${label} is never "${value}"`]
        : [];
    },
  );
}

describe('the judge of expressions', () => {
  it.each([
    ['leasehold_group_ownr', 'leasehold_group_ownr is not exported'],
    ['sum by (groups) (leasehold_group_owner)', 'no metric here has the label groups'],
    ['leasehold_takeover_seconds', 'leasehold_takeover_seconds is not exported'],
    ['leasehold_votes_total{vote="up"}', 'leasehold_votes_total has no label vote'],
    [
      'leasehold_votes_total{result="sideways"}',
      'leasehold_votes_total: result is never "sideways"',
    ],
    ['sum(leasehold_votes_total', '( and ) do not pair'],
    ['1 > 0', 'names no metric'],
  ])('finds the fault of %s', (expression, fault) => {
    expect(faultsOf(expression)).toEqual([fault]);
  });
});

type Rule = {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
};
const alerts = parse(read('deploy/prometheus/alerts.yml')) as {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
};
const rules = alerts.groups.flatMap((group) => group.rules);

describe('alerts.yml', () => {
  it('has rules with names of their own', () => {
    expect(rules.length).toBeGreaterThan(10);
    expect(new Set(rules.map((rule) => rule.alert)).size).toBe(rules.length);
    expect(new Set(alerts.groups.map((group) => group.name)).size).toBe(alerts.groups.length);
  });

  it.each(rules)('$alert uses what is exported', ({ expr }) => {
    expect(faultsOf(expr)).toEqual([]);
  });

  it.each(rules)('$alert says what is wrong, what it means, and how bad it is', (rule) => {
    expect(rule.alert).toMatch(/^Leasehold[A-Z]\w+$/);
    expect(rule.annotations['summary']).toMatch(/.{20,}/);
    expect(rule.annotations['description']).toMatch(/.{20,}/);
    expect(['critical', 'warning']).toContain(rule.labels['severity']);
    if (rule.for !== undefined) expect(rule.for).toMatch(/^\d+[sm]$/);
    const texts = Object.values(rule.annotations).join(' ');
    for (const [, label = ''] of texts.matchAll(/\$labels\.(\w+)/g)) {
      const known = [...METRICS.values()].flatMap((spec) => spec.labels);
      expect([...COMMON_LABELS, ...known], label).toContain(label);
    }
  });

  it('uses the job of the scrape example, whose path the API serves', () => {
    const scrape = parse(read('deploy/prometheus/scrape.example.yml')) as {
      readonly rule_files: readonly string[];
      readonly scrape_configs: readonly {
        readonly job_name: string;
        readonly metrics_path: string;
      }[];
    };
    const [config] = scrape.scrape_configs;
    const jobs = rules.flatMap(({ expr }) =>
      [...expr.matchAll(/job="(\w+)"/g)].map(([, job]) => job),
    );
    expect(new Set(jobs)).toEqual(new Set([config?.job_name]));
    const openapi = JSON.parse(read('openapi/openapi.json')) as { paths: Record<string, unknown> };
    expect(openapi.paths).toHaveProperty([config?.metrics_path ?? '']);
    expect(scrape.rule_files[0]?.endsWith('alerts.yml')).toBe(true);
    expect(existsSync(join(ROOT, 'deploy/prometheus/alerts.yml'))).toBe(true);
  });
});

type Panel = {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly targets?: readonly {
    readonly refId: string;
    readonly expr: string;
    readonly legendFormat: string;
  }[];
};
const dashboard = JSON.parse(read('deploy/grafana/leasehold.json')) as {
  readonly id: null;
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly definition?: string }[];
  };
};
const graphs = dashboard.panels.filter((panel) => panel.type !== 'row');

describe('the dashboard', () => {
  it('has panels with ids of their own', () => {
    const ids = dashboard.panels.map((panel) => panel.id);
    expect(ids.length).toBeGreaterThan(15);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.every((id) => Number.isInteger(id) && id > 0)).toBe(true);
    expect(dashboard).toMatchObject({ id: null, uid: 'leasehold' });
  });

  it('has titles of their own, and no panel over another', () => {
    expect(new Set(graphs.map((panel) => panel.title)).size).toBe(graphs.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)} ${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    for (const { gridPos, title } of dashboard.panels)
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
  });

  it.each(graphs)('$title uses what is exported', ({ targets = [] }) => {
    expect(targets).not.toEqual([]);
    expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
    for (const { expr, legendFormat } of targets) {
      expect(faultsOf(expr)).toEqual([]);
      for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
        expect(expr, legendFormat).toMatch(new RegExp(`by \\([^)]*\\b${label}\\b`));
    }
  });

  it('uses only variables that it defines, from what is exported', () => {
    const { list } = dashboard.templating;
    const defined = list.map(({ name }) => name);
    const used = [...JSON.stringify(dashboard).matchAll(/\$\{?([a-z]\w+)/g)].map(
      ([, name]) => name,
    );
    expect([...new Set(used)].filter((name) => !defined.includes(name ?? ''))).toEqual([]);
    for (const { definition } of list)
      if (definition !== undefined) {
        const [, metric = '', label = ''] =
          /^label_values\((leasehold_\w+)(?:\{[^}]*\})?, (\w+)\)$/.exec(definition) ?? [];
        expect([...COMMON_LABELS, ...(METRICS.get(metric)?.labels ?? [])], definition).toContain(
          label,
        );
      }
  });
});
