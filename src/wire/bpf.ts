/** Classic BPF programs as the kernel takes them for a socket (linux/filter.h). */

export type Instruction = {
  readonly code: number;
  /** Instructions skipped when a comparison is true, or false. */
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
};

/** struct sock_filter, an array of them, in host order. */
export function encodeFilter(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(8 * program.length);
  const view = new DataView(bytes.buffer);
  for (const [i, { code, jt, jf, k }] of program.entries()) {
    view.setUint16(8 * i, code, IS_LITTLE_ENDIAN);
    bytes[8 * i + 2] = jt;
    bytes[8 * i + 3] = jf;
    view.setUint32(8 * i + 4, k, IS_LITTLE_ENDIAN);
  }
  return bytes;
}

const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
