/** The values of ipvsadm's options: services and real servers, with its defaults and its rules. */
import { err, ok, type Result } from '../lib/result.ts';
import { familyOf, type IpAddress, type IpFamily, ipToBytes, parseIp } from '../model/address.ts';
import {
  familyOfKey,
  type ForwardMethod,
  type Protocol,
  SCHEDULER_FLAGS,
  type SchedulerFlag,
  type ServiceKey,
  type Tunnel,
  TUNNEL_TYPES,
  type TunnelChecksum,
} from '../model/cluster.ts';
import {
  IP_VS_SVC_F_ONEPACKET,
  IP_VS_SVC_F_PERSISTENT,
  type IpvsDestination,
  type IpvsService,
  schedulerFlagBits,
} from '../model/kernel.ts';
import { complain, type Complaint, type OptionName } from './ipvsadm-line.ts';

type Options = ReadonlyMap<OptionName, string | null>;
type Read<T> = Result<T, Complaint>;

const DEFAULT_SCHEDULER = 'wlc';
const DEFAULT_TIMEOUT = '360';
/** 31 days. */
const MAX_TIMEOUT_S = 2_678_400;
const MAX_INT32 = 0x7fff_ffff;
const MAX_PORT = 0xffff;

const fail = (message: string, allowed: string): Result<never, Complaint> =>
  err(complain(message, allowed));

const PROTOCOLS: readonly (readonly [OptionName, Protocol])[] = [
  ['tcp-service', 'tcp'],
  ['udp-service', 'udp'],
  ['sctp-service', 'sctp'],
];

/** Which service a line is about. */
export function readKey(options: Options): Read<ServiceKey> {
  const given = PROTOCOLS.filter(([name]) => options.has(name));
  const mark = options.get('fwmark-service') ?? null;
  if (given.length + (mark === null ? 0 : 1) !== 1)
    return fail('it names not one service', 'one of -t -u --sctp-service -f');
  if (mark !== null) return readMark(mark, options.has('ipv6') ? 6 : 4);
  if (options.has('ipv6')) return fail('"-6" without a mark', '-6 with -f alone');
  const [name, protocol] = given[0] ?? ['tcp-service', 'tcp'];
  const endpoint = parseEndpoint(options.get(name) ?? '');
  if (!endpoint.ok) return endpoint;
  const { address, port } = endpoint.value;
  return ok({ kind: 'address', protocol, address, port: port ?? 0 });
}

/** `ipvsadm -S` prints marks above 2147483647 as negative numbers. */
function readMark(text: string, family: IpFamily): Read<ServiceKey> {
  const number = /^-?\d{1,10}$/.test(text) ? Number(text) : 0;
  if (number === 0 || number > 0xffff_ffff || number < -0x8000_0000)
    return fail(`"${text}" is no firewall mark`, '1 to 4294967295');
  return ok({ kind: 'fwmark', family, mark: number >>> 0 });
}

export function readService(key: ServiceKey, options: Options): Read<IpvsService> {
  const scheduler = options.get('scheduler') ?? DEFAULT_SCHEDULER;
  if (!/^[\w-]{1,15}$/.test(scheduler))
    return fail(`"${scheduler}" is no scheduler`, 'rr wrr wlc …');
  const engine = options.get('pe') ?? null;
  if (engine !== null && !/^[\w-]{1,15}$/.test(engine))
    return fail(`"${engine}" is no persistence engine`, 'sip');
  const isPersistent = options.has('persistent');
  const timeout = isPersistent
    ? readNumber('-p', options.get('persistent') ?? DEFAULT_TIMEOUT, 1, MAX_TIMEOUT_S)
    : ok(0);
  if (!timeout.ok) return timeout;
  const prefix = readPrefix(options.get('netmask') ?? null, familyOfKey(key));
  if (!prefix.ok) return prefix;
  const flags = readFlags(options.get('sched-flags') ?? null, scheduler);
  if (!flags.ok) return flags;
  const isAddress = key.kind === 'address';
  if (isAddress && key.port === 0 && !isPersistent)
    return fail('port 0 without persistence', 'a port, or -p');
  if (isAddress && key.protocol !== 'udp' && options.has('ops'))
    return fail('"-o" with a protocol other than UDP', '-o with -u or -f');
  return ok({
    key,
    scheduler,
    flags:
      (isPersistent ? IP_VS_SVC_F_PERSISTENT : 0) |
      (options.has('ops') ? IP_VS_SVC_F_ONEPACKET : 0) |
      schedulerFlagBits(flags.value),
    timeoutS: timeout.value,
    persistencePrefix: prefix.value,
    persistenceEngine: engine,
  });
}

