/**
 * What `gateway` and `isolation` of the cluster document must satisfy (design 4.10): whoever is asked whether
 * a director is on the network must be somebody else, and must be there.
 */
import { familyOf, type IpAddress, ipToBytes } from '../model/address.ts';
import type { Problem } from './problem.ts';
import { addressOf, at, entriesOf, itemsOf, type Raw, textOf } from './raw.ts';
import type { Vip } from './rules.ts';
import { addressProblem, firstUseOf } from './rules-common.ts';

export function gatewayProblems(root: Raw, vips: readonly Vip[]): readonly Problem[] {
  return listProblems(root, at(root, 'gateway'), vips);
}

export function isolationProblems(root: Raw, vips: readonly Vip[]): readonly Problem[] {
  const isolation = at(root, 'isolation');
  const problems = listProblems(root, at(isolation, 'targets'), vips);
  const policy = policyOf(isolation);
  if (textOf(policy) !== 'gateway' || targetsOf(root).length > 0) return problems;
  return [
    ...problems,
    {
      path: policy.path,
      message: 'gateway has nobody to ask',
      allowed: 'gateway with a list of addresses at gateway or isolation.targets, or release',
    },
  ];
}

/** Of documents that ask for it: who writes only `gateway` has not decided to depend on it. */
export function isolationWarnings(root: Raw, vips: readonly Vip[]): readonly Problem[] {
  const isolation = at(root, 'isolation');
  const isAsked =
    textOf(policyOf(isolation)) === 'gateway' || itemsOf(at(isolation, 'targets')).length > 0;
  const targets = targetsOf(root).map(addressOf);
  const isNear = (target: IpAddress | null): boolean => target !== null && isFirstHop(target, vips);
  if (!isAsked || textOf(policyOf(isolation)) === 'release' || !targets.every(isNear)) return [];
  return [
    {
      path: isolation.path,
      message:
        "all targets are in the VIPs' own networks: a gateway address that several machines answer for proves nothing",
      allowed: 'isolation.targets with one address beyond the first hop; it may stay',
    },
  ];
}

const policyOf = (isolation: Raw): Raw =>
  textOf(isolation) === null ? at(isolation, 'policy') : isolation;

/** Those that are asked: of `isolation`, else of `gateway`. */
function targetsOf(root: Raw): readonly Raw[] {
  const own = at(at(root, 'isolation'), 'targets');
  return itemsOf(own.value === undefined ? at(root, 'gateway') : own);
}

function listProblems(root: Raw, list: Raw, vips: readonly Vip[]): readonly Problem[] {
  const directors = entriesOf(at(root, 'directors')).map(
    ([name, director]) => [addressOf(at(director, 'address')), name] as const,
  );
  const isTaken = firstUseOf<IpAddress>();
  return itemsOf(list).flatMap((place) => {
    const problem = addressProblem(place);
    if (problem !== null) return [problem];
    const address = addressOf(place);
    if (address === null) return [];
    const message = targetProblem(address, vips, new Map(directors));
    const { path } = place;
    if (message !== null)
      return [{ path, message, allowed: "a router's address, not one of this cluster" }];
    if (isTaken(address, path) === null) return [];
    return [{ path, message: `${address} is in the list twice`, allowed: 'each address once' }];
  });
}

function targetProblem(
  address: IpAddress,
  vips: readonly Vip[],
  directors: ReadonlyMap<IpAddress | null, string>,
): string | null {
  const vip = vips.find((candidate) => candidate.address === address);
  if (vip !== undefined)
    return `${address} is a VIP of group "${vip.group}", and no VIP proves where another is`;
  const director = directors.get(address);
  if (director !== undefined)
    return `${address} is director "${director}", and would answer itself`;
  const bytes = ipToBytes(address);
  const isLoopback = bytes.length === 4 ? bytes[0] === 127 : address === '::1';
  return isLoopback ? `${address} is a loopback address, and every host answers itself` : null;
}

/** In the network of a VIP, as its prefix tells it, or link-local. */
function isFirstHop(target: IpAddress, vips: readonly Vip[]): boolean {
  const a = ipToBytes(target);
  const isLinkLocal =
    a.length === 4 ? a[0] === 169 && a[1] === 254 : a[0] === 0xfe && ((a[1] ?? 0) & 0xc0) === 0x80;
  return isLinkLocal || vips.some((vip) => isInNetwork(a, vip));
}

function isInNetwork(target: Uint8Array, { address, prefix }: Vip): boolean {
  if (address === null || familyOf(address) !== (target.length === 4 ? 4 : 6)) return false;
  return ipToBytes(address).every((byte, i) => {
    const bits = Math.min(8, Math.max(0, prefix - i * 8));
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === ((target[i] ?? 0) & mask);
  });
}
