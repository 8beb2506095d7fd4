/**
 * Feeds a decoder with random and mutated bytes. It must not throw, must not change its input, and must
 * read the same whatever stands before and behind the input in memory: so it never reads past the end.
 */
import { toHex } from '../../src/lib/bytes.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import type { FuzzedDecoder } from './decoders.ts';

export type Finding = {
  readonly decoder: string;
  readonly input: string;
  readonly problem: string;
};

/** Nothing of ours is longer on a wire with 1500 bytes a packet. */
const LENGTH_MAX = 1_500;
/** Of a hundred inputs: those that are nothing but random. */
const RANDOM_PERCENT = 10;
const MUTATIONS_MAX = 4;
const ODD_BYTES = [0, 1, 2, 4, 0x7f, 0x80, 0xfe, 0xff] as const;
/** Noise around the input; its length is no multiple of anything. */
const MARGIN = 37;

/** The first finding, or null after `inputs` inputs. The same seed gives the same inputs. */
export function fuzz(decoder: FuzzedDecoder, inputs: number, seed: number): Finding | null {
  const random = new SeededRandom(seed);
  for (let count = 0; count < inputs; count++) {
    const input = nextInput(decoder.corpus, random);
    const problem = examine(decoder, input, random.integer(0, 255));
    if (problem !== null) return { decoder: decoder.name, input: toHex(input), problem };
  }
  return null;
}

/** What is wrong with how the decoder reads this input; null: nothing. */
export function examine(
  { decode }: FuzzedDecoder,
  input: Uint8Array,
  noise: number,
): string | null {
  const alone = Uint8Array.from(input);
  const around = new Uint8Array(input.length + 2 * MARGIN).fill(noise);
  const inside = around.subarray(MARGIN, MARGIN + input.length);
  inside.set(input);
  try {
    const first = describe(decode(alone));
    const second = describe(decode(inside));
    if (first !== second) return `reads past the end: ${first} or ${second}`;
  } catch (error) {
    return `throws ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  }
  const isUnchanged = [alone, inside].every((bytes) => bytes.every((byte, i) => byte === input[i]));
  return isUnchanged ? null : 'changes its input';
}

/** A text that is the same for equal values only. */
function describe(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (part instanceof Uint8Array) return `bytes ${toHex(part)}`;
    return typeof part === 'bigint' ? `bigint ${part}` : part;
  });
}

function nextInput(corpus: readonly Uint8Array[], random: SeededRandom): Uint8Array {
  if (random.integer(0, 99) < RANDOM_PERCENT) return randomBytes(random.integer(0, 96), random);
  let bytes = Uint8Array.from(pick(corpus, random));
  const mutations = random.integer(1, MUTATIONS_MAX);
  for (let i = 0; i < mutations; i++) bytes = mutate(bytes, corpus, random);
  return bytes.subarray(0, LENGTH_MAX).slice();
}

function pick<T>(list: readonly T[], random: SeededRandom): T {
  const chosen = list[random.integer(0, list.length - 1)];
  if (chosen === undefined) throw new Error('nothing to begin from');
  return chosen;
}

function randomBytes(length: number, random: SeededRandom): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => random.integer(0, 255));
}

function mutate(
  bytes: Uint8Array<ArrayBuffer>,
  corpus: readonly Uint8Array[],
  random: SeededRandom,
): Uint8Array<ArrayBuffer> {
  const at = random.integer(0, Math.max(0, bytes.length - 1));
  switch (random.integer(0, 7)) {
    case 0:
      return bytes.slice(0, at);
    case 1:
      return join(bytes, randomBytes(random.integer(1, 40), random));
    case 2: {
      const other = pick(corpus, random);
      return join(bytes.slice(0, at), other.subarray(random.integer(0, other.length)));
    }
    case 3:
      return join(bytes.slice(0, at), bytes.subarray(at + random.integer(1, 8)));
    case 4:
      return join(
        bytes.slice(0, at),
        randomBytes(random.integer(1, 8), random),
        bytes.subarray(at),
      );
    case 5:
      if (bytes.length > 0) bytes[at] = pick(ODD_BYTES, random);
      return bytes;
    case 6:
      if (bytes.length > 0) bytes[at] = random.integer(0, 255);
      return bytes;
    default:
      if (bytes.length > 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.integer(0, 7));
      return bytes;
  }
}

function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}
