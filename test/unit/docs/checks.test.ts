/** docs/checks.md tells words, defaults and names as the code has them. */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { KILL_GRACE_MS } from '../../../src/adapters/programs/run-program.ts';
import { BODY_MAX, CheckSchema, COMMON_CHECK_KEYS } from '../../../src/config/check-schema.ts';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import {
  DEFAULT_BODY_MAX,
  DEFAULT_CHECK,
  DEFAULT_REPLY_MAX,
} from '../../../src/config/defaults.ts';
import { CHECK_KINDS, DNS_TYPES, PROBE_REASONS } from '../../../src/model/check.ts';
import { minimal } from '../config/documents.ts';
import { blocksOf, inlineCodeOf, read } from './documents.ts';

const FILE = 'docs/checks.md';
const raw = read(FILE);
const text = raw.replaceAll(/\s+/g, ' ');
const words = new Set(inlineCodeOf(FILE).flatMap((code) => code.split(/[^A-Za-z-]+/)));
const constant = (file: string, name: string): number =>
  Number(
    new RegExp(`const ${name} = ([\\d_]+)`)
      .exec(read(`src/adapters/probes/${file}`))?.[1]
      ?.replaceAll('_', ''),
  );

describe(FILE, () => {
  const examples = blocksOf(FILE).filter(({ language }) => language === 'yaml');

  it('has examples that pass without a warning', () => {
    expect(examples).toHaveLength(5);
    for (const example of examples) {
      const parsed = parseClusterDocument({ ...minimal(), ...(parse(example.text) as object) });
      expect(parsed.ok ? parsed.value.warnings : parsed.error).toEqual([]);
    }
  });

  it('names every kind, every word, and no other reason', () => {
    for (const kind of CHECK_KINDS) expect(words).toContain(kind);
    for (const word of COMMON_CHECK_KEYS) expect(words).toContain(word);
    const { properties } = CheckSchema;
    for (const kind of CHECK_KINDS)
      for (const word of Object.keys(properties[kind].properties)) expect(words).toContain(word);
    const said = /one of these: (.*?)\. What fails/.exec(text)?.[1] ?? '';
    expect([...said.matchAll(/`([a-z-]+)`/g)].map(([, reason]) => reason)).toEqual([
      ...PROBE_REASONS,
    ]);
  });

  it('names every type of record', () => {
    const types = /Types: ([A-Z, ]+)\./.exec(text)?.[1]?.split(', ') ?? [];
    expect(types.toSorted()).toEqual(Object.keys(DNS_TYPES).toSorted());
  });

  it('tells defaults and bounds', () => {
    const { intervalMs, timeoutMs, rise, fall } = DEFAULT_CHECK;
    expect(text).toContain(`| \`interval\` | ${intervalMs / 1000}s |`);
    expect(text).toContain(`| \`timeout\` | ${timeoutMs / 1000}s |`);
    expect(text).toContain(`| \`rise\`, \`fall\` | ${rise}, ${fall} |`);
    expect(text).toContain(`\`bodyMax\` ${DEFAULT_BODY_MAX}`);
    expect(text).toContain(`at most ${BODY_MAX}`);
    expect(text).toContain(`\`maxLength\` ${DEFAULT_REPLY_MAX}`);
    expect(text).toContain(`within ${constant('exchange-probe.ts', 'ANSWER_MAX')} bytes`);
    expect(text).toContain(`At most ${constant('script-probes.ts', 'PROGRAMS_MAX')} run at once`);
    expect(KILL_GRACE_MS).toBe(1000);
    expect(constant('trust.ts', 'FRESH_MS')).toBe(5000);
  });

  it('names scripts that there are', () => {
    for (const name of ['redis-ping', 'mysql-ping', 'grpc-health.mjs']) {
      expect(text).toContain(`\`${name}\``);
      expect(existsSync(new URL(`../../../deploy/checks/${name}`, import.meta.url))).toBe(true);
    }
  });

  it('has lines that fit a screen', () => {
    const isTable = (line: string): boolean => line.startsWith('|');
    expect(
      raw
        .split('\n')
        .filter(
          (line) => line.length > 120 && !line.includes('mysql-ping {address}') && !isTable(line),
        ),
    ).toEqual([]);
  });
});
