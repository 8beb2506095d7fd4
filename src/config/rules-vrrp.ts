/** What the `vrrp` of VIP groups must satisfy, beyond its shape (RFC 9568, RFC 3768). */
import { familyOf, type IpAddress, parseCidr } from '../model/address.ts';
import { VRRP_PRIORITY_OWNER } from '../model/vrrp.ts';
import { DEFAULT_VRRP_INTERVAL_MS } from './defaults.ts';
import { formatDuration } from './durations.ts';
import { takeoverWaitOf } from './timing.ts';
import type { Problem } from './problem.ts';
import {
  addressOf,
  at,
  durationOf,
  entriesOf,
  isMap,
  itemsOf,
  numberOf,
  type Raw,
  textOf,
} from './raw.ts';
import { addressProblem, firstUseOf } from './rules-common.ts';

/** What fits one packet of 1500 bytes: a longer one would be cut to pieces, which nobody expects. */
const IPV6_ADDRESSES_MAX = { plain: 90, trailed: 89 } as const;
const INTERVAL_MAX_MS = { 2: 255_000, 3: 40_950 } as const;
const INTERVAL_STEP_MS = { 2: 1000, 3: 10 } as const;

export function vrrpProblems(groups: Raw, timing: Raw): readonly Problem[] {
  const waitMs = takeoverWaitOf(timing);
  const isTaken = firstUseOf<string>();
  const vips = new Map(
    entriesOf(groups).flatMap(([name, group]) => vipsOf(group).map((vip) => [vip, name] as const)),
  );
  return entriesOf(groups).flatMap(([name, group]) => {
    const vrrp = at(group, 'vrrp');
    const owners = ownerProblems(group);
    if (vrrp.value === undefined) return owners;
    return [
      ...owners,
      ...routerProblems(name, group, isTaken),
      ...intervalProblems(vrrp, ipv6Count(group)),
      ...paceProblems(vrrp, waitMs),
      ...authProblems(vrrp),
      ...neighbourProblems(group, vips),
      ...lengthProblems(group),
    ];
  });
}

/** 3 where nothing usable stands: the shape has been reported. */
const versionOf = (vrrp: Raw): 2 | 3 => (numberOf(at(vrrp, 'version')) === 2 ? 2 : 3);

function routerProblems(
  name: string,
  group: Raw,
  isTaken: (value: string, user: string) => string | null,
): readonly Problem[] {
  const place = at(group, 'virtualRouterId');
  if (place.value === undefined)
    return [
      {
        path: place.path,
        message: 'is missing: vrrp needs it',
        allowed: '1 to 255, other than those of other routers on the network',
      },
    ];
  const entries = itemsOf(at(group, 'addresses'));
  const interfaces = new Set(
    entries.map((entry) => textOf(at(entry, 'interface')) ?? textOf(at(group, 'interface'))),
  );
  const others = [...interfaces].map((each) => isTaken(`${each} ${String(place.value)}`, name));
  const other = others.find((each) => each !== null);
  if (other === undefined || other === null) return [];
  return [
    {
      path: place.path,
      message: `is that of group "${other}" on the same interface`,
      allowed: 'one number for each group of an interface',
    },
  ];
}

function intervalProblems(vrrp: Raw, ipv6Addresses: number): readonly Problem[] {
  const place = at(vrrp, 'interval');
  const ms = durationOf(place);
  const version = versionOf(vrrp);
  const step = INTERVAL_STEP_MS[version];
  // The IPv6 addresses of the group are advertised with version 3, as often.
  const most =
    ipv6Addresses > 0 ? Math.min(INTERVAL_MAX_MS[version], 40_000) : INTERVAL_MAX_MS[version];
  if (ms === null || (ms >= step && ms <= most && ms % step === 0)) return [];
  const unit = version === 2 ? 'whole seconds' : 'whole hundredths of a second';
  return [
    {
      path: place.path,
      message: `${formatDuration(ms)} does not go with version ${version}`,
      allowed: `${unit} from ${formatDuration(step)} to ${formatDuration(most)}`,
    },
  ];
}

/**
 * A router that is no director opens two to three intervals after a holder's last word, and the kernel of a holder
 * that died is silent D' after it: else two would speak.
 */
function paceProblems(vrrp: Raw, waitMs: number): readonly Problem[] {
  const isHeard =
    at(vrrp, 'multicast').value === true || itemsOf(at(vrrp, 'neighbours')).length > 0;
  const place = at(vrrp, 'interval');
  const version = versionOf(vrrp);
  const ms = place.value === undefined ? DEFAULT_VRRP_INTERVAL_MS.foreign : durationOf(place);
  if (!isHeard || ms === null || 2 * ms >= waitMs) return [];
  const step = INTERVAL_STEP_MS[version];
  const least = Math.ceil(waitMs / 2 / step) * step;
  return [
    {
      path: place.path,
      message: `${formatDuration(ms)} is too short beside other routers: they would open before the kernel of a director that died has silenced its VIPs (${formatDuration(waitMs)})`,
      allowed: `at least ${formatDuration(least)}, or a timing with a shorter hold`,
    },
  ];
}

