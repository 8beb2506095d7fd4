/** One line of what `ipvsadm -R` reads, as a command with its options. Source: ipvsadm(8), version 1.31. */
import { err, ok, type Result } from '../lib/result.ts';
import { nearestWord } from './nearest.ts';
import type { Problem } from './problem.ts';

/** A problem whose line is known to the caller. */
export type Complaint = Omit<Problem, 'path'>;

const COMMANDS = {
  'add-service': 'A',
  'edit-service': 'E',
  'delete-service': 'D',
  'add-server': 'a',
  'edit-server': 'e',
  'delete-server': 'd',
  clear: 'C',
} as const;
export type CommandName = keyof typeof COMMANDS;

/** Commands that concern no table, and where a document says what they do. */
const OTHER_COMMANDS: Readonly<Record<string, string>> = {
  set: 'take the line out, and set "ipvs.timeouts" in the cluster document',
  'start-daemon':
    'take the line out, and set "connectionSync" of the group in the cluster document',
  'stop-daemon': 'take the line out',
  zero: 'take the line out',
  Z: 'take the line out',
  list: 'take the line out',
  L: 'take the line out',
  l: 'take the line out',
  save: 'take the line out',
  S: 'take the line out',
  restore: 'take the line out',
  R: 'take the line out',
};

type OptionShape = { readonly short: string | null; readonly value: 'none' | 'must' | 'may' };
const OPTIONS = {
  'tcp-service': { short: 't', value: 'must' },
  'udp-service': { short: 'u', value: 'must' },
  'sctp-service': { short: null, value: 'must' },
  'fwmark-service': { short: 'f', value: 'must' },
  ipv6: { short: '6', value: 'none' },
  scheduler: { short: 's', value: 'must' },
  persistent: { short: 'p', value: 'may' },
  netmask: { short: 'M', value: 'must' },
  pe: { short: null, value: 'must' },
  'sched-flags': { short: 'b', value: 'must' },
  ops: { short: 'o', value: 'none' },
  'real-server': { short: 'r', value: 'must' },
  gatewaying: { short: 'g', value: 'none' },
  ipip: { short: 'i', value: 'none' },
  masquerading: { short: 'm', value: 'none' },
  weight: { short: 'w', value: 'must' },
  'u-threshold': { short: 'x', value: 'must' },
  'l-threshold': { short: 'y', value: 'must' },
  'tun-type': { short: null, value: 'must' },
  'tun-port': { short: null, value: 'must' },
  'tun-nocsum': { short: null, value: 'none' },
  'tun-csum': { short: null, value: 'none' },
  'tun-remcsum': { short: null, value: 'none' },
} as const satisfies Readonly<Record<string, OptionShape>>;
export type OptionName = keyof typeof OPTIONS;

const KEY_OPTIONS = ['tcp-service', 'udp-service', 'sctp-service', 'fwmark-service', 'ipv6'];
const SERVICE_OPTIONS = ['scheduler', 'persistent', 'netmask', 'pe', 'sched-flags', 'ops'];
const ALLOWED: Readonly<Record<CommandName, ReadonlySet<string>>> = (() => {
  const service = new Set([...KEY_OPTIONS, ...SERVICE_OPTIONS]);
  const server = new Set(Object.keys(OPTIONS).filter((name) => !SERVICE_OPTIONS.includes(name)));
  const key = new Set(KEY_OPTIONS);
  return {
    'add-service': service,
    'edit-service': service,
    'delete-service': key,
    'add-server': server,
    'edit-server': server,
    'delete-server': new Set([...KEY_OPTIONS, 'real-server']),
    clear: new Set<string>(),
  };
})();

export type Command = {
  readonly name: CommandName;
  /** Null: an option without a value. */
  readonly options: ReadonlyMap<OptionName, string | null>;
};

