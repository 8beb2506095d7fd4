/** The beginning of a datagram with places that may be anything: `a1 0x xx`, a digit or an `x` for each half byte. */
import { err, ok, type Result } from './result.ts';

export type BytePattern = { readonly value: Uint8Array; readonly mask: Uint8Array };

/** White space is ignored; the error is the rest of a sentence that begins with the pattern. */
export function parseBytePattern(text: string): Result<BytePattern, string> {
  const digits = text.replace(/\s+/g, '').toLowerCase();
  if (/[^0-9a-fx]/.test(digits)) return err('has other than hexadecimal digits and x');
  if (digits.length % 2 !== 0) return err('has an odd number of digits');
  const [value, mask] = [new Uint8Array(digits.length / 2), new Uint8Array(digits.length / 2)];
  for (const [i, digit] of Array.from(digits).entries()) {
    if (digit === 'x') continue;
    const shift = i % 2 === 0 ? 4 : 0;
    const at = i >>> 1;
    value[at] = (value[at] ?? 0) | (Number.parseInt(digit, 16) << shift);
    mask[at] = (mask[at] ?? 0) | (0xf << shift);
  }
  return ok({ value, mask });
}

/** True where the bytes begin as the pattern says. */
export function matchesPattern({ value, mask }: BytePattern, bytes: Uint8Array): boolean {
  return (
    bytes.length >= value.length &&
    value.every((wanted, i) => ((bytes[i] ?? 0) & (mask[i] ?? 0)) === wanted)
  );
}
