/** Looks along a VIP's path from the network namespace it is started in: a line in, a line out. */
import { createInterface } from 'node:readline';
import type { IpAddress } from '../../../src/model/address.ts';
import { ANY_ORIGIN, type VipCheck } from '../../../src/model/check.ts';
import { OneProbe, openSockets, wordsOf } from './one-probe.ts';

export type VipLookAt = {
  readonly check: VipCheck;
  readonly address: IpAddress;
  readonly port: number;
  readonly timeoutMs: number;
};
export type VipCommand =
  /** All at the same time. */
  { readonly op: 'look'; readonly at: readonly VipLookAt[] } | { readonly op: 'sockets' };
export type VipAnswer = { readonly told: readonly string[] };

const one = new OneProbe();
const atRest = openSockets();

async function answer(command: VipCommand): Promise<VipAnswer> {
  if (command.op === 'sockets') return { told: [`${openSockets() - atRest}`] };
  const seen = await Promise.all(
    command.at.map(({ check, ...place }) => one.run(check, { ...place, origin: ANY_ORIGIN })),
  );
  return { told: seen.map(wordsOf) };
}

process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line) as VipCommand))}\n`);
