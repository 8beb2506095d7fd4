/** Which of this host's own addresses an echo comes from. A VIP may be bound here, too: it must not be picked. */
import { err, ok, type Result } from '../../lib/result.ts';
import { familyOf, type IpAddress } from '../../model/address.ts';
import type { GatewaySource } from '../../ports/gateway.ts';
import { isInNetworkOf, isLinkLocal, type OwnAddress } from '../raw-sockets/own-addresses.ts';

/** The error says why there is none. */
export function pickSource(
  source: GatewaySource | null,
  target: IpAddress,
  own: readonly OwnAddress[],
): Result<OwnAddress, string> {
  const family = familyOf(target);
  if (own.some(({ address }) => address === target))
    return err('it is an address of this host, and would answer itself');
  if (source === null) return err(`this director has no IPv${family} address of its own`);
  if (source.kind === 'address') {
    const found = own.find(({ address }) => address === source.address);
    return found === undefined ? err(`${source.address} is not bound here`) : ok(found);
  }
  const { devices, except } = source;
  const isNear = isLinkLocal(target);
  const usable = own.filter(
    (one) =>
      devices.includes(one.device) &&
      familyOf(one.address) === family &&
      !except.includes(one.address) &&
      // A router would not bring an answer to a link-local address (RFC 4291 2.5.6).
      (isNear || !isLinkLocal(one.address)),
  );
  const isSimilar = (one: OwnAddress): boolean =>
    isNear ? isLinkLocal(one.address) : isInNetworkOf(one, target);
  const best = usable.find(isSimilar) ?? usable.find((one) => !isHostPrefix(one)) ?? usable[0];
  return best === undefined
    ? err(`no IPv${family} address but VIPs on ${devices.join(', ')}`)
    : ok(best);
}

const isHostPrefix = ({ address, prefix }: OwnAddress): boolean =>
  prefix === (familyOf(address) === 4 ? 32 : 128);
