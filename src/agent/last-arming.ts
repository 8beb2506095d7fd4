/**
 * What the last arming of the rules left behind, to tell by identity that the next one asks for the very
 * same of the very same kernel: such a round renews deadlines and compares nothing address by address.
 */
import type { FenceContents } from '../ports/fence.ts';
import type { ArmRequest, GateGroup } from '../ports/gate.ts';
import type { GatePlaces } from './local-gate.ts';

/** All that decides what an arming has to do. */
export type ArmingInputs = {
  readonly contents: FenceContents;
  readonly places: GatePlaces;
  /** Of the bindings. */
  readonly version: number;
  readonly foreseen: readonly GateGroup[];
};

export type LastArming = ArmingInputs & {
  readonly groups: ArmRequest['groups'];
  readonly linkIndexes: readonly number[];
};

/** False in doubt: objects that were made anew count as changed. */
export function isRepeated(
  last: LastArming,
  groups: ArmRequest['groups'],
  inputs: ArmingInputs,
): boolean {
  return (
    last.version === inputs.version &&
    last.places === inputs.places &&
    last.foreseen === inputs.foreseen &&
    isSameContents(last.contents, inputs.contents) &&
    last.groups.length === groups.length &&
    last.groups.every((before, i) => {
      const one = groups[i];
      return (
        one !== undefined &&
        one.group === before.group &&
        one.mode === before.mode &&
        one.addresses === before.addresses
      );
    })
  );
}

/** A commit that changes no set leaves each as the same object. */
const isSameContents = (a: FenceContents, b: FenceContents): boolean =>
  a.devices === b.devices &&
  a.managed === b.managed &&
  a.enabled === b.enabled &&
  a.muted === b.muted &&
  a.served === b.served &&
  a.directors === b.directors;
