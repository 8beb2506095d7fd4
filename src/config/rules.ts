/**
 * What the cluster document must satisfy as a whole, beyond its shape: every problem at once, each with
 * its path. Directors, VIP groups and the whole; virtual services are in `rules-services.ts`.
 */
import { runSteps } from '../lib/steps.ts';
import { familyOf, type IpAddress, ipToBytes, parseCidr } from '../model/address.ts';
import type { Problem } from './problem.ts';
import { addressOf, at, entriesOf, itemsOf, numberOf, type Raw, textOf } from './raw.ts';
import { addressProblem, firstUseOf } from './rules-common.ts';
import { gatewayProblems, isolationProblems, isolationWarnings } from './rules-gateway.ts';
import { groupProblems } from './rules-groups.ts';
import { ipvsProblems, syncWarnings } from './rules-ipvs.ts';
import { serviceProblemsSteps, serviceWarningsSteps } from './rules-services.ts';
import { directorLookProblemsSteps } from './rules-vip-checks.ts';
import { vrrpProblems } from './rules-vrrp.ts';
import { timingProblems, timingWarnings } from './timing.ts';

/** Cross-field problems of a document whose shape may be wrong; shape problems are not repeated. */
export const clusterProblems = (document: unknown): readonly Problem[] =>
  runSteps(clusterProblemsSteps(document));

/** The same in pieces. */
export function* clusterProblemsSteps(document: unknown): Generator<undefined, readonly Problem[]> {
  const root: Raw = { path: '', value: document };
  const vips = collectVips(at(root, 'groups'));
  yield;
  return [
    ...timingProblems(at(root, 'timing')),
    ...directorProblems(at(root, 'directors'), vips),
    ...gatewayProblems(root, vips),
    ...isolationProblems(root, vips),
    ...vipProblems(vips),
    ...groupProblems(at(root, 'groups'), at(root, 'directors')),
    ...vrrpProblems(at(root, 'groups'), at(root, 'timing')),
    ...(yield* serviceProblemsSteps(
      at(root, 'services'),
      at(root, 'groups'),
      vips,
      directorNames(root),
    )),
    ...(yield* directorLookProblemsSteps(at(root, 'services'), at(root, 'directors'))),
    ...ipvsProblems(root),
  ];
}

const directorNames = (root: Raw): readonly string[] =>
  entriesOf(at(root, 'directors')).map(([name]) => name);

/** What a document asks for and this version does not do, and what is probably a slip. */
export const clusterWarnings = (document: unknown): readonly Problem[] =>
  runSteps(clusterWarningsSteps(document));

/** The same in pieces. */
export function* clusterWarningsSteps(document: unknown): Generator<undefined, readonly Problem[]> {
  const root: Raw = { path: '', value: document };
  const warnings: Problem[] = [];
  for (const [, group] of entriesOf(at(root, 'groups'))) warnings.push(...withoutEffect(group));
  warnings.push(...timingWarnings(at(root, 'timing')));
  warnings.push(...isolationWarnings(root, collectVips(at(root, 'groups'))));
  const directors = entriesOf(at(root, 'directors')).length;
  const checkers = at(root, 'checkers');
  if ((numberOf(checkers) ?? 0) > directors)
    warnings.push({
      path: checkers.path,
      message: `there are only ${directors} directors: each runs every check`,
      allowed: `1 to ${directors}`,
    });
  const ofServices = yield* serviceWarningsSteps(at(root, 'services'));
  for (const warning of ofServices) warnings.push(warning);
  warnings.push(...syncWarnings(at(root, 'groups')));
  return warnings;
}

/** keepalived that drops advertisements for their list of VIPs would open beside the holder. */
function withoutEffect(group: Raw): readonly Problem[] {
  const vrrp = at(group, 'vrrp');
  const isHeard =
    at(vrrp, 'multicast').value === true || itemsOf(at(vrrp, 'neighbours')).length > 0;
  return itemsOf(at(group, 'addresses'))
    .map((address) => at(address, 'advertise'))
    .filter(({ value }) => value !== undefined)
    .map(({ path, value }) => ({
      path,
      message:
        isHeard && value === false
          ? 'has no effect in this version yet: the address is advertised; keepalived 2.3.2 and older drops what names other VIPs than its virtual_ipaddress, and would open beside the holder'
          : 'has no effect in this version yet',
      allowed: 'it may stay',
    }));
}

