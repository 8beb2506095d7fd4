/** The Dockerfile: what it copies is there and not ignored, what it runs exists, and its Node fits. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseAgentConfig } from '../../../src/config/agent-file.ts';
import { runCli } from '../cli/harness.ts';
import { agentDocument, withKeyFile } from './key-file.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

type Instruction = { readonly name: string; readonly text: string; readonly stage: number };

/** Instructions with their continued lines joined; comments are left out. */
function parseDockerfile(text: string): readonly Instruction[] {
  const lines = text
    .split('\n')
    .filter((line) => !/^\s*#/.test(line))
    .join('\n')
    .replaceAll(/\\\n\s*/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '');
  let stage = -1;
  return lines.map((line) => {
    const [name = '', ...rest] = line.split(/\s+/);
    if (name === 'FROM') stage++;
    return { name, text: rest.join(' '), stage };
  });
}

const instructions = parseDockerfile(read('Dockerfile'));
const named = (name: string): readonly Instruction[] =>
  instructions.filter((instruction) => instruction.name === name);
const copies = named('COPY').map(({ text, stage }) => {
  const from = /^--from=(\S+) /.exec(text)?.[1] ?? null;
  const words = text.replace(/^--from=\S+ /, '').split(' ');
  return { stage, from, sources: words.slice(0, -1), target: words.at(-1) ?? '' };
});
const lastStage = Math.max(...instructions.map(({ stage }) => stage));

describe('the Dockerfile', () => {
  it('has only instructions that Docker knows', () => {
    const known = 'FROM ENV RUN WORKDIR COPY USER HEALTHCHECK ENTRYPOINT CMD'.split(' ');
    expect(instructions.map(({ name }) => name).filter((name) => !known.includes(name))).toEqual(
      [],
    );
    expect(lastStage).toBe(1);
  });

  it('copies from the context only what is there and not ignored', () => {
    const ignore = read('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(ignore[0]).toBe('*');
    const kept = ignore.slice(1).map((line) => line.replace(/^!/, ''));
    expect(ignore.slice(1).every((line) => line.startsWith('!'))).toBe(true);
    const sources = copies.filter(({ from }) => from === null).flatMap((copy) => copy.sources);
    expect(sources.length).toBeGreaterThan(5);
    for (const source of sources) {
      expect(existsSync(join(ROOT, source)), source).toBe(true);
      expect(kept, source).toContain(source.split('/')[0]);
    }
    for (const path of kept) expect(existsSync(join(ROOT, path)), path).toBe(true);
  });

  it('copies from the build only what the build has', () => {
    const made = ['/opt/leasehold/node_modules', '/opt/leasehold/dist'];
    const copied = copies
      .filter(({ stage, from }) => stage === 0 && from === null)
      .flatMap(({ sources }) => sources.map((source) => `/opt/leasehold/${source}`));
    const taken = copies.filter(({ from }) => from === 'build').flatMap((copy) => copy.sources);
    expect(taken.filter((path) => ![...made, ...copied].includes(path))).toEqual([]);
  });

  it('leaves in the image all that the program reads of its checkout', () => {
    const targets = copies.filter(({ stage }) => stage === lastStage).map(({ target }) => target);
    expect(targets.toSorted()).toEqual(['LICENSE', 'bin', 'dist', 'node_modules', 'package.json']);
    expect(read('src/main.ts')).toContain("new URL('../package.json', import.meta.url)");
  });

  it('takes a Node that package.json asks for, the same in both stages', () => {
    const images = named('FROM').map(({ text }) => text.split(' ')[0]);
    expect(new Set(images)).toEqual(new Set(['node:24-bookworm-slim']));
    const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
    expect(engines.node.split('||').at(-1)?.trim()).toBe('>=22.12.0');
  });

  it('runs npm scripts that exist, and installs from the lock file', () => {
    const runs = named('RUN').map(({ text }) => text);
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const used = runs.flatMap((run) =>
      [...run.matchAll(/npm run ([\w:-]+)/g)].map(([, name]) => name),
    );
    expect(used).toEqual(['build']);
    for (const name of used) expect(scripts).toHaveProperty(name ?? '');
    expect(runs).toContain('npm ci');
    expect(runs.some((run) => run.endsWith('npm prune --omit=dev'))).toBe(true);
  });

  it('starts a command of leasehold', async () => {
    const words = (name: string): string[] => JSON.parse(named(name)[0]?.text ?? '[]') as string[];
    expect(words('ENTRYPOINT')).toEqual(['leasehold']);
    let started: unknown;
    const { code } = await runCli(words('CMD'), {}, async (options) => {
      started = options;
      return 0;
    });
    expect(code).toBe(0);
    expect(started).toEqual({ config: '/etc/leasehold/agent.yaml', dev: false });
  });

  it('asks the default address of the API whether the agent lives', async () => {
    await withKeyFile(async (keyFile) => {
      const parsed = await parseAgentConfig(agentDocument(keyFile), '/');
      if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
      const { host, port } = parsed.value.api;
      expect(named('HEALTHCHECK')[0]?.text).toContain(`'http://${host}:${port}/livez'`);
    });
    const openapi = JSON.parse(read('openapi/openapi.json')) as { paths: Record<string, unknown> };
    expect(openapi.paths).toHaveProperty('/livez');
  });
});