function readPrefix(text: string | null, family: IpFamily): Read<number> {
  if (text === null) return ok(family === 6 ? 128 : 32);
  if (family === 6) return readNumber('-M', text, 1, 128);
  const parsed = parseIp(text);
  if (!parsed.ok || familyOf(parsed.value) !== 4)
    return fail(`"-M ${text}" is no netmask`, 'as 255.255.255.0');
  const [a = 0, b = 0, c = 0, d = 0] = ipToBytes(parsed.value);
  const mask = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
  const prefix = Math.clz32(~mask);
  const isWhole = mask === (prefix === 0 ? 0 : (0xffff_ffff << (32 - prefix)) >>> 0);
  return isWhole ? ok(prefix) : fail(`netmask ${text} has gaps`, 'as 255.255.255.0');
}

function readFlags(text: string | null, scheduler: string): Read<readonly SchedulerFlag[]> {
  const flags: SchedulerFlag[] = [];
  for (const word of text === null ? [] : text.split(',')) {
    const flag = SCHEDULER_FLAGS.find((one) => one === word);
    if (flag === undefined || !(flag.startsWith('flag-') || flag.startsWith(`${scheduler}-`))) {
      const allowed = SCHEDULER_FLAGS.filter(
        (one) => one.startsWith('flag-') || one.startsWith(`${scheduler}-`),
      );
      return fail(`scheduler ${scheduler} has no flag "${word}"`, allowed.join(' '));
    }
    flags.push(flag);
  }
  return ok(flags);
}

type Endpoint = { readonly address: IpAddress; readonly port: number };

/** The real server that a line names; without a port it has the service's. */
export function readEndpoint(key: ServiceKey, options: Options): Read<Endpoint> {
  const text = options.get('real-server') ?? null;
  if (text === null) return fail('it names no real server', '-r ADDRESS:PORT');
  const endpoint = parseEndpoint(text);
  if (!endpoint.ok) return endpoint;
  const { address, port } = endpoint.value;
  return ok({ address, port: port ?? (key.kind === 'fwmark' ? 0 : key.port) });
}

/** As ipvsadm does, gives a real server of DR or tunnelling the port of its service. */
export function readDestination(key: ServiceKey, options: Options): Read<IpvsDestination> {
  const endpoint = readEndpoint(key, options);
  if (!endpoint.ok) return endpoint;
  const forward = readForward(options);
  if (!forward.ok) return forward;
  const tunnel = readTunnel(forward.value, options);
  if (!tunnel.ok) return tunnel;
  const weight = readNumber('-w', options.get('weight') ?? '1', 0, MAX_INT32);
  if (!weight.ok) return weight;
  const upper = readNumber('-x', options.get('u-threshold') ?? '0', 0, MAX_INT32);
  if (!upper.ok) return upper;
  const lower = readNumber('-y', options.get('l-threshold') ?? '0', 0, MAX_INT32);
  if (!lower.ok) return lower;
  if (lower.value > upper.value)
    return fail(`"-y ${lower.value}" is above "-x ${upper.value}"`, '-y at most -x');
  const { address, port } = endpoint.value;
  if (familyOf(address) !== familyOfKey(key) && forward.value !== 'tun')
    return fail(`${address} is of another family than its service`, 'such addresses with -i alone');
  const isFixed = key.kind === 'address' && forward.value !== 'nat';
  return ok({
    address,
    port: isFixed ? key.port : port,
    forward: forward.value,
    tunnel: tunnel.value,
    weight: weight.value,
    upperThreshold: upper.value,
    lowerThreshold: lower.value,
  });
}

