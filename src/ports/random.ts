/** Randomness as an input: seeded in the simulator, the system's in production. */
export interface Random {
  /** Uniform, 0 ≤ x < 1. */
  next(): number;
  /** `length` random bytes as hexadecimal text; for nonces and ids. */
  hex(length: number): string;
}
