/** What a look along a VIP's path says to people: what is wrong with the real server, and what to do there. */
import type { VipCheck } from '../../model/check.ts';
import { down } from './failure-words.ts';
import type { Outcome } from './probe.ts';
import type { LookOf } from './vip-look.ts';
import type { VipVerdict } from './vip-verdict.ts';

type Of = Pick<LookOf, 'vip' | 'address' | 'port' | 'ask' | 'spec'>;

export function vipOutcome(verdict: VipVerdict, of: Of, timeoutMs: number): Outcome {
  const { vip, address, port, ask, spec } = of;
  const within = `within ${timeoutMs} ms`;
  const what = ask === 'tcp' ? `port ${port}` : 'echo';
  switch (verdict) {
    case 'answers':
      return { kind: 'up', detail: `answers as ${vip}` };
    case 'handed-on':
      return { kind: 'up', detail: `has ${vip}, and hands port ${port} on to something behind it` };
    case 'refused':
      return down('refused', `has ${vip}, and port ${port} is closed there: nothing listens on it`);
    case 'prohibited':
      return down('refused', `a filter of the real server forbids ${what} of ${vip}`);
    case 'silent-port':
      return down('timeout-connect', `has ${vip}, and port ${port} there is silent ${within}`);
    case 'vip-missing':
      return down(
        'vip-missing',
        `answers as ${address}, not as ${vip}, which is not on its ${placeOf(spec)}; ${remedy(of)}`,
      );
    case 'passes-on':
      return down('vip-missing', `does not have ${vip}, and would route it on; ${remedy(of)}`);
    case 'no-tunnel':
      return down('vip-missing', `takes no ${spec.tunnel?.type ?? ''} packets; ${remedy(of)}`);
    case 'answers-arp': {
      const protocol = vip.includes(':') ? 'neighbour discovery' : 'ARP';
      const text = `answers ${protocol} for ${vip}, so clients may go past the director`;
      return down('answers-arp', `${text}; ${remedy(of)}`);
    }
    case 'silent':
      return down('timeout-connect', silence(of, within));
    case 'unreachable':
      return down('unreachable', `no answer ${within}, neither as ${vip} nor as ${address}`);
  }
}

/** In a tunnel both were asked; that it is not there is said by ICMP, which Linux says once a second. */
function silence(of: Of, within: string): string {
  const { vip, address, spec } = of;
  if (spec.tunnel === null)
    return `is on its link, and answers neither as ${vip} nor as ${address} ${within}`;
  return `is on its link, and nothing comes back from its ${spec.tunnel.type} tunnel ${within}; ${remedy(of)}`;
}

/** Of a tunnel's packets its rp_filter may drop what it has. */
const placeOf = ({ tunnel }: VipCheck): string =>
  tunnel === null ? 'lo' : 'tunnel device, or dropped by its rp_filter';

/** The line that sets up, or says what stands in the way. */
function remedy({ vip, address, spec: { tunnel } }: Of): string {
  const over = address.includes(':') === vip.includes(':') ? '' : ` --over ${familyWord(address)}`;
  const way = tunnel === null ? 'dr' : `tun${TUNNEL_WORDS[tunnel.type]}`;
  const port = tunnel?.type === 'gue' ? ` --gue-port ${tunnel.port}` : '';
  return `there: leasehold realserver up --vip ${vip} --mode ${way}${port}${over}`;
}

const TUNNEL_WORDS = { ipip: '', gue: '', gre: ' --tunnel gre' } as const;
const familyWord = (address: string): string => (address.includes(':') ? 'ipv6' : 'ipv4');
