/** What the documents say of keys, reasons, events, problems and times, held against the code. */
import { describe, expect, it } from 'vitest';
import { CATALOGUE } from '../../../src/adapters/prom/catalogue.ts';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { buildTiming } from '../../../src/config/timing.ts';
import {
  longestWaitMs,
  OFFER_REST_MS,
  REFUSED_MS,
  RANK_DELAY_MS,
} from '../../../src/core/election/timing.ts';
import { EMPTY_VIEW } from '../../../src/core/election/view.ts';
import { HOLD_REASONS } from '../../../src/model/decision.ts';
import { createKeys } from '../../../src/model/keys.ts';
import { DOCUMENTS, inlineCodeOf, proseOf, read } from './documents.ts';

const design = proseOf('docs/design.md').replaceAll(/\s+/g, ' ');
const operations = proseOf('docs/operations.md').replaceAll(/\s+/g, ' ');
const operationsCode = inlineCodeOf('docs/operations.md');

/** The literals of a union in decision.ts. */
function literalsOf(type: string): readonly string[] {
  const body =
    read('src/model/decision.ts').split(`export type ${type} =`)[1]?.split(';\n')[0] ?? '';
  return [...body.matchAll(/\| '([\w-]+)'/g)].map(([, literal = '']) => literal);
}

describe('docs/design.md', () => {
  it('names every key of etcd, and none that is not', () => {
    const keys = createKeys('lab');
    const named = inlineCodeOf('docs/design.md')
      .filter((code) => /^(spec|(admin|run|log)\/[\w/<> -]+>)$/.test(code))
      .map((code) => code.replaceAll(/<[\w ]+>/g, 'x'));
    const kinds = new Set(named.map((path) => keys.parse(keys.prefix + path)?.kind ?? path));
    const all =
      'challenge drain event lease operation owner real report scope session spec switchover vote';
    expect([...kinds].toSorted()).toEqual(all.split(' '));
    expect(design).toContain(`\`${createKeys('<cluster>').prefix}\``);
  });

  it('tells the times as they are', () => {
    const timing = buildTiming(undefined);
    const seconds = (ms: number): string => `${ms / 1000} s`;
    expect(design).toContain(`one confirmed round lets a VIP speak (${seconds(timing.holdMs)})`);
    expect(design).toContain(`a round starts every ${seconds(timing.roundMs)}`);
    expect(design).toContain(`may be silent (${seconds(timing.suspectMs)})`);
    expect(design).toContain(`\`m = ${timing.driftMargin}\``);
    expect(design).toContain(`\`δ = ${seconds(timing.slackMs)}\``);
    expect(timing.permitMs).toBe(timing.holdMs / 4);
    const wait = seconds(longestWaitMs(EMPTY_VIEW, timing));
    expect(design).toContain(`That is ${wait}.`);
    expect(operations).toContain(wait);
    expect(operations).toContain(`longer than ${seconds(timing.permitMs)} does not count`);
    expect(design).toContain(`${RANK_DELAY_MS} ms later per rank`);
    expect(OFFER_REST_MS).toBe(5000);
    expect(design).toContain('not offered it again for five seconds');
    expect(operations).toContain(`asked again after ${seconds(REFUSED_MS)}`);
  });

  it.each(['fast', 'default'])('says rightly that the profile %s is refused', (profile) => {
    const document = {
      apiVersion: 'leasehold/v1',
      timing: { profile },
      directors: { d1: { address: '10.90.0.11' } },
    };
    const parsed = parseClusterDocument(document);
    expect(parsed.ok ? [] : parsed.error.map(({ path }) => path)).toEqual(['timing.profile']);
    expect(design).toContain('**The profiles `fast` and `default` are refused**');
  });
});

describe('docs/operations.md', () => {
  it('names every reason for a change of holder', () => {
    expect(HOLD_REASONS.filter((reason) => !operationsCode.includes(reason))).toEqual([]);
  });

  it('names every reason why a director is no candidate', () => {
    // Nothing pauses a cluster in this version.
    const reasons = literalsOf('IneligibleReason').filter((reason) => reason !== 'paused');
    expect(reasons.length).toBeGreaterThan(5);
    expect(reasons.filter((reason) => !operationsCode.includes(reason))).toEqual([]);
  });

  it('names events that there are', () => {
    const told = operationsCode.filter((code) =>
      /^(session|holder|challenge|owner|record)\.[a-z-]+$/.test(code),
    );
    expect(told.length).toBeGreaterThan(5);
    const source = read('src/core/election/state.ts');
    expect(told.filter((kind) => !source.includes(`'${kind}'`))).toEqual([]);
  });

  it('quotes problems as status tells them', () => {
    const source = ['src/agent/status.ts', 'src/agent/report.ts', 'src/agent/interfaces.ts']
      .map(read)
      .join('\n');
    const section = read('docs/operations.md')
      .split('## What a problem means')[1]
      ?.split('\n## ')[0];
    const problems = [...(section ?? '').matchAll(/^\| `([^`]+)` \|/gm)].map(
      ([, text = '']) => text,
    );
    expect(problems.length).toBeGreaterThan(12);
    const fragments = problems
      .flatMap((problem) =>
        problem.split(/\bweb-http\b|\bweb\b|\bd[12]\b|"public"|\beth0\b|[…():,]/),
      )
      .map((fragment) => fragment.trim())
      .filter((fragment) => fragment.includes(' '));
    expect(fragments.length).toBeGreaterThan(10);
    expect(fragments.filter((fragment) => !source.includes(fragment))).toEqual([]);
  });

  it('names fields that status has', () => {
    const source = read('src/model/status.ts');
    const fields = operationsCode.filter((code) => /^(hold|store|ipvs)\.[a-zA-Z]+$/.test(code));
    expect(fields.length).toBeGreaterThan(3);
    for (const field of fields) expect(source, field).toContain(`${field.split('.')[1]}:`);
  });
});

describe('all documents', () => {
  it('name only metrics that are exported', () => {
    const names = DOCUMENTS.flatMap((file) => read(file).match(/\bleasehold_[a-z_]+/g) ?? []);
    const exported = Object.values(CATALOGUE).map(({ name }) => name as string);
    expect(names.filter((name) => !exported.includes(name))).toEqual([]);
  });
});
