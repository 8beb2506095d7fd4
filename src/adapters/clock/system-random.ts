/** The system's randomness behind the Random port. */
import { randomBytes } from 'node:crypto';

import type { Random } from '../../ports/random.ts';

/** `hex` is cryptographically strong; `next` has 48 random bits, enough for jitter. */
export function createSystemRandom(): Random {
  return {
    next: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
    hex: (length) => randomBytes(length).toString('hex'),
  };
}
