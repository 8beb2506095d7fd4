/** Rules that several parts of the cluster document share. */
import { type IpAddress, ipToBytes, parseIp } from '../model/address.ts';
import type { Problem } from './problem.ts';
import { formatDuration } from './durations.ts';
import { durationOf, itemsOf, type Raw, textOf } from './raw.ts';
import { commandOf } from './track-words.ts';

/** An address that is none, or that no host can have; null where it is fine or missing. */
export function addressProblem(place: Raw): Problem | null {
  const text = textOf(place);
  if (text === null) return null;
  const allowed = 'the IPv4 or IPv6 address of a host';
  const parsed = parseIp(text);
  if (!parsed.ok) return { path: place.path, message: parsed.error, allowed };
  const kind = specialKind(parsed.value);
  return kind === null ? null : { path: place.path, message: `${text} is ${kind}`, allowed };
}

/** RFC 6890: addresses that belong to no single host. */
function specialKind(address: IpAddress): string | null {
  const bytes = ipToBytes(address);
  const first = bytes[0] ?? 0;
  if (bytes.every((byte) => byte === 0)) return 'the unspecified address';
  if (bytes.length === 4 && first === 0) return 'in "this network" (0.0.0.0/8)';
  if (bytes.length === 16 ? first === 0xff : first >= 224 && first < 240) return 'multicast';
  return bytes.length === 4 && first >= 240 ? 'reserved' : null;
}

/** Remembers who used a value first: null for the first, else the first one's name. */
export function firstUseOf<T>(): (value: T, user: string) => string | null {
  const users = new Map<T, string>();
  return (value, user) => {
    const first = users.get(value);
    if (first === undefined) users.set(value, user);
    return first ?? null;
  };
}

export function rangeProblems(
  place: Raw,
  { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
): readonly Problem[] {
  const ms = durationOf(place);
  if (ms === null || (ms >= fromMs && ms <= toMs)) return [];
  return [
    {
      path: place.path,
      message: `${formatDuration(ms)} is out of range`,
      allowed: `${formatDuration(fromMs)} to ${formatDuration(toMs)}`,
    },
  ];
}

/** The words of a command; null where it is of the wrong shape, which `shape.ts` has reported. */
export function wordsOf(place: Raw): readonly string[] | null {
  if (typeof place.value === 'string') return commandOf(place.value);
  const words = itemsOf(place).map(textOf);
  return words.length === 0 || words.includes(null) ? null : words.filter((word) => word !== null);
}

/** No shell reads it: quotes and relative names would not do what they do in one. */
export function commandProblems(place: Raw): readonly Problem[] {
  const words = wordsOf(place);
  if (words === null || place.value === '') return [];
  const [program = ''] = words;
  const { path } = place;
  if (typeof place.value === 'string' && /["'\\`$|;&<>\n\t]/.test(place.value))
    return [
      {
        path,
        message: 'has a character that only a shell would understand, and none reads it',
        allowed: 'words with spaces between them, or a list of words, or the path of a script',
      },
    ];
  if (words.some((word) => word.includes('\0')))
    return [{ path, message: 'has a zero byte', allowed: 'words without zero bytes' }];
  if (program.startsWith('/')) return [];
  return [
    {
      path,
      message: `"${program}" is no absolute path`,
      allowed: 'the absolute path of a program, then its arguments',
    },
  ];
}
