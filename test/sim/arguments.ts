/** What `npm run sim` is told on the command line. Pure. */
import { parseArgs, type ParseArgsConfig } from 'node:util';
import type { TimingProfile } from '../../src/model/cluster.ts';
import { MUTATIONS } from './mutations.ts';

const PROFILES = ['fast', 'default', 'relaxed'] as const satisfies readonly TimingProfile[];

export const USAGE = `npm run sim -- [--seeds N] [--seed S] [--ms MS] [--trace] [--profile ${PROFILES.join('|')}]
               [--mutation NAME] [--workers K] [--summary FILE] [--resume]

  --seeds N         so many schedules, 100 by default
  --seed S          from this one on, 1 by default
  --ms MS           each so many virtual milliseconds of faults, 60000 by default
  --trace           tells what happened in each
  --profile NAME    of all clusters, and with kernel rules
  --mutation NAME   leaves a rule out: test/sim/mutations.txt names them
  --workers K       in so many processes, which is worth it from some hundred schedules on
  --summary FILE    writes there what was found, again and again
  --resume          does the rest of an interrupted run: the same command, and the same code
`;

const OPTIONS = {
  seeds: { type: 'string', default: '100' },
  seed: { type: 'string', default: '1' },
  ms: { type: 'string', default: '60000' },
  workers: { type: 'string', default: '0' },
  profile: { type: 'string' },
  mutation: { type: 'string' },
  summary: { type: 'string' },
  trace: { type: 'boolean', default: false },
  resume: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
  /** Set by the parent process. */
  worker: { type: 'boolean', default: false },
} as const satisfies ParseArgsConfig['options'];

export type SimArguments = {
  readonly seeds: number;
  readonly seed: number;
  readonly ms: number;
  readonly workers: number;
  readonly profile: TimingProfile | null;
  readonly mutation: string | null;
  readonly summary: string | null;
  readonly trace: boolean;
  readonly resume: boolean;
  readonly help: boolean;
  readonly worker: boolean;
};

/** The arguments, or all that is wrong with them. */
export function readArguments(
  argv: readonly string[],
): { readonly arguments: SimArguments } | { readonly problems: readonly string[] } {
  const { values, tokens } = parseArgs({
    args: [...argv],
    options: OPTIONS,
    strict: false,
    tokens: true,
  });
  const problems: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') problems.push(`${token.value}: no option`);
    if (token.kind !== 'option') continue;
    const option = Object.hasOwn(OPTIONS, token.name)
      ? OPTIONS[token.name as keyof typeof OPTIONS]
      : null;
    if (option === null) problems.push(`${token.rawName}: there is no such option`);
    else if (option.type === 'string' && token.value === undefined)
      problems.push(`${token.rawName}: wants a value`);
    else if (option.type === 'boolean' && token.value !== undefined)
      problems.push(`${token.rawName}: takes no value`);
  }
  const number = (name: 'seeds' | 'seed' | 'ms' | 'workers', least: number): number => {
    const value = values[name];
    const found = /^\d+$/.test(String(value)) ? Number(value) : Number.NaN;
    if (typeof value === 'string' && !(Number.isSafeInteger(found) && found >= least))
      problems.push(`--${name} ${value}: wants a whole number from ${least} on`);
    return found;
  };
  const text = (name: 'profile' | 'mutation' | 'summary'): string | null => {
    const value = values[name];
    return typeof value === 'string' ? value : null;
  };
  const numbers = {
    seeds: number('seeds', 1),
    seed: number('seed', 0),
    ms: number('ms', 0),
    workers: number('workers', 0),
  };
  const [profile, mutation, summary] = [text('profile'), text('mutation'), text('summary')];
  const known = PROFILES.find((one) => one === profile) ?? null;
  if (profile !== null && known === null)
    problems.push(`--profile ${profile}: wants one of ${PROFILES.join(', ')}`);
  if (mutation !== null && !MUTATIONS.some(({ name }) => name === mutation))
    problems.push(`--mutation ${mutation}: there is none of that name in test/sim/mutations.txt`);
  const resume = values.resume === true;
  if (resume && summary === null) problems.push('--resume: wants the --summary FILE to go on with');
  if (problems.length > 0) return { problems };
  return {
    arguments: {
      ...numbers,
      profile: known,
      mutation,
      summary,
      trace: values.trace === true,
      resume,
      help: values.help === true,
      worker: values.worker === true,
    },
  };
}
