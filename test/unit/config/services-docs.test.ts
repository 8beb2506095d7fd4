/** The examples of docs/services.md are documents that pass. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseClusterDocument, parseYaml } from '../../../src/config/cluster-document.ts';
import { minimal } from './documents.ts';

const text = readFileSync(new URL('../../../docs/services.md', import.meta.url), 'utf8');
const examples = [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');

describe('docs/services.md', () => {
  it('has examples', () => expect(examples).toHaveLength(2));

  it.each(examples)('%#: passes without a warning', (example) => {
    const parsed = parseYaml(example);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
    const { groups, ...rest } = parsed.value as { groups?: { web: object } };
    const { web } = minimal().groups;
    const document = {
      ...minimal(),
      services: {},
      ...rest,
      groups: { web: { ...web, ...groups?.web } },
    };
    const judged = parseClusterDocument(document);
    expect(judged.ok ? judged.value.warnings : judged.error).toEqual([]);
  });
});