const FORWARDS: readonly (readonly [OptionName, ForwardMethod])[] = [
  ['gatewaying', 'dr'],
  ['ipip', 'tun'],
  ['masquerading', 'nat'],
];

function readForward(options: Options): Read<ForwardMethod> {
  const given = FORWARDS.filter(([name]) => options.has(name));
  if (given.length > 1) return fail('more than one forwarding method', 'one of -g -i -m');
  return ok(given[0]?.[1] ?? 'dr');
}

const CHECKSUMS: readonly (readonly [OptionName, TunnelChecksum])[] = [
  ['tun-nocsum', 'nocsum'],
  ['tun-csum', 'csum'],
  ['tun-remcsum', 'remcsum'],
];

function readTunnel(forward: ForwardMethod, options: Options): Read<Tunnel | null> {
  const checksums = CHECKSUMS.filter(([name]) => options.has(name));
  const port = options.get('tun-port') ?? null;
  const word = options.get('tun-type') ?? null;
  if (forward !== 'tun') {
    if (word === null && port === null && checksums.length === 0) return ok(null);
    return fail('options of a tunnel without a tunnel', '--tun-… with -i alone');
  }
  const type = word === null ? 'ipip' : TUNNEL_TYPES.find((one) => one === word);
  if (type === undefined) return fail(`"${word}" is no tunnel type`, TUNNEL_TYPES.join(' '));
  const checksum = checksums[0]?.[1] ?? 'nocsum';
  if (checksums.length > 1) return fail('more than one checksum option', 'one of them');
  if (type === 'ipip' && checksums.length > 0)
    return fail('a checksum of ipip', 'gue and gre alone');
  if (type === 'gre' && checksum === 'remcsum') return fail('"--tun-remcsum" of gre', 'gue alone');
  if (type !== 'gue')
    return port === null ? ok({ type, port: 0, checksum }) : fail(`a port of ${type}`, 'gue alone');
  if (port === null) return fail('gue without a port', '--tun-port PORT');
  const number = readNumber('--tun-port', port, 1, MAX_PORT);
  return number.ok ? ok({ type, port: number.value, checksum }) : number;
}

/** `port` null: none was given. */
function parseEndpoint(
  text: string,
): Read<{ readonly address: IpAddress; readonly port: number | null }> {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
  const isBare = bracketed === null && text.split(':').length !== 2;
  const cut = text.indexOf(':');
  const host = bracketed?.[1] ?? (isBare ? text : text.slice(0, cut));
  const portText = bracketed === null ? (isBare ? undefined : text.slice(cut + 1)) : bracketed[2];
  if (text.includes('$'))
    return fail(
      `"${text}" has a variable`,
      'numbers; a script is not run: let "ipvsadm -S -n" print what it makes',
    );
  const address = parseIp(host);
  if (!address.ok)
    return fail(`"${host}" is no address`, 'numbers, as "ipvsadm -S -n" prints them');
  if (portText === undefined) return ok({ address: address.value, port: null });
  if (!/^\d{1,5}$/.test(portText) || Number(portText) > MAX_PORT)
    return fail(`"${portText}" is no port`, 'numbers, as "ipvsadm -S -n" prints them');
  return ok({ address: address.value, port: Number(portText) });
}

function readNumber(option: string, text: string, from: number, to: number): Read<number> {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (number < from || number > to) return fail(`"${option} ${text}"`, `${from} to ${to}`);
  return ok(number);
}
