/** Which packets leasehold shall mark: a pure projection of the cluster document. */
import type { ClusterSpec, VirtualService } from '../../model/cluster.ts';
import type { ServiceId } from '../../model/ids.ts';
import { formatMarked, type MarkEntry } from '../../model/marks.ts';

export type DesiredMarks = {
  /** In the document's order, apart from each other: no packet is in two of them. */
  readonly entries: readonly MarkEntry[];
  /** Every service that asks for marks, in the document's order. */
  readonly services: readonly ServiceId[];
  /** What one service does not get, since another one has it: the kernel takes no packet twice. */
  readonly conflicts: ReadonlyMap<ServiceId, string>;
};

export const NO_MARKS: DesiredMarks = { entries: [], services: [], conflicts: new Map() };

/**
 * The same on every director, whatever it holds and whether its standby is warm: a mark without its IPVS
 * service changes nothing, and a director that takes over must not have to write rules first.
 */
export function deriveMarks(spec: Pick<ClusterSpec, 'services'>): DesiredMarks {
  const asking = spec.services.filter(({ marks }) => marks.length > 0);
  if (asking.length === 0) return NO_MARKS;
  const entries: MarkEntry[] = [];
  const taken = new Map<string, MarkEntry[]>();
  const conflicts = new Map<ServiceId, string>();
  for (const entry of asking.flatMap(entriesOf)) {
    const place = `${entry.protocol} ${entry.address}`;
    const known = taken.get(place) ?? [];
    taken.set(place, known);
    const other = known.find(
      ({ ports }) => ports.from <= entry.ports.to && entry.ports.from <= ports.to,
    );
    if (other === undefined) {
      known.push(entry);
      entries.push(entry);
    } else if (!conflicts.has(entry.service))
      conflicts.set(
        entry.service,
        `${formatMarked(entry)} is not marked: service "${other.service}" marks ${formatMarked(other)}`,
      );
  }
  return { entries, services: asking.map(({ id }) => id), conflicts };
}

function entriesOf({ id, keys, marks }: VirtualService): readonly MarkEntry[] {
  const key = keys.find(({ kind }) => kind === 'fwmark');
  if (key?.kind !== 'fwmark') return [];
  return marks.flatMap(({ address, protocol, ports }) =>
    ports.map((range) => ({ address, protocol, ports: range, mark: key.mark, service: id })),
  );
}
