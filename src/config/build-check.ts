/** From a check of a document that passed to what directors run; throws where the rules would have found a problem. */
import { toHex } from '../lib/bytes.ts';
import { type IpAddress, parseIp } from '../model/address.ts';
import {
  ANY_ORIGIN,
  type CheckKind,
  type CheckOrigin,
  type Digest,
  DIGEST_ALGORITHMS,
  type DnsCheck,
  type Exchange,
  type HttpCheck,
  type HttpRequest,
  type Matcher,
  type TlsOptions,
  type UdpCheck,
  type VipCheck,
} from '../model/check.ts';
import type { CheckGroup, CheckSpec, CheckTiming, CheckTree } from '../model/cluster.ts';
import { directorId } from '../model/ids.ts';
import type {
  BytesDocument,
  CheckDocument,
  CommonDocument,
  HttpDocument,
  LeafDocument,
  MatchDocument,
  RequestDocument,
  TlsDocument,
} from './check-schema.ts';
import { COMMON_CHECK_KEYS } from './check-schema.ts';
import {
  DEFAULT_BODY_MAX,
  DEFAULT_CHECK,
  DEFAULT_ECHO_SIZE,
  DEFAULT_REPLY_MAX,
  DEFAULT_STATUS,
} from './defaults.ts';
import { parseDuration } from './durations.ts';
import { must } from './must.ts';
import { commandOf } from './track-words.ts';

export function buildCheckTree(document: CheckDocument): CheckTree {
  return buildTree(document, {});
}

function buildTree(document: CheckDocument, inherited: CommonDocument): CheckTree {
  const common = { ...inherited, ...commonOf(document) };
  const { all, any } = document;
  const members = all ?? any;
  if (members === undefined) return buildCheck(document, common);
  const of = members.map((member) => buildTree(member, common));
  const kind: CheckGroup['kind'] = all === undefined ? 'any' : 'all';
  return { kind, of };
}

const commonOf = (document: CheckDocument): CommonDocument =>
  Object.fromEntries(
    Object.entries(document).filter(([key]) => COMMON_CHECK_KEYS.includes(key)),
  ) as CommonDocument;

function buildCheck(document: LeafDocument, common: CommonDocument): CheckSpec {
  const origin = buildOrigin(common);
  return {
    ...buildKind(document),
    ...buildTiming(common),
    port: common.port ?? null,
    ...(common.address === undefined ? {} : { address: addressOf(common.address) }),
    ...(origin === null ? {} : { origin }),
  };
}

const addressOf = (text: string): IpAddress => must(parseIp(text));

function buildTiming(common: CommonDocument): CheckTiming {
  const { interval, timeout, retry, warmup, jitter, whileDrained, runBy } = common;
  return {
    intervalMs: interval === undefined ? DEFAULT_CHECK.intervalMs : must(parseDuration(interval)),
    timeoutMs: timeout === undefined ? DEFAULT_CHECK.timeoutMs : must(parseDuration(timeout)),
    rise: common.rise ?? DEFAULT_CHECK.rise,
    fall: common.fall ?? DEFAULT_CHECK.fall,
    ...(retry === undefined ? {} : { retryMs: must(parseDuration(retry)) }),
    ...(warmup === undefined ? {} : { warmupMs: must(parseDuration(warmup)) }),
    ...(jitter === undefined ? {} : { jitter: jitter / 100 }),
    ...(whileDrained === undefined ? {} : { whileDrained }),
    ...(runBy === undefined ? {} : { runBy }),
  };
}

/** Null: as the routes say. */
function buildOrigin(common: CommonDocument): CheckOrigin | null {
  const { source, sourcePort, interface: device, mark } = common;
  if ([source, sourcePort, device, mark].every((word) => word === undefined)) return null;
  const isMap = typeof source === 'object';
  return {
    ...ANY_ORIGIN,
    sources: isMap
      ? Object.entries(source).map(([name, text]) => [directorId(name), addressOf(text)] as const)
      : [],
    source: source === undefined || isMap ? null : addressOf(source),
    sourcePort: sourcePort ?? 0,
    interface: device ?? null,
    mark: mark ?? 0,
  };
}

function buildKind(document: LeafDocument): CheckKind {
  const { icmp, tcp, tls, http, https, smtp, dns, udp, vip, script, file } = document;
  if (icmp !== undefined) return { kind: 'icmp', size: icmp.size ?? DEFAULT_ECHO_SIZE };
  if (tcp !== undefined) return { kind: 'tcp', ...buildExchange(tcp) };
  if (tls !== undefined) return { kind: 'tls', tls: buildTls(tls), ...buildExchange(tls) };
  if (http !== undefined) return buildHttp('http', http, null);
  if (https !== undefined) return buildHttp('https', https, buildTls(https));
  if (smtp !== undefined) {
    const security = smtp.security ?? 'none';
    const options = security === 'none' ? null : buildTls(smtp);
    return { kind: 'smtp', helo: smtp.helo ?? null, security, tls: options };
  }
  if (dns !== undefined) return buildDns(dns);
  if (udp !== undefined) return buildUdp(udp);
  if (vip !== undefined) return buildVip(vip);
  if (file !== undefined) return { kind: 'file', path: file.path, factor: file.weight ?? null };
  if (script === undefined) throw new Error('a check that passed has a kind');
  return {
    kind: 'script',
    command: commandOf(script.command),
    user: script.user ?? null,
    isDynamic: script.dynamic ?? false,
  };
}