/** A VIP of the document; `address` is null where its text is none. */
export type Vip = {
  readonly group: string;
  readonly address: IpAddress | null;
  readonly prefix: number;
  readonly place: Raw;
  readonly entry: Raw;
  readonly groupPlace: Raw;
};

function collectVips(groups: Raw): readonly Vip[] {
  return entriesOf(groups).flatMap(([group, groupPlace]) =>
    itemsOf(at(groupPlace, 'addresses')).map((entry) => {
      const place = textOf(entry) === null ? at(entry, 'address') : entry;
      const parsed = parseCidr(textOf(place) ?? '');
      const { address, prefix } = parsed.ok ? parsed.value : { address: null, prefix: 0 };
      return { group, address, prefix, place, entry, groupPlace };
    }),
  );
}

function directorProblems(directors: Raw, vips: readonly Vip[]): readonly Problem[] {
  const problems: Problem[] = [];
  const isTaken = firstUseOf<IpAddress>();
  for (const [name, director] of entriesOf(directors)) {
    const place = at(director, 'address');
    const problem = addressProblem(place);
    if (problem !== null) problems.push(problem);
    const address = addressOf(place);
    if (address === null) continue;
    const other = isTaken(address, name);
    if (other !== null)
      problems.push({
        path: place.path,
        message: `${address} is also the address of director "${other}"`,
        allowed: 'a different address for each director',
      });
    const vip = vips.find((candidate) => candidate.address === address);
    if (vip !== undefined)
      problems.push({
        path: place.path,
        message: `${address} is a VIP of group "${vip.group}"`,
        allowed: "the director's own address, which never moves",
      });
  }
  return problems;
}

function vipProblems(vips: readonly Vip[]): readonly Problem[] {
  const problems: Problem[] = [];
  const isTaken = firstUseOf<IpAddress>();
  for (const vip of vips) {
    problems.push(...interfaceProblems(vip));
    const text = textOf(vip.place);
    if (text === null) continue;
    const own = vipAddressProblem(vip, text);
    if (own !== null) problems.push(own);
    if (vip.address === null) continue;
    const other = isTaken(vip.address, vip.group);
    if (other !== null)
      problems.push({
        path: vip.place.path,
        message:
          other === vip.group
            ? `${vip.address} is in this group twice`
            : `${vip.address} is also in group "${other}"`,
        allowed: 'each VIP in one group, once',
      });
  }
  return problems;
}

function vipAddressProblem(vip: Vip, text: string): Problem | null {
  const { path } = vip.place;
  const allowed = 'address/prefix of a host, e.g. 10.90.0.100/24 or fd90::100/64';
  const parsed = parseCidr(text);
  if (!parsed.ok) return { path, message: parsed.error, allowed };
  const special = addressProblem({
    path,
    value: parsed.value.address,
  });
  if (special !== null) return special;
  if (vip.prefix === 0) return { path, message: 'a prefix length of 0 names every host', allowed };
  const edge = edgeOf(parsed.value.address, vip.prefix);
  return edge === null ? null : { path, message: `${text} is the ${edge} address`, allowed };
}

/** IPv4 only: the all-zeros and all-ones hosts of a network of four addresses or more (RFC 1122 3.2.1.3). */
function edgeOf(address: IpAddress, prefix: number): 'network' | 'broadcast' | null {
  if (familyOf(address) !== 4 || prefix > 30) return null;
  const value = ipToBytes(address).reduce((sum, byte) => sum * 256 + byte, 0);
  const size = 2 ** (32 - prefix);
  if (value % size === 0) return 'network';
  return value % size === size - 1 ? 'broadcast' : null;
}

function interfaceProblems(vip: Vip): readonly Problem[] {
  const problems: Problem[] = [];
  const own = at(vip.entry, 'interface').value;
  if (own === undefined && at(vip.groupPlace, 'interface').value === undefined)
    problems.push({
      path: vip.entry.path,
      message: 'has no interface',
      allowed: `${at(vip.groupPlace, 'interface').path}, or interface in the address itself`,
    });
  const label = at(vip.entry, 'label');
  if (label.value !== undefined && vip.address !== null && familyOf(vip.address) === 6)
    problems.push({
      path: label.path,
      message: 'an IPv6 address has no label',
      allowed: 'labels for IPv4 addresses only',
    });
  return problems;
}