/** Null: nothing but white space or a comment. A leading `ipvsadm` is left out. */
export function readCommand(line: string): Result<Command | null, Complaint> {
  const words = wordsOf(line);
  if (words.length === 0) return ok(null);
  const options = new Map<OptionName, string | null>();
  let name: CommandName | null = null;
  for (let at = 0; at < words.length; ) {
    const switches = switchesOf(words[at] ?? '');
    if (!switches.ok) return switches;
    at++;
    for (const { word, attached } of switches.value) {
      const command = commandFrom(word);
      if (name === null) {
        if (command === null) return err(noCommand(word));
        name = command;
        continue;
      }
      if (command !== null)
        return err(complain(`a second command "${dashed(word)}"`, 'one a line'));
      const option = optionFrom(word);
      if (option === null) return err(unknownOption(word));
      if (!ALLOWED[name].has(option)) return err(misplaced(option, name));
      if (options.has(option)) return err(complain(`"${dashed(word)}" twice`, 'each option once'));
      const value = attached ?? valueFrom(words[at], OPTIONS[option]);
      if (value !== null && attached === null) at++;
      const { value: shape } = OPTIONS[option];
      if (shape === 'must' && (value === null || value === ''))
        return err(complain(`"${dashed(word)}" without a value`, `${dashed(word)} VALUE`));
      if (shape === 'none' && value !== null)
        return err(complain(`"${dashed(word)}" has no value`, dashed(word)));
      options.set(option, value);
    }
  }
  return name === null ? ok(null) : ok({ name, options });
}

export const complain = (message: string, allowed: string): Complaint => ({ message, allowed });

function wordsOf(line: string): readonly string[] {
  const words = line.split(/\s+/).filter((word) => word !== '');
  const comment = words.findIndex((word) => word.startsWith('#'));
  const kept = comment < 0 ? words : words.slice(0, comment);
  return kept[0] === 'ipvsadm' || kept[0]?.endsWith('/ipvsadm') === true ? kept.slice(1) : kept;
}

type Switch = { readonly word: string; readonly attached: string | null };

/** `--name`, `--name=value`, `-abc`, `-avalue`, `-a=value`: as popt(3) reads them. */
function switchesOf(word: string): Result<readonly Switch[], Complaint> {
  if (word.startsWith('--') && word.length > 2) {
    const cut = word.indexOf('=');
    if (cut < 0) return ok([{ word: word.slice(2), attached: null }]);
    return ok([{ word: word.slice(2, cut), attached: word.slice(cut + 1) }]);
  }
  if (!word.startsWith('-') || word === '-' || word === '--') return err(lonely(word));
  const switches: Switch[] = [];
  for (let i = 1; i < word.length; i++) {
    const letter = word[i] ?? '';
    const option = optionFrom(letter);
    const rest = word.slice(i + 1);
    if (option === null || OPTIONS[option].value === 'none' || rest === '') {
      switches.push({ word: letter, attached: null });
      continue;
    }
    switches.push({ word: letter, attached: rest.startsWith('=') ? rest.slice(1) : rest });
    break;
  }
  return ok(switches);
}

function valueFrom(next: string | undefined, shape: OptionShape): string | null {
  if (next === undefined || shape.value === 'none') return null;
  return shape.value === 'may' && next.startsWith('-') ? null : next;
}

function commandFrom(word: string): CommandName | null {
  for (const name of COMMAND_NAMES) if (word === name || word === COMMANDS[name]) return name;
  return null;
}

function optionFrom(word: string): OptionName | null {
  for (const name of OPTION_NAMES) if (word === name || word === OPTIONS[name].short) return name;
  return null;
}

const isCommandName = (word: string): word is CommandName => Object.hasOwn(COMMANDS, word);
const COMMAND_NAMES = Object.keys(COMMANDS).filter(isCommandName);
const isOptionName = (word: string): word is OptionName => Object.hasOwn(OPTIONS, word);
const OPTION_NAMES = Object.keys(OPTIONS).filter(isOptionName);

const dashed = (word: string): string => (word.length === 1 ? `-${word}` : `--${word}`);

/** Not after an option that takes a value: a word of something else, most often of a shell script. */
const lonely = (word: string): Complaint =>
  complain(
    `"${word}" is no option of ipvsadm`,
    'lines of ipvsadm alone; a script is not run: let "ipvsadm -S -n" print what it makes',
  );

function noCommand(word: string): Complaint {
  const remedy = Object.hasOwn(OTHER_COMMANDS, word) ? OTHER_COMMANDS[word] : undefined;
  if (remedy !== undefined) return complain(`"${dashed(word)}" changes no table`, remedy);
  return complain(`it begins with "${dashed(word)}"`, 'a command first: -A -E -D -a -e -d -C');
}

function unknownOption(word: string): Complaint {
  const near = word.length === 1 ? null : nearestWord(word, OPTION_NAMES);
  const allowed = near === null ? 'options as of ipvsadm(8)' : `perhaps --${near}`;
  return complain(`unknown option "${dashed(word)}"`, allowed);
}

const misplaced = (option: OptionName, name: CommandName): Complaint =>
  complain(
    `"${dashed(option)}" does not go with "${dashed(COMMANDS[name])}"`,
    [...ALLOWED[name]].map(dashed).join(' '),
  );
