/** The first part of the demo: who speaks for the VIPs when a director dies, and when it is asked to go. */
import { type ClusterLab, clusterDocument, VIP, VIP6 } from '../test/support/cluster-lab.ts';
import { faultNamed, perform } from '../test/support/faults.ts';
import { settle } from '../test/support/settled.ts';
import type { Verdict } from '../test/support/verdict.ts';

export type Screen = {
  /** A headline with the time since the start. */
  readonly step: (text: string) => void;
  readonly show: (text: string) => void;
};

/** Starts the cluster, cuts the holder's power, then moves the group on request. Throws for two voices. */
export async function showHolding(lab: ClusterLab, { step, show }: Screen): Promise<void> {
  await lab.etcd.start();
  await lab.startAgents();
  await lab.applyOk(clusterDocument(lab));
  const { holder } = await settle(lab);
  step(
    `Two VIPs, ${VIP} and ${VIP6}, profile ${lab.profile}. ${holder.name} holds them; its power goes`,
  );
  show('The client asks every 5 ms who has the VIP, and sends an echo to whoever spoke last.');
  const crash = await perform(lab, faultNamed('power-off'));
  for (const [family, verdict] of familiesOf(crash.verdicts)) {
    if (verdict.newFirstMs === null) throw new Error(`nobody took over the ${family} VIP`);
    show(
      `${family}: another voice after ${ms(verdict.newFirstMs)}, longest time without a reply ` +
        `${ms(verdict.outageMs)}; two voices for ${ms(verdict.dualMs)}`,
    );
  }
  const { holder: now, other } = await settle(lab);
  step(
    `${holder.name} is back and does not take them (preempt: never). Moving them to ${other.name}:`,
  );
  show(`leasehold switchover web --to ${other.name} --reason lab   (asked of ${now.name})`);
  show('The client sends 1000 echoes a second to each VIP.');
  const move = await perform(lab, faultNamed('switchover'));
  for (const [family, { lost, asked, outageMs, dualMs }] of familiesOf(move.verdicts))
    show(
      `${family}: lost ${lost} of ${asked} echoes, longest time between two replies ${ms(outageMs)}; ` +
        `two voices for ${ms(dualMs)}`,
    );
  if ([...crash.verdicts, ...move.verdicts].some((verdict) => verdict.dualMs > 0))
    throw new Error('two directors spoke for one VIP');
}

function familiesOf(verdicts: readonly Verdict[]): readonly (readonly [string, Verdict])[] {
  return verdicts.map((verdict, index) => [index === 0 ? 'IPv4' : 'IPv6', verdict]);
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}
