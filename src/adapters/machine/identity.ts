/** Who this machine and this kernel are: a session of the same boot and namespace has the same gate. */
import { readFileSync, readlinkSync } from 'node:fs';
import { messageOf } from '../../lib/result.ts';
import type { Random } from '../../ports/random.ts';

export type MachineIdentity = {
  readonly boot: string;
  readonly namespace: string;
  readonly machine: string;
  readonly nonce: string;
};

const NONCE_BYTES = 16;

/**
 * boot_id changes with every boot (random(4)); the inode names the network namespace (namespaces(7)).
 * Where boot_id cannot be read the nonce takes its place: then no earlier life is ever adopted.
 */
export function readMachineIdentity(
  random: Random,
  override: { readonly machine: string; readonly boot: string } | null,
): MachineIdentity {
  const nonce = random.hex(NONCE_BYTES);
  const boot = readText(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'));
  const namespace = readText(() => readlinkSync('/proc/self/ns/net'));
  const machine = readText(() => readFileSync('/etc/machine-id', 'utf8'));
  return {
    boot: override?.boot ?? boot ?? nonce,
    namespace: namespace ?? nonce,
    machine: override?.machine ?? machine ?? '',
    nonce,
  };
}

function readText(read: () => string): string | null {
  try {
    return read().trim();
  } catch (error) {
    // A container without /proc or machine-id: the caller says what stands in.
    void messageOf(error);
    return null;
  }
}