function buildVip({ address, ask, arp }: NonNullable<LeafDocument['vip']>): VipCheck {
  const vip = address === undefined ? null : addressOf(address);
  return { kind: 'vip', vip, ask: ask ?? null, arp: arp ?? 'fail', tunnel: null };
}

function buildExchange({ send, expect }: NonNullable<LeafDocument['tcp']>): Exchange {
  return {
    ...(send === undefined ? {} : { send: buildBytes(send) }),
    ...(expect === undefined ? {} : { expect: buildMatcher(expect) }),
  };
}

function buildTls(document: TlsDocument): TlsOptions {
  const { verify, name, ca, cert, key, daysLeft } = document;
  return {
    verify: verify ?? true,
    name: name ?? null,
    ca: ca ?? null,
    cert: cert ?? null,
    key: key ?? null,
    daysLeft: daysLeft ?? null,
  };
}

function buildHttp(
  kind: HttpCheck['kind'],
  document: HttpDocument,
  tls: TlsOptions | null,
): HttpCheck {
  const { path = '/', requests } = document;
  const paths = typeof path === 'string' ? [path] : path;
  return {
    kind,
    version: document.version ?? '1.1',
    requests:
      requests === undefined
        ? paths.map((each) => buildRequest(each, document))
        : requests.map((own) => buildRequest(own.path, inherit(document, own))),
    bodyMax: document.bodyMax ?? DEFAULT_BODY_MAX,
    tls,
  };
}

/** What a request does not say is that of all of them; headers are put together. */
function inherit(all: RequestDocument, own: RequestDocument): RequestDocument {
  const headers = { ...all.headers, ...own.headers };
  return { ...all, ...own, headers };
}

function buildRequest(path: string, document: RequestDocument): HttpRequest {
  const { method, host, headers, body, status, digest, match, noMatch } = document;
  return {
    method: method ?? 'GET',
    path,
    host: host ?? null,
    headers: Object.entries(headers ?? {}),
    body: body === undefined ? null : buildBytes(body),
    status: buildStatus(status),
    digest: digest === undefined ? null : must(parseDigest(digest)),
    match: match === undefined ? null : buildMatcher(match),
    noMatch: noMatch === undefined ? null : buildMatcher(noMatch),
  };
}

function buildStatus(status: RequestDocument['status']): HttpRequest['status'] {
  if (status === undefined) return DEFAULT_STATUS;
  const ranges = Array.isArray(status) ? status : [status];
  return ranges.map((range) => {
    if (typeof range === 'number') return [range, range];
    const [from = '', to = ''] = range.split('-');
    return [Number(from), Number(to)];
  });
}

const DIGEST_DIGITS: Readonly<Record<Digest['algorithm'], number>> = {
  md5: 32,
  sha1: 40,
  sha256: 64,
  sha512: 128,
};

/** `sha256:…`, or digits alone, whose number tells which it is. The error is the rest of a sentence. */
export function parseDigest(
  text: string,
): { readonly ok: true; readonly value: Digest } | { readonly ok: false; readonly error: string } {
  const [first = '', second] = text.toLowerCase().split(':');
  const hex = second ?? first;
  const algorithm = DIGEST_ALGORITHMS.find((one) =>
    second === undefined ? DIGEST_DIGITS[one] === hex.length : one === first,
  );
  if (algorithm === undefined) return { ok: false, error: `has ${hex.length} digits` };
  const digits = DIGEST_DIGITS[algorithm];
  return hex.length === digits
    ? { ok: true, value: { algorithm, hex } }
    : { ok: false, error: `has ${hex.length} digits, and ${algorithm} has ${digits}` };
}

function buildDns(dns: NonNullable<LeafDocument['dns']>): DnsCheck {
  const { rcode, answer, match } = dns;
  return {
    kind: 'dns',
    name: dns.name ?? '.',
    type: dns.type ?? 'SOA',
    transport: dns.transport ?? 'udp',
    recursion: dns.recursion ?? true,
    rcodes: rcode === undefined ? ['NOERROR'] : listOf(rcode),
    answers: answer === undefined ? [] : listOf(answer),
    match: match === undefined ? null : buildMatcher(match),
  };
}

const listOf = <T extends string>(value: T | readonly T[]): readonly T[] =>
  typeof value === 'string' ? [value] : value;

/** keepalived sends random bytes where nothing is said; here they are always the same. */
const DEFAULT_PAYLOAD = toHex(new TextEncoder().encode('leasehold'));

function buildUdp(udp: NonNullable<LeafDocument['udp']>): UdpCheck {
  const { payload, reply, minLength, maxLength } = udp;
  return {
    kind: 'udp',
    payload: payload === undefined ? DEFAULT_PAYLOAD : buildBytes(payload),
    requireReply:
      udp.requireReply ?? [reply, minLength, maxLength].some((word) => word !== undefined),
    reply: reply?.replace(/\s+/g, '').toLowerCase() ?? null,
    minLength: minLength ?? 0,
    maxLength: maxLength ?? DEFAULT_REPLY_MAX,
  };
}

const buildBytes = (bytes: BytesDocument): string =>
  typeof bytes === 'string'
    ? toHex(new TextEncoder().encode(bytes))
    : bytes.hex.replace(/\s+/g, '').toLowerCase();

function buildMatcher(match: MatchDocument): Matcher {
  if (typeof match === 'string') return { kind: 'bytes', hex: buildBytes(match) };
  const { regex, ignoreCase = false, hex } = match;
  if (regex !== undefined) return { kind: 'pattern', source: regex, ignoreCase };
  return { kind: 'bytes', hex: buildBytes({ hex: hex ?? '' }) };
}
