/** What looks along the path of a VIP must satisfy: the service's address, the way there, and who looks at directors. */
import type { IpAddress } from '../model/address.ts';
import { usesPort } from '../model/check.ts';
import { DEFAULT_FORWARD } from './defaults.ts';
import { type Place, readPlace } from './places.ts';
import type { Problem } from './problem.ts';
import { addressOf, at, entriesOf, isMap, itemsOf, type Raw, textOf } from './raw.ts';
import { type CheckPlace, checksIn, sayingOf, strangeSources } from './rules-checks.ts';
import { addressProblem } from './rules-common.ts';

/** Whether a check needs to know of one port. */
export function asksPort({ kind, raw }: CheckPlace, place: Place): boolean {
  if (kind !== 'vip') return kind !== null && usesPort(kind);
  const ask = textOf(at(at(raw, 'vip'), 'ask'));
  return ask === null ? protocolIn(place) === 'tcp' : ask === 'tcp';
}

/** Null: others mark the packets. */
function protocolIn({ keys: [key], marks: [mark] }: Place): string | null {
  return (key?.kind === 'address' ? key : mark)?.protocol ?? null;
}

/** A look along the path of a VIP needs one, and a real server that gets packets for it. */
export function vipCheckProblems(
  forward: string,
  place: Place,
  checks: readonly CheckPlace[],
): readonly Problem[] {
  const problems: Problem[] = [];
  for (const check of checks) {
    if (check.kind !== 'vip') continue;
    const raw = at(check.raw, 'vip');
    if (forward === 'nat')
      problems.push({
        path: raw.path,
        message: 'looks along the path of dr and tun; with nat a real server has no VIP',
        allowed: 'forward: dr or tun, or another kind of check',
      });
    if (place.family !== null) problems.push(...strangeSources(check, place.family));
    const said = at(raw, 'address');
    const vips = place.addresses.map(({ address }) => address);
    const vip = addressProblem(said) === null ? addressOf(said) : null;
    if (said.value === undefined && vips.length === 0 && place.keys.length > 0)
      problems.push({
        path: said.path,
        message: 'is missing: a firewall mark does not tell the VIP',
        allowed: 'the address that clients go to',
      });
    else if (vip !== null && vips.length > 0 && !vips.includes(vip))
      problems.push({
        path: said.path,
        message: `${vip} is no address of the service`,
        allowed: vips.slice(0, 8).join(', '),
      });
  }
  return problems;
}

type Director = { readonly name: string; readonly address: IpAddress };

/**
 * A director that is a real server, too, lets packets for that VIP out only while it holds it, and as the holder it would
 * share out what another one's look sends it: only the holder can look along that path.
 */
export function* directorLookProblemsSteps(
  services: Raw,
  directors: Raw,
): Generator<undefined, readonly Problem[]> {
  const served = yield* servedByDirectors(services, directors);
  const problems = new Map<string, Problem>();
  if (served.size === 0) return [];
  for (const [, service] of entriesOf(services))
    for (const check of yield* looksIn(service)) {
      const runBy = sayingOf(check, 'runBy');
      if (runBy !== undefined && textOf(runBy) === 'holder') continue;
      const vip = addressOf(at(at(check.raw, 'vip'), 'address'));
      const looked = vip === null ? readPlace(service).addresses.slice(0, 1) : [{ address: vip }];
      for (const { address } of looked) {
        const director = served.get(address);
        if (director === undefined) continue;
        const { path } = runBy ?? at(check.raw, 'runBy');
        problems.set(path, {
          path,
          message: `director ${director.name} (${director.address}) is a real server of ${address}: only the holder can look along the path of that VIP`,
          allowed: 'holder',
        });
      }
    }
  return [...problems.values()];
}

/** VIPs that a director is a real server of, and which one. */
function* servedByDirectors(
  services: Raw,
  directors: Raw,
): Generator<undefined, ReadonlyMap<IpAddress, Director>> {
  const byAddress = new Map<IpAddress, Director>();
  for (const [name, director] of entriesOf(directors)) {
    const address = addressOf(at(director, 'address'));
    if (address !== null) byAddress.set(address, { name, address });
  }
  const named = (place: Raw): Director | undefined => {
    const address = addressOf(place);
    return address === null ? undefined : byAddress.get(address);
  };
  const served = new Map<IpAddress, Director>();
  for (const [, service] of entriesOf(services))
    for (const server of [...itemsOf(at(service, 'realServers')), at(service, 'sorryServer')]) {
      yield;
      const director = named(at(server, 'address'));
      const forward = textOf(at(server, 'forward')) ?? textOf(at(service, 'forward'));
      if (director === undefined || (forward ?? DEFAULT_FORWARD) === 'nat') continue;
      for (const { address } of readPlace(service).addresses) served.set(address, director);
    }
  return served;
}

/** Checks of kind `vip` that a service or a real server of it has; those of the service once. */
function* looksIn(service: Raw): Generator<undefined, readonly CheckPlace[]> {
  const found = [...checksIn(at(service, 'check'))];
  for (const server of itemsOf(at(service, 'realServers'))) {
    yield;
    if (isMap(at(server, 'check').value)) found.push(...checksIn(at(server, 'check')));
  }
  return found.filter(({ kind }) => kind === 'vip');
}
