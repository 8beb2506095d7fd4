/** Reads captured netlink messages (`name = hex` lines) and takes them apart without the code under test. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromHex, toHex } from '../../../src/lib/bytes.ts';

export type Captured = { readonly name: string; readonly bytes: Uint8Array };

export function loadCaptured(file: string): ReadonlyMap<string, Uint8Array> {
  const path = join(import.meta.dirname, '../../fixtures/netlink', file);
  const found = new Map<string, Uint8Array>();
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const [name, hex] = line.split(' = ');
    if (line.startsWith('#') || name === undefined || hex === undefined) continue;
    const bytes = fromHex(hex);
    if (bytes === null) throw new Error(`${file}: ${name} is no hexadecimal text`);
    found.set(name, bytes);
  }
  return found;
}

export function captured(messages: ReadonlyMap<string, Uint8Array>, name: string): Uint8Array {
  const bytes = messages.get(name);
  if (bytes === undefined) throw new Error(`no captured message ${name}`);
  return bytes;
}

/** The body after the 16 bytes of the netlink header. */
export const bodyOf = (message: Uint8Array): Uint8Array => message.subarray(16);

/** `type: hex` of each attribute from `start` on, sorted: programs write them in different orders. */
export function attributeLines(bytes: Uint8Array, start: number): readonly string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lines: string[] = [];
  for (let offset = start; offset + 4 <= bytes.length; ) {
    const length = view.getUint16(offset, true);
    const type = view.getUint16(offset + 2, true) & 0x3fff;
    lines.push(`${type}: ${toHex(bytes.subarray(offset + 4, offset + length))}`);
    offset += (length + 3) & ~3;
  }
  return lines.toSorted();
}