function authProblems(vrrp: Raw): readonly Problem[] {
  const auth = at(vrrp, 'auth');
  if (!isMap(auth.value)) return [];
  const [pass, hmac] = [at(auth, 'pass'), at(auth, 'hmac')];
  const isEither = (pass.value === undefined) !== (hmac.value === undefined);
  if (!isEither)
    return [
      {
        path: auth.path,
        message: pass.value === undefined ? 'has nothing to prove who sends' : 'has both',
        allowed: 'either pass, in version 2, or hmac',
      },
    ];
  if (pass.value !== undefined && versionOf(vrrp) === 3)
    return [
      {
        path: pass.path,
        message: 'version 3 has no passwords',
        allowed: 'hmac, or no auth, or version: 2 with IPv4 addresses',
      },
    ];
  const isTaken = firstUseOf<number>();
  return itemsOf(hmac).flatMap((entry) => {
    const place = at(entry, 'id');
    const id = numberOf(place);
    if (id === null || isTaken(id, `${id}`) === null) return [];
    return [{ path: place.path, message: `${id} is in the list twice`, allowed: 'each id once' }];
  });
}

/** Priority 255 says on the wire that its sender owns the addresses: one does, and it always preempts. */
function ownerProblems(group: Raw): readonly Problem[] {
  const owners = entriesOf(at(group, 'priorities')).filter(
    ([, place]) => numberOf(place) === VRRP_PRIORITY_OWNER,
  );
  const [first, ...others] = owners;
  if (first === undefined) return [];
  const [owner, { path }] = first;
  const problems = others.map(([, place]) => ({
    path: place.path,
    message: `${VRRP_PRIORITY_OWNER} is the priority of director "${owner}": the addresses have one owner`,
    allowed: '1 to 254',
  }));
  if (at(group, 'vrrp').value === undefined)
    problems.push({
      path,
      message: `${VRRP_PRIORITY_OWNER} is for the owner of a virtual router, and the group has no vrrp`,
      allowed: '1 to 254',
    });
  const preempt = at(group, 'preempt');
  if (preempt.value !== undefined && preempt.value !== 'immediate')
    problems.push({
      path: preempt.path,
      message: `does not go with priority ${VRRP_PRIORITY_OWNER} of director "${owner}": the owner always preempts, at once`,
      allowed:
        'immediate, which is the default with such a priority; or 1 to 254 for all directors',
    });
  return problems;
}

function neighbourProblems(group: Raw, vips: ReadonlyMap<IpAddress, string>): readonly Problem[] {
  const vrrp = at(group, 'vrrp');
  const list = at(vrrp, 'neighbours');
  const isMulticast = at(vrrp, 'multicast').value === true;
  if (isMulticast && list.value !== undefined)
    return [
      {
        path: list.path,
        message: 'multicast goes to whoever listens',
        allowed: 'either neighbours or multicast: true',
      },
    ];
  const isTaken = firstUseOf<string>();
  const families = new Set(vipsOf(group).map(familyOf));
  return itemsOf(list).flatMap((entry) => {
    const place = textOf(entry) === null ? at(entry, 'address') : entry;
    const problem = addressProblem(place);
    if (problem !== null) return [problem];
    const address = addressOf(place);
    if (address === null) return ttlProblems(entry);
    const { path } = place;
    if (isTaken(address, address) !== null)
      return [{ path, message: `${address} is in the list twice`, allowed: 'each neighbour once' }];
    const owner = vips.get(address);
    if (owner !== undefined)
      return [
        {
          path,
          message: `${address} is a VIP of group "${owner}"`,
          allowed: "the neighbour's own address, which never moves",
        },
      ];
    if (families.size > 0 && !families.has(familyOf(address)))
      return [
        {
          path,
          message: `the group has no IPv${familyOf(address)} address: nothing would be said to ${address}`,
          allowed: "neighbours of the families of the group's addresses",
        },
      ];
    return ttlProblems(entry);
  });
}

/** Those that are written as they should be. */
const vipsOf = (group: Raw): readonly IpAddress[] =>
  itemsOf(at(group, 'addresses')).flatMap((entry) => {
    const parsed = parseCidr(textOf(entry) ?? textOf(at(entry, 'address')) ?? '');
    return parsed.ok ? [parsed.value.address] : [];
  });

function ttlProblems(entry: Raw): readonly Problem[] {
  const least = numberOf(at(entry, 'minTtl')) ?? 0;
  const most = at(entry, 'maxTtl');
  if (least <= (numberOf(most) ?? 255)) return [];
  return [{ path: most.path, message: `is below minTtl (${least})`, allowed: `${least} to 255` }];
}

const ipv6Count = (group: Raw): number =>
  vipsOf(group).filter((address) => familyOf(address) === 6).length;

function lengthProblems(group: Raw): readonly Problem[] {
  const list = at(group, 'addresses');
  const count = ipv6Count(group);
  const hasTrailer = at(at(at(group, 'vrrp'), 'auth'), 'hmac').value !== undefined;
  const most = IPV6_ADDRESSES_MAX[hasTrailer ? 'trailed' : 'plain'];
  if (count <= most) return [];
  return [
    {
      path: list.path,
      message: `there are ${count} IPv6 addresses: an advertisement would not fit one packet`,
      allowed: `at most ${most} IPv6 addresses in a group with ${hasTrailer ? 'hmac' : 'vrrp'}`,
    },
  ];
}
