/** HMAC-SHA256 at the end of each datagram; two keys while the operator rotates them. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { assert } from '../../lib/assert.ts';
import { concatBytes } from '../../lib/bytes.ts';
import { MAC_LENGTH } from '../../wire/peer-message.ts';

export class Authenticator {
  readonly #signKey: Uint8Array;
  readonly #keys: readonly Uint8Array[];

  /** The first key signs, all verify. At least one key, none of them empty. */
  constructor(keys: readonly Uint8Array[]) {
    const [signKey] = keys;
    assert(signKey !== undefined, 'the peer link needs a key');
    assert(
      keys.every((key) => key.length > 0),
      'a key of the peer link is empty',
    );
    this.#signKey = signKey;
    this.#keys = keys;
  }

  sign(bytes: Uint8Array): Uint8Array {
    return concatBytes([bytes, hmac(this.#signKey, bytes)]);
  }

  /** The bytes without their MAC, or null when no key of ours made it. */
  open(datagram: Uint8Array): Uint8Array | null {
    if (datagram.length < MAC_LENGTH) return null;
    const bytes = datagram.subarray(0, datagram.length - MAC_LENGTH);
    const mac = datagram.subarray(datagram.length - MAC_LENGTH);
    return this.#keys.some((key) => timingSafeEqual(hmac(key, bytes), mac)) ? bytes : null;
  }
}

/** HMAC-SHA256, 32 bytes. */
export const hmac = (key: Uint8Array, bytes: Uint8Array | string): Uint8Array =>
  new Uint8Array(createHmac('sha256', key).update(bytes).digest());
